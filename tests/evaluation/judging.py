"""Benchmarks on disk, and a judge on loopback that says what a test wants said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.main import app
from tests.servers.scripted import Got, Says, Scripted, scripted


@pytest.fixture
def judge() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


def said(answer: Callable[[str], str]) -> Callable[[Got], Says]:
    """An OpenAI-compatible server that answers a prompt's text."""

    def reply(got: Got) -> Says:
        text = "\n".join(shown(got))
        message = {"role": "assistant", "content": answer(text)}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "x", "object": "chat.completion", "created": 1, "model": "judge", "choices": [choice]}
        return Says(body={**body, "usage": usage}, headers={"Content-Type": "application/json"})

    return reply


def shown(got: Got) -> list[str]:
    """The texts of a question, `[image]` for each image."""
    found = []
    for message in got.json["messages"]:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        found += [part["text"] if part["type"] == "text" else "[image]" for part in parts]
    return found


class Bench:
    """A benchmark on disk and the configuration of its judge."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.config()

    def config(self, **more: Any) -> str:
        model = {"provider": "openai", "model": "judge", "base_url": self.url}
        tree = {"models": {"judge": model}, "ledger": str(self.folder / "ledger"), **more}
        return self.text("judge.yaml", json.dumps(tree))

    def text(self, name: str, text: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def lines(self, name: str, *records: Any) -> str:
        return self.text(name, "".join(json.dumps(record) + "\n" for record in records))

    def image(self, name: str, shade: int = 100, size: tuple[int, int] = (64, 48)) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (shade, 90, 200)).save(path)
        return str(path)

    def read(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def run(self, *words: str) -> str:
        """What the command prints; raises what it ends with."""
        done = CliRunner().invoke(app, ["evaluate", *words], catch_exceptions=False)
        return done.output

    def firm(self, *words: str) -> dict[str, Any]:
        gt, pred, config = (self.path(name) for name in ("gt.jsonl", "pred.jsonl", "judge.yaml"))
        self.run(
            *("firm-bench", "--gt", gt, "--pred", pred, "--judge", config, "--bench", self.path("bench.jsonl")),
            *("--json", self.path("report.json"), "--resamples", "10", *words),
        )
        found: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return found

    def contexts(self, *words: str, name: str = "omnicontext", bench: str = "bench.jsonl") -> dict[str, Any]:
        config, outputs, scores = (self.path(name) for name in ("judge.yaml", "outputs", "score.jsonl"))
        self.run(
            *(name, "--judge", config, "--bench", self.path(bench), "--outputs", outputs, "--scores", scores),
            *("--json", self.path("report.json"), "--resamples", "10", *words),
        )
        found: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return found


@pytest.fixture
def bench(tmp_path: Path, judge: Scripted) -> Bench:
    return Bench(tmp_path, f"{judge.home}/v1")


def counted(report: dict[str, Any]) -> dict[str, int]:
    """The counts of what the judge failed at."""
    return {name[8:-1]: n for name, n in report["counts"].items() if name.startswith("failed (")}


def contexts(bench: Bench, *records: tuple[str, str, int], **more: Any) -> list[dict[str, Any]]:
    """Records of (task_type, key, references) with their references and outputs on disk."""
    found = []
    for n, (task_type, key, references) in enumerate(records):
        names = [f"refs/{task_type}-{key}-{i}.png" for i in range(references)]
        for i, name in enumerate(names):
            bench.image(name, 20 * n + i, (200, 100))
        bench.image(f"outputs/{task_type}/{key}.png", 250 - n)
        common = {"key": key, "task_type": task_type, "instruction": f"{task_type} {key}", "input_images": names}
        found.append({**common, **more})
    bench.lines("bench.jsonl", *found)
    return found


def two_scores(following: int, consistency: int) -> Callable[[str], str]:
    """PF and SC for every output."""
    return lambda text: json.dumps(
        {"reasoning": "as seen", "score": following if "do what the instruction asks" in text else consistency}
    )


def gedits(bench: Bench, *records: tuple[str, str, str]) -> None:
    """Edits by (group, key, language), each with its original and its output."""
    found = []
    for n, (group, key, language) in enumerate(records):
        bench.image(f"src/{key}.png", 20 * n, (300, 200))
        bench.image(f"outputs/fullset/{group}/{language}/{key}.png", 250 - 30 * n, (400, 400))
        found.append(
            {
                "key": key,
                "task_type": group,
                "instruction": f"edit {key}",
                "instruction_language": language,
                "Intersection_exist": n == 0,
                "input_image": f"src/{key}.png",
            }
        )
    bench.lines("bench.jsonl", *found)
