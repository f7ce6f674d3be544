"""The ledger in a bucket: compactions, which may die anywhere and meet others at work, lose and double nothing."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest

from annotators.books import Choice, open_books
from annotators.bucket.loose import Pace
from annotators.ledger import Claim, compact
from annotators.object_ledger import ObjectLedger
from storage import paths
from tests.annotators.object_ledgers import (
    Crash,
    _closed,
    crash_after,
    dead_pid,
    die,
    holds,
    key,
    memory,
    put,
)
from tests.servers.buckets import Bucket

__all__ = ["_closed", "dead_pid", "memory"]


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

    held = threading.Event()

    async def hold(seconds: float) -> None:
        async with one.presence.lease() as ours:
            assert ours
            held.set()
            await asyncio.sleep(seconds)

    holding = one.store.start(hold(1.5))
    assert held.wait(30)
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
