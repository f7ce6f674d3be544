"""A run on a service, where a shuffle is a barrier: one element is one shard, from its plans to its commit.

`Reshuffle` and `GroupByKey` wait in batch for the last element of the step before them. A graph that had one between
asking and writing would commit no shard before the last call. Here the names of the shards are spread over the fleet,
and nothing else is shuffled: a worker plans a shard, asks for it, scores it, judges it and commits it, with the same
steps a local run has. Pixels are decoded and scored where they were painted, and a worker that dies costs its shards
under way, not their answers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms.combiners import Count

from annotators.errors import Stop
from pipelines import fleet, stop_mark
from pipelines.closing import closed
from pipelines.counters import Counts
from pipelines.datasets import steps_of
from pipelines.spec import RunSpec, Session, ShardRange
from pipelines.transforms import Commit, Step, stopping
from schemas.base import Record
from schemas.errors import PlumblineError
from shards.commit import finished

log = logging.getLogger(__name__)

_TURN = threading.Lock()


def graph(p: beam.Pipeline, spec: RunSpec, shards: Sequence[ShardRange]) -> PCollection[str]:
    """The graph of any dataset; gives the name of each committed shard."""
    names = (
        p
        | "Shards" >> beam.Create(list(shards), reshuffle=False)
        | "Spread shards" >> beam.Reshuffle()
        | "Make shards" >> beam.ParDo(MakeShard(spec, steps_of(spec))).with_output_types(str)
    )
    _ = names | "Count shards" >> Count.Globally() | "Close" >> beam.ParDo(_Close(spec))
    return names


class MakeShard(beam.DoFn):
    """A shard through every step of its dataset's figure, as a bundle of its own.

    A shard that is finished is not made again, so a bundle that the service repeats costs nothing. What stops the run
    is a state of the process's engine and an object in the output, never an exception.
    """

    def __init__(self, spec: RunSpec, steps: Sequence[Step]) -> None:
        self._spec = spec
        self._steps = [step.dofn for step in steps]
        self._commit = Commit(spec)
        self._count = Counts("shards", "unmade")

    def process(self, shard: ShardRange) -> Iterator[str]:
        opened = fleet.opened(self._spec)
        if opened is None:
            self._count("unmade")
            return
        made: list[str] = []
        with stopping(opened):
            there = finished(self._spec.out, shard.name, self._spec.run_hash) is not None
            made = [str(shard.name)] if there else list(self._commit(shard, self._outcomes(opened, shard)))
        yield from made
        if not made and (stop := _stop_of(opened)) is not None:
            stop_mark.put(self._spec, stop)

    def _outcomes(self, opened: Session, shard: ShardRange) -> list[Record]:
        asking, *later = self._steps
        outcomes = _asked_in_turn(asking, opened.plans(shard))
        for dofn in later:
            outcomes = _through(dofn, outcomes)
        return list(outcomes)


def _stop_of(opened: Session) -> Stop | None:
    """Why a shard is not whole. The engine stops on a thread of its own, which may be a moment behind."""
    until = time.monotonic() + 2.0
    while opened.engine.stopped is None and time.monotonic() < until:
        time.sleep(0.02)
    return opened.engine.stopped


def _asked_in_turn(dofn: beam.DoFn, plans: Iterable[Record]) -> Iterator[Record]:
    """What asking makes of a shard's plans.

    One shard of a process is begun at a time: the engine asks for the oldest plan first, so the first shard is done
    first, and not all of them together at the end.
    """
    dofn.start_bundle()
    with _TURN:
        early = [record for plan in plans for record in dofn.process(plan)]
    yield from early
    for value in dofn.finish_bundle() or ():
        yield value.value


def _through(dofn: beam.DoFn, records: Iterable[Record]) -> Iterator[Record]:
    """What a step makes of a bundle."""
    dofn.start_bundle()
    for record in records:
        yield from dofn.process(record)
    for value in dofn.finish_bundle() or ():
        yield value.value


class _Close(beam.DoFn):
    """Writes the manifest once every shard is there, so that nobody need wait for the job.

    Where shards are missing the launcher says which; a slice is closed by `plumbline merge`.
    """

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec

    def process(self, committed: int) -> None:
        spec = self._spec
        if spec.slice.of > 1:
            return
        try:
            closed(spec.config, spec.out, spec.run_hash, changed=True)
        except (PlumblineError, OSError) as error:
            log.warning("%d shards committed, no manifest: %s", committed, error)
