"""Edit pairs: every row of a list becomes a plan, usable or with its problem; splits never share an image."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pools.pairs import PairPlanner, Pairs, RewriteShares
from pools.splits import groups, split_numbers
from schemas.errors import InputError
from schemas.labels import PairPlan, Rewrite
from storage.references import image_bytes

Draw = Callable[..., Path]
HALVES = {"train": 0.5, "test": 0.5}


def listed(folder: Path, *rows: dict[str, Any] | str) -> str:
    path = folder / "pairs.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return str(path)


def pair(source: object, edited: object, instruction: object = "make it red", **more: Any) -> dict[str, Any]:
    return {"source_image": source, "edited_image": edited, "instruction": instruction, **more}


def planner(
    path: str,
    cache: Path,
    splits: dict[str, float] | None = None,
    *,
    seed: int = 0,
    samples: int | None = None,
    share: float = 0.0,
    kinds: tuple[Rewrite, ...] = tuple(Rewrite),
) -> PairPlanner:
    pairs = Pairs.open(path, str(cache))
    return PairPlanner(pairs, seed, splits or {"train": 1.0}, samples, RewriteShares(share=share, kinds=kinds))


def plans(made: PairPlanner) -> dict[str, list[PairPlan]]:
    return {split: list(made.plans(split, range(count))) for split, count in made.planned.items()}


def by_input(made: PairPlanner) -> dict[str, PairPlan]:
    return {plan.input_id: plan for split in plans(made).values() for plan in split}


@pytest.fixture
def pictures(tmp_path: Path, draw: Draw) -> list[str]:
    """Names of nine different images below `tmp_path`."""
    return [draw(tmp_path / f"images/{i}.png", seed=i).relative_to(tmp_path).as_posix() for i in range(9)]


def test_real_pairs_are_planned_whole(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "edit_pairs" / "edit_pairs.jsonl"
    stated = {row["id"]: row for row in map(json.loads, source.read_text("utf-8").splitlines())}
    made = planner(str(source), tmp_path, {"train": 0.8, "test": 0.2}, share=0.25)
    found = by_input(made)
    assert found.keys() == stated.keys()
    assert Counter(plan.problem for plan in found.values()) == {"": 102, "bad_row": 1}  # one row has no source image
    for id, plan in found.items():
        assert plan == PairPlan.model_validate(plan.model_dump())
        if plan.pair:
            assert plan.pair.instruction == (stated[id]["instruction"] or "").strip()
            assert [[i.width, i.height] for i in plan.pair.images] == [
                stated[id]["source_size"],
                stated[id]["edited_size"],
            ]
            assert image_bytes(plan.pair.source)
    assert sum(plan.rows for plan in found.values()) == sum(made.rows.values())
    sessions: dict[str, set[str]] = {}
    for id, plan in found.items():
        if id.startswith("magicbrush_"):
            sessions.setdefault(stated[id]["session"], set()).add(plan.split)
    assert len(sessions) > 1
    assert all(len(splits) == 1 for splits in sessions.values()), "a chain of edits is in two splits"


def test_what_cannot_be_used_is_planned_with_its_problem(tmp_path: Path, pictures: list[str], draw: Draw) -> None:
    a, b, *_ = pictures
    (tmp_path / "text.png").write_text("no image")
    draw(tmp_path / "small.png", size=(8, 8))
    path = listed(
        tmp_path,
        pair(a, b, id="good"),
        pair(a, "gone.png", id="missing"),
        pair("text.png", b, id="unreadable"),
        pair("images", b, id="a folder"),
        pair(a, "nul\0.png", id="nul"),
        pair(a, "nothing://x/y.png", id="no such protocol"),
        pair(a, "small.png", id="tiny"),
        pair(a, None, id="null"),
        pair(a, 7, id="number"),
        pair(a, b, ["red"], id="list"),
        pair(a, b, "x" * 20_000, id="long"),
        pair(a, b, "x" * 20_001, id="too long"),
        pair(a, b, id="again"),
        pair(b, a, id="the other way round"),
    )
    pairs = Pairs.open(path, str(tmp_path / "cache"))
    found = by_input(PairPlanner(pairs, 0, {"train": 1.0}, None, RewriteShares(share=1.0)))
    assert {id: plan.problem for id, plan in found.items()} == {
        "good": "", "missing": "missing", "unreadable": "unreadable", "a folder": "unreadable", "nul": "unreadable",
        "no such protocol": "unreadable", "tiny": "tiny", "null": "bad_row", "number": "bad_row", "list": "bad_row",
        "long": "", "too long": "too_long", "again": "duplicate", "the other way round": "",
    }  # fmt: skip
    for plan in found.values():
        assert (plan.pair is None) == bool(plan.problem) == bool(plan.detail)
        assert len(plan.rewrites) == (0 if plan.problem else 1)
    assert found["again"].detail == "row 13 (again) has the same images and text as row 1 (good)"
    assert "gone.png" in found["missing"].detail
    assert not pairs.report.already
    assert (pairs.report.rows, pairs.report.indexed) == (14, 3)
    told = [json.loads(line) for line in Path(pairs.report.problems_file).read_text("utf-8").splitlines()]
    assert [(t["row"], t["reason"]) for t in told][:2] == [(2, "missing"), (3, "unreadable")]
    assert len(told) == len(pairs.report.problems) == sum(pairs.report.reasons.values()) == 11


def test_ids_that_repeat_and_rows_that_repeat_have_plans_of_their_own(tmp_path: Path, pictures: list[str]) -> None:
    a, b, c, *_ = pictures
    path = listed(tmp_path, pair(a, b, id=1), pair(a, c, id=1), *[pair(a, b, id=1)] * 3, pair(b, c), pair(c, b))
    found = plans(planner(path, tmp_path / "cache"))["train"]
    assert len({plan.id for plan in found}) == 7
    assert Counter(plan.input_id for plan in found) == {"1": 5, "row-6": 1, "row-7": 1}
    assert Counter(plan.problem for plan in found) == {"": 4, "duplicate": 3}


def test_no_instruction_is_an_empty_one(tmp_path: Path, pictures: list[str]) -> None:
    a, b, c, d, *_ = pictures
    rows = [pair(a, b, None, id="null"), pair(b, c, " \n", id="blank"), pair(c, d, float("nan"), id="nan")]
    path = listed(tmp_path, *rows, {"id": "absent", "source_image": a, "edited_image": d})
    found = by_input(planner(path, tmp_path / "cache", share=1.0))
    assert {id: plan.pair and plan.pair.instruction for id, plan in found.items()} == dict.fromkeys(found, "")
    assert len(found) == 4


@given(st.lists(st.text(), min_size=1, max_size=6))
def test_any_text_is_kept_as_it_is(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("texts")
    picture = _picture(folder)
    rows = [pair(picture, picture, f"{i}{text}。🦊\n末", id=f"{i}") for i, text in enumerate(texts)]
    found = by_input(planner(listed(folder, *rows), folder / "cache"))
    assert {id: plan.pair and plan.pair.instruction for id, plan in found.items()} == {
        row["id"]: row["instruction"].strip() for row in rows
    }


def test_a_lone_surrogate_becomes_a_question_mark(tmp_path: Path, pictures: list[str]) -> None:
    a, b, *_ = pictures
    row = json.dumps(pair(a, b)).replace("make it red", "\\ud83d red")
    (plan,) = plans(planner(listed(tmp_path, row), tmp_path / "cache"))["train"]
    assert plan.pair is not None
    assert plan.pair.instruction == "? red"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"source_image": "a"\n', "line 1 is not JSON"),
        ("[1]\n", "line 1 is not a JSON object"),
        ("\n\n", "has no rows"),
        ('{"image": "a.png", "prompt": "p"}\n', "no row has `source_image` and `edited_image`, only image, prompt"),
        ('{"source_image": "a", "edited_image": "b"}\n', "no row can be used (1 missing); row 1: "),
    ],
)
def test_a_broken_list_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        Pairs.open(str(path), str(tmp_path / "cache"))
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("id,instruction\n")
    (tmp_path / "broken.parquet").write_text("no table")
    pq.write_table(pa.table({"before": ["a"], "after": ["b"]}), tmp_path / "other.parquet")
    for name, said in {
        "pairs.csv": "a .jsonl or a .parquet",
        "gone.jsonl": "no such file",
        "gone.parquet": "no such file",
        "broken.parquet": "not a Parquet file",
        "other.parquet": "there is no column `source_image` and `edited_image`, only before, after",
    }.items():
        with pytest.raises(InputError, match=said):
            Pairs.open(str(tmp_path / name), str(tmp_path / "cache"))


@pytest.mark.parametrize("form", ["paths", "structs", "bytes"])
def test_a_table_gives_the_same_pairs(tmp_path: Path, pictures: list[str], form: str) -> None:
    """As paths, as Hugging Face's structs of bytes and path, and as bare bytes."""
    rows = [pair(pictures[i], pictures[i + 1], f"第 {i} 🦊", id=f"{i}") for i in range(4)]
    cells: dict[str, Any] = {key: [row[key] for row in rows] for key in rows[0]}
    for key in ("source_image", "edited_image"):
        data = [(tmp_path / name).read_bytes() for name in cells[key]]
        if form == "structs":
            cells[key] = [{"bytes": one, "path": "elsewhere.png"} for one in data]
        elif form == "bytes":
            cells[key] = data
    pq.write_table(pa.table(cells), tmp_path / "pairs.parquet")
    listed_pairs = by_input(planner(listed(tmp_path, *rows), tmp_path / "cache"))
    table = by_input(planner(str(tmp_path / "pairs.parquet"), tmp_path / "cache"))
    assert {id: plan.id for id, plan in table.items()} == {id: plan.id for id, plan in listed_pairs.items()}
    for plan in table.values():
        assert plan.pair is not None
        assert all(image_bytes(image) for image in plan.pair.images)  # its digest is checked
    assert Pairs.open(str(tmp_path / "pairs.parquet"), str(tmp_path / "cache")).report.already


