"""`plumbline evaluate`: plain columns in a pipe, JSON for machines, one line and exit 2 for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.evaluate import run
from evaluation.omnicontext import omnicontext
from tests.servers import commands

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def plumbline(tmp_path: Path) -> Run:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return commands.plumbline("evaluate", *arguments)

    return call


@pytest.fixture
def scores(tmp_path: Path) -> str:
    rows = [
        {"key": str(i), "task_type": task, "instruction_language": "en", "PF_score": 4, "SC_score": score}
        for task in ("single_object", "scene_object")
        for i, score in enumerate([9, 4, 1, "none"])
    ]
    file = tmp_path / "score.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


def test_a_pipe_gets_plain_columns_and_what_failed_is_said(plumbline: Run, scores: str) -> None:
    done = plumbline("omnicontext", "--scores", scores)
    assert done.returncode == 0 and done.stderr == ""
    assert "omnicontext: 8 records, 8 of this language, 6 used, 2 scores unparsed" in done.stdout
    assert "note: 2 scores that could not be used: left out, never guessed" in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.strip().startswith("average"))
    assert "4.0000 [" in line and "│" not in done.stdout and "\x1b" not in done.stdout


def test_json_to_stdout_stands_alone_and_to_a_file_beside_the_table(
    plumbline: Run, scores: str, tmp_path: Path
) -> None:
    alone = json.loads(plumbline("omnicontext", "--scores", scores, "--json", "-").stdout)
    assert alone["tables"]["by_group"][-1]["Overall"]["value"] == 4.0
    assert alone["counts"]["used"] == 6 and alone["bootstrap"] == {"resamples": 1000, "seed": 0, "level": 0.95}
    file = tmp_path / "out.json"
    beside = plumbline("omnicontext", "--scores", scores, "--json", str(file))
    assert "average" in beside.stdout and json.loads(file.read_text()) == alone


def test_the_seed_decides_the_interval(scores: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    found = []
    for seed in (1, 1, 2):
        run(lambda seed=seed: omnicontext([scores], seed=seed), "-")  # type: ignore[misc]
        found.append(json.loads(capsysbinary.readouterr().out)["tables"])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no such file"),
        ("", "is empty; records are wanted"),
        ('{"key": "1"}\nnot json\n', "line 2 is no JSON"),
        ('{"key": "1"}\n', "line 1 has no task_type"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(plumbline: Run, tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "bad.jsonl"
    if text is not None:
        file.write_text(text)
    done = plumbline("omnicontext", "--scores", str(file))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"plumbline: {file}") and said in done.stderr and done.stderr.count("\n") == 1


def test_a_result_that_cannot_be_written_is_one_line(plumbline: Run, scores: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = plumbline("omnicontext", "--scores", scores, "--json", str(tmp_path / "file" / "out.json"))
    assert done.returncode == 2 and "cannot be written" in done.stderr and done.stderr.count("\n") == 1


def test_every_evaluation_is_a_command_and_loads_nothing_heavy_for_help(plumbline: Run) -> None:
    text = plumbline("--help").stdout
    for name in ("firm-bench", "omnicontext", "dreamomni2", "gedit", "imgedit", "geneval", "dpg", "unigenbench", "dsg"):
        assert name in text
    assert all(name in text for name in ("viescore", "imagenhub", "clip-out", "agreement"))
    code = "import sys, cli.main; sys.exit(any(name in sys.modules for name in ('numpy', 'evaluation', 'rich.table')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2]).returncode == 0
