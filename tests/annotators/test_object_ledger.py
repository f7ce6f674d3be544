"""The ledger in a bucket where it is special: segments, compactions that may die anywhere, faults, what is listed."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.books import Choice, open_books
from annotators.bucket import presence, segments
from annotators.bucket.compaction import segment_of
from annotators.bucket.loose import Pace
from annotators.bucket.records import packed
from annotators.bucket.segments import read_segment
from annotators.engine import Engine, EngineSpec
from annotators.interface import Models
from annotators.ledger import Claim, Entry, LedgerError, compact, open_ledger
from annotators.object_ledger import ObjectLedger
from schemas.errors import InputError
from storage import paths
from storage.objects import open_objects
from tests.servers.buckets import Bucket

_PLACES = itertools.count()


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def entry(number: int) -> Entry:
    return Entry(model=f"m{number % 2}", role="writer", text=f"answer {number} " * 20, tokens_in=number, usd=0.01)


def put(ledger: Any, *numbers: int) -> None:
    async def everything() -> None:
        await asyncio.gather(*[ledger.put(key(n), entry(n)) for n in numbers])

    asyncio.run(everything())


def holds(ledger: Any, numbers: set[int], of: int) -> bool:
    async def everything() -> list[Entry | None]:
        return await asyncio.gather(*[ledger.get(key(n)) for n in range(of)])

    found = asyncio.run(everything())
    return {n for n, one in enumerate(found) if one is not None} == numbers and all(
        one is None or one == entry(n) for n, one in enumerate(found)
    )


@pytest.fixture
def memory() -> str:
    return f"memory://object-ledger-{next(_PLACES)}/ledger"


@pytest.fixture(scope="module")
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def die(ledger: ObjectLedger, pid: int) -> None:
    """What kill -9 leaves: nothing more is written, and the process is gone."""
    ledger._closed = True
    ledger.store.start(_end(ledger)).result()
    name = ledger.presence._name
    if not paths.exists(paths.join(ledger.location, name)):
        return  # it died at its very end
    body = paths.read_bytes(paths.join(ledger.location, name))
    paths.remove(paths.join(ledger.location, name))
    paths.write_atomic(paths.join(ledger.location, f"{name.rpartition('.')[0]}.{pid}"), body)


async def _end(ledger: ObjectLedger) -> None:
    ledger._ending.set()


class Crash(BaseException):
    """The process dies here."""


def crash_after(ledger: ObjectLedger, changes: int) -> None:
    """Let the store of a ledger take so many changes, and then none."""
    left = itertools.count(changes, -1)
    store: Any = ledger.store

    def guarded(change: Any) -> Any:
        async def guard(*args: Any) -> Any:
            if next(left) <= 0:
                raise Crash
            return await change(*args)

        return guard

    store._put, store._delete = guarded(store._put), guarded(store._delete)


def test_a_full_disk_does_not_end_tidying(memory: str, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    swept: list[int] = []
    enough = threading.Event()

    async def sweep(self: Any) -> None:
        swept.append(len(swept))
        if len(swept) > 2:
            enough.set()
        raise OSError(28, "No space left on device", "/tmp/merge")

    monkeypatch.setattr("annotators.object_ledger.HEARTBEAT", 0.02)
    monkeypatch.setattr("annotators.bucket.loose.Loose.sweep", sweep)
    ledger = ObjectLedger(memory)
    try:
        assert enough.wait(20), "it is tried again"
    finally:
        ledger.close()
    assert "No space left on device" in caplog.text


def test_a_compaction_may_die_after_any_of_its_changes(memory: str, dead_pid: int) -> None:
    everything, crashes = set(range(36)), 0
    for changes in itertools.count():
        location = f"{memory}-{changes}"
        for numbers in (range(12), range(12, 24), range(20, 26)):
            ledger = ObjectLedger(location)
            put(ledger, *numbers)
            ledger.close()
        ledger = ObjectLedger(location)
        assert ledger.forget([key(3), key(15)]) == 2
        ledger.close()
        ledger = ObjectLedger(location)
        put(ledger, *range(26, 36))
        assert asyncio.run(ledger.claim(key(99))) is Claim.OURS
        die(ledger, dead_pid)

        ledger = ObjectLedger(location)
        crash_after(ledger, changes)
        try:
            ledger.compact()
            finished = True
        except Crash:
            finished, crashes = False, crashes + 1
        die(ledger, dead_pid)

        after = ObjectLedger(location)
        assert holds(after, everything - {3, 15}, 36), f"after {changes} changes"
        assert asyncio.run(after.claim(key(30))) is Claim.ANSWERED
        assert after.compact(patience=5)
        assert holds(after, everything - {3, 15}, 36), f"after {changes} changes, and a compaction"
        assert (after.stats().answers, after.stats().loose) == (34, 0)
        after.close()
        left = paths.list_files(location)
        assert [name for name in left if not name.startswith("segments/")] == ["ledger.json"], f"after {changes}"
        assert len(left) == 2
        if finished:
            break
    assert crashes > 10


def test_closing_may_die_after_any_of_its_changes(memory: str, dead_pid: int) -> None:
    for changes in itertools.count():
        location = f"{memory}-{changes}"
        ledger = ObjectLedger(location)
        put(ledger, *range(6))
        assert asyncio.run(ledger.claim(key(6))) is Claim.OURS
        crash_after(ledger, changes)
        try:
            ledger.store.wait(ledger._close())
            finished = True
        except Crash:
            finished = False
        die(ledger, dead_pid)
        after = ObjectLedger(location)
        assert holds(after, set(range(6)), 8), f"after {changes} changes"
        assert asyncio.run(after.claim(key(6))) is Claim.OURS and asyncio.run(after.claim(key(2))) is Claim.ANSWERED
        after.compact()
        after.close()
        assert len(paths.list_files(location)) == 2, f"after {changes} changes"
        if finished:
            assert changes > 5
            return


def test_pruning_may_die_after_any_of_its_changes(memory: str, dead_pid: int) -> None:
    for changes in itertools.count():
        location = f"{memory}-{changes}"
        for numbers in (range(6), range(6, 12)):
            ledger = ObjectLedger(location)
            put(ledger, *numbers)
            ledger.close()
        books: Any = open_books(location)
        crash_after(books._ledger, changes)
        try:
            assert books.prune(Choice(model="m1")).count == 6
            finished = True
        except Crash:
            finished = False
        if books._ledger._tending:
            die(books._ledger, dead_pid)
        again = open_books(location)
        models = [row.entry.model for row in again.rows()]
        assert models.count("m0") == 6 and (again.stats().answers, len(models)) == (len(models), again.stats().answers)
        again.prune(Choice(model="m1"))
        assert [row.entry.model for row in again.rows()] == ["m0"] * 6
        again.close()
        if finished:
            assert changes > 5
            return


def test_a_merge_that_dies_between_writing_and_deleting_counts_nothing_twice(memory: str, dead_pid: int) -> None:
    for numbers in (range(5), range(5, 10)):
        ledger = ObjectLedger(memory)
        put(ledger, *numbers)
        ledger.close()
    ledger = ObjectLedger(memory)
    crash_after(ledger, 2)  # the lease, the merged segment
    with pytest.raises(Crash):
        ledger.compact()
    die(ledger, dead_pid)
    assert sum(name.startswith("segments/") for name in paths.list_files(memory)) == 3
    books = open_books(memory)
    assert books.stats().answers == 10 and sum(1 for _ in books.rows()) == 10
    books.close()


def test_compactors_at_the_same_time_do_not_fight(bucket: Bucket) -> None:
    for i in range(4):
        ledger = ObjectLedger(bucket.location)
        put(ledger, *range(i * 5, i * 5 + 5))
        ledger.close()
    ledgers = [ObjectLedger(bucket.location) for _ in range(4)]
    did: list[bool] = []
    threads = [threading.Thread(target=lambda one=one: did.append(one.compact(patience=20))) for one in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert did == [True] * 4, "one after the other"
    assert all(holds(ledger, set(range(20)), 20) for ledger in ledgers)
    closing = [threading.Thread(target=one.close) for one in ledgers]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join()
    compact(bucket.location)
    names = paths.list_files(bucket.location)
    assert len(names) == 2 and names[1].startswith("segments/"), names


def test_a_compactor_gives_way_to_one_at_work(s3: Bucket) -> None:
    one, two = ObjectLedger(s3.location), ObjectLedger(s3.location)
    put(one, *range(3))

    async def hold(seconds: float) -> None:
        async with one.presence.lease() as ours:
            assert ours
            await asyncio.sleep(seconds)

    holding = one.store.start(hold(1.5))
    time.sleep(0.2)
    assert two.compact() is False and not holding.done()
    assert two.compact(patience=10) is True
    holding.result()
    for ledger in (one, two):
        ledger.close()


def test_a_reader_with_an_old_list_finds_what_was_merged_and_does_not_pay_for_what_was_swept(memory: str) -> None:
    first = ObjectLedger(memory)
    put(first, *range(10))
    first.close()
    second = ObjectLedger(memory)
    put(second, *range(10, 20))
    second.close()
    reader = ObjectLedger(memory, pace=Pace(fresh=0.0))
    eager = ObjectLedger(memory, pace=Pace(grace=-2.0))
    put(eager, *range(20, 30))
    eager.compact()
    assert not [name for name in paths.list_files(memory) if name.startswith("answers/")]
    assert {segment.name for segment in reader.shelf.living}.isdisjoint(s.name for s in eager.shelf.living)
    assert asyncio.run(reader.get(key(25))) is None, "its list is old, and the object is gone"
    assert asyncio.run(reader.claim(key(25))) is Claim.ANSWERED
    assert holds(reader, set(range(30)), 30)
    for ledger in (reader, eager):
        ledger.close()


def test_merged_segments_under_an_old_list_are_found_again(memory: str) -> None:
    for numbers in (range(10), range(10, 20)):
        ledger = ObjectLedger(memory)
        put(ledger, *numbers)
        ledger.close()
    reader = ObjectLedger(memory)
    compact(memory)
    assert holds(reader, set(range(20)), 20)
    reader.close()


def test_objects_stay_while_others_are_at_work_and_their_lists_may_be_old(memory: str) -> None:
    other, ledger = ObjectLedger(memory), ObjectLedger(memory)
    put(ledger, *range(5))
    ledger.close()
    names = paths.list_files(memory)
    assert sum(name.startswith("answers/") for name in names) == 5
    assert sum(name.startswith("segments/") for name in names) == 1
    other.close()
    compact(memory)
    assert len(paths.list_files(memory)) == 2


def test_a_long_run_writes_segments_as_it_goes_and_merges_them(memory: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("annotators.object_ledger.MANY", 4)
    monkeypatch.setattr("annotators.bucket.compaction.MANY", 4)
    ledger = ObjectLedger(memory, pace=Pace(count=10))
    for i in range(6):
        put(ledger, *range(i * 10, i * 10 + 10))
        ledger.wait(ledger.loose.flush())
        assert len(ledger.loose) == 0
    assert len(ledger.shelf.living) == 6
    ledger.wait(ledger._tidy())
    assert len(ledger.shelf.living) == 1
    assert not [name for name in paths.list_files(memory) if name.startswith(("answers/", "claims/"))]
    assert holds(ledger, set(range(60)), 60) and ledger.stats().answers == 60
    ledger.close()


def test_forgotten_answers_stay_forgotten_through_a_compaction(memory: str) -> None:
    for numbers in (range(10), range(10, 20)):
        ledger = ObjectLedger(memory)
        put(ledger, *numbers)
        ledger.close()
    ledger = ObjectLedger(memory)
    assert ledger.forget([key(1), key(11)]) == 2
    put(ledger, 1)
    ledger.compact()
    assert holds(ledger, set(range(20)) - {11}, 20)
    ledger.close()
    assert holds(ObjectLedger(memory), set(range(20)) - {11}, 20)


def test_the_claim_of_a_silent_machine_is_taken_over(memory: str, monkeypatch: Any) -> None:
    one, two = ObjectLedger(memory), ObjectLedger(memory)
    asyncio.run(one.claim(key(1)))
    name = one.presence._name
    elsewhere = f"{presence.FOLDER}{one.presence.owner}.00000000.{name.rpartition('.')[2]}"
    one.wait(one.store.write(elsewhere, b"{}"))
    one.wait(one.store.delete([name]))
    time.sleep(0.05)
    two.wait(two.presence.beat(two.loose.counts))
    assert asyncio.run(two.claim(key(1))) is Claim.HELD, "its heart beats"
    monkeypatch.setattr(presence, "DEAD_AFTER", 0.02)
    assert asyncio.run(two.claim(key(1))) is Claim.OURS
    for ledger in (one, two):
        ledger.close()


def test_what_a_dead_process_left_is_found_and_taken_in(s3: Bucket, dead_pid: int) -> None:
    ledger = ObjectLedger(s3.location)
    put(ledger, *range(8))
    ledger.wait(ledger.presence.beat(ledger.loose.counts))
    die(ledger, dead_pid)
    s3.proxy.seen.clear()
    books = open_books(s3.location)
    stats = books.stats()
    assert (stats.answers, stats.loose, stats.roles["writer"].tokens_in) == (8, 8, sum(range(8)))
    assert set(s3.proxy.listings()) == {"ledgers/one/segments/", "ledgers/one/runs/"}
    assert sorted(row.key for row in books.rows()) == sorted(map(key, range(8)))
    assert books.prune(Choice(model="m0")).count == 4, "what the dead left is pruned, too"
    stats = books.stats()
    assert (stats.answers, stats.loose, list(stats.paid)) == (4, 0, ["m1"])
    books.close()


def test_stats_and_prune_never_list_objects_by_key(bucket: Bucket) -> None:
    done, at_work = ObjectLedger(bucket.location), ObjectLedger(bucket.location)
    put(done, *range(20))
    done.close()
    put(at_work, *range(20, 25))
    at_work.wait(at_work.presence.beat(at_work.loose.counts))
    compact(bucket.location)
    bucket.proxy.seen.clear()
    books = open_books(bucket.location)
    stats = books.stats()
    assert (stats.answers, stats.loose) == (25, 5)
    assert books.prune(Choice(model="m0"), dry_run=True).count == 10
    assert not [one for one in bucket.proxy.seen if one.method != "GET"], "looking changes nothing"
    at_work.close()
    bucket.proxy.seen.clear()
    assert books.prune(Choice(model="m0")).count == 13
    assert books.stats().answers == 12
    books.close()
    assert bucket.proxy.listings() and not [p for p in bucket.proxy.listings() if "answers" in p or p.endswith("one/")]


def test_an_answer_costs_three_requests_and_a_look_at_what_is_there_one_or_none(bucket: Bucket) -> None:
    ledger = ObjectLedger(bucket.location)
    seen = bucket.proxy.seen

    def requests(call: Any) -> list[str]:
        seen.clear()
        asyncio.run(call)
        return [one.method for one in seen]

    writes = "PUT" if bucket.location.startswith("s3") else "POST"
    assert requests(ledger.get(key(1))) == ["GET"]
    assert requests(ledger.claim(key(1))) == [writes]
    assert requests(ledger.put(key(1), entry(1))) == [writes]
    assert requests(ledger.get(key(1))) == []
    other = ObjectLedger(bucket.location)
    assert requests(other.get(key(1))) == ["GET"]
    ledger.close()
    other.close()
    again = ObjectLedger(bucket.location)
    assert requests(again.get(key(1))) == [], "a segment so small came with its footer"
    assert requests(again.get(key(2))) == ["GET"]
    again.close()


def test_a_tenth_of_all_requests_may_fail(bucket: Bucket) -> None:
    rng = random.Random(7)
    bucket.proxy.fault = lambda seen: rng.choice([500, 503, 429, "reset", "unheard"]) if rng.random() < 0.1 else None

    async def paid(ledger: ObjectLedger, n: int) -> None:
        assert await ledger.get(key(n)) is None
        assert await ledger.claim(key(n)) is Claim.OURS
        await ledger.put(key(n), entry(n))

    async def everything(ledger: ObjectLedger, numbers: range) -> None:
        await asyncio.gather(*[paid(ledger, n) for n in numbers])

    for numbers in (range(10), range(10, 20)):
        ledger = ObjectLedger(bucket.location)
        asyncio.run(everything(ledger, numbers))
        ledger.close()
    compact(bucket.location)
    books = open_books(bucket.location)
    assert books.prune(Choice(model="m1")).count == 10
    assert books.stats().answers == 10
    books.close()
    bucket.proxy.fault = lambda seen: None
    ledger = ObjectLedger(bucket.location)
    assert holds(ledger, set(range(0, 20, 2)), 20)
    ledger.close()


def test_a_store_that_goes_away_stops_the_run_with_exit_3(
    fakes: Any,
    s3: Bucket,
    monkeypatch: Any,
    caplog: Any,
) -> None:
    monkeypatch.setattr("storage.objects.LONGEST_PAUSE", 0.01)
    spec = EngineSpec(models=fakes.models(writer={}), roles=("writer",), ledger=s3.location)

    async def recipe(item: Any, models: Models) -> str:
        return (await models.ask("writer", fakes.prompt(item.id))).text

    with Engine(spec, make=lambda config, where, world: fakes.Provider()) as engine, engine.window(recipe) as window:
        s3.proxy.fault = lambda seen: 503
        window.put(fakes.Item("1"))
        (finished,) = window.drain()
        assert finished.stopped is not None and engine.stopped is not None
        assert engine.stopped.exit_code == 3
        assert s3.location in engine.stopped.line and "503" in engine.stopped.line and "\n" not in engine.stopped.line
    assert "the next compaction takes in what this run left" in caplog.text


@pytest.mark.parametrize(("status", "said"), [(403, "no permission"), (503, "tried 4 times")])
def test_a_bucket_that_cannot_be_used_is_one_line(bucket: Bucket, status: int, said: str) -> None:
    bucket.proxy.fault = lambda seen: status
    with pytest.raises(InputError, match=rf"^ledger: {bucket.location}.*{said}[^\n]*$"):
        open_ledger(bucket.location)


def test_an_address_that_refuses_connections_is_one_line(bucket: Bucket, monkeypatch: Any) -> None:
    nobody = "http://127.0.0.1:9"
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", nobody)
    with pytest.raises(InputError, match=rf"^ledger: {bucket.location}.*127.0.0.1:9.*tried 4 times[^\n]*$"):
        open_ledger(bucket.location)


def test_a_bucket_that_is_not_there_is_one_line(bucket: Bucket) -> None:
    scheme = bucket.location.partition("://")[0]
    with pytest.raises(InputError, match=r"^ledger: .*there is no bucket no-such-bucket[^\n]*$"):
        open_ledger(f"{scheme}://no-such-bucket/ledger")


def test_a_store_without_conditions_is_used_with_a_warning(gs: Bucket, caplog: Any) -> None:
    gs.proxy.generations = False
    try:
        with caplog.at_level(logging.WARNING):
            one, two = ObjectLedger(gs.location), ObjectLedger(gs.location)
        assert "without conditions" in caplog.text
        assert asyncio.run(one.claim(key(1))) is Claim.OURS
        assert asyncio.run(two.claim(key(1))) is Claim.HELD
        put(one, 1)
        assert asyncio.run(two.claim(key(1))) is Claim.ANSWERED
        for ledger in (one, two):
            ledger.close()
        compact(gs.location)
        after = ObjectLedger(gs.location)
        assert holds(after, {1}, 3)
        after.close()
    finally:
        gs.proxy.generations = True


def test_a_damaged_segment_is_named(memory: str) -> None:
    ledger = ObjectLedger(memory)
    put(ledger, *range(5))
    ledger.close()
    (name,) = [name for name in paths.list_files(memory) if name.endswith(".seg")]
    uri = paths.join(memory, name)
    whole = paths.read_bytes(uri)
    paths.write_atomic(uri, whole[:-20])
    with pytest.raises(InputError, match=rf"{name} is damaged; delete it"):
        ObjectLedger(memory)
    paths.write_atomic(uri, b"\0" * 100 + whole[100:])
    ledger = ObjectLedger(memory)
    with pytest.raises(LedgerError, match=rf"{name} is damaged"):
        asyncio.run(ledger.get(key(1)))
    ledger.close()


def test_a_large_segment_is_read_by_ranges_and_then_fetched_whole(s3: Bucket) -> None:
    rng = random.Random(1)
    rows = {
        hashlib.sha256(f"{i}".encode()).digest(): packed(Entry(model="m", text=rng.randbytes(1000).hex()), float(i))
        for i in range(2000)
    }
    data = segment_of(rows)
    store = open_objects(s3.location)
    store.wait(store.write(f"{segments.FOLDER}one.seg", data))
    s3.proxy.seen.clear()
    segment = store.wait(read_segment(store, "one.seg", len(data), 0.0))
    assert segment is not None and len(s3.proxy.seen) == 1 and len(data) > 1_500_000

    async def all_of_them() -> list[bytes | None]:
        return [await segment.find(key) for key in rows]

    assert store.wait(all_of_them()) == list(rows.values())
    assert 3 < len(s3.proxy.seen) < 40
    assert list(segment.records()) == sorted(rows.items())
    segment.close()
    store.wait(store.close())


@given(st.dictionaries(st.binary(min_size=32, max_size=32), st.text(max_size=200), max_size=60), st.integers(40, 4000))
def test_a_segment_gives_back_every_answer_and_no_other(rows: dict[bytes, str], block: int) -> None:
    store = open_objects(f"memory://segments-{next(_PLACES)}")
    before, segments.BLOCK = segments.BLOCK, block
    try:
        payloads = {
            k: packed(Entry(model="m", text=text.encode("utf-8", "replace").decode()), 1.0) for k, text in rows.items()
        }
        data = segment_of(payloads)
    finally:
        segments.BLOCK = before
    store.wait(store.write(f"{segments.FOLDER}one.seg", data))
    segment = store.wait(read_segment(store, "one.seg", len(data), 0.0))
    assert segment is not None and segment.count == len(rows)
    assert {k: store.wait(segment.find(k)) for k in payloads} == payloads
    others = [hashlib.sha256(bytes([i])).digest() for i in range(20)]
    assert [store.wait(segment.find(k)) for k in others if k not in rows] == [None] * len(
        [k for k in others if k not in rows]
    )
    assert list(segment.records()) == sorted(payloads.items())
    segment.close()


def test_keys_that_are_not_there_hardly_ever_cost_a_read() -> None:
    rows = {hashlib.sha256(f"{i}".encode()).digest(): packed(Entry(model="m"), 1.0) for i in range(5000)}
    store = open_objects(f"memory://segments-{next(_PLACES)}")
    data = segment_of(rows)
    store.wait(store.write(f"{segments.FOLDER}one.seg", data))
    segment = store.wait(read_segment(store, "one.seg", len(data), 0.0))
    assert segment is not None
    wrong = sum(segment.may_hold(hashlib.sha256(f"other {i}".encode()).digest()) for i in range(5000))
    assert wrong < 50, "some 0.3 % are expected"
    assert all(segment.may_hold(one) for one in rows)


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test left open, so that no heart goes on beating."""
    opened: list[ObjectLedger] = []
    init = ObjectLedger.__init__

    def remembered(self: ObjectLedger, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        opened.append(self)

    monkeypatch.setattr(ObjectLedger, "__init__", remembered)
    yield
    for ledger in opened:
        ledger.close()
