"""The SQL of the local ledger: its tables, and what the writer thread does, each inside a transaction."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Callable
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from annotators.counts import Counts
from annotators.ledger import Claim, Entry, LedgerStats
from storage.temporaries import alive

VERSION = 1
DEAD_AFTER = 60.0
_COLUMNS = [f.name for f in fields(Entry)]
_VALUES = attrgetter(*_COLUMNS)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, {", ".join(_COLUMNS)}, created INTEGER);
CREATE TABLE IF NOT EXISTS claims (key BLOB PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owners (owner TEXT PRIMARY KEY, place TEXT, pid INTEGER, beat REAL) WITHOUT ROWID;
"""
GET = f"SELECT {', '.join(_COLUMNS)} FROM answers WHERE key = ?"
SIZE = f"32 + {' + '.join(f'length(CAST({name} AS BLOB))' for name in _COLUMNS)}"
SUMS = """
SELECT model, role, COUNT(*), SUM(blob != ''), SUM(refusal != ''), SUM(tokens_in), SUM(tokens_out), SUM(usd),
    SUM(blob_bytes), 0, MIN(created), MAX(created)
FROM answers GROUP BY model, role ORDER BY model, role
"""
PAGE = f"SELECT key, {', '.join(_COLUMNS)}, created FROM answers WHERE key > ? ORDER BY key LIMIT ?"
PUT = f"INSERT OR IGNORE INTO answers VALUES ({', '.join('?' * (len(_COLUMNS) + 2))})"


def this_place() -> str:
    """The machine, and within it the space its pids are counted in (two containers may both have a pid 7)."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{platform.node()} {space}".strip()


def stats(read: Callable[[str], list[Any]]) -> LedgerStats:
    """What the tables hold; `read` runs a query."""
    counts = Counts()
    for model, role, *sums, oldest, newest in read(SUMS):
        counts.include((model, role), sums, oldest or 0, newest or 0)
    (pages,), (page,) = read("PRAGMA page_count")[0], read("PRAGMA page_size")[0]
    return replace(counts.stats(), size=pages * page)


class Put:
    """Keep an answer and end the claim on it; an answer that is there already stays."""

    def __init__(self, key: str, entry: Entry) -> None:
        self.key, self.entry = bytes.fromhex(key), entry

    def __call__(self, db: sqlite3.Connection) -> None:
        db.execute(PUT, (self.key, *_VALUES(self.entry), int(time.time())))
        db.execute("DELETE FROM claims WHERE key = ?", (self.key,))


class Claiming:
    """Take a key to ask it, unless it is answered or someone living holds it."""

    def __init__(self, key: str, owner: str) -> None:
        self.key, self.owner = bytes.fromhex(key), owner

    def __call__(self, db: sqlite3.Connection) -> Claim:
        if db.execute("SELECT 1 FROM answers WHERE key = ?", (self.key,)).fetchone():
            return Claim.ANSWERED
        if db.execute("INSERT OR IGNORE INTO claims VALUES (?, ?)", (self.key, self.owner)).rowcount:
            return Claim.OURS
        holder = db.execute(
            "SELECT c.owner, o.place, o.pid, o.beat FROM claims c LEFT JOIN owners o USING (owner) WHERE key = ?",
            (self.key,),
        ).fetchone()
        if holder[0] != self.owner and lives(*holder[1:]):
            return Claim.HELD
        db.execute("UPDATE claims SET owner = ? WHERE key = ?", (self.owner, self.key))
        return Claim.OURS


class Release:
    """End this owner's claim on a key."""

    def __init__(self, key: str, owner: str) -> None:
        self.key, self.owner = bytes.fromhex(key), owner

    def __call__(self, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (self.key, self.owner))


class Forget:
    """Drop answers; gives how many there were."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = [(bytes.fromhex(key),) for key in keys]

    def __call__(self, db: sqlite3.Connection) -> int:
        return db.executemany("DELETE FROM answers WHERE key = ?", self.keys).rowcount


class Beat:
    """Say that this owner lives."""

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def __call__(self, db: sqlite3.Connection) -> None:
        me = (self.owner, this_place(), os.getpid(), time.time())
        db.execute("INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?)", me)


class Leave:
    """End this owner and all its claims."""

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def __call__(self, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM claims WHERE owner = ?", (self.owner,))
        db.execute("DELETE FROM owners WHERE owner = ?", (self.owner,))


def lives(place: str | None, pid: int | None, beat: float | None) -> bool:
    """Whether an owner of that record is at work."""
    if place is None or pid is None or beat is None or time.time() - beat > DEAD_AFTER:
        return False
    if place != this_place():
        return True
    return alive(pid)
