"""The ledger in a bucket where it is special: who is alive, what the dead left, what is listed, segments."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.books import Choice, open_books
from annotators.bucket import presence, segments
from annotators.bucket.compaction import segment_of
from annotators.bucket.records import packed
from annotators.bucket.segments import read_segment
from annotators.ledger import Claim, Entry, LedgerError, compact
from annotators.object_ledger import ObjectLedger
from schemas.errors import InputError
from storage import paths
from storage.objects import open_objects
from tests.annotators.object_ledgers import (
    _PLACES,
    _closed,
    dead_pid,
    die,
    key,
    memory,
    put,
)
from tests.servers.buckets import Bucket

__all__ = ["_closed", "dead_pid", "memory"]


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
