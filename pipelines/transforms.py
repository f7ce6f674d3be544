"""The steps that every dataset's graph is made of. Glue: what happens inside them is a session's.

Elements are records (`schemas`), never pixels; a step never raises for one bad element, and nothing that comes in
goes missing: a plan ends as a draft, as a rejection, or, where the run was stopped, it keeps its shard uncommitted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
from apache_beam.coders import Coder, typecoders
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from annotators import events
from annotators.errors import Stop, stop_of_store
from pipelines.counters import Counts, EngineCounts
from pipelines.numbers import note_committed
from pipelines.spec import RunSpec, Session, ShardRange, session
from schemas.base import Record
from schemas.draft import Draft, Rejection
from schemas.errors import InterruptedRun, PlumblineError, StoppedError
from schemas.labels import Labels, PairPlan, PromptPlan
from schemas.plan import Plan
from shards.names import ShardName
from shards.tables import Footer
from storage.objects import StoreError

log = logging.getLogger(__name__)

SCORED_AT_ONCE = 64
"""How many drafts are scored together, a whole batch of a GPU; `filters.score` holds the pixels of fewer."""

_RECORDS = {record.__name__: record for record in (Plan, PairPlan, PromptPlan, Draft, Labels, Rejection)}


class RecordCoder(Coder):
    """A record as its class name and its JSON: what a shuffle carries."""

    def encode(self, value: Record) -> bytes:
        return f"{type(value).__name__} {value.model_dump_json()}".encode()

    def decode(self, encoded: bytes) -> Record:
        name, _, body = encoded.partition(b" ")
        return _RECORDS[name.decode()].model_validate_json(body)

    def is_deterministic(self) -> bool:
        return True


typecoders.registry.register_coder(Record, RecordCoder)


class Plans(beam.PTransform):
    """Every plan of `shards`, split by split, in order."""

    def __init__(self, spec: RunSpec, shards: list[ShardRange]) -> None:
        super().__init__()
        self._spec, self._shards = spec, shards

    def expand(self, p: beam.Pipeline) -> PCollection:
        spec = self._spec
        return (
            p
            | "Shards" >> beam.Create(self._shards)
            | "Plans" >> beam.FlatMap(lambda shard: _plans(spec, shard)).with_output_types(Record)
        )


class Step(beam.PTransform):
    """A step from records to records.

    Attributes:
        dofn: what is done; `pipelines.whole_shards` runs it on one shard at a time.
    """

    dofn: beam.DoFn

    def expand(self, records: PCollection) -> PCollection:
        return records | beam.ParDo(self.dofn).with_output_types(Record)


class Annotate(Step):
    """Runs the session's recipe on each plan, as many at once as the models' limits allow, in any order."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__()
        self.dofn = _Annotate(spec)


class Judge(Step):
    """Asks models about each draft that the filters kept; rejections pass through."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__()
        self.dofn = _Judge(spec)


class _Asking(beam.DoFn):
    """Items through a recipe, in a window of the engine's; what a bundle began it ends."""

    step: str

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._count = Counts(self.step, "plans", "drafts", "rejections", "unasked")
        self._engine_counts = EngineCounts(self.step)

    def start_bundle(self) -> None:
        opened = session(self._spec)
        self._engine = opened.engine
        self._window = self._opened(opened)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        with self._window:
            for record in self._ended(self._window.drain()):
                yield WindowedValue(record, GlobalWindow().max_timestamp(), (GlobalWindow(),))
                self._engine_counts.look(self._engine)
        self._engine_counts.report(self._engine)

    def _opened(self, opened: Session) -> Any:
        raise NotImplementedError

    def _put(self, item: Record) -> Iterator[Record]:
        self._count("plans")
        yield from self._ended(self._window.put(item))
        self._engine_counts.look(self._engine)

    def _ended(self, finished: Iterable[Any]) -> Iterator[Record]:
        for one in finished:
            if one.result is not None:
                self._count("rejections" if isinstance(one.result, Rejection) else "drafts")
                yield one.result
            elif one.failure is not None:
                self._count("rejections")
                yield one.failure.rejection(one.item)
            else:
                self._count("unasked")


class _Annotate(_Asking):
    step = "annotate"

    def _opened(self, opened: Session) -> Any:
        return opened.engine.window(opened.recipe())

    def process(self, plan: Record) -> Iterator[Record]:
        yield from self._put(plan)


class _Judge(_Asking):
    step = "judge"

    def _opened(self, opened: Session) -> Any:
        return opened.engine.window(opened.judge(), again=True)

    def process(self, outcome: Record) -> Iterator[Record]:
        if isinstance(outcome, Rejection):
            yield outcome
        else:
            yield from self._put(outcome)


