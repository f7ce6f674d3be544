"""The parts behind the page: what is chosen, counted, measured, cleaned of paths, and put into the file."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report.choice import choose, in_turn
from report.diversity import diversity, reasoning_distances, verb_object
from report.features import joined, type_of
from report.figures import figures, thresholds
from report.output import read_output
from report.page import json_text, write_report
from report.wording import without_paths
from schemas.errors import DamageError
from tests.report.conftest import write_edits, write_one, write_realign


class Scripts(HTMLParser):
    """The script elements of a page by id (the program's is empty), and every address in an attribute."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.addresses: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "action", "data")]
        if tag == "script":
            self._inside = said.get("id") or "program"
            self.found[self._inside] = ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found[self._inside] += data


def test_the_page_holds_its_data_whatever_the_samples_say(outputs: dict[str, Path]) -> None:
    for name, folder in outputs.items():
        page = Scripts((folder / "report.html").read_text())
        head = json.loads(page.found["head"])
        details = [one for key in sorted(page.found) if key.startswith("detail") for one in json.loads(page.found[key])]
        assert len(head["heads"]) == len(details) > 10, name
        pictures = page.found["pictures-0"].split()
        assert len(pictures) >= 12 and all(re.fullmatch(r"[A-Za-z0-9+/=]+", one) for one in pictures)
        assert [address for address in page.addresses if not address.startswith(("#", "data:"))] == []


@given(
    st.recursive(
        st.text() | st.integers(-(2**53), 2**53) | st.booleans(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_in_a_page_reads_back_and_holds_no_tag(value: Any) -> None:
    text = json_text(value)
    assert "<" not in text
    assert json.loads(text) == value


def test_a_lone_surrogate_is_no_reason_to_fail() -> None:
    assert json.loads(json_text({"text": "\ud83d"})) == {"text": "?"}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=3)), max_size=60))
def test_strata_take_turns_whatever_the_order(items: list[tuple[str, str]]) -> None:
    numbered = [(stratum, (f"{stratum} {key} {n}", f"{key} {n:04}")) for n, (stratum, key) in enumerate(items)]
    found = in_turn(numbered)
    assert Counter(found) == Counter(item for _, (item, _) in numbered)
    shuffled = random.Random(0).sample(numbered, len(numbered))
    assert in_turn(shuffled) == found
    counts: Counter[str] = Counter()
    left = Counter(stratum for stratum, _ in items)
    for item in found:
        counts[item[0]] += 1
        assert all(counts[item[0]] - counts[other] <= 1 or counts[other] == left[other] for other in left)


def test_few_entries_show_every_task_and_reason(outputs: dict[str, Path]) -> None:
    output = read_output(str(outputs["realign"]))
    chosen = choose(output, 12)
    assert len(chosen.kept) + len(chosen.rejected) == 12
    assert (chosen.of_kept, chosen.of_rejected) == (44, 12)
    tasks = {output.shards[rows[0].shard].table.column("task")[rows[0].row].as_py() for rows in chosen.kept}
    assert tasks == {"add", "replace", "scene"}
    reasons = {row["reason"] for row in output.rejects if row["id"] in chosen.rejected}
    assert reasons == {"clip_text", "no_op", "blocked"}


def test_rows_of_a_pair_are_one_entry(outputs: dict[str, Path]) -> None:
    chosen = choose(read_output(str(outputs["firm-edit"])), 5)
    assert [len(rows) for rows in chosen.kept] == [4] * 4 and len(chosen.rejected) == 1


def test_figures_are_of_the_whole_output(outputs: dict[str, Path]) -> None:
    found = figures(read_output(str(outputs["realign"])))
    assert found["counts"] == {"planned": 56, "kept": 44, "rejected": 12}
    assert [(step["name"], step["left"]) for step in found["funnel"]] == [
        ("planned", 56), ("after painter", 52), ("after filter", 44), ("kept", 44),
    ]  # fmt: skip
    clip = next(one for one in found["scores"] if one["name"] == "clip_text")
    assert (sum(clip["kept"]), sum(clip["rejected"])) == (44, 8)
    assert clip["marks"] == [{"name": "clip.min_text", "at": 0.12}]
    assert found["usage"][0]["usd"] == 3.75 and found["lost"][0] == {"stage": "painter", "usd": 2.0}
    balance = figures(read_output(str(outputs["firm-edit"])))["balance"]
    assert sum(balance["execution"]["before"].values()) == 24


def test_a_limit_beyond_all_values_is_kept_and_does_not_lead(tmp_path: Path) -> None:
    limits = {"config": {"quality": {"min_sharpness": 20.0}}}
    folder = write_one(tmp_path / "out", '{"id": "x"}', {"sharpness": 900.0}, [{"sharpness": 500.0}], filters=limits)
    (found,) = figures(read_output(str(folder)))["scores"]
    assert found["marks"] == [{"name": "quality.min_sharpness", "at": 20.0}] and not found["leading"]


