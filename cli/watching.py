"""What a command shows of its run while it goes on: the live line, the event log, the file of metrics."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from annotators import events
from cli.progress import LOG_EVERY, Progress
from pipelines.event_log import STDERR, EventLog, recording
from pipelines.numbers import Numbers
from pipelines.prepare import Prepared
from pipelines.processes import tell_parent
from schemas.errors import InputError, PlumblineError

log = logging.getLogger(__name__)

RUN_DIGITS = 12


@dataclass(frozen=True)
class Watching:
    """The options of a dataset command that say how its run is to be watched.

    Attributes:
        metrics: a local file in Prometheus' text format.
        log: a local file of JSON lines; `-` for stderr.
        log_level: debug, info, warning, error.
    """

    metrics: str | None = None
    log: str | None = None
    log_level: str | None = None

    def words(self) -> list[str]:
        """The options as a worker is given them: it writes to the same event log, and its parent the metrics."""
        words = [] if self.log is None else ["--log", self.log]
        return words if self.log_level is None else [*words, "--log-level", self.log_level]

    @contextmanager
    def begun(self, out: str, worker: int) -> Iterator[EventLog | None]:
        """Check the options, and send what is logged where they say.

        Args:
            out: the output folder, which holds a dataset and nothing else.
            worker: 0 for the command itself, from 1 on for its workers.

        Raises:
            InputError: a file cannot be written or lies in the output folder, or an option makes no sense.
        """
        from cli.metrics_file import check

        if self.log_level is not None and self.log is None:
            raise InputError(f"--log-level {self.log_level}: there is no log; add --log FILE")
        for option, path in (("--metrics", self.metrics), ("--log", self.log)):
            if path == "" or (path is not None and path != STDERR and _inside(path, out)):
                raise InputError(f"{option} {path}: name a file outside of the output folder {out}")
        if self.metrics is not None:
            check(self.metrics)
        with recording(self.log, self.log_level or "info", worker) as event_log:
            try:
                yield event_log
            except PlumblineError:
                raise
            except Exception:
                # Python prints the traceback where nobody may look; in the log it has the run's and the worker's ids.
                if event_log is not None:
                    log.exception("unforeseen")
                raise


UNWATCHED = Watching()


class Running(Protocol):
    """A run under way, here or in workers."""

    def wait(self, seconds: float) -> bool: ...

    def progress(self) -> Numbers: ...

    def interrupt(self) -> None: ...


class Watch:
    """One run, watched from its beginning to its end.

    Args:
        event_log: where events go, if anywhere; every line from now on says which run it is.
        is_worker: only the parent is told.

    Raises:
        InputError: the file of metrics cannot be written.
    """

    def __init__(
        self, watching: Watching, prepared: Prepared, event_log: EventLog | None, is_worker: bool = False
    ) -> None:
        from cli.metrics_file import MetricsFile

        spec = prepared.spec
        run = spec.run_hash[:RUN_DIGITS]
        self._is_worker = is_worker
        self._numbers: Numbers = {}
        self._planned, self._began = prepared.planned, time.monotonic()
        self._shards, self._left = len(prepared.shards), len(prepared.left)
        self._told = self._began
        self._quiet = is_worker or watching.log == STDERR
        self._metrics: MetricsFile | None = None
        if event_log is not None:
            event_log.bind(run=run)
        if watching.metrics is not None and not is_worker:
            self._metrics = MetricsFile(watching.metrics, run, spec.config.dataset, prepared.planned)

    def until_done(self, run: Running, every: float) -> None:
        """Show what a run does until it has ended; raises what it raised."""
        with Progress(self._planned, quiet=self._quiet) as progress:
            try:
                while not run.wait(every):
                    self._show(run, progress)
            finally:
                self._show(run, progress)

    def started(self, **fields: Any) -> None:
        """Say that the run begins, or goes on where another attempt has left it."""
        done = self._shards - self._left
        shards = {"shards": self._shards, "finished": done}
        resumed = f"; {done:,} of {self._shards:,} shards are finished" if done else ""
        self._tell("run_started", f"{self._planned:,} samples to make{resumed}", **fields, **shards)

    def ended(self, exit_code: int, line: str = "", **fields: Any) -> None:
        """Say how the run ended, once."""
        if self._metrics is not None:
            self._metrics.close(self._numbers, exit_code)
        whole = {name: value for name, value in self._numbers.items() if "@" not in name}
        fields = {"exit_code": exit_code, "seconds": time.monotonic() - self._began, **fields, "numbers": whole}
        self._tell("run_finished", line or "done", **fields)

    def _show(self, run: Running, progress: Progress) -> None:
        self._numbers = run.progress()
        if self._is_worker:
            tell_parent(self._numbers)
            return
        progress.show(self._numbers)
        if self._metrics is not None:
            self._metrics.show(self._numbers)
        now = time.monotonic()
        if now - self._told >= LOG_EVERY:
            self._told = now
            whole = {name: value for name, value in self._numbers.items() if "@" not in name}
            self._tell("progress", f"{whole.get('done', 0):.0f} of {self._planned} annotated", numbers=whole)

    def _tell(self, event: str, message: str, **fields: Any) -> None:
        if not self._is_worker:
            events.tell(log, logging.INFO, event, "%s", message, **fields)


def _inside(path: str, folder: str) -> bool:
    if "://" in folder:
        return False
    whole, inside = os.path.realpath(path), os.path.realpath(folder)
    return whole == inside or whole.startswith(inside + os.sep)
