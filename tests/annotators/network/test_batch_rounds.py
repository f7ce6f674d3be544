"""The engine's batch rounds through each batch API: limits that are lower than documented, crashes, leftovers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from annotators import batch_patience, batching
from annotators.batch_jobs import Jobs
from annotators.config import ModelsConfig
from annotators.engine import Engine, EngineSpec
from annotators.errors import Stop
from schemas.errors import InputError
from schemas.messages import Message, TextPart
from tests.annotators.network.batch_trial import KEY, MODELS
from tests.servers.running import PracticeServer


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAL_KEY", KEY)
    monkeypatch.setattr(batching.Batching.__init__, "__defaults__", (0.02,))
    monkeypatch.setattr(batching, "LAST_LOOK", 0.02)
    monkeypatch.setattr(batch_patience, "pause_before", lambda *_: 0.02)


@pytest.fixture
def server(practice_server: PracticeServer) -> PracticeServer:
    practice_server.configure(batch_delay=0.05, batch_validating=0.0)
    return practice_server


class Rounds:
    """An engine with a writer and a reasoner, both of `mode: batch`, the second asked with the first one's answer."""

    def __init__(self, protocol: str, server: PracticeServer, folder: Path, **more: Any) -> None:
        model = {"provider": protocol, "base_url": getattr(server, protocol), "api_key_env": "TRIAL_KEY"}
        model |= {"mode": "batch", "model": MODELS[protocol], "price": {"input": 1000, "output": 1000}}
        models = ModelsConfig.model_validate({"writer": model, "reasoner": model})
        self.folder = folder
        self.engine = Engine(EngineSpec(models=models, roles=("writer", "reasoner"), ledger=str(folder), **more))

    def documented(self, requests: int) -> None:
        """Have the documented limit of a job be this."""
        for lane in self.engine._lanes.values():
            api: Any = lane.batch_api
            api.most_requests = requests

    async def recipe(self, item: Any, models: Any) -> str:
        wrote = await models.ask("writer", prompt(f"write {item.id}"))
        return str((await models.ask("reasoner", prompt(f"reason {item.id} {wrote.text}"))).text)

    def batches(self, count: int) -> None:
        self.engine.ask_batches(self.recipe, lambda: items(count))

    def answers(self, count: int) -> list[Any]:
        with self.engine.window(self.recipe) as window:
            return [one for item in items(count) for one in window.put(item)] + list(window.drain())

    def records(self) -> list[Path]:
        return list(self.folder.glob("batches/*"))


def prompt(text: str) -> Any:
    message = Message(speaker="user", parts=(TextPart(text=text),))
    return SimpleNamespace(id="test", hash="h", messages=(message,))


def items(count: int) -> Iterator[Any]:
    return (SimpleNamespace(id=str(number), seed=0) for number in range(count))


