"""The dataset card: what loaders read by it is every field of every sample, and it says what may be done with it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.report import run
from report.card import ATTRIBUTION, CARD, _attribution, license_of, size_category
from report.contents import Contents, read_contents
from report.licenses import strictest
from report.output import read_output
from report.prose import body, cell
from schemas.errors import DamageError, InputError
from shards.copying import copy_samples
from shards.reader import read_samples
from shards.verify import verify
from tests.report import conftest
from tests.report.conftest import write_edits, write_realign
from tests.servers.commands import plumbline

DATASETS = ["realign", "firm-edit", "firm-gen"]


def header(folder: Path) -> dict[str, Any]:
    _, text, _ = (folder / CARD).read_text().split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def code(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / CARD).read_text(), re.DOTALL)


def load(folder: Path, cache: Path, **options: Any) -> Any:
    datasets = pytest.importorskip("datasets", reason="the extra `test` is not installed")
    return datasets.load_dataset(str(folder), cache_dir=str(cache), **options)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", DATASETS)
def test_load_dataset_gives_every_field_of_every_sample(
    outputs: dict[str, Path], name: str, streaming: bool, tmp_path: Path
) -> None:
    folder = outputs[name]
    rows = list(load(folder, tmp_path, split="train", streaming=streaming))
    samples = list(read_samples(str(folder)))
    assert [row["__key__"] for row in rows] == [sample.id for sample in samples]
    for row, sample in zip(rows, samples, strict=True):
        assert row["json"] == sample.json
        pictures = {
            key.removesuffix(".jpg") for key, value in row.items() if key.endswith(".jpg") and value is not None
        }
        assert pictures == set(sample.images)


def test_one_to_five_references_are_mixed_in_what_was_loaded(outputs: dict[str, Path]) -> None:
    """Else the test above would prove nothing: the first samples have one reference and whole scores."""
    samples = list(read_samples(str(outputs["realign"])))
    assert {len(s.json["references"]) for s in samples} == {1, 2, 3, 4, 5}
    assert any(not s.json["scores"]["clip_text"].is_integer() for s in samples)


def test_balanced_rows_are_a_config_of_their_own(outputs: dict[str, Path], tmp_path: Path) -> None:
    folder = outputs["firm-edit"]
    found = load(folder, tmp_path, name="balanced", split="train")
    assert [row["__key__"] for row in found] == [s.id for s in read_samples(str(folder / "balanced"))]


@pytest.mark.parametrize("name", DATASETS)
def test_the_cards_own_code_reads_it(outputs: dict[str, Path], name: str, tmp_path: Path) -> None:
    """The three snippets, as they stand in the card."""
    pytest.importorskip("datasets", reason="the extra `test` is not installed")
    folder = outputs[name]
    snippets = code(folder)
    assert len(snippets) == 3
    samples = {sample.id: sample for sample in read_samples(str(folder))}
    for snippet in snippets:
        place: dict[str, Any] = {"DIR": str(folder)}
        exec(snippet, place)
        if "index" in place:
            every = (
                {*samples, *(s.id for s in read_samples(str(folder), "test"))} if name == "realign" else set(samples)
            )
            assert set(place["index"]["id"]) == every
            continue
        rows = list(place["rows"])
        assert [row["__key__"] for row in rows] == list(samples)
        assert all(row["json"] == samples[row["__key__"]].json for row in rows)


def test_features_are_those_that_datasets_itself_would_print(outputs: dict[str, Path]) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `test` is not installed")
    for folder in outputs.values():
        listed = header(folder)["dataset_info"][0]["features"]
        read = datasets.Features._from_yaml_list(listed)
        assert [one["name"] for one in listed] == list(read)
        assert read["json"]["id"] == datasets.Value("string")


def test_header_names_splits_sizes_and_what_it_is(outputs: dict[str, Path]) -> None:
    found = header(outputs["realign"])
    assert found["license"] == "cc-by-4.0"
    assert found["size_categories"] == ["n<1K"]
    files = found["configs"][0]["data_files"]
    assert files == [
        {"split": "train", "path": "shards/train-*.tar"},
        {"split": "test", "path": "shards/test-*.tar"},
    ]
    splits = {one["name"]: one["num_examples"] for one in found["dataset_info"][0]["splits"]}
    assert splits == {"train": 40, "test": 4}
    names = [one["name"] for one in found["dataset_info"][0]["features"]]
    assert names[:7] == [*(f"image_{i}.jpg" for i in range(1, 6)), "other_1.jpg", "target.jpg"]


def test_body_counts_what_was_kept_rejected_and_spent(outputs: dict[str, Path]) -> None:
    text = (outputs["realign"] / CARD).read_text()
    assert "56 planned = 44 kept + 12 rejected." in text
    for said in ("| filter | no_op |", "| painter-1 | painter | 31 |", "realign/writer | abababababab", "none: "):
        assert said in text


def test_attribution_names_each_reference_once(outputs: dict[str, Path]) -> None:
    folder = outputs["realign"]
    rows = list(csv.DictReader(io.StringIO((folder / ATTRIBUTION).read_text())))
    shown = [
        r["id"] for split in ("train", "test") for s in read_samples(str(folder), split) for r in s.json["references"]
    ]
    assert {row["id"]: int(row["samples"]) for row in rows} == {key: shown.count(key) for key in set(shown)}
    assert all(row["attribution"].startswith("Someone, https://example.org/") for row in rows)
    assert not (outputs["firm-edit"] / ATTRIBUTION).exists()


@pytest.mark.parametrize("name", DATASETS)
def test_no_path_of_the_machine_is_named(outputs: dict[str, Path], name: str) -> None:
    for file in (CARD, ATTRIBUTION, "report.html"):
        path = outputs[name] / file
        if path.exists():
            text = path.read_text()
            assert "/home/someone" not in text and "private data" not in text
            assert str(outputs[name]) not in text


@pytest.mark.parametrize("name", DATASETS)
def test_verify_does_not_look_at_what_is_derived(outputs: dict[str, Path], name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(outputs[name], folder)
    (folder / CARD).write_text("changed by hand")
    (folder / "report.html").unlink()
    assert verify(str(folder)) == []


def test_the_same_output_gives_the_same_bytes(outputs: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(outputs["firm-edit"], folder)
    run(str(folder), False, None, None)
    for file in (CARD, "report.html"):
        assert (folder / file).read_bytes() == (outputs["firm-edit"] / file).read_bytes()


def test_card_only_leaves_the_gallery_out(tmp_path: Path) -> None:
    folder = write_edits(tmp_path / "out")
    run(str(folder), True, None, None)
    assert (folder / CARD).exists() and not (folder / "report.html").exists()


def test_an_unfinished_run_is_shown_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_realign(tmp_path / "out", close=False)
    run(str(folder), False, None, None)
    assert "1 of 4 shards are not finished" in capsys.readouterr().out
    assert "The run is not finished: 1 of 4 shards are not finished" in (folder / CARD).read_text()


def _cut_tar(folder: Path) -> None:
    tar = folder / "shards" / "train-00000-of-00001.tar"
    tar.write_bytes(tar.read_bytes()[:40_000])


def _lose_tar(folder: Path) -> None:
    (folder / "shards" / "train-00000-of-00001.tar").unlink()


def _break_index(folder: Path) -> None:
    index = folder / "shards" / "train-00000-of-00001.parquet"
    index.write_bytes(index.read_bytes()[:-20])


def _break_rejects(folder: Path) -> None:
    (folder / "rejects" / "train-00000-of-00001.parquet").write_bytes(b"no")


@pytest.mark.parametrize("harm", [_cut_tar, _lose_tar, _break_index, _break_rejects])
def test_damage_is_named_and_nothing_is_half_written(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    folder = write_edits(tmp_path / "out")
    harm(folder)
    with pytest.raises(DamageError, match=r"train-00000-of-00001\.(tar|parquet)"):
        run(str(folder), False, None, None)
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == ["manifest.json", "run.json"]


def test_a_card_in_markdown_stays_what_it_is(tmp_path: Path) -> None:
    """A model's name, a note or a license cannot break out of its table's cell."""
    folder = tmp_path / "out"
    shutil.copytree(write_edits(tmp_path / "made"), folder)
    run(str(folder), True, None, None)
    text = (folder / CARD).read_text()
    assert all(line.count("|") == 8 for line in text.splitlines() if line.startswith("| judge-1"))
    assert cell("a|b <script>\n`x`") == "a\\|b &lt;script> \\`x\\`"


def test_a_bucket_gets_the_same_files(outputs: dict[str, Path], tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    folder, bucket = outputs["firm-gen"], fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in (CARD, "report.html"):
            bucket.pipe_file(f"/report-test/{path.relative_to(folder)}", path.read_bytes())
    run("memory://report-test", False, None, None)
    for file in (CARD, "report.html"):
        assert bucket.cat_file(f"/report-test/{file}") == (folder / file).read_bytes()


def test_of_persons_in_labels_nothing_is_claimed(outputs: dict[str, Path]) -> None:
    for name in DATASETS:
        said = "Persons: the input does not say whom its images show" in (outputs[name] / CARD).read_text()
        assert said == (name != "realign")


def test_labels_are_counted_by_dimension_and_a_role_is_named_once(outputs: dict[str, Path]) -> None:
    for name in DATASETS:
        head = "| task | kept | rejected |" if name == "realign" else "| dimension | kept | rejected |"
        assert head in (outputs[name] / CARD).read_text()
    output = read_output(str(outputs["firm-edit"]))
    contents = read_contents(output)
    contents.models = {role: Counter({"offline": 1}) for role in ("describer_obvious", "describer_detailed", "judge")}
    assert "without a model (describer, judge):" in body(output, contents, "")


def test_one_of_each_is_said_in_the_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cli import contamination, select
    from cli.export import run as export

    source, one = str(write_realign(tmp_path / "out")), str(tmp_path / "one")
    (tmp_path / "ids.txt").write_text(next(read_samples(source)).id)
    chosen = str(tmp_path / "chosen.txt")
    select.run(source, None, str(tmp_path / "ids.txt"), False, [], None, one, chosen, None, None)
    run(one, False, None, None)
    export(one, "parquet", str(tmp_path / "parquet"), None, 1, 0.0, None)
    (tmp_path / "prompts.csv").write_text("prompt\nsomething else entirely that nobody wrote\n")
    contamination.run(one, [str(tmp_path / "prompts.csv")], False, 6, 13, 5, None, 0.95)
    said = capsys.readouterr().out
    for words in (
        "1 of 44 samples",
        "1 id\n",
        "1 sample in 1 shard\n",
        "1 entry,",
        "1 sample = 1 written",
        "1 sample,",
    ):
        assert words in said
    assert not re.search(r"\b1 (\w+ )?(samples|shards|ids|entries|images|groups|pictures)\b", said)
    select.run(one, "clip_text >= 0", None, False, [], None, None, None, None, None)
    assert f"{one}: 1 of 1 sample\n" in capsys.readouterr().out


def test_a_folder_that_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json: there is no such file"):
        run(str(tmp_path), False, None, None)


def test_the_command_says_what_it_wrote_and_fails_in_one_line(tmp_path: Path) -> None:
    folder = write_edits(tmp_path / "out")
    good = plumbline("report", str(folder), "--samples", "5")
    assert good.returncode == 0 and "5 of 13 entries" in good.stdout
    bad = plumbline("report", str(tmp_path / "nothing"))
    assert bad.returncode == 2 and bad.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (["CC0-1.0", "CC-BY-4.0"], "cc-by-4.0"),
        (["CC-BY-2.0", "CC-BY-4.0", "MIT"], "cc-by-4.0"),
        (["CC BY 4.0", "Creative Commons BY-NC 4.0"], "cc-by-nc-4.0"),
        (["CC-BY-SA-3.0", "CC-BY-4.0 (MagicBrush)"], "cc-by-sa-3.0"),
        (["CC-BY-NC-4.0", "CC-BY-SA-4.0"], "other"),
        (["CC-BY-NC-4.0", "CC-BY-SA-4.0", "CC-BY-NC-SA-4.0"], "cc-by-nc-sa-4.0"),
        (["CC-BY-4.0", "Unsplash License"], "other"),
        (["CC-BY-4.0", ""], "unknown"),
        ([], "unknown"),
        (["CC0-1.0"], "cc0-1.0"),
        (["CC0-1.0", "Public domain (NASA)"], "cc0-1.0"),
        (["Public domain"], "other"),
        (["mit"], "mit"),
        (["CC-BY-4.0 (dataset); photo: Unsplash License"], "other"),
        (["CC-BY-NC-ND-4.0", "CC0-1.0"], "cc-by-nc-nd-4.0"),
        (["CC BY 4.0 (non-commercial use only)"], "other"),
        (["MIT (research use only)"], "other"),
        (["CC0-1.0 (per the noncommercial terms of NASA)"], "other"),
        (["Apache-2.0 (as redistributed in Bagel)"], "apache-2.0"),
        (["CC-BY-4.0", "Public domain (NASA/NSSDC, per Tux Paint CONTRIBUTORS)"], "cc-by-4.0"),
        (["CC-BY-4.0", "Public domain (Open Clip Art Library, per Tux Paint CONTRIBUTORS)"], "cc-by-4.0"),
        (["CC0 (Unsplash pre-2017-06-08)", "CC0 (Pexels, as stated)"], "cc0-1.0"),
        (["CC BY-NC", "CC0-1.0"], "other"),
    ],
)
def test_the_strictest_license_is_named_where_there_is_one(licenses: list[str], expected: str) -> None:
    assert strictest(licenses).license == expected


def test_why_a_license_is_named_is_a_sentence_that_holds() -> None:
    assert strictest(["CC BY-NC", "CC0-1.0"]).why == (
        "The license that asks for most, CC BY-NC, is given without its version."
    )
    assert "strictest" not in strictest(["Public domain"]).why
    assert strictest(["MIT"]).why == "All references are under MIT."
    assert "CC-BY-4.0 is the strictest" in strictest(["CC-BY-4.0", "CC0-1.0"]).why


HARMFUL = "<img src=x onerror=alert(1)>\n# ![a](http://example.org/a)"


def test_nothing_that_the_output_says_is_markup_in_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A license, a note, a painter's name and a person, each with a tag, a line's end and a picture in it."""
    monkeypatch.setitem(conftest.REALIGN, "notes", {HARMFUL: HARMFUL})
    monkeypatch.setitem(conftest.REALIGN, "versions", {"plumbline": HARMFUL})
    monkeypatch.setitem(conftest.REALIGN, "planning", {"seed": HARMFUL, "persons": [HARMFUL]})
    folder = write_realign(tmp_path / "out")
    output = read_output(str(folder))
    contents = read_contents(output)
    for reference in contents.references.values():
        reference.update(license=HARMFUL, person=HARMFUL)
    contents.models["painter"] = Counter({HARMFUL: 1})
    text = body(output, contents, license_of(contents).why)
    assert text.count("&lt;img") >= 8
    assert "<img" not in text and "\n# !" not in text and "![" not in text


