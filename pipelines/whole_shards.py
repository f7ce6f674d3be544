"""A run on a service, where a shuffle is a barrier: one element is one shard, from its plans to its commit.

`Reshuffle` and `GroupByKey` wait in batch for the last element of the step before them. A graph that had one between
asking and writing would commit no shard before the last call. Here the names of the shards are spread over the fleet,
and nothing else is shuffled: a worker plans a shard, asks for it, scores it, judges it and commits it, with the same
steps a local run has. Pixels are decoded and scored where they were painted, and a worker that dies costs its shards
under way, not their answers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms.combiners import Count

from pipelines import fleet, stop_mark
from pipelines.closing import closed
from pipelines.counters import Counts
from pipelines.datasets import steps_of
from pipelines.spec import RunSpec, ShardRange
from pipelines.transforms import Commit, Step, stopping
from schemas.base import Record
from schemas.errors import PlumblineError
from shards.commit import finished

log = logging.getLogger(__name__)


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
        with stopping(opened):
            if finished(self._spec.out, shard.name, self._spec.run_hash) is not None:
                yield str(shard.name)
                return
            outcomes: Iterable[Record] = opened.plans(shard)
            for dofn in self._steps:
                outcomes = _through(dofn, outcomes)
            yield from self._commit(shard, list(outcomes))
        if opened.engine.stopped is not None:
            stop_mark.put(self._spec.out, opened.engine.stopped)


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
