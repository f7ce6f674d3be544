"""A judge at work on a benchmark: its questions go through the engine, and nothing that fails becomes a number.

Answers lie in the ledger, so that a rerun asks only what is missing: an interrupted judging has written no file, and
the same command goes on. What a benchmark adds is a recipe from a sample to its verdicts, and its records' form.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import orjson

from annotators.budget import allowance
from annotators.engine import INTERRUPTED, Engine, EngineSpec
from annotators.errors import Failure, Stop
from annotators.interface import Answer, Models
from annotators.progress import Progress
from annotators.spending import spent
from evaluation.judge_config import JudgeConfig
from evaluation.records import LEFT_OUT, UNPARSED
from evaluation.tables import Report
from schemas.errors import InputError, error_of
from schemas.usage import Usage
from storage import paths


class Sample(Protocol):
    """What is judged. `id` is for messages; `seed` chooses among the models of a mix."""

    @property
    def id(self) -> str: ...

    @property
    def seed(self) -> int: ...


S = TypeVar("S", bound=Sample)
T = TypeVar("T")


@dataclass(frozen=True)
class Verdict:
    """What came of one question about a sample.

    Attributes:
        score: a number or a list of them, as the benchmark's records hold it; None where it failed.
        reasoning: the judge's; of a failure the sentence behind it.
        failure: one word for counting: `missing`, `unreadable`, `schema`, `grammar`, `safety`, ...; else empty.
    """

    score: Any = None
    reasoning: str = ""
    failure: str = ""

    @property
    def reason(self) -> str:
        """The reasoning, or why there is none."""
        return f"failed: {self.failure}: {self.reasoning}" if self.failure else self.reasoning


Verdicts = Mapping[str, Verdict]
"""A sample's, by what was scored (`execution`, `PF`, ...)."""
Recipe = Callable[[S, Models], Awaitable[Verdicts]]


async def verdict(asked: Awaitable[Answer[T]], read: Callable[[T], tuple[Any, str]]) -> Verdict:
    """The verdict in an answer; a question that ends without a usable one is a failed verdict.

    Args:
        read: (score, reasoning) of a parsed answer.
    """
    try:
        answer = await asked
    except Failure as failure:
        return failed(failure)
    score, reasoning = read(answer.parsed)
    return Verdict(score, reasoning)


def failed(failure: Failure) -> Verdict:
    """The verdict of a question that failed."""
    return Verdict(failure=failure.reason, reasoning=" ".join(failure.detail.split()))


def seed_of(seed: int, name: str) -> int:
    """A 63-bit number of a sample's own."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1


class Judging(Generic[S]):
    """Samples under judgement in the background; whoever started it watches, and then writes what came of it.

    Args:
        path: the configuration's, for messages.
        roles: those that the recipe asks.
        samples: all of them, in the order of the records.
        written: the file that the records will go to; where the budget is bounded, what was paid is noted beside it.

    Raises:
        InputError: a model that cannot be set up, a ledger that cannot be written.
    """

    def __init__(
        self,
        config: JudgeConfig,
        path: str,
        roles: tuple[str, ...],
        recipe: Recipe[S],
        samples: Sequence[S],
        written: str,
    ) -> None:
        self._recipe, self._samples = recipe, samples
        self._found: dict[str, Verdicts] = {}
        self._error: BaseException | None = None
        spec = EngineSpec(
            models=config.models, roles=roles, ledger=config.ledger, budget=config.budget, prices=config.prices
        )
        if config.budget.calls is not None or config.budget.usd is not None:
            books = _books_of(written)
            spec = spec.model_copy(
                update={"account": (books, (0, 1)), "allowance": allowance(config.budget, spent(books))}
            )
        try:
            self._engine = Engine(spec)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        self._thread = threading.Thread(target=self._run, name="judging", daemon=True)
        self._thread.start()

    @property
    def planned(self) -> int:
        """How many samples there are."""
        return len(self._samples)

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; True when all is over."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def progress(self) -> Progress:
        """A snapshot for a live line."""
        return self._engine.progress()

    def interrupt(self) -> None:
        """Stop in order: what is under way is waited for, the rest is not asked."""
        self._engine.stop(Stop(INTERRUPTED, "interrupted; the same command resumes"))

    def verdicts(self) -> list[tuple[S, Verdicts]]:
        """Each sample with its verdicts, in order; waits until all is over.

        Raises:
            PlumblineError: the run stopped before its end; what was answered lies in the ledger.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._engine.stopped is not None:
            raise error_of(self._engine.stopped.exit_code, self._engine.stopped.line)
        return [(sample, self._found[sample.id]) for sample in self._samples]

    @property
    def usage(self) -> dict[str, Usage]:
        """By model, what the answers cost."""
        return self._engine.usage

    def close(self) -> None:
        """End everything; twice is no error."""
        if self._thread.is_alive():
            self.interrupt()
            self._thread.join()
        self._engine.close()

    def __enter__(self) -> Judging[S]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        engine = self._engine
        try:
            engine.ask_batches(self._recipe, lambda: iter(self._samples))
            with engine.window(self._recipe) as window:
                for sample in self._samples:
                    for finished in window.put(sample):
                        self._take(finished.item, finished.result, finished.failure)
                for finished in window.drain():
                    self._take(finished.item, finished.result, finished.failure)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._error = error

    def _take(self, sample: S, verdicts: Verdicts | None, failure: Failure | None) -> None:
        if failure is not None:
            raise AssertionError(f"{sample.id}: a recipe turns failures into verdicts") from failure
        if verdicts is not None:
            self._found[sample.id] = verdicts


