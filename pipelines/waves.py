"""Waves: a local run makes its shards a few at a time, because a local runner holds a whole stage in memory.

The first wave is one shard, so that results appear at once and the pace is known; later ones hold about two minutes
of work. Two are under way at a time, so that calls go on while the other wave scores and writes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")

WAVE_SECONDS = 120.0
WAVE_ITEMS = 20_000
UNDER_WAY = 2


class Waves(Generic[T]):
    """Deals shards out in waves sized by the pace so far.

    Args:
        shards: what is to be made, in order.
        items: how many plans a shard holds, which bounds a wave's memory.
    """

    def __init__(self, shards: Sequence[T], items: int) -> None:
        self._left = deque(shards)
        self._most = max(1, WAVE_ITEMS // max(1, items))
        self._lock = threading.Lock()
        self._seconds_per_shard: float | None = None

    def take(self) -> list[T]:
        """The next wave; empty when nothing is left."""
        with self._lock:
            pace = self._seconds_per_shard
            size = 1 if pace is None else round(WAVE_SECONDS / max(pace, 1e-3))
            size = max(1, min(size, self._most, -(-len(self._left) // UNDER_WAY)))
            return [self._left.popleft() for _ in range(min(size, len(self._left)))]

    def took(self, shards: int, seconds: float) -> None:
        """Tell how long a wave took, so that the next has the right size."""
        with self._lock:
            self._seconds_per_shard = seconds / max(1, shards)


def run(waves: Waves[T], make: Callable[[list[T]], None], stopped: Callable[[], bool]) -> None:
    """Make every shard, two waves at a time, until done or stopped.

    Args:
        make: makes one wave; called in threads.
        stopped: asked before each wave.

    Raises:
        Whatever `make` raised first, after the other wave has ended.
    """

    def one() -> bool:
        wave = waves.take() if not stopped() else []
        if wave:
            began = time.monotonic()
            make(wave)
            waves.took(len(wave), time.monotonic() - began)
        return bool(wave)

    failed = threading.Event()

    def in_turn() -> None:
        try:
            while not failed.is_set() and one():
                pass
        except BaseException:
            failed.set()
            raise

    if not one():
        return
    with ThreadPoolExecutor(max_workers=UNDER_WAY, thread_name_prefix="wave") as pool:
        for lane in [pool.submit(in_turn) for _ in range(UNDER_WAY)]:
            lane.result()
