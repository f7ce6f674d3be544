"""What a user is told of a list: columns that were meant, rows by their own names, images that were mended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from pytest import CaptureFixture, MonkeyPatch

from cli import estimate
from cli.outputs import run_rejects
from schemas.errors import InputError
from shards.rejects import rejections
from tests.pipelines.firm_made import drawn, written
from tests.pipelines.test_firm_runs import edit_config, gen_config, run

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_CACHE", str(tmp_path / "cache"))


def pair(folder: Path, id: str, number: int, **more: Any) -> Row:
    """A pair of images of its own, in `images/`."""
    (folder / "images").mkdir(exist_ok=True)
    box = (5 * number, 20, 5 * number + 30, 60)
    names = [f"images/{id}-{which}.png" for which in ("a", "b")]
    drawn(folder / names[0], box)
    drawn(folder / names[1], box, (100, 70, 120 + number, 110))
    row = {"id": id, "instruction": "Add a red square", "source_image": names[0], "edited_image": names[1]}
    return {**row, **more}


def cut(path: Path) -> None:
    """A JPEG whose header is whole and whose pixels are not."""
    Image.effect_noise((160, 120), 50).convert("RGB").save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:3000])


def test_a_column_that_looks_like_ours_is_told_now_and_on_the_second_run(
    tmp_path: Path, capsys: CaptureFixture[str]
) -> None:
    shown = drawn(tmp_path / "a.png", (20, 20, 60, 60))
    prompts = written(tmp_path / "p.jsonl", [{"prompt": "a red square", "images": shown, "prompt_id": 3}])
    path = gen_config(tmp_path, prompts)
    said = "no column `image`; `images` is ignored: did you mean it? rename it to be judged"
    estimate.run(str(path), [], 0, None)
    assert said in " ".join(capsys.readouterr().out.split())
    for _ in range(2):
        run(path, tmp_path / "out")
        out = capsys.readouterr().out
        assert f"note: input: {said}" in out and "no column `id`; `prompt_id` is ignored" in out
    right = written(tmp_path / "q.jsonl", [{"id": "x", "prompt": "a red square", "image": shown, "images": 3}])
    run(gen_config(tmp_path, right), tmp_path / "right")
    assert "note: input" not in capsys.readouterr().out


def test_pairs_without_any_instruction_are_refused_unless_some_are_written(
    tmp_path: Path, capsys: CaptureFixture[str]
) -> None:
    row = pair(tmp_path, "one", 1)
    row["prompt"] = row.pop("instruction")
    pairs = written(tmp_path / "pairs.jsonl", [row])
    with pytest.raises(InputError) as told:
        run(edit_config(tmp_path, pairs), tmp_path / "out")
    line = str(told.value)
    assert line.startswith(pairs) and "\n" not in line and "did you mean `prompt`? rename it" in line
    assert "no row has `instruction`, only id, source_image, edited_image, prompt" in line
    run(edit_config(tmp_path, pairs, rewrites={"share": 1.0}), tmp_path / "out")
    assert "no column `instruction`; `prompt` is ignored" in capsys.readouterr().out
    written(tmp_path / "pairs.jsonl", [pair(tmp_path, "one", 1, instruction=None)])
    with pytest.raises(InputError, match="no usable row has `instruction`: it is null or empty"):
        run(edit_config(tmp_path, pairs), tmp_path / "other")


def faulty(folder: Path) -> str:
    """Five pairs: whole, one image missing, one the same as the first, one edit cut short, one source cut short."""
    rows = [pair(folder, f"p{n}", n) for n in range(4)]
    rows[1]["edited_image"] = "./images/none.png"
    rows.insert(2, {**rows[0], "id": "twice"})
    rows[3]["edited_image"], rows[4]["source_image"] = "images/cut.jpg", "images/cut2.jpg"
    cut(folder / "images/cut.jpg")
    cut(folder / "images/cut2.jpg")
    return written(folder / "pairs.jsonl", rows)


def test_rejects_name_the_users_rows_and_images(tmp_path: Path, capsys: CaptureFixture[str]) -> None:
    path = edit_config(tmp_path, faulty(tmp_path))
    run(path, tmp_path / "out")
    problems = Path(capsys.readouterr().out.split("(see ")[1].split(")")[0])
    told = [json.loads(line) for line in problems.read_text().splitlines()]
    assert [(one["row"], one["id"], one["reason"]) for one in told] == [(2, "p1", "missing"), (3, "twice", "duplicate")]
    found = {row["input_id"]: row for _, row in rejections(str(tmp_path / "out"))}
    assert found["p1"]["detail"] == "`edited_image` images/none.png: there is no such file"
    assert found["twice"]["detail"] == "row 3 (twice) has the same images and text as row 1 (p0)"
    assert found["p2"]["stage"] == "describer" and "`edited_image` images/cut.jpg: " in found["p2"]["detail"]
    assert found["p3"]["reason"] == "unreadable" and "`source_image` images/cut2.jpg: " in found["p3"]["detail"]
    run_rejects(str(tmp_path / "out"), limit=20, retry=False, ledger=None)
    said = capsys.readouterr().out
    assert said.count("none.png") == 1 and "2 rows (consistency, execution)  input: missing\n  input: p1\n" in said
    run_rejects(str(tmp_path / "out"), limit=20, retry=True, ledger=str(tmp_path / "ledger"))
    assert (
        "8 rows were rejected for what they are in the list (2 duplicate, 2 missing, 4 unreadable)"
        in capsys.readouterr().out
    )


def test_an_image_that_goes_while_the_run_goes_on_is_named(tmp_path: Path) -> None:
    from pipelines.firm_session import FirmSession
    from schemas.draft import Rejection

    given = drawn(tmp_path / "given.png", (20, 20, 60, 60))
    path = gen_config(tmp_path, written(tmp_path / "p.jsonl", [{"id": "x", "prompt": "a square", "image": given}]))
    whole = FirmSession.commit

    def late(self: FirmSession, shard: Any, outcomes: Any) -> Any:
        (tmp_path / "given.png").unlink(missing_ok=True)
        return whole(self, shard, outcomes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FirmSession, "commit", late)
        run(path, tmp_path / "out")
    rows = [row for _, row in rejections(str(tmp_path / "out"))]
    assert [(row["input_id"], row["stage"], row["detail"]) for row in rows] == [
        ("x", "images", "`image` given.png is not there")
    ]
    assert Rejection.model_fields["input_id"].default == ""


def test_moving_the_list_changes_no_byte_of_the_rejects(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    first, second = tmp_path / "one", tmp_path / "two" / "deeper"
    first.mkdir()
    faulty(first)
    shutil.copytree(first, second)
    made = []
    for folder in (first, second):
        run(edit_config(folder, str(folder / "pairs.jsonl")), folder / "out")
        made.append({p.name: p.read_bytes() for p in (folder / "out/rejects").iterdir()})
        for file in (folder / "out/rejects").iterdir():
            assert str(tmp_path) not in str(pq.read_table(file).to_pylist())
    assert made[0] == made[1] and made[0]
    monkeypatch.chdir(first)
    run(edit_config(first, "pairs.jsonl"), first / "here")
    assert {p.name: p.read_bytes() for p in (first / "here/rejects").iterdir()} == made[0]


def test_after_an_image_was_mended_the_line_says_that_the_list_changed(tmp_path: Path) -> None:
    path = edit_config(tmp_path, faulty(tmp_path))
    run(path, tmp_path / "out")
    drawn(tmp_path / "images/none.png", (1, 1, 50, 50))
    with pytest.raises(InputError) as told:
        run(path, tmp_path / "out")
    assert "the list or its images have changed since this folder was begun (input = " in str(told.value)
    assert "another --out (with the same ledger nothing that was asked before is paid again)" in str(told.value)
    assert run(path, tmp_path / "next")["rejected_by_reason"].get("missing") is None


def test_a_split_without_a_plan_is_said(tmp_path: Path, capsys: CaptureFixture[str]) -> None:
    pairs = written(tmp_path / "pairs.jsonl", [pair(tmp_path, "one", 1)])
    config = edit_config(tmp_path, pairs, splits={"train": 0.9, "test": 0.2})
    run(config, tmp_path / "out")
    assert "note: splits: `train` gets no plan: " in capsys.readouterr().out  # by its hash the one pair is `test`'s
    run(edit_config(tmp_path, pairs), tmp_path / "whole")
    assert "splits:" not in capsys.readouterr().out