@pytest.fixture(params=["openai", "gemini"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rounds(protocol: str, server: PracticeServer, tmp_path: Path) -> Iterator[Rounds]:
    made = Rounds(protocol, server, tmp_path / "ledger")
    yield made
    made.engine.close()


def test_all_is_answered_by_batches_at_half_the_price(rounds: Rounds, server: PracticeServer) -> None:
    rounds.batches(12)
    found = rounds.answers(12)
    assert all(one.result for one in found)
    stats = server.stats()
    assert (stats["requests"], stats["batch_lines"], stats["paid_twice"]) == (0, 24, 0)
    usage = rounds.engine.usage[rounds.engine.spec.models.writer[0].model]
    assert usage.usd == pytest.approx((usage.tokens_in + usage.tokens_out) * 1000 / 1e6 / 2)
    assert rounds.records() == []


def test_progress_counts_what_is_answered_before_it_is_fetched(rounds: Rounds, server: PracticeServer) -> None:
    server.configure(batch_delay=0.5)
    seen = set()
    running = threading.Thread(target=rounds.batches, args=(10,))
    running.start()
    while running.is_alive():
        now = rounds.engine.progress()
        seen.add((now.batch_jobs, now.batch_taken, now.batch_answered))
        time.sleep(0.02)
    assert {jobs for jobs, *_ in seen} == {0, 1}
    assert max(taken for _, taken, _ in seen) == 20
    assert len({answered for jobs, _, answered in seen if jobs}) > 2, "it grows while the job runs"
    assert all(answered <= taken for _, taken, answered in seen)


@pytest.mark.parametrize(
    "limit",
    [
        {"batch_enqueued": 1},
        {"batch_requests": 5},
        {"batch_tokens": 60, "batch_tokens_says": "failed"},
        {"batch_tokens": 60, "batch_tokens_says": "429"},
    ],
)
def test_limits_below_the_documented_ones_lose_nothing(
    rounds: Rounds, server: PracticeServer, limit: dict[str, int]
) -> None:
    server.configure(**limit)
    rounds.documented(8)
    rounds.batches(24)
    assert rounds.engine.stopped is None
    assert all(one.result for one in rounds.answers(24))
    stats = server.stats()
    assert sum(stats["faults"].values()) > 0
    assert (stats["requests"], stats["batch_lines"], stats["paid_twice"]) == (0, 48, 0)
    assert rounds.records() == []


@pytest.mark.parametrize("beside", [1, 3])
def test_a_request_that_no_limit_has_room_for_ends_the_run(server: PracticeServer, tmp_path: Path, beside: int) -> None:
    server.configure(batch_tokens=1, batch_tokens_says="failed")
    rounds = Rounds("openai", server, tmp_path / "ledger")
    rounds.documented(1)
    rounds.batches(beside)
    stopped = rounds.engine.stopped
    rounds.engine.close()
    assert stopped is not None and stopped.exit_code == 3 and "token_limit_exceeded" in stopped.line


def test_calls_that_fail_now_and_then_lose_nothing(rounds: Rounds, server: PracticeServer) -> None:
    often = ["503", "lost", "429", "reset"] * 2
    server.configure(mishaps=dict.fromkeys(("upload", "create", "get", "list", "download", "delete"), often))
    rounds.batches(10)
    assert all(one.result for one in rounds.answers(10))
    stats = server.stats()
    assert (stats["requests"], stats["batch_lines"], stats["paid_twice"]) == (0, 20, 0)
    assert rounds.records() == []


def test_lines_without_an_answer_are_asked_online(rounds: Rounds, server: PracticeServer) -> None:
    server.configure(batch_line_errors=0.4)
    rounds.batches(20)
    assert all(one.result for one in rounds.answers(20))
    stats = server.stats()
    assert stats["batch_lines"] + stats["requests"] >= 40 and stats["requests"] > 0
    assert stats["paid_twice"] == 0


def test_what_an_expired_job_did_not_answer_is_asked_online(server: PracticeServer, tmp_path: Path) -> None:
    server.configure(batch_expires=0.5)
    rounds = Rounds("openai", server, tmp_path / "ledger")
    rounds.batches(10)
    assert all(one.result for one in rounds.answers(10))
    stats = server.stats()
    assert (stats["batch_lines"], stats["requests"], stats["paid_twice"]) == (10, 10, 0)
    rounds.engine.close()


def test_jobs_that_always_fail_stop_the_run_with_the_reason(rounds: Rounds, server: PracticeServer) -> None:
    server.configure(batch_fails=True)
    rounds.batches(4)
    stopped = rounds.engine.stopped
    assert stopped is not None and stopped.exit_code == 3
    assert "could not be processed" in stopped.line and "mode: online" in stopped.line
    assert server.stats()["batches"] == 3 and rounds.records() == []


def test_a_provider_that_takes_no_batch_at_all_ends_the_run(
    rounds: Rounds, server: PracticeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_patience, "SILENT_AFTER", 0.3)
    server.configure(batch_enqueued=0)
    rounds.batches(8)
    stopped = rounds.engine.stopped
    assert stopped is not None and stopped.exit_code == 3 and "429" in stopped.line


def test_a_server_that_is_not_there_ends_the_run(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_patience, "UNREACHED_AFTER", 0.2)
    nowhere: Any = SimpleNamespace(openai="http://127.0.0.1:9/v1", gemini="http://127.0.0.1:9")
    rounds = Rounds(protocol, nowhere, tmp_path / "ledger")
    rounds.batches(2)
    stopped = rounds.engine.stopped
    rounds.engine.close()
    assert stopped is not None and stopped.exit_code == 3 and "127.0.0.1:9" in stopped.line


def test_a_budget_that_is_enough_is_not_stopped_by_a_guess_that_is_too_high(
    server: PracticeServer, tmp_path: Path
) -> None:
    price = {"input": 1000, "output": 1000}
    dear = Rounds("openai", server, tmp_path / "one")
    dear.batches(8)
    cost = dear.engine.budget.usd
    dear.engine.close()
    server.reset()
    server.configure(batch_delay=0.05, batch_validating=0.0)
    assert cost < 2 * 2.0 * price["output"] / 1000, "two answers are guessed to cost more than all do"
    rounds = Rounds("openai", server, tmp_path / "two", budget={"usd": cost * 1.3})
    rounds.batches(8)
    assert rounds.engine.stopped is None and all(one.result for one in rounds.answers(8))
    assert server.stats()["batches"] > 2, "what there was no room for went out later"
    rounds.engine.close()


def test_a_budget_is_not_overdrawn_by_jobs_under_way(rounds: Rounds, server: PracticeServer, tmp_path: Path) -> None:
    rounds.batches(20)
    cost = rounds.engine.budget.usd
    poor = Rounds("openai", server, tmp_path / "poor", budget={"usd": cost / 2})
    poor.batches(20)
    stopped = poor.engine.stopped
    assert stopped is not None and stopped.exit_code == 3 and "budget.usd" in stopped.line
    assert poor.engine.budget.usd <= cost / 2 * 1.05
    poor.engine.close()


@pytest.mark.parametrize("named", [True, False])
def test_a_run_that_died_takes_up_its_jobs(protocol: str, server: PracticeServer, tmp_path: Path, named: bool) -> None:
    server.configure(batch_delay=1.0)
    first = Rounds(protocol, server, tmp_path / "ledger")
    running = threading.Thread(target=first.batches, args=(6,))
    running.start()
    while not server.stats()["batches"] or not first.records():
        time.sleep(0.02)
    first.engine.stop(Stop(130, "interrupted"))
    running.join()
    if not named:  # as if it had died before it heard what its job is called
        jobs = Jobs(str(tmp_path / "ledger"))
        (job,) = jobs.of([lane.digest for lane in first.engine._lanes.values()])
        jobs.keep(job.named(""))
        jobs.close()
    first.engine.close()
    assert len(first.records()) == 1
    server.configure(batch_delay=0.0)
    again = Rounds(protocol, server, tmp_path / "ledger")
    again.batches(6)
    assert all(one.result for one in again.answers(6))
    again.engine.close()
    stats = server.stats()
    assert (stats["batches"], stats["batch_lines"], stats["requests"], stats["paid_twice"]) == (2, 12, 0, 0)
    assert again.records() == []


def test_results_that_are_gone_are_asked_anew(server: PracticeServer, tmp_path: Path) -> None:
    server.configure(mishaps={"download": ["404"]})
    rounds = Rounds("openai", server, tmp_path / "ledger")
    rounds.batches(4)
    assert all(one.result for one in rounds.answers(4))
    assert server.stats()["batches"] == 3 and server.stats()["requests"] == 0
    rounds.engine.close()


def test_a_painter_of_the_images_endpoint_is_refused_with_its_mend(server: PracticeServer, tmp_path: Path) -> None:
    painter = {"provider": "openai", "model": "qwen-image-edit", "base_url": server.openai, "mode": "batch"}
    spec = EngineSpec(
        models=ModelsConfig.model_validate({"painter": painter}), roles=("painter",), ledger=str(tmp_path)
    )
    with pytest.raises(InputError, match=r"models\.painter\.mode: qwen-image-edit .* mode: online, or paints_by: chat"):
        Engine(spec)
    by_chat = ModelsConfig.model_validate({"painter": {**painter, "paints_by": "chat"}})
    Engine(spec.model_copy(update={"models": by_chat})).close()
