"""Looking after a ledger in a bucket. What is counted and removed lies in segments; nothing is listed by key.

Removing first takes in what the dead left, if anyone did: that one step lists what lies outside segments. What
living processes have kept in the last minutes is left to them.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from operator import itemgetter

from annotators.books import YOUNG, Choice, Removed
from annotators.bucket.compaction import ANSWERS, answer_name
from annotators.bucket.keys import PATIENCE
from annotators.bucket.records import unpacked
from annotators.bucket.segments import Gone, Segment
from annotators.ledger import LedgerError, LedgerStats, Row
from annotators.object_ledger import ObjectLedger

BLOBS = "blobs/"
_BLOB = re.compile(r"blobs/[0-9a-f]{2}/(?P<sha256>[0-9a-f]{64})\.\w+")
_AT_ONCE = 64


class BucketBooks:
    """See `annotators.books.Books`.

    Raises:
        InputError: no ledger there, or it cannot be reached.
    """

    def __init__(self, location: str) -> None:
        self._ledger = ObjectLedger(location, create=False)
        self.location, self.blobs = self._ledger.location, self._ledger.blobs

    def stats(self) -> LedgerStats:
        return self._ledger.stats()

    def rows(self) -> Iterator[Row]:
        yield from self._rows_of_segments()
        yield from self._loose_rows()

    def prune(self, choice: Choice, *, dry_run: bool = False) -> Removed:
        if dry_run:
            return self._dry_run(choice)
        return self._ledger.wait(self._ledger.joined(self._prune(choice)))

    def prune_blobs(self, *, dry_run: bool = False) -> Removed:
        ledger = self._ledger
        if not dry_run:
            ledger.wait(ledger.joined(self._take_in()))
        begun = ledger.store.now()  # ages are told by the store's clock: this machine's may be days ahead
        named = {row.entry.blob for row in self._rows_of_segments()}
        if dry_run and any(
            left.unknown or left.loose.answers for left in ledger.wait(ledger.presence.remains()).values()
        ):
            named |= {row.entry.blob for row in self._loose_rows()}
        orphans = []
        for listed in ledger.wait(ledger.store.listing(BLOBS)):
            match = _BLOB.fullmatch(listed.name)
            if match is not None and match["sha256"] not in named and begun - listed.modified > YOUNG:
                orphans.append(listed)
        if not dry_run:
            ledger.wait(ledger.store.delete([listed.name for listed in orphans]))
        return Removed(len(orphans), sum(listed.size for listed in orphans))

    def close(self) -> None:
        self._ledger.close()

    async def _prune(self, choice: Choice) -> Removed:
        ledger = self._ledger
        count = freed = 0
        async with ledger.presence.lease(PATIENCE) as ours:
            self._check(ours)
            await ledger.compactor.prepare()
            for segment in ledger.shelf.living:
                if _may_take(choice, segment):
                    done = await ledger.compactor.rewrite([segment], lambda e, created: not choice.takes(e, created))
                    count, freed = count + done.dropped.answers, freed + done.freed
        return Removed(count, freed)

    async def _take_in(self) -> None:
        async with self._ledger.presence.lease(PATIENCE) as ours:
            self._check(ours)
            await self._ledger.compactor.prepare()

    def _check(self, ours: bool) -> None:
        if not ours:
            raise LedgerError(f"ledger: {self.location}: another process compacts; try again when it is done")

    def _dry_run(self, choice: Choice) -> Removed:
        self._ledger.wait(self._ledger.shelf.refresh())
        count, freed = 0, 0.0
        for segment in self._ledger.shelf.living:
            if not _may_take(choice, segment):
                continue
            of = sum(group[-1] for group in segment.counts.groups.values())
            for _, payload in segment.records():
                if choice.takes(*unpacked(payload)):
                    count, freed = count + 1, freed + len(payload) / max(1.0, of) * segment.size
        return Removed(count, int(freed))

    def _rows_of_segments(self) -> Iterator[Row]:
        ledger, last = self._ledger, b""
        ledger.wait(ledger.shelf.refresh())
        while True:
            try:
                for key, payload in heapq.merge(*[s.records() for s in ledger.shelf.living], key=itemgetter(0)):
                    if key > last:
                        last = key
                        yield Row(key.hex(), *unpacked(payload))
                return
            except Gone:  # another process compacts: its segments hold the same, and we go on after the last key
                ledger.wait(ledger.shelf.refresh())

    def _loose_rows(self) -> Iterator[Row]:
        """Answers that lie key by key and in no segment."""
        ledger = self._ledger
        names = [listed.name for listed in ledger.wait(ledger.store.listing(ANSWERS))]
        for i in range(0, len(names), _AT_ONCE):
            keys = [bytes.fromhex(name.rpartition("/")[2]) for name in names[i : i + _AT_ONCE]]
            covered = ledger.wait(ledger.shelf.covered(keys))
            reads = [(key, ledger.store.start(ledger.store.read(answer_name(key.hex())))) for key in keys]
            for key, read in reads:
                found = read.result()
                if key not in covered and found is not None:
                    yield Row(key.hex(), *unpacked(found.data))


def _may_take(choice: Choice, segment: Segment) -> bool:
    counts = segment.counts
    if choice.before is not None and counts.oldest >= choice.before:
        return False
    groups = [sums for (model, _), sums in counts.groups.items() if choice.model in (None, model)]
    return any(sums[2] if choice.refusals else sums[0] for sums in groups)