def test_no_cell_of_the_attributions_is_a_formula(tmp_path: Path) -> None:
    contents = Contents(references={
        "1": {"id": "1", "source_id": "-1+1", "attribution": '=HYPERLINK("http://example.org")', "samples": 2},
        "2": {"id": "2", "source_id": "plain", "attribution": "a = b", "license": "@SUM(A1)", "samples": 1},
    })  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(_attribution(contents).decode())))
    assert [rows[0][key] for key in ("source_id", "attribution", "samples")] == [
        "'-1+1", "'=HYPERLINK(\"http://example.org\")", "2",
    ]  # fmt: skip
    assert [rows[1][key] for key in ("source_id", "attribution", "license")] == ["plain", "a = b", "'@SUM(A1)"]


def test_a_selection_of_a_selection_is_told_by_the_run_behind_it(tmp_path: Path) -> None:
    folder = write_realign(tmp_path / "out")
    ids = [sample.id for sample in read_samples(str(folder))]
    copy_samples(str(folder), str(tmp_path / "one"), ids[:20])
    copy_samples(str(tmp_path / "one"), str(tmp_path / "two"), ids[:10])
    run(str(tmp_path / "two"), True, None, None)
    text = (tmp_path / "two" / CARD).read_text()
    assert "seed 7." in text and "| clip | min_text = 0.12" in text
    assert "marks as identifiable are left out by default, and were" in text


def test_a_rule_that_the_run_does_not_record_is_not_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("planning", "filters"):
        monkeypatch.delitem(conftest.REALIGN, key)
    folder = write_realign(tmp_path / "out")
    run(str(folder), True, None, None)
    text = (folder / CARD).read_text()
    assert "No reference was left out" not in text
    for said in ("seed not recorded", "were let in is not recorded", "The filters' settings are not recorded"):
        assert said in text


def test_sizes_are_the_hubs_words() -> None:
    assert [size_category(n) for n in (0, 999, 1000, 512_000, 20_000_000)] == [
        "n<1K", "n<1K", "1K<n<10K", "100K<n<1M", "10M<n<100M",
    ]  # fmt: skip


def test_the_json_that_the_card_describes_is_that_of_the_tar(outputs: dict[str, Path]) -> None:
    """Every key of a record, at any depth, is in the header."""
    listed = json.dumps(header(outputs["realign"])["dataset_info"][0]["features"])
    sample = next(read_samples(str(outputs["realign"])))
    for key in [
        *sample.json,
        *sample.json["references"][0],
        *sample.json["reasonings"][0],
        *sample.json["paintings"][0],
    ]:
        assert f'"name": "{key}"' in listed
