"""Who is at work on a ledger in a bucket: one record per opened ledger, rewritten every `HEARTBEAT` seconds.

The record's name carries the owner, the machine and the process (`runs/OWNER.PLACE.PID`), so one listing tells who
lives. An owner counts as dead when its process is gone (seen at once on the same machine), or when the store's own
clock says that its record is `DEAD_AFTER` seconds older than ours: no clock of any machine is compared with another.

Whoever leaves something lying that a compaction should take in leaves a note, `runs/OWNER-N.left`: the keys of objects
that a segment covers and that others, still at work, may look for; or that answers lie in no segment.

`take` is a claim on any object: the claim of a key, and the lease of a compaction. It names its owner and holds as
long as that owner lives.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from annotators.counts import Counts
from annotators.sqlite_writes import this_place
from storage.objects import Listed, Objects
from storage.temporaries import alive

FOLDER = "runs/"
HEARTBEAT = 10.0
DEAD_AFTER = 60.0
_LEFT = "left"
_LEASE = "lease"
_LISTED_FOR = 2.0  # seconds that a listing of owners is used again


@dataclass(frozen=True)
class Mark:
    """One record or note as its name tells it."""

    owner: str
    place: str
    pid: int
    modified: float
    name: str


@dataclass(frozen=True)
class Left:
    """What an owner left lying.

    Attributes:
        loose: answers that lie in no segment.
        keys: those whose objects a segment covers.
        unknown: the owner died: it may be more than it last said.
    """

    loose: Counts = field(default_factory=Counts)
    keys: frozenset[bytes] = frozenset()
    unknown: bool = False

    def __bool__(self) -> bool:
        return bool(self.loose.answers or self.keys or self.unknown)


@dataclass(frozen=True)
class Taken:
    """A claim that is ours; `fresh` is False where there had been one before it."""

    version: str
    fresh: bool


class Presence:
    """This opened ledger among the others. Coroutines belong to the stores' loop."""

    def __init__(self, store: Objects) -> None:
        self._store = store
        self.owner = uuid.uuid4().hex[:16]
        self._place = f"{zlib.crc32(this_place().encode()):08x}"
        self._name = f"{FOLDER}{self.owner}.{self._place}.{os.getpid()}"
        self._since = time.time()
        self._marks: dict[str, Mark] = {}
        self._listed = 0.0
        self._leasing = asyncio.Lock()
        self._notes = itertools.count()

    async def begin(self) -> bool:
        """Write the record; returns whether the store keeps conditions of writes."""
        await self._store.write(self._name, self._body(Counts()))
        return await self._store.probe_conditions(self._name, self._body(Counts()))

    async def beat(self, loose: Counts) -> None:
        """Say that this owner lives, and what it has kept that lies in no segment yet."""
        await self._store.write(self._name, self._body(loose), urgent=True)

    async def leave(self, left: Left) -> None:
        """End the record, with a note where something is left."""
        if left:
            await self.note(left)
        await self._store.delete([self._name])

    async def note(self, left: Left) -> None:
        """Leave word of what lies here."""
        body = orjson.dumps({"loose": left.loose.to_json(), "keys": [key.hex() for key in left.keys]})
        await self._store.write(f"{FOLDER}{self.owner}-{next(self._notes)}.{_LEFT}", body)

    def age(self, modified: float) -> float:
        """How long ago something was written, in seconds by the store's clock, as of the last listing."""
        mine = self._marks.get(self.owner)
        return mine.modified - modified if mine is not None else 0.0

    async def living(self) -> set[str]:
        """The other owners that live, by a fresh listing."""
        await self._list()
        return {mark.owner for mark in self._marks.values() if self._lives(mark)} - {self.owner}

    async def remains(self) -> dict[str, Left]:
        """What others left, by the names of their notes and of records of the dead; by a fresh listing."""
        await self._list()
        found: dict[str, Left] = {}
        for mark in list(self._marks.values()):
            if mark.owner == self.owner or self._lives(mark):
                continue
            note = await self._store.read(mark.name)
            given = orjson.loads(note.data) if note is not None else {}
            keys = frozenset(bytes.fromhex(key) for key in given.get("keys", ()))
            dead = mark.place != _LEFT
            found[mark.name] = Left(Counts.from_json(given.get("loose", {})), keys, dead)
        return found

    async def loose(self) -> Counts:
        """What other owners, living or dead, say lies in no segment; a few seconds old."""
        await self._list()
        total = Counts()
        for mark in self._marks.values():
            if mark.owner == self.owner:
                continue
            found = await self._store.read(mark.name)
            if found is not None:
                total.plus(Counts.from_json(orjson.loads(found.data).get("loose", {})))
        return total

    async def forget(self, names: Iterable[str]) -> None:
        """Delete notes and records of the dead."""
        await self._store.delete(names)

    async def take(self, name: str) -> Taken | None:
        """Claim the object `name`; None where someone living holds it."""
        body = orjson.dumps({"owner": self.owner, "at": time.time()})
        fresh = True
        while True:
            version = await self._store.create(name, body)
            if version is not None:
                return Taken(version, fresh)
            fresh = False
            held = await self._store.read(name)
            if held is None:
                continue
            owner = _owner_of(held.data)
            if owner == self.owner:
                return Taken(held.version, False)
            if await self.lives(owner):
                return None
            await self._store.delete_if(name, held.version)

    @asynccontextmanager
    async def lease(self, patience: float = 0.0) -> AsyncIterator[bool]:
        """The right to delete what lies in the ledger; gives whether it was got within `patience` seconds."""
        deadline = time.monotonic() + patience
        async with self._leasing:
            while (taken := await self.take(_LEASE)) is None and time.monotonic() < deadline:
                await asyncio.sleep(0.2)
            try:
                yield taken is not None
            finally:
                if taken is not None:
                    await self._store.delete_if(_LEASE, taken.version)

    async def lives(self, owner: str) -> bool:
        """Whether another owner is at work. One that no listing of the last moments names is looked up afresh."""
        known = self._marks.get(owner)
        if known is None or not 0 <= time.time() - self._listed < _LISTED_FOR:
            await self._list()
            known = self._marks.get(owner)
        return known is not None and self._lives(known)

    async def _list(self) -> None:
        begun = time.time()
        marks = [_mark(listed) for listed in await self._store.listing(FOLDER)]
        self._marks = {mark.owner: mark for mark in marks if mark is not None}
        self._listed = begun

    def _lives(self, mark: Mark) -> bool:
        mine = self._marks.get(self.owner)
        if mark.place == _LEFT:
            return False
        if mine is not None and mine.modified - mark.modified > DEAD_AFTER:
            return False
        if mine is None and self._store.now() - mark.modified > 10 * DEAD_AFTER:  # only read: no record to compare
            return False
        return mark.place != self._place or alive(mark.pid)

    def _body(self, loose: Counts) -> bytes:
        body: dict[str, Any] = {"owner": self.owner, "since": self._since, "beat": time.time()}
        return orjson.dumps({**body, "loose": loose.to_json()})


def _mark(listed: Listed) -> Mark | None:
    parts = listed.name[len(FOLDER) :].split(".")
    if len(parts) == 2 and parts[1] == _LEFT:
        return Mark(parts[0], _LEFT, 0, listed.modified, listed.name)
    if len(parts) == 3 and parts[2].isdecimal():
        return Mark(parts[0], parts[1], int(parts[2]), listed.modified, listed.name)
    return None


def _owner_of(claim: bytes) -> str:
    try:
        return str(orjson.loads(claim)["owner"])
    except (ValueError, KeyError, TypeError):
        return ""
