"""What a local run tells of its waves: which shards are under way together, and how long that took."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from annotators import events
from pipelines.spec import ShardRange

log = logging.getLogger(__name__)
_NUMBERS = itertools.count(1)


@contextmanager
def told(wave: Sequence[ShardRange]) -> Iterator[None]:
    """Tell that the wave begins, and that it has ended, whichever way; one that is begun and never ends is stuck."""
    number, began = next(_NUMBERS), time.monotonic()
    plans = sum(shard.last - shard.first for shard in wave)
    names = [str(shard.name) for shard in wave]
    fields = {"wave": number, "shards": len(wave), "first": names[0], "last": names[-1], "plans": plans}
    events.tell(
        log,
        logging.INFO,
        "wave_begun",
        "wave %d: %d shards from %s, %d plans",
        number,
        len(wave),
        names[0],
        plans,
        **fields,
    )
    try:
        yield
    finally:
        seconds = time.monotonic() - began
        events.tell(log, logging.INFO, "wave_ended", "wave %d took %.1f s", number, seconds, **fields, seconds=seconds)
