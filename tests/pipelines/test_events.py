"""The event log: what a run tells while it goes on, with ids, on whole lines, and never with a key.

That of a run by workers: tests/pipelines/test_workers.py.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from annotators import events
from annotators.engine import Engine, EngineSpec
from annotators.errors import Failure, FinalError, RetryableError, Stop
from annotators.interface import Models
from cli.watching import Watching
from pipelines.event_log import LONGEST, EventLog, recording
from pipelines.spec import ShardRange
from pipelines.transforms import Commit
from pipelines.wave_events import told as told_of_wave
from schemas.errors import InputError
from shards.names import ShardName
from tests.annotators.conftest import FakeProvider, Item, MemoryLedger, models, prompt
from tests.pipelines.conftest import Command, run
from tests.servers.running import running

KEY = 'sk-"echoed"-0123456789'
CONFIG = {"max_attempts": 2, "in_flight": 4}


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def events_of(path: Path, name: str) -> list[dict[str, Any]]:
    return [line for line in lines_of(path) if line["event"] == name]


async def ask(item: Any, asked: Models) -> str:
    return str((await asked.ask("writer", prompt(f"question of {item.id}"), answer=_no_fish)).text)


def _no_fish(text: str) -> str:
    if "fish" in text:
        raise ValueError(f"{text} is not wanted")
    return text


def work(provider: FakeProvider, items: int = 1, recipe: Any = ask, then: Any = None) -> list[Any]:
    """The items through an engine of one fake model."""
    spec = EngineSpec(models=models(writer=CONFIG), roles=("writer",))
    ledger: Any = MemoryLedger()
    with Engine(spec, make=lambda config, where, world: provider, ledger=ledger) as engine:
        with engine.window(recipe) as window:
            finished = [f for i in range(items) for f in window.put(Item(f"{i:032x}", i))]
            finished += window.drain()
        if then is not None:
            then(engine)
        return finished


def first_fails(error: Exception) -> Any:
    return lambda request, n: error if n == 0 else "well"


def test_a_retry_says_which_sample_role_model_and_request(tmp_path: Path) -> None:
    with recording(str(tmp_path / "e")):
        (done,) = work(FakeProvider(first_fails(RetryableError("server", "503 of the day", retry_after=0.01))))
    (retry,) = events_of(tmp_path / "e", "retry")
    assert done.result == "well"
    assert {k: retry[k] for k in ("level", "sample", "role", "model", "attempt", "reason", "detail")} == {
        "level": "info",
        "sample": f"{0:032x}",
        "role": "writer",
        "model": "m-writer",
        "attempt": 1,
        "reason": "server",
        "detail": "503 of the day",
    }
    assert len(retry["request"]) == 16 and 0 < retry["pause"] < 1
    assert retry["ts"].endswith("Z") and retry["worker"] == 0


def test_a_429_and_the_pause_of_everybody_are_two_events(tmp_path: Path) -> None:
    error = RetryableError("throttled", "slow down", retry_after=0.02, throttled=True, quota=True)
    with recording(str(tmp_path / "e")):
        work(FakeProvider(first_fails(error)))
    (throttled,), (pause,) = events_of(tmp_path / "e", "throttled"), events_of(tmp_path / "e", "pause")
    assert throttled["detail"] == "slow down" and throttled["request"] == pause["request"]
    assert pause["level"] == "warning" and pause["window"] == 2 and pause["reason"] == "quota"


def test_a_pause_is_told_as_long_as_it_is_and_not_as_the_server_asked(tmp_path: Path) -> None:
    """Pauses that follow one another double from half a second on, whatever shorter wait a server asks for."""
    error = RetryableError("throttled", "slow down", retry_after=0.02, throttled=True, quota=True)
    with recording(str(tmp_path / "e")):
        work(FakeProvider(lambda request, n: error if n < 3 else "well"))
    told = [line["pause"] for line in events_of(tmp_path / "e", "pause")]
    assert len(told) == 3 and told[0] < 0.2 and 0.4 < told[1] <= 0.5 and 0.9 < told[2] <= 1.0


def test_that_429s_are_over_is_told_once_when_the_window_is_whole_again(tmp_path: Path) -> None:
    error = RetryableError("throttled", "slow down", retry_after=0.02, throttled=True, quota=True)
    with recording(str(tmp_path / "e")):
        work(FakeProvider(first_fails(error)), items=120)
    order = [line["event"] for line in lines_of(tmp_path / "e") if line["event"] in ("pause", "recovered")]
    assert order and order[-1] == "recovered" and order.count("recovered") <= order.count("pause")
    assert events_of(tmp_path / "e", "recovered")[-1]["window"] == CONFIG["in_flight"]
    with recording(str(tmp_path / "calm")):
        work(FakeProvider(), items=120)
    assert lines_of(tmp_path / "calm") == []


def test_a_shard_that_misses_plans_is_said_to_be_left(tmp_path: Path) -> None:
    shard = ShardRange(ShardName("train", 1, 3), 10, 20)
    with recording(str(tmp_path / "e")):
        assert list(Commit(None)(shard, [])) == []  # type: ignore[arg-type]
    (left,) = events_of(tmp_path / "e", "shard_incomplete")
    assert (left["shard"], left["planned"], left["missing"]) == ("train-00001-of-00003", 10, 10)


def test_a_wave_is_told_when_it_begins_and_when_it_ends_even_badly(tmp_path: Path) -> None:
    shards = [ShardRange(ShardName("train", i, 3), 10 * i, 10 * i + 10) for i in range(2)]
    with recording(str(tmp_path / "e")), pytest.raises(OSError, match="full"), told_of_wave(shards):
        raise OSError("full")
    begun, ended = lines_of(tmp_path / "e")
    assert (begun["event"], ended["event"]) == ("wave_begun", "wave_ended")
    assert begun["wave"] == ended["wave"] and begun["shards"] == 2 and begun["plans"] == 20
    assert (begun["first"], begun["last"]) == ("train-00000-of-00003", "train-00001-of-00003")
    assert ended["seconds"] >= 0


def test_a_repair_names_the_defects_and_a_rejection_its_reason(tmp_path: Path) -> None:
    with recording(str(tmp_path / "e")):
        (done,) = work(FakeProvider(lambda request, n: "a fish"))
    assert done.failure.reason == events_of(tmp_path / "e", "rejected")[0]["reason"]
    repairs = events_of(tmp_path / "e", "repair")
    assert [r["attempt"] for r in repairs] == [1, 2]
    assert "fish is not wanted" in repairs[0]["detail"]
    assert repairs[0]["request"] != repairs[1]["request"]
    (rejected,) = events_of(tmp_path / "e", "rejected")
    assert rejected["stage"] == "writer" and rejected["sample"] == done.item.id and rejected["usd"] == 0.03


def test_a_rejection_by_the_recipe_is_one_too(tmp_path: Path) -> None:
    async def recipe(item: Any, asked: Models) -> str:
        raise Failure("writer", "infeasible", detail="no such thing")

    with recording(str(tmp_path / "e")):
        work(FakeProvider(), recipe=recipe)
    (rejected,) = events_of(tmp_path / "e", "rejected")
    assert (rejected["reason"], rejected["detail"]) == ("infeasible", "no such thing")


def test_answers_are_told_at_debug_only(tmp_path: Path) -> None:
    with recording(str(tmp_path / "info")):
        work(FakeProvider(), items=3)
    assert lines_of(tmp_path / "info") == []
    with recording(str(tmp_path / "debug"), "debug"):
        work(FakeProvider(), items=3)
    told = events_of(tmp_path / "debug", "answer")
    assert {line["sample"] for line in told} == {f"{i:032x}" for i in range(3)}
    assert all(line["tokens"] == {"in": 10, "out": 5} and line["usd"] == 0.01 for line in told)


def test_a_refusal_is_an_answer_with_a_reason(tmp_path: Path) -> None:
    with recording(str(tmp_path / "e"), "debug"):
        work(FakeProvider(lambda request, n: FinalError("safety", "blocked")))
    (answer,) = events_of(tmp_path / "e", "answer")
    assert answer["reason"] == "safety"


def test_a_stop_is_told_once_and_closing_is_none(tmp_path: Path) -> None:
    def stop(engine: Engine) -> None:
        for line in ("first", "second"):
            engine.stop(Stop(3, line))

    with recording(str(tmp_path / "none")):
        work(FakeProvider())
    assert lines_of(tmp_path / "none") == []
    with recording(str(tmp_path / "e")):
        work(FakeProvider(), then=stop)
    (stopped,) = events_of(tmp_path / "e", "stopped")
    assert (stopped["level"], stopped["exit_code"], stopped["message"]) == ("warning", 3, "the run stops: first")


def test_a_key_that_a_server_echoes_is_blotted_out_everywhere(tmp_path: Path) -> None:
    """In an error's body, in a refusal, in another library's record, in a traceback, in nested fields."""

    def reply(request: Any, n: int) -> Any:
        logging.getLogger("a.library").warning("sent Authorization: Bearer %s", KEY)
        error = RetryableError("server", f"bad key {KEY}", retry_after=0.01)
        return error if n == 0 else FinalError("bad_request", f"{{'headers': '{KEY}'}}")

    with recording(str(tmp_path / "e"), "debug"):
        work(FakeProvider(reply, secrets=(KEY,)))
        log = logging.getLogger("annotators.test")
        events.tell(log, logging.INFO, "test", "%s", KEY, nested={"deep": [KEY, {"er": f"<{KEY}>"}]}, other=Path(KEY))
        try:
            raise ValueError(KEY)
        except ValueError:
            log.exception("it failed")
    told = (tmp_path / "e").read_text()
    assert KEY not in told and json.dumps(KEY)[1:-1] not in told and "0123456789" not in told
    assert told.count("***") >= 8
    assert Counter(line["event"] for line in lines_of(tmp_path / "e"))["log"] == 3


def test_records_of_other_libraries_carry_the_ids_of_what_they_belong_to(tmp_path: Path) -> None:
    def reply(request: Any, n: int) -> str:
        logging.getLogger("a.library").warning("the connection is slow")
        logging.getLogger("a.library").info("nobody needs this")
        return "well"

    with recording(str(tmp_path / "e"), "debug"):
        work(FakeProvider(reply), items=2)
    told = events_of(tmp_path / "e", "log")
    assert [line["message"] for line in told] == ["the connection is slow"] * 2
    assert {line["sample"] for line in told} == {f"{i:032x}" for i in range(2)}
    assert all(line["role"] == "writer" and line["logger"] == "a.library" for line in told)


def test_lines_of_many_threads_and_processes_stay_whole(tmp_path: Path) -> None:
    logs = [EventLog(str(tmp_path / "e"), worker) for worker in (1, 2)]
    long = "x" * 3000

    def write(log: EventLog) -> None:
        for n in range(200):
            record = logging.makeLogRecord({"msg": long, "event": "e", "fields": {"n": n}, "levelname": "INFO"})
            log.handle(record)

    threads = [threading.Thread(target=write, args=(log,)) for log in logs for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter((line["worker"], line["n"]) for line in lines_of(tmp_path / "e")) == {
        (worker, n): 2 for worker in (1, 2) for n in range(200)
    }


@pytest.mark.parametrize(
    "text",
    ["a\nb\u2028c", "half a surrogate: \ud83d", "", "\x00\x1f", "y" * (LONGEST + 9), "Schönes"],
    ids=["lines", "half a surrogate", "empty", "control", "long", "umlaut"],
)
def test_any_text_is_one_line_of_json(tmp_path: Path, text: str) -> None:
    with recording(str(tmp_path / "e")):
        events.tell(logging.getLogger("annotators.test"), logging.INFO, "test", "%s", text, detail=text)
    (line,) = lines_of(tmp_path / "e")
    assert len(line.get("detail", "")) <= LONGEST + 40
    assert (tmp_path / "e").read_bytes().count(b"\n") == 1


def test_a_log_that_breaks_costs_lines_and_not_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this machine has no /dev/full")
    with recording(str(full), "debug"):
        (done,) = work(FakeProvider())
    assert done.result == "well" or done.result == "yes"
    assert capsys.readouterr().err.count("lines are lost") == 1


def test_without_a_log_warnings_are_plain_and_events_silent(capsys: pytest.CaptureFixture[str]) -> None:
    error = RetryableError("throttled", "slow down", retry_after=0.01, throttled=True, quota=True)
    with recording(None):
        work(FakeProvider(first_fails(error)))
        logging.getLogger("annotators.test").warning("a word of warning")
    assert capsys.readouterr().err == "a word of warning\n"


def test_what_was_set_up_is_taken_down(tmp_path: Path) -> None:
    before = list(logging.getLogger().handlers), logging.getLogger("annotators").level
    with pytest.raises(RuntimeError), recording(str(tmp_path / "e"), "debug"):
        raise RuntimeError
    assert (list(logging.getLogger().handlers), logging.getLogger("annotators").level) == before


def test_a_level_that_is_none_is_named() -> None:
    with (
        pytest.raises(InputError, match="--log-level loud: write one of debug, info, warning, error"),
        recording("x", "loud"),
    ):
        pass


# -- whole runs -----------------------------------------------------------------------------------------------------


def test_a_run_that_cannot_be_made_says_so_last(command: Command, tmp_path: Path) -> None:
    in_the_way = tmp_path / "o" / "shards" / "train-00002-of-00005.tar"
    in_the_way.mkdir(parents=True)
    log = tmp_path / "run.jsonl"
    done = run(command(tmp_path / "o", "--log", str(log), ledger=tmp_path / "ledger"))
    assert done.returncode == 3, done.stderr
    assert in_the_way.name in done.stderr
    last = lines_of(log)[-1]
    assert (last["event"], last["exit_code"]) == ("run_finished", 3) and in_the_way.name in last["message"]
    assert any(in_the_way.name in line["message"] for line in events_of(log, "stopped"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"log": "OUT/run.jsonl"}, "outside of the output folder"),
        ({"metrics": "OUT/x/run.prom"}, "outside of the output folder"),
        ({"log": "TMP"}, "--log TMP: cannot be written"),
        ({"log": "/dev/null/run.jsonl"}, "cannot be written"),
        ({"log": "gs://bucket/run.jsonl"}, "write it to a local file"),
        ({"log": ""}, "--log : name a file"),
        ({"log": "TMP/l", "log_level": "loud"}, "write one of debug, info, warning, error"),
        ({"log_level": "debug"}, "there is no log; add --log FILE"),
        ({"metrics": "TMP"}, "--metrics TMP: cannot be written"),
        ({"metrics": "/dev/null/run.prom"}, "--metrics /dev/null/run.prom"),
        ({"metrics": "s3://bucket/run.prom"}, "write it to a local file"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(tmp_path: Path, options: dict[str, str], said: str) -> None:
    def whole(text: str) -> str:
        return text.replace("OUT", str(tmp_path / "o")).replace("TMP", str(tmp_path))

    watching = Watching(**{name: whole(value) for name, value in options.items()})
    with pytest.raises(InputError, match=re.escape(whole(said))), watching.begun(str(tmp_path / "o"), 0):
        pass


def test_what_nobody_foresaw_is_in_the_log_with_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Watching(log=str(tmp_path / "e")).begun(str(tmp_path / "o"), 2):
        _ = 1 / 0
    (line,) = lines_of(tmp_path / "e")
    assert (line["level"], line["event"], line["worker"]) == ("error", "log", 2)
    assert "ZeroDivisionError" in line["exception"] and "test_events.py" in line["exception"]


@pytest.mark.parametrize("option", ["--log", "--metrics"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_begins(
    command: Command, tmp_path: Path, option: str
) -> None:
    done = run(command(tmp_path / "o", option, "/dev/null/file"))
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and f"{option} /dev/null/file" in done.stderr, done.stderr
    assert not (tmp_path / "o").exists()


def test_a_key_that_a_real_server_sends_back_is_written_nowhere(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to the log at its most talkative, the metrics, the output, the ledger, or the terminal."""
    key = "sk-practice-" + "0123456789abcdef" * 2
    monkeypatch.setenv("PRACTICE_KEY", key)
    files = ("--log", str(tmp_path / "run.jsonl"), "--log-level", "debug", "--metrics", str(tmp_path / "run.prom"))
    with running(text=f"Thank you for {key}", faults={"429_after": 0.5}, retry_after=0.1) as server:
        asked = f"provider: openai, base_url: '{server.openai}', api_key_env: PRACTICE_KEY"
        models_ = "models={writer: {M, model: w}, reasoner: {M, model: r}, painter: {M, model: image}}".replace(
            "M", asked
        )
        words = ("--set", "samples=6", "--set", "splits={train: 1}", "--set", models_, *files)
        done = run(command(tmp_path / "o", *words, ledger=tmp_path / "ledger"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "o" / "manifest.json").read_text())["counts"]["rejected"] == 6
    told = Counter(line["event"] for line in lines_of(tmp_path / "run.jsonl"))
    assert told["repair"] == 12 and told["rejected"] == 6 and told["throttled"] > 0 and told["answer"] == 18
    written = {"terminal": (done.stdout + done.stderr).encode()}
    for file in filter(Path.is_file, tmp_path.rglob("*")):
        rows = str(pq.read_table(file).to_pylist()) if file.suffix == ".parquet" else ""
        written[str(file)] = file.read_bytes() + rows.encode()
    assert sum(b"Thank you for ***" in data for data in written.values()) >= 3  # the rejects of two shards, the ledger
    assert [name for name, data in written.items() if key.encode() in data] == []
