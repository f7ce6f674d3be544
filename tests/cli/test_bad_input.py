"""Bad input ends with its exit code and one line that names what to mend; never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.servers.commands import ROOT, plumbline


def refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("plumbline: ")]
    assert len(lines) == 1, done.stderr
    for part in said:
        assert part in lines[0], lines[0]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six plain photographs, three of each of two kinds; no scene."""
    folder = tmp_path_factory.mktemp("pool")
    rows = []
    for i, kind in enumerate(["character", "object"] * 3):
        Image.effect_noise((120, 90), 40 + i * 9).convert("RGB").save(folder / f"{i}.jpg")
        rows.append({"path": f"{i}.jpg", "kind": kind, "caption": f"a {kind} {i}", "subject": str(i)})
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "pool.jsonl"


def realign(*settings: str, out: Path, config: str = "configs/realign-local.yaml") -> subprocess.CompletedProcess[str]:
    words = [part for setting in settings for part in ("--set", setting)]
    return plumbline("realign", config, "--out", str(out), *words)


def test_an_unknown_key_and_the_process_ends_so(tmp_path: Path) -> None:
    said = ("--set reasoning=3: reasoning: unknown key", "reasonings")
    done = realign("reasoning=3", out=tmp_path / "o")
    refused(done, *said)
    words = [sys.executable, "-m", "cli.main", *done.args]
    alone = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    refused(alone, *said)


def test_a_missing_pool(tmp_path: Path) -> None:
    refused(realign("pool=nowhere.parquet", out=tmp_path / "o"), "nowhere.parquet", "pool index")


def test_an_unknown_task(tmp_path: Path, pool: Path) -> None:
    refused(realign(f"pool={pool}", "tasks={dance: 1}", out=tmp_path / "o"), "dance")


def test_a_kind_that_the_tasks_need_and_the_pool_lacks(tmp_path: Path, pool: Path) -> None:
    refused(realign(f"pool={pool}", "tasks={scene: 1}", out=tmp_path / "o"), "scene")


def test_a_broken_line_of_a_pool(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"path": "a.jpg"}\n{"path": \n')
    refused(plumbline("pool", "index", str(broken), "--out", str(tmp_path / "p.parquet")), "broken.jsonl", "line 2")


def test_an_empty_pool(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(plumbline("pool", "index", str(tmp_path / "empty"), "--out", str(tmp_path / "p.parquet")), "empty")


def test_an_output_that_cannot_be_written(tmp_path: Path, pool: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused(realign(f"pool={pool}", "tasks={replace: 1}", out=tmp_path / "file" / "o"), "file/o", "cannot be written")


def test_an_output_begun_with_another_configuration(tmp_path: Path, pool: Path) -> None:
    begun = tmp_path / "o"
    begun.mkdir()
    (begun / "run.json").write_text('{"seed": 1, "shards": {"train": 1}}\n')
    refused(realign(f"pool={pool}", "tasks={replace: 1}", out=begun), "run.json", "begun with")


def test_toy_weights_on_photographs(tmp_path: Path, pool: Path) -> None:
    settings = (f"pool={pool}", "tasks={replace: 1}", "filters.clip={weights: toy, min_text: 0.5}")
    refused(realign(*settings, out=tmp_path / "o"), "toy", "filters.clip.weights")


def test_a_provider_that_is_not_in_this_version(tmp_path: Path, pool: Path) -> None:
    settings = (f"pool={pool}", "tasks={replace: 1}", "models.writer={provider: gemini, model: m}")
    refused(realign(*settings, out=tmp_path / "o"), "gemini")


def test_a_slice_beyond_the_last(tmp_path: Path) -> None:
    done = plumbline("realign", "configs/toy.yaml", "--out", str(tmp_path / "o"), "--slice", "4/3")
    refused(done, "--slice 4/3", "2/3")


def test_commands_on_a_folder_that_is_no_run(tmp_path: Path) -> None:
    for command in (
        ["verify", str(tmp_path)],
        ["rejects", str(tmp_path)],
        ["merge", str(tmp_path), "--out", str(tmp_path)],
    ):
        refused(plumbline(*command), str(tmp_path))


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cli.main", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0
    for command in ("demo", "pool", "realign", "verify", "merge", "diff", "rejects"):
        assert command in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "apache_beam", "open_clip", "cv2", "pyarrow", "numpy", "PIL", "pydantic"}


def test_a_pool_index_that_cannot_be_written(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(plumbline("pool", "index", str(pool), "--out", str(tmp_path / "file" / "x.parquet")), "x.parquet", "--out")
