"""Worker processes: the same command N times, each over every N-th shard with its share of every limit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from filters.devices import WORKER
from pipelines.numbers import Numbers, added
from pipelines.shares import Share
from schemas.errors import InputError, InterruptedRun, PlumblineError, StoppedError

PROGRESS = "plumbline-progress "
"""Begins each line in which a worker tells its parent how far it is; a JSON object follows."""

EVENT = '{"ts":'
"""Begins each line of an event log that a worker writes to its stderr; the parent passes it on."""

PARENT = "PLUMBLINE_PARENT"
"""Names the process that a worker belongs to, in its environment."""

_ENDED_BY_US = (-signal.SIGTERM, -signal.SIGINT)


class Workers:
    """Starts a process of a command for each of `words`, gathers their progress, and ends as the worst of them ended.

    Args:
        words: what each process is told beside its number.
    """

    def __init__(self, command: Sequence[str], beam_options: Sequence[str], words: Sequence[Sequence[str]]) -> None:
        count = len(words)
        tail = ["--", *beam_options] if beam_options else []
        self._interrupted = False
        environment = {**os.environ, PARENT: str(os.getpid())}
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "cli.main", *command, "--worker", str(Share(k, count)), *words[k], *tail],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**environment, WORKER: str(k)},
                # A terminal's Ctrl-C reaches the parent alone, which tells each worker once.
                start_new_session=True,
            )
            for k in range(count)
        ]
        self._told: list[Numbers] = [{} for _ in range(count)]
        self._errors: list[list[str]] = [[] for _ in range(count)]
        self._readers = [
            threading.Thread(target=read, args=(k,), daemon=True)
            for k in range(count)
            for read in (self._read_progress, self._read_errors)
        ]
        for reader in self._readers:
            reader.start()

    def progress(self) -> Numbers:
        """The workers' numbers, added up."""
        return added(list(self._told))

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; True when all have ended well. When one ends badly the others are told to stop.

        Raises:
            PlumblineError: of the class of the worst exit code, with that worker's own line.
        """
        deadline = time.monotonic() + seconds
        while any(p.poll() is None for p in self._processes):
            if any(p.poll() not in (None, 0) for p in self._processes):
                self.interrupt()
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        for reader in self._readers:
            reader.join(5)
        self._raise_worst()
        return True

    def interrupt(self) -> None:
        """Ask every worker once to stop in order; each commits nothing half-made and can be resumed."""
        if self._interrupted:
            return
        self._interrupted = True
        for process in self._processes:
            if process.poll() is None:
                process.terminate()

    def _raise_worst(self) -> None:
        codes = [self._code(p.returncode) for p in self._processes]
        # A worker that was asked to stop because another failed ends with 130; the other's reason is the news.
        for code, kind in ((2, InputError), (3, StoppedError), (130, InterruptedRun)):
            bad = [k for k, c in enumerate(codes) if c == code]
            if bad and not any(c not in (0, 2, 3, 130) for c in codes):
                raise kind(self._line(bad[0]))
        for k, code in enumerate(codes):
            if code not in (0, 130):
                raise PlumblineError(f"worker {k + 1} of {len(codes)} ended with {code}: {self._line(k)}")

    def _code(self, code: int) -> int:
        """A worker that our signal ended before it could listen was interrupted like the others."""
        return InterruptedRun.exit_code if self._interrupted and code in _ENDED_BY_US else code

    def _line(self, k: int) -> str:
        lines = [line for line in self._errors[k] if line.strip()]
        return lines[-1].removeprefix("plumbline: ").strip() if lines else "it said nothing"

    def _read_progress(self, k: int) -> None:
        stream = self._processes[k].stdout
        assert stream is not None
        for line in stream:
            if line.startswith(PROGRESS):
                self._told[k] = json.loads(line.removeprefix(PROGRESS))

    def _read_errors(self, k: int) -> None:
        stream = self._processes[k].stderr
        assert stream is not None
        for line in stream:
            if line.startswith(EVENT):
                sys.stderr.write(line)
                sys.stderr.flush()
            else:
                self._errors[k] = [*self._errors[k][-200:], line]


def tell_parent(numbers: Numbers) -> None:
    """Print this worker's progress for its parent."""
    print(PROGRESS + json.dumps(numbers), flush=True)


def end_with_parent() -> None:
    """End this process when the parent that its environment names is gone, so that nobody works on for nobody."""
    parent = int(os.environ.get(PARENT, "0")) or os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(InterruptedRun.exit_code)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