def test_a_list_and_its_images_may_lie_on_a_bucket(tmp_path: Path, pictures: list[str]) -> None:
    from storage import paths

    folder = f"memory://bucket/{tmp_path.name}"
    for name in pictures[:2]:
        paths.write_atomic(f"{folder}/{name}", (tmp_path / name).read_bytes())
    rows = [pair(*pictures[:2], id="relative"), pair(f"{folder}/{pictures[1]}", str(tmp_path / pictures[2]), id="full")]
    paths.write_atomic(f"{folder}/pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    found = by_input(planner(f"{folder}/pairs.jsonl", tmp_path / "cache"))
    sources = {id: plan.pair.source.uri for id, plan in found.items() if plan.pair}
    assert sources == {"relative": f"{folder}/{pictures[0]}", "full": f"{folder}/{pictures[1]}"}
    assert Pairs.open(f"{folder}/pairs.jsonl", str(tmp_path / "cache")).report.already


def test_a_rerun_reads_no_image(tmp_path: Path, pictures: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from storage import paths

    path = listed(tmp_path, pair(*pictures[:2]), pair(*pictures[1:3]))
    first = Pairs.open(path, str(tmp_path / "cache"))
    read: list[str] = []
    plain = paths.read_bytes
    monkeypatch.setattr(paths, "read_bytes", lambda uri: (read.append(uri), plain(uri))[1])
    again = Pairs.open(path, str(tmp_path / "cache"))
    assert (read, again.report.already, again.digest) == ([], True, first.digest)
    for other in (Pairs.open(first.path, str(tmp_path / "other")), pickle.loads(pickle.dumps(first))):
        assert (read, other.report.already, other.digest, len(other)) == ([], True, first.digest, 2)
    (tmp_path / pictures[2]).write_bytes((tmp_path / pictures[3]).read_bytes() + b"\0")
    changed = Pairs.open(path, str(tmp_path / "cache"))
    assert len(set(read)) == 3
    assert changed.digest != first.digest


def test_an_index_of_prompts_is_no_index_of_pairs(tmp_path: Path) -> None:
    from pools.prompts_file import Prompts

    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a fox"}\n')
    prompts = Prompts.open(str(tmp_path / "prompts.jsonl"), str(tmp_path / "cache"))
    with pytest.raises(InputError, match="an index of prompts, not of pairs"):
        Pairs.open(prompts.path, str(tmp_path / "cache"))


def test_moving_a_list_keeps_its_plans(tmp_path: Path, pictures: list[str]) -> None:
    path = listed(tmp_path, *(pair(pictures[i], pictures[i + 1], id=f"{i}") for i in range(5)))
    before = plans(planner(path, tmp_path / "cache", share=0.5))["train"]
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / "images").rename(moved / "images")
    Path(path).rename(moved / "pairs.jsonl")
    after = plans(planner(str(moved / "pairs.jsonl"), tmp_path / "cache", share=0.5))["train"]
    for one, other in zip(before, after, strict=True):
        assert all(getattr(one, name) == getattr(other, name) for name in ("id", "ordinal", "seed", "rewrites"))
        assert other.pair is not None
        assert all(image_bytes(image) for image in other.pair.images), "it looks where the images were"


def test_samples_take_a_prefix(tmp_path: Path, pictures: list[str]) -> None:
    rows = [pair(pictures[0], pictures[1], f"change {i}", id=f"{i}") for i in range(40)]
    rows += [pair(pictures[2 + i % 3], pictures[5 + i % 3], f"change {i}", id=f"b{i}") for i in range(40)]
    path = listed(tmp_path, *rows)
    splits = {"train": 0.75, "test": 0.25}
    seed = next(s for s in range(99) if min(planner(path, tmp_path / "c", splits, seed=s).planned.values()) >= 20)
    whole = plans(planner(path, tmp_path / "c", splits, seed=seed, share=0.5))
    some = planner(path, tmp_path / "c", splits, seed=seed, share=0.5, samples=21)
    assert some.planned == {"train": 16, "test": 5}
    assert all(taken == whole[split][: len(taken)] for split, taken in plans(some).items())
    assert some.rows == {split: sum(plan.rows for plan in taken) for split, taken in plans(some).items()}
    order = [plan.input_id for plan in whole["train"]]
    assert order != sorted(order, key=[row["id"] for row in rows].index), "a prefix would be the list's beginning"
    many = planner(path, tmp_path / "c", splits, seed=seed, samples=10_000)
    assert many.planned == {split: len(taken) for split, taken in whole.items()}
    assert list(some.plans("test", [3, 1])) == [whole["test"][3], whole["test"][1]]
    with pytest.raises(InputError, match="no split 'dev'"):
        list(some.plans("dev", [0]))
    with pytest.raises(IndexError):
        list(some.plans("test", [5]))


def test_rewrites_are_drawn_by_share_and_kind(tmp_path: Path, pictures: list[str]) -> None:
    path = listed(tmp_path, *(pair(*pictures[:2], f"change {i}") for i in range(400)))
    kinds = (Rewrite.OPPOSITE, Rewrite.UNRELATED)

    def drawn(share: float, seed: int = 0) -> dict[str, tuple[Rewrite, ...]]:
        made = planner(path, tmp_path / "cache", share=share, kinds=kinds, seed=seed)
        return {plan.id: plan.rewrites for plan in plans(made)["train"]}

    assert Counter(map(len, drawn(1.0).values())) == {1: 400}
    assert Counter(map(len, drawn(0.0).values())) == {0: 400}
    quarter = drawn(0.25)
    counts = Counter(kind for kinds in quarter.values() for kind in kinds)
    assert set(counts) == set(kinds)
    assert 60 <= sum(counts.values()) <= 140  # 100 on average, 8.7 the standard deviation
    assert 20 <= counts[Rewrite.OPPOSITE] <= 80
    assert drawn(0.25) == quarter != drawn(0.25, seed=1)
    assert drawn(0.25).keys() == drawn(0.25, seed=1).keys(), "a plan's id is not of the seed"
    wider = drawn(0.5)
    assert all(wider[id] == kinds for id, kinds in quarter.items() if kinds), "a larger share keeps what was drawn"


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=24), st.integers(0, 9))
def test_splits_share_no_image(
    tmp_path_factory: pytest.TempPathFactory, edges: list[tuple[int, int]], seed: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "graph"
    pictures = [_picture(folder, i) for i in range(9)]
    path = listed(folder, *(pair(pictures[a], pictures[b], f"{i}") for i, (a, b) in enumerate(edges)))
    found = plans(planner(path, folder / "cache", HALVES, seed=seed))
    images = {
        split: {image.sha256 for plan in taken if plan.pair for image in plan.pair.images}
        for split, taken in found.items()
    }
    assert not images["train"] & images["test"]
    assert sum(map(len, found.values())) == len(edges)


def test_both_splits_get_their_share() -> None:
    numbers = split_numbers([f"{i}" for i in range(20_000)], 3, [0.1, 0.9])
    assert 1800 < (numbers == 0).sum() < 2200
    assert (split_numbers(["a", "b"], 0, [1.0, 0.0]) == 0).all()


@given(st.integers(1, 12), st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=4)))
def test_groups_are_connected_components(count: int, connected: list[list[int]]) -> None:
    connected = [[thing % count for thing in things] for things in connected]
    expected = list(range(count))
    for _ in range(count):  # spread the least number until nothing changes
        for things in connected:
            least = min(expected[thing] for thing in things)
            for thing in things:
                expected[thing] = least
    assert groups(connected, count) == expected


def _picture(folder: Path, seed: int = 0) -> str:
    from PIL import Image

    path = folder / f"{seed}.png"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (seed * 20, 0, 0)).save(path)
    return path.name
