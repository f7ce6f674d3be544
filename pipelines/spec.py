"""What travels to a worker: the configuration and where the output lies. No secret, no open file, no pixels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from annotators.budget import Allowance
from pipelines.config import RunConfig
from pipelines.shares import Share
from pools.splits import planned_per_split as planned_per_split
from schemas.version import VERSION
from shards.names import ShardName

if TYPE_CHECKING:
    from annotators.engine import Engine
    from pipelines.work import AnyPlan, Outcome
    from shards.tables import Footer


@dataclass(frozen=True)
class ShardRange:
    """A shard and the ordinals of its split's plan that it covers: [first, last)."""

    name: ShardName
    first: int
    last: int


@dataclass(frozen=True)
class RunSpec:
    """One run: what to make, where, under which hash, and this process's share of it.

    Attributes:
        input: the resolved index of the pool, the pairs or the prompts; the configuration has what the user wrote.
        run_hash: the hash of run.json, which every shard's footer repeats.
        filters: the digest of the filters' settings and weights, so that no worker scores with others.
        slice: the slice of the dataset that `share` is a part of, whose budget it spends.
        allowance: what this process may still pay of it; None: the whole budget.
        fleet: on a service, how many processes share each limit of the slice (`pipelines.fleet`); 0 elsewhere.
        attempt: on a service, the name of this one attempt.
        version: the program's that began the run; a worker's image may have another.
    """

    config: RunConfig
    out: str
    input: str
    run_hash: str
    filters: str = ""
    share: Share = field(default_factory=Share)
    slice: Share = field(default_factory=Share)
    allowance: Allowance | None = None
    fleet: int = 0
    attempt: str = ""
    version: str = VERSION

    @property
    def key(self) -> str:
        """What a process keeps its session under."""
        return f"{self.run_hash} {self.out} {self.share} {self.attempt}"


class Session(Protocol):
    """What one process holds open for a run: models, input, filters. One per process, shared by its threads."""

    spec: RunSpec
    engine: Engine

    def plans(self, shard: ShardRange) -> Iterator[AnyPlan]: ...

    def recipe(self) -> Callable[..., Any]: ...

    def score(self, drafts: Sequence[Any]) -> Sequence[Outcome]:
        """Asked only by a graph that has the step `Score`."""
        ...

    def judge(self) -> Callable[..., Any]:
        """Asked only by a graph that has the step `Judge`."""
        ...

    def commit(self, shard: ShardRange, outcomes: Sequence[Any]) -> Footer: ...

    def close(self) -> None: ...


_SESSIONS: dict[str, Session] = {}
_OPENING = threading.Lock()


def session(spec: RunSpec) -> Session:
    """The session of `spec` in this process, opened on first use."""
    with _OPENING:
        found = _SESSIONS.get(spec.key)
        if found is None:
            from pipelines.datasets import open_session

            found = _SESSIONS[spec.key] = open_session(spec)
        return found


def close_session(spec: RunSpec) -> None:
    """Close what `session` opened; nothing happens where it did not."""
    with _OPENING:
        found = _SESSIONS.pop(spec.key, None)
    if found is not None:
        found.close()


def ranges(planned_by_split: Mapping[str, int], shard_samples: int) -> list[ShardRange]:
    """Every shard of a run, split by split; shard i covers the plans [i * shard_samples, (i + 1) * shard_samples)."""
    shards = []
    for split, planned in planned_by_split.items():
        of = -(-planned // shard_samples)
        for i in range(of):
            first = i * shard_samples
            shards.append(ShardRange(ShardName(split, i, of), first, min(planned, first + shard_samples)))
    return shards
