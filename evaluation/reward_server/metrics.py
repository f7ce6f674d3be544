"""The server's counts in Prometheus' text format."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """What was asked, refused and answered.

    Args:
        waiting: how many samples wait or are under way.
        spent: US dollars paid.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, waiting: Callable[[], float], spent: Callable[[], float]) -> None:
        own = self._registry = CollectorRegistry()
        self._refused = Counter(
            "plumbline_reward_refused", "Requests refused, by HTTP status.", ["status"], registry=own
        )
        self._samples = Counter("plumbline_reward_samples", "Samples answered; null: masked.", ["reward"], registry=own)
        self._seconds = Histogram("plumbline_reward_seconds", "Of a request.", buckets=_SECONDS, registry=own)
        Gauge("plumbline_reward_waiting", "Samples waiting or under way.", registry=own).set_function(waiting)
        Gauge("plumbline_reward_usd", "US dollars paid since the start.", registry=own).set_function(spent)

    def refused(self, status: int) -> None:
        """Count a refused request."""
        self._refused.labels(str(status)).inc()

    def answered(self, seconds: float, rewards: Sequence[float]) -> None:
        """Count an answered request."""
        self._seconds.observe(seconds)
        nulls = sum(map(math.isnan, rewards))
        self._samples.labels("null").inc(nulls)
        self._samples.labels("given").inc(len(rewards) - nulls)

    def text(self) -> bytes:
        """All of them, now."""
        return generate_latest(self._registry)
