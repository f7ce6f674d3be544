"""Ledgers in buckets, what is put into them, and ways for their processes to die."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from annotators.ledger import Entry
from annotators.object_ledger import ObjectLedger
from storage import paths

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