class Score(Step):
    """Decodes each draft's images once and applies the filters; rejections pass through."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__()
        self.dofn = _Score(spec)


class _Score(beam.DoFn):
    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._count = Counts("score", "drafts", "kept", "rejected")

    def start_bundle(self) -> None:
        self._drafts: list[Draft] = []

    def process(self, outcome: Record) -> Iterator[Record]:
        if isinstance(outcome, Rejection):
            yield outcome
            return
        assert isinstance(outcome, Draft)
        self._count("drafts")
        self._drafts.append(outcome)
        if len(self._drafts) >= SCORED_AT_ONCE:
            yield from self._scored()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for record in self._scored():
            yield WindowedValue(record, GlobalWindow().max_timestamp(), (GlobalWindow(),))

    def _scored(self) -> Iterator[Record]:
        drafts, self._drafts = self._drafts, []
        opened = session(self._spec)
        stop = opened.engine.stopped
        if not drafts or (stop is not None and stop.exit_code == InterruptedRun.exit_code):
            return  # after Ctrl-C nobody waits for scores; answers are kept, and the next attempt scores them
        outcomes: list[Any] = []
        with stopping(opened):
            outcomes = list(opened.score(drafts))
        for outcome in outcomes:
            if isinstance(outcome, Rejection):
                _tell_rejected(outcome)
            self._count("kept" if isinstance(outcome, Draft) else "rejected")
            yield outcome


class WriteShards(beam.PTransform):
    """Groups outcomes by shard and commits each shard whose every plan is accounted for; gives their names."""

    def __init__(self, spec: RunSpec, shards: list[ShardRange]) -> None:
        super().__init__()
        self._spec, self._shards = spec, shards

    def expand(self, outcomes: PCollection) -> PCollection:
        size = self._spec.config.output.shard_samples
        by_shard = outcomes | "Key by shard" >> beam.Map(lambda o: (_shard_key(o, size), o)).with_output_types(
            tuple[str, Record]
        )
        return (
            by_shard
            | "Group by shard" >> beam.GroupByKey()
            | "Commit" >> beam.ParDo(_Commit(self._spec, {_key(s.name): s for s in self._shards}))
        )


class Commit:
    """Writes a shard from the outcomes of its whole range; gives its name, or nothing where one is missing."""

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._count = Counts("shards", "committed", "incomplete")

    def __call__(self, shard: ShardRange, outcomes: Iterable[Record]) -> Iterator[str]:
        unique = {o.id: o for o in outcomes if isinstance(o, Draft | Labels | Rejection)}
        if len(unique) < shard.last - shard.first:
            self._count("incomplete")
            _tell_incomplete(shard, len(unique))
            return
        with stopping(session(self._spec)):
            footer = session(self._spec).commit(shard, list(unique.values()))
            note_committed(self._spec.key, footer.kept, footer.rejected)
            _tell_committed(footer)
            self._count("committed")
            yield str(shard.name)


class _Commit(beam.DoFn):
    def __init__(self, spec: RunSpec, shards: dict[str, ShardRange]) -> None:
        self._commit, self._shards = Commit(spec), shards

    def process(self, element: tuple[str, Iterable[Record]]) -> Iterator[str]:
        key, outcomes = element
        yield from self._commit(self._shards[key], outcomes)


def _plans(spec: RunSpec, shard: ShardRange) -> Iterator[Record]:
    opened = session(spec)
    with stopping(opened):
        yield from opened.plans(shard)


@contextmanager
def stopping(opened: Session) -> Iterator[None]:
    """A full disk, a bucket or an input ends the run in order, as a state of the engine: Beam makes tracebacks."""
    try:
        yield
    except StoreError as error:
        opened.engine.stop(stop_of_store(error))
    except PlumblineError as error:
        opened.engine.stop(Stop(error.exit_code, str(error)))
    except OSError as error:
        line = (
            f"{error.filename or opened.spec.out}: {error.strerror or error}; mend it and run the same command to go on"
        )
        opened.engine.stop(Stop(StoppedError.exit_code, line))


def _tell_rejected(rejection: Rejection) -> None:
    events.tell(
        log,
        logging.INFO,
        "rejected",
        "rejected: %s: %s: %s",
        rejection.stage,
        rejection.reason,
        rejection.detail,
        sample=rejection.id,
        ordinal=rejection.ordinal,
        split=rejection.split,
        stage=rejection.stage,
        reason=rejection.reason,
        detail=rejection.detail,
        usd=sum(cost.usd for cost in rejection.usage.values()),
    )


def _tell_committed(footer: Footer) -> None:
    counts = {"planned": footer.planned, "kept": footer.kept, "rejected": footer.rejected}
    said = (footer.name, footer.kept, footer.rejected)
    message = "%s is committed: %d kept, %d rejected"
    events.tell(log, logging.INFO, "shard_committed", message, *said, shard=str(footer.name), **counts)


def _tell_incomplete(shard: ShardRange, there: int) -> None:
    planned = shard.last - shard.first
    message = "%s is not committed: %d of its %d plans have no outcome; the same command makes it"
    said = (shard.name, planned - there, planned)
    fields = {"shard": str(shard.name), "planned": planned, "missing": planned - there}
    events.tell(log, logging.INFO, "shard_incomplete", message, *said, **fields)


def _shard_key(outcome: Record, shard_samples: int) -> str:
    assert isinstance(outcome, Draft | Labels | Rejection)
    return f"{outcome.split}-{outcome.ordinal // shard_samples:05d}"


def _key(name: ShardName) -> str:
    return f"{name.split}-{name.index:05d}"
