"""What every ledger promises, on a disk and in buckets of both kinds: nothing lost, nothing paid twice."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from annotators.engine import Engine, EngineSpec
from annotators.errors import FinalError, RetryableError
from annotators.interface import Models, RawAnswer
from annotators.ledger import Claim, Entry, Ledger, open_ledger
from schemas.errors import InputError
from storage import paths
from tests.servers.buckets import Bucket

ROOT = Path(__file__).resolve().parents[2]
KEY, OTHER = "ab" * 32, "cd" * 32
PATIENCE = 280.0  # seconds, on a machine that is busy with something else
FULL = Entry(model="m", role="writer", text="ünïcode\n", tokens_in=3, tokens_out=4, usd=0.1, note="n")


@dataclass
class Place:
    """Where a test keeps its ledger; `open` opens it, and closes it with the test."""

    location: str
    open: Callable[[], Ledger]
    bucket: Bucket | None


@pytest.fixture(params=["disk", "s3", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    bucket = None if request.param == "disk" else request.getfixturevalue(request.param)
    location = str(tmp_path / "ledger") if bucket is None else bucket.location
    opened: list[Ledger] = []

    def opener() -> Ledger:
        opened.append(open_ledger(location))
        return opened[-1]

    yield Place(location, opener, bucket)
    for ledger in opened:
        ledger.close()


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def test_what_is_put_is_there_for_the_next_process(place: Place) -> None:
    ledger = place.open()
    run(ledger.put(KEY, FULL))
    assert run(ledger.get(KEY)) == FULL
    ledger.close()
    again = place.open()
    assert run(again.get(KEY)) == FULL and run(again.get(OTHER)) is None


def test_what_is_put_is_there_for_another_process_at_once(place: Place) -> None:
    one, two = place.open(), place.open()
    run(one.put(KEY, FULL))
    assert run(two.get(KEY)) == FULL


def test_the_first_answer_stays(place: Place) -> None:
    one, two = place.open(), place.open()
    run(one.put(KEY, FULL))
    for ledger in (one, two):
        run(ledger.put(KEY, dataclasses.replace(FULL, text="another")))
        assert run(ledger.get(KEY)) == FULL
    one.close()
    two.close()
    three = place.open()
    run(three.put(KEY, dataclasses.replace(FULL, text="a third")))
    assert run(three.get(KEY)) == FULL and three.stats().answers == 1


def test_every_entry_comes_back_as_it_was(place: Place) -> None:
    entries = [
        Entry(model="m"),
        FULL,
        Entry(model="m", text="\x00 \u2028 \U0001f600" * 5000, detail="two\nlines", repairable=1, refusal="schema"),
        Entry(model="m", tokens_in=2**40, tokens_out=0, usd=1e-12),
    ]
    for finished in (False, True):
        ledger = place.open()
        for number, entry in enumerate(entries):
            if not finished:
                run(ledger.put(f"{number:064x}", entry))
            assert run(ledger.get(f"{number:064x}")) == entry
        ledger.close()


def test_images_are_stored_once_by_content(place: Place) -> None:
    ledger = place.open()
    data = b"the same bytes"
    sha256 = hashlib.sha256(data).hexdigest()
    assert {run(ledger.put_blob(data, "image/jpeg")) for _ in range(3)} == {sha256}
    assert ledger.blobs.put(data, "image/jpeg") == sha256, "what pools write into it"
    assert paths.list_files(ledger.blobs.folder) == [f"{sha256[:2]}/{sha256}.jpg"]
    assert paths.read_bytes(ledger.blobs.uri(sha256, "image/jpeg")) == data
    assert ledger.blobs.holds(sha256, "image/jpeg", len(data)) and not ledger.blobs.holds(sha256, "image/jpeg", 1)


@pytest.mark.parametrize("finished", [False, True])
def test_an_answer_whose_image_is_lost_is_asked_again(place: Place, finished: bool) -> None:
    ledger = place.open()
    sha256 = run(ledger.put_blob(b"bytes", "image/jpeg"))
    entry = Entry(model="m", blob=sha256, media_type="image/jpeg", blob_bytes=5, width=1, height=1)
    run(ledger.put(KEY, entry))
    if finished:
        ledger.close()
        ledger = place.open()
    assert run(ledger.get(KEY)) == entry
    paths.write_atomic(ledger.blobs.uri(sha256, "image/jpeg"), b"x")  # what a power cut may leave
    assert run(ledger.get(KEY)) is None
    assert run(ledger.claim(KEY)) is Claim.OURS
    assert ledger.stats().answers == 0


def test_a_key_is_claimed_by_one_at_a_time(place: Place) -> None:
    one, two = place.open(), place.open()
    assert run(one.claim(KEY)) is Claim.OURS
    assert run(two.claim(KEY)) is Claim.HELD
    run(one.release(KEY))
    assert run(two.claim(KEY)) is Claim.OURS
    run(two.put(KEY, Entry(model="m")))
    assert run(one.claim(KEY)) is Claim.ANSWERED
    two.close()
    assert run(one.claim(KEY)) is Claim.ANSWERED
    assert run(one.get(KEY)) == Entry(model="m")


def test_closing_gives_claims_back(place: Place) -> None:
    one, two = place.open(), place.open()
    run(one.claim(KEY))
    one.close()
    assert run(two.claim(KEY)) is Claim.OURS


def test_what_was_put_when_its_asker_was_cancelled_is_kept(place: Place) -> None:
    ledger = place.open()

    async def cancelled() -> None:
        await ledger.claim(KEY)
        task = asyncio.create_task(ledger.put(KEY, FULL))
        await asyncio.sleep(0)
        task.cancel()
        await ledger.release(KEY)

    run(cancelled())
    ledger.close()
    assert run(place.open().get(KEY)) == FULL


@pytest.mark.parametrize("finished", [False, True])
def test_forgotten_answers_are_asked_again(place: Place, finished: bool) -> None:
    ledger = place.open()
    run(ledger.put(KEY, Entry(model="m", role="writer", usd=0.5)))
    run(ledger.put(OTHER, Entry(model="n", role="painter", refusal="safety")))
    if finished:
        ledger.close()
        ledger = place.open()
    stats = ledger.stats()
    assert (stats.answers, stats.refusals, stats.paid["m"].usd, stats.roles["writer"].usd) == (2, 1, 0.5, 0.5)
    assert time.time() - 60 < stats.oldest <= stats.newest <= time.time() and stats.size > 0
    assert ledger.forget([KEY, "ef" * 32]) == 1
    assert run(ledger.get(KEY)) is None and run(ledger.get(OTHER)) is not None
    assert ledger.stats().answers == 1 and list(ledger.stats().paid) == ["n"]
    assert run(ledger.claim(KEY)) is Claim.OURS
    run(ledger.put(KEY, FULL))
    ledger.close()
    again = place.open()
    assert run(again.get(KEY)) == FULL and again.stats().answers == 2


def test_a_ledger_of_a_later_version_is_left_alone(place: Place) -> None:
    place.open().close()
    if place.bucket is None:
        import sqlite3

        with sqlite3.connect(Path(place.location) / "ledger.sqlite") as db:
            db.execute("PRAGMA user_version = 99")
    else:
        paths.write_atomic(paths.join(place.location, "ledger.json"), b'{"plumbline_ledger": 99}')
    with pytest.raises(InputError, match=r"99.*name another"):
        open_ledger(place.location)


def test_where_there_is_no_ledger_none_is_made_unasked(place: Place) -> None:
    with pytest.raises(InputError, match="there is no ledger here"):
        open_ledger(place.location, create=False)
    assert paths.list_files(place.location) == [] and not paths.exists(place.location)


def run_engine(fakes: Any, location: str, provider: Any, count: int) -> list[Any]:
    spec = EngineSpec(models=fakes.models(writer={}), roles=("writer",), ledger=location)

    async def recipe(item: Any, models: Models) -> str:
        return (await models.ask("writer", fakes.prompt(item.id))).text

    with Engine(spec, make=lambda config, where, world: provider) as engine, engine.window(recipe) as window:
        finished = [f for i in range(count) for f in window.put(fakes.Item(f"{i}"))]
        return finished + list(window.drain())


def test_a_rerun_through_the_engine_pays_nothing(fakes: Any, place: Place) -> None:
    first, second = fakes.Provider(lambda request, n: fakes.text_of(request)[0] * 2), fakes.Provider()
    a = {f.item.id: f.result for f in run_engine(fakes, place.location, first, 40)}
    b = {f.item.id: f.result for f in run_engine(fakes, place.location, second, 40)}
    assert a == b and len(a) == 40 and len(first.requests) == 40 and not second.requests


def test_no_secret_is_in_any_file_of_the_ledger(fakes: Any, place: Place, monkeypatch: Any) -> None:
    secret = "sk-hush-0123456789"
    monkeypatch.setenv("SOME_KEY", secret)
    replies: list[Any] = [
        f"your key is {secret}",
        FinalError("bad_request", f"Bearer {secret}", raw=RawAnswer(text=secret, note=secret)),
        RetryableError("server", secret, retry_after=0.0),
    ]
    provider = fakes.Provider(lambda request, n: replies[min(n, 2)] if n < 3 else "ok", secrets=(secret,))
    run_engine(fakes, place.location, provider, 10)
    rows = [row.entry for row in _rows(place)]
    assert len(rows) == 10 and all(secret not in str(entry) for entry in rows)
    for name in paths.list_files(place.location):
        assert secret.encode() not in paths.read_bytes(paths.join(place.location, name))


def _rows(place: Place) -> list[Any]:
    from annotators.books import open_books

    books = open_books(place.location)
    try:
        return list(books.rows())
    finally:
        books.close()


WORKER = textwrap.dedent(
    """
    import os, sys, time
    sys.path.insert(0, {root!r})
    from types import SimpleNamespace
    import asyncio
    from annotators.engine import Engine, EngineSpec
    from annotators.config import ModelsConfig
    from annotators.interface import Capabilities, RawAnswer
    from schemas.messages import Message, TextPart

    folder, log, count, delay = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    ahead, real = float(os.environ.get("AHEAD", 0)), time.time
    time.time = lambda: real() + ahead

    class Paid:
        name, version, secrets, capabilities = "paid", "", (), Capabilities()
        async def answer(self, request):
            text = request.messages[0].parts[0].text
            with open(log, "a") as file:
                file.write(text + "\\n")
            await asyncio.sleep(delay)
            return RawAnswer(text=text, usd=1.0)
        async def close(self): ...

    async def recipe(item, models):
        message = Message(speaker="user", parts=(TextPart(text=str(item)),))
        return (await models.ask("writer", SimpleNamespace(id="", hash="", messages=(message,)))).text

    models = ModelsConfig.model_validate({{"writer": {{"provider": "openai", "model": "m", "in_flight": 4}}}})
    spec = EngineSpec(models=models, roles=("writer",), ledger=folder)
    with Engine(spec, make=lambda *_: Paid()) as engine, engine.window(recipe) as window:
        done = [f for i in range(count) for f in window.put(i)] + list(window.drain())
    assert sorted(int(f.result) for f in done) == list(range(count)), done
    print("finished")
    """
)


@contextmanager
def started(
    place: Place, tmp_path: Path, log: Path, count: int, delay: float, ahead: float = 0.0
) -> Iterator[subprocess.Popen[str]]:
    """A process that asks, and does not outlive its test; `ahead`: by how many seconds its machine's clock is wrong."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(root=str(ROOT)))
    command = [sys.executable, str(script), place.location, str(log), str(count), str(delay)]
    environment = {**os.environ, **(place.bucket.child() if place.bucket is not None else {}), "AHEAD": str(ahead)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_two_processes_on_one_ledger_pay_for_each_request_once(place: Place, tmp_path: Path) -> None:
    log, count = tmp_path / "calls", {"s3": 60, "gs": 20}.get(place.location[:2], 300)
    # Processes on one disk share its clock; those on a bucket may each have a wrong one.
    slow, fast = (-7200.0, 7200.0) if place.bucket else (0.0, 0.0)
    with (
        started(place, tmp_path, log, count, 0.01, slow) as one,
        started(place, tmp_path, log, count, 0.01, fast) as other,
    ):
        for process in (one, other):
            out, error = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0 and out == "finished\n", error
    calls = log.read_text().split()
    assert len(calls) == len(set(calls)) == count


def test_kill_9_loses_only_what_was_in_flight(place: Place, tmp_path: Path) -> None:
    if place.location.startswith("gs"):
        pytest.skip("what differs between the two kinds of bucket is tested without killing")
    first, second = tmp_path / "first", tmp_path / "second"
    count, killed_at, delay = (1000, 300, 0.01) if place.bucket is None else (120, 40, 0.1)
    with started(place, tmp_path, first, count, delay) as process:
        deadline = time.monotonic() + PATIENCE
        while (not first.exists() or first.read_text().count("\n") < killed_at) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
    before = first.read_text().split()
    assert killed_at <= len(before) < count
    with started(place, tmp_path, second, count, 0.0) as rerun:
        out, error = rerun.communicate(timeout=PATIENCE)
    assert out == "finished\n", error
    repeated = set(before) & set(second.read_text().split())
    assert len(before) == len(set(before)) and len(second.read_text().split()) <= count - len(before) + len(repeated)
    assert len(repeated) <= 4 + 4, "4 at the provider, and as many that may be on their way into the ledger"
