"""The formulas behind docs/scale.md: pure functions of numbers. Rates are per second unless a name says otherwise."""

from __future__ import annotations

import math

HOUR, DAY, MONTH = 3600.0, 86_400.0, 30 * 86_400.0
GIB = float(1 << 30)


def rate(count: float, days: float) -> float:
    """Per second, to be through with `count` in `days`."""
    return count / (days * DAY)


def in_flight(calls_per_second: float, seconds: float) -> float:
    """Little's law, L = lambda W: calls at a provider at a time when each takes `seconds`."""
    return calls_per_second * seconds


def processes(calls_per_second: float, flying: float, calls_of_one: float, flying_of_one: float) -> int:
    """The fewest that neither calls per second nor calls in flight are too many for."""
    return max(1, math.ceil(calls_per_second / calls_of_one), math.ceil(flying / flying_of_one))


def cores(milliseconds: float, per_second: float, busy: float) -> float:
    """Cores that so many CPU milliseconds, so often a second, keep busy to that share."""
    return milliseconds / 1000 * per_second / busy


def gpu_hours(images: float, images_per_second: float) -> float:
    """Hours of one GPU that embeds so many images a second."""
    return images / images_per_second / HOUR


def sample_bytes(references: float, reference: float, target: float, text: float) -> float:
    """A sample in its shard: its references, its target (0: none), its JSON; each with a header of 512, and padded."""
    members = references + 1 + (target > 0)
    return references * reference + target + text + members * (512 + 256)


def shards(plans: float, of: float) -> int:
    """How many shards hold so many plans."""
    return math.ceil(plans / of)


def list_pages(objects: float, page: float) -> int:
    """Requests that list so many objects."""
    return math.ceil(objects / page)


def one_after_another(requests: float, seconds: float, at_once: float = 1) -> float:
    """Seconds that so many requests take, `at_once` at a time."""
    return requests * seconds / at_once


def dollars(writes: float, reads: float, write_price: float, read_price: float) -> float:
    """What requests cost; prices per million."""
    return (writes * write_price + reads * read_price) / 1e6
