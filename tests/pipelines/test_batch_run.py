"""Whole runs of the command with `mode: batch`: what they ask, what they cost, and what a killed one does again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import StoppedError
from shards.manifest import read_manifest
from tests.pipelines.conftest import ROOT
from tests.pipelines.test_network_run import KEY, accounted, config_of, models_of, run
from tests.servers.running import PracticeServer

PRICE = {"input": 1000.0, "output": 2000.0, "image": 4.0}
# The command with shorter pauses between two looks at a job.
HURRIED = """
import sys
from annotators import batching
batching.Batching.__init__.__defaults__ = (0.05,)
batching.LAST_LOOK = 0.05
from cli.main import main
sys.exit(main())
"""


@pytest.fixture
def server(practice_server: PracticeServer, monkeypatch: pytest.MonkeyPatch) -> PracticeServer:
    practice_server.configure(batch_delay=0.1, batch_validating=0.0)
    monkeypatch.setenv("PRACTICE_KEY", KEY)
    monkeypatch.setattr("annotators.batching.Batching.__init__.__defaults__", (0.05,))
    monkeypatch.setattr("annotators.batching.LAST_LOOK", 0.05)
    return practice_server


def batched(models: dict[str, Any], *roles: str) -> dict[str, Any]:
    """The models, those of `roles` asked in batches, all with a price."""
    more = {role: {"mode": "batch"} if role in roles else {} for role in models}
    return {role: {**model, "price": PRICE, **more[role]} for role, model in models.items()}


def costs(manifest: dict[str, Any]) -> dict[str, float]:
    return {model: used["usd"] for model, used in manifest["usage"].items()}


def test_a_batch_run_pays_half_and_a_second_one_asks_nothing(server: PracticeServer, tmp_path: Path) -> None:
    models = models_of(server, "openai")
    manifest = run(config_of(tmp_path, batched(models, "writer", "reasoner")), tmp_path / "a")
    assert accounted(manifest) and manifest["counts"]["kept"] >= 15
    first = server.stats()
    assert first["by_role"].keys() == {"painter"}, "writer and reasoner are asked in batches alone"
    assert first["batch_lines"] == 3 * first["by_role"]["painter"] and first["paid_twice"] == 0
    usage = manifest["usage"]["practice"]
    whole = (usage["tokens_in"] * PRICE["input"] + usage["tokens_out"] * PRICE["output"]) / 1e6
    assert usage["usd"] == pytest.approx(whole / 2)
    assert manifest["usage"]["gpt-image-1"]["usd"] > 0

    again = run(config_of(tmp_path, batched(models, "writer", "reasoner")), tmp_path / "b")
    after = server.stats()
    assert (after["requests"], after["batches"]) == (first["requests"], first["batches"])
    assert after["calls"] == first["calls"], "not even a job is looked for"
    assert again["counts"] == manifest["counts"]

    online = run(config_of(tmp_path, batched(models)), tmp_path / "c")
    assert server.stats()["requests"] == first["requests"], "the same keys, however they were asked"
    assert costs(online) == costs(manifest), "what was paid stays what was paid"
    for tar in (tmp_path / "a" / "shards").glob("*.tar"):
        for other in ("b", "c"):
            assert tar.read_bytes() == (tmp_path / other / "shards" / tar.name).read_bytes()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() for path in written), "no key is ever written"


def test_with_gemini_everything_is_asked_in_batches_also_the_pictures(server: PracticeServer, tmp_path: Path) -> None:
    models = batched(models_of(server, "gemini"), "writer", "reasoner", "painter")
    path = config_of(tmp_path, models)
    manifest = run(path, tmp_path / "a")
    assert accounted(manifest) and manifest["counts"]["kept"] >= 15
    first = server.stats()
    assert first["requests"] == 0 and first["paid_twice"] == 0
    paid = manifest["usage"]["gemini-2.5-flash-image"]
    pictures = PRICE["image"] * paid["ledger_hits"] / 2
    assert paid["usd"] == pytest.approx(pictures + paid["tokens_in"] * PRICE["input"] / 1e6 / 2)
    again = run(path, tmp_path / "b")
    assert server.stats()["calls"] == first["calls"] and server.stats()["requests"] == 0
    assert again["counts"] == manifest["counts"]


@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_whatever_goes_wrong_each_plan_is_kept_or_rejected(
    provider: str, server: PracticeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotators.batch_patience.pause_before", lambda *_: 0.02)
    monkeypatch.setattr("annotators.calling.FIRST_PAUSE", 0.02)
    server.configure(
        batch_line_errors=0.2,
        batch_tokens=20_000,
        faults={"broken": 0.1, "safety": 0.1, "length": 0.05},
        mishaps={name: ["429", "lost", "503", "reset"] for name in ("upload", "create", "get", "list", "download")},
    )
    models = batched(models_of(server, provider), "writer", "reasoner")
    manifest = run(config_of(tmp_path, models), tmp_path / "out")
    assert accounted(manifest) and manifest["counts"]["kept"] > 5
    stats = server.stats()
    assert stats["batches"] > 1 and stats["paid_twice"] == 0
    assert list((tmp_path / "ledger" / "batches").iterdir()) == []


def test_plans_that_cannot_be_read_end_a_batch_run_with_one_line(
    server: PracticeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plans(*_: object) -> Iterator[Any]:
        raise OSError(5, "Input/output error", "/nowhere/pool.jsonl")

    monkeypatch.setattr("pipelines.realign_session.RealignSession.plans", plans)
    path = config_of(tmp_path, batched(models_of(server, "openai"), "writer"))
    with pytest.raises(StoppedError, match=r"/nowhere/pool\.jsonl: Input/output error"):
        run(path, tmp_path / "out")


def begun(path: Path, out: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", HURRIED, "realign", str(path), "--out", str(out)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("provider", "batches"), [("openai", 1), pytest.param("gemini", 2, marks=pytest.mark.soak)])
def test_a_killed_run_submits_nothing_twice(
    provider: str, batches: int, server: PracticeServer, tmp_path: Path
) -> None:
    server.configure(batch_delay=1.0)
    roles = ("writer", "reasoner", "painter") if provider == "gemini" else ("writer", "reasoner")
    path = config_of(tmp_path, batched(models_of(server, provider), *roles))
    out = tmp_path / "out"
    process = begun(path, out)
    deadline = time.monotonic() + 60
    while server.stats()["batches"] < batches and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert read_manifest(str(out)) is None
    assert len(list((tmp_path / "ledger" / "batches").glob("*.json"))) >= 1
    server.configure(batch_delay=0.2)
    manifest = run(path, out)
    assert accounted(manifest)
    stats = server.stats()
    assert stats["paid_twice"] == 0
    plans = manifest["counts"]["planned"]
    assert stats["batch_lines"] == plans * (4 if provider == "gemini" else 3), "each line was answered once"