@dataclass(frozen=True)
class Judged:
    """What a judging came to, for the report beside the table.

    Attributes:
        scores: how many were asked for.
        failures: by reason, and the first of them.
        usage: by model.
    """

    scores: int
    failures: Counter[str]
    example: str
    usage: Mapping[str, Usage]

    def beside(self, report: Report) -> Report:
        """The report with what the judging came to among its counts and notes."""
        counts = {f"failed ({reason})": count for reason, count in sorted(self.failures.items())}
        known, notes = report.counts, report.notes
        if self.failures:  # reading the written scores counted them once more, without knowing why
            known = {name: count for name, count in known.items() if name != UNPARSED}
            notes = [note for note in notes if LEFT_OUT not in note]
        return replace(report, counts={**known, **counts}, notes=[*notes, *self.notes()])

    def notes(self) -> list[str]:
        """Sentences: what failed, and what the answers cost."""
        found = []
        if self.failures:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.failures.items()))
            found.append(
                f"{self.failures.total():,} of {self.scores:,} scores failed ({reasons}); first {self.example}"
            )
        for model, usage in self.usage.items():
            asked = f"{usage.calls:,} asked for it, {usage.ledger_hits:,} from the ledger"
            found.append(
                f"judged by {model}: {usage.calls + usage.ledger_hits:,} answers worth ${usage.usd:,.2f} ({asked})"
            )
        return found


def summed(judged: Iterable[tuple[Sample, Verdicts]], usage: Mapping[str, Usage]) -> Judged:
    """Failures counted by reason."""
    failures: Counter[str] = Counter()
    scores, example = 0, ""
    for sample, verdicts in judged:
        for name, one in verdicts.items():
            scores += 1
            if one.failure:
                failures[one.failure] += 1
                example = example or f"{sample.id}, {name}: {one.failure}: {one.reasoning}"
    return Judged(scores, failures, example, usage)


def write_lines(path: str, option: str, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records as JSON lines, all or nothing.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        paths.write_atomic(path, b"".join(orjson.dumps(record) + b"\n" for record in records))
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be written: {error.strerror or error}") from None


def writable(path: str, option: str, *read: str | None) -> None:
    """Nothing, where `path` may be written: before anything is paid for.

    Raises:
        InputError: it is one of the files that are `read`, or a folder.
    """
    if any(other is not None and paths.same(path, other) for other in read):
        raise InputError(f"{option} {path}: is read by this command; name another file to write")
    if not paths.is_remote(path) and os.path.isdir(path):
        raise InputError(f"{option} {path}: is a folder; name the file to write")


def _books_of(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}.judging"
