"""The ledger in a bucket: what it asks of a store, and stores that fail, refuse or know no conditions."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pytest

from annotators.books import Choice, open_books
from annotators.engine import Engine, EngineSpec
from annotators.interface import Models
from annotators.ledger import Claim, compact, open_ledger
from annotators.object_ledger import ObjectLedger
from schemas.errors import InputError
from tests.annotators.object_ledgers import (
    _closed,
    entry,
    holds,
    key,
    put,
)
from tests.servers.buckets import Bucket

__all__ = ["_closed"]


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
