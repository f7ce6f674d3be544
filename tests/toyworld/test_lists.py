"""FIRM's drawn inputs: the same bytes each time, and pictures that are worth what their ids say."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from annotators.offline.critic import consistency, execution
from annotators.offline.differences import differences
from toyworld.lists import build_pairs, build_prompts, truth_of


def test_pairs_and_prompts_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        build_pairs(str(tmp_path / name), 6)
        build_prompts(str(tmp_path / name), 6)
    files = [sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*.*")) for n in ("one", "two")]
    assert files[0] == files[1] and len(files[0]) == 14
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files[0])


def test_a_longer_list_begins_with_a_shorter_one(tmp_path: Path) -> None:
    short, long = (Path(build_pairs(str(tmp_path / str(n)), n)).read_text() for n in (3, 5))
    assert long.startswith(short)


def test_ids_say_the_truth_and_only_those_of_the_drawn_world(tmp_path: Path) -> None:
    assert truth_of("drawn-0007-count-e3-c4") == (3, 4)
    assert truth_of("mine-e3-c4") is None and truth_of("drawn-0007") is None
    rows = [json.loads(line) for line in Path(build_pairs(str(tmp_path), 15)).read_text().splitlines()]
    off = []
    for row in rows:
        before, after = (Image.open(tmp_path / row[name]) for name in ("source_image", "edited_image"))
        found = differences(before, after)
        truth = truth_of(row["id"])
        assert truth is not None
        off.append(abs(execution(row["instruction"], found)[0] - truth[0]))
        off.append(abs(consistency(row["instruction"], found)[0] - truth[1]))
    assert sum(off) / len(off) < 0.6  # exact rules on exact pictures: a wrong truth would be far off
