"""A command and the processes it starts, watched from outside: CPU seconds, resident memory, how far it is."""

from __future__ import annotations

import math
import os
import re
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

EVERY = 0.5


@dataclass(frozen=True)
class Moment:
    """Where a command is: resident memory in MB.

    Attributes:
        share: of the work that was finished, 0..1.
        cpu: seconds that its living processes have used.
    """

    seconds: float
    share: float
    cpu: float
    parent: float
    workers: tuple[float, ...]


@dataclass
class Watched:
    """What a command took.

    Attributes:
        cpu: user and system seconds of the command and of all processes it waited for.
        peaks: pid -> the most resident memory it had, MB, as the kernel counts it; the command itself first.
        stopped: it was ended in order before its end, because its time was up.
    """

    wall: float = 0.0
    cpu: float = 0.0
    moments: list[Moment] = field(default_factory=list)
    peaks: dict[int, float] = field(default_factory=dict)
    stopped: bool = False

    @property
    def parent_peak(self) -> float:
        return next(iter(self.peaks.values()), 0.0)

    @property
    def worker_peak(self) -> float:
        """Of the largest worker."""
        return max(list(self.peaks.values())[1:], default=0.0)

    def growth(self) -> float:
        """The workers' highest memory in the last 30 % of what was done / that between 5 % and 30 %; 1: flat."""
        done = max((m.share for m in self.moments), default=0.0)
        early = max((max(m.workers) for m in self.moments if 0.05 * done <= m.share <= 0.3 * done), default=0.0)
        late = max((max(m.workers) for m in self.moments if m.share >= 0.7 * done), default=0.0)
        return late / early if early else 1.0


def watched(command: Sequence[str], done: Callable[[], float], every: float = EVERY, most: float = math.inf) -> Watched:
    """Run `command` to its end.

    Args:
        done: the share of the work that is finished, asked at each moment.
        most: seconds after which it is asked to stop in order.

    Raises:
        SystemExit: the command failed; with its last lines.
    """
    found, began, before = Watched(), time.monotonic(), _cpu_of_children()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    assert process.stderr is not None
    threading.Thread(target=lambda: said.extend(process.stderr or []), daemon=True).start()
    while process.poll() is None:
        _look(process.pid, time.monotonic() - began, done(), found)
        if time.monotonic() - began > most and not found.stopped:
            found.stopped = True
            process.terminate()
        time.sleep(every)
    found.wall, found.cpu = time.monotonic() - began, _cpu_of_children() - before
    if process.returncode and not found.stopped:
        raise SystemExit(f"the run ended with {process.returncode}: {''.join(said[-3:])}")
    return found


def _look(pid: int, seconds: float, share: float, found: Watched) -> None:
    (parent, peak), workers, cpu = _resident(pid), list[float](), _cpu(pid)
    found.peaks[pid] = max(found.peaks.get(pid, 0.0), peak)
    for child in _children(pid):
        now, peak = _resident(child)
        cpu += _cpu(child)
        workers.append(now)
        found.peaks[child] = max(found.peaks.get(child, 0.0), peak)
    if workers:
        found.moments.append(Moment(seconds, share, cpu, parent, tuple(workers)))


def _children(pid: int) -> list[int]:
    """Of Linux's /proc; elsewhere none."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in _read(task).split()]
    return sorted(found)


def _resident(pid: int) -> tuple[float, float]:
    """(now, at most so far), MB; 0 for a process that is gone."""
    status = _read(Path(f"/proc/{pid}/status"))
    now, peak = (re.search(rf"^{name}:\s*(\d+)", status, re.MULTILINE) for name in ("VmRSS", "VmHWM"))
    return (int(now[1]) / 1024 if now else 0.0), (int(peak[1]) / 1024 if peak else 0.0)


def _cpu(pid: int) -> float:
    """User and system seconds of a living process; 0 for one that is gone."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