def test_thresholds_are_found_at_any_depth() -> None:
    config = {
        "config": {"clip": {"min_text": 0.2, "weights": "x"}, "quality": {"max_aspect": 3, "deep": {"min_side": True}}}
    }
    assert thresholds(config) == [("clip.min_text", 0.2), ("quality.max_aspect", 3.0)]


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("Replace the black cat with the dog of image 2.", ("replace", "cat")),
        ("Please put a small red mug on the table", ("put", "mug")),
        ("In the first image, remove the old bicycle.", ("remove", "bicycle")),
        ("把猫放在雪地里", ("", "")),
        ("A quiet evening", ("", "")),
        ("", ("", "")),
    ],
)
def test_verb_and_object(instruction: str, expected: tuple[str, str]) -> None:
    assert verb_object(instruction) == expected


def test_distance_between_reasonings() -> None:
    def record(*texts: str) -> dict[str, Any]:
        return {"reasonings": [{"text": text, "draws": 2} for text in texts]}

    assert reasoning_distances([record("a b c d", "a b c d")])["mean"] == 0
    assert reasoning_distances([record("a b c d", "e f g h")])["mean"] == 1
    found = reasoning_distances([record("only one")])
    assert (found["samples"], found["repeated"]) == (0, 0.5)


def test_distinct_counts_different_over_all() -> None:
    found = diversity([{"instruction": "put the cat here"}, {"instruction": "put the dog here"}])
    assert found["instructions"]["distinct"] == [5 / 8, round(5 / 6, 4), 1.0]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("missing: /home/me/my photos/cat.jpg", "missing: …/cat.jpg"),
        ("'/data/x/y.png' is no image", "'…/y.png' is no image"),
        ("gs://bucket/pool/a.jpg, 404", "…/a.jpg, 404"),
        ("http://10.0.0.7:8000/v1 answered 500", "…/v1 answered 500"),
        (r"C:\Users\me\cat.jpg", "…/cat.jpg"),
        ("local-dir:/models/ViT-B-32", "local-dir:…/ViT-B-32"),
        ("~/pool/cat.jpg", "…/cat.jpg"),
        ("</out_caption><relation_1>", "</out_caption><relation_1>"),
        ("black and/or white, 3/4 of it, 1/2/3", "black and/or white, 3/4 of it, 1/2/3"),
    ],
)
def test_paths_are_cut_to_their_last_name(said: str, shown: str) -> None:
    assert without_paths(said) == shown


values = st.recursive(
    st.text() | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def fits(value: Any, kind: Any) -> bool:
    """Whether a loader that was told `kind` keeps all of `value`."""
    if value is None:
        return True
    if isinstance(value, dict):
        return isinstance(kind, dict) and all(fits(part, kind["struct"].get(key)) for key, part in value.items())
    if isinstance(value, list):
        return isinstance(kind, dict) and all(fits(item, kind["list"]) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return kind == {bool: "bool", str: "string"}[type(value)]
    return kind == "float64" or (kind == "int64" and isinstance(value, int))


@given(st.lists(values, min_size=1, max_size=4))
def test_the_joined_type_holds_every_value_or_says_that_there_is_none(found: list[Any]) -> None:
    try:
        kind = None
        for value in found:
            kind = joined(kind, type_of(value))
    except DamageError:
        return
    assert all(fits(value, kind) for value in found)


def test_kinds_that_cannot_be_joined_are_damage() -> None:
    with pytest.raises(DamageError, match=r"scores\.x is of different kinds"):
        joined(type_of({"scores": {"x": 1}}), type_of({"scores": {"x": "one"}}))


def test_thumbnails_are_small_and_an_unreadable_image_is_a_gap(tmp_path: Path) -> None:
    import base64
    import io

    from PIL import Image

    folder = write_edits(tmp_path / "out")
    tar = folder / "shards" / "train-00000-of-00001.tar"
    data = bytearray(tar.read_bytes())
    at = data.index(b"\xff\xd8\xff")
    data[at : at + 64] = bytes(64)
    tar.write_bytes(data)
    written = write_report(read_output(str(folder)), thumb=40)
    page = Scripts((folder / "report.html").read_text())
    pictures = page.found["pictures-0"].split()
    assert pictures.count("-") == 1 and written.shown == 13
    sizes = {max(Image.open(io.BytesIO(base64.b64decode(one))).size) for one in pictures if one != "-"}
    assert max(sizes) == 40


def test_fewer_samples_give_a_smaller_page_that_says_so(tmp_path: Path) -> None:
    folder = write_realign(tmp_path / "out")
    written = write_report(read_output(str(folder)), samples=8)
    head = json.loads(Scripts((folder / "report.html").read_text()).found["head"])
    assert (written.shown, written.of) == (8, 56)
    assert (len(head["heads"]), head["of_kept"], head["of_rejected"]) == (8, 44, 12)
    assert head["figures"]["counts"]["kept"] == 44
