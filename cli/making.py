"""Making a dataset: prepare, run here or in workers, show progress, stop in order, close with the manifest."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from cli.progress import Progress
from pipelines.config import RunConfig
from pipelines.prepare import Prepared, prepare
from pipelines.processes import Workers, tell_parent
from pipelines.shares import Share
from schemas.errors import error_of

POLL = 0.25


class Running(Protocol):
    """A run under way, here or in workers."""

    def wait(self, seconds: float) -> bool: ...

    def progress(self) -> dict[str, float]: ...

    def interrupt(self) -> None: ...


def make(
    config: RunConfig,
    path: str,
    out: str,
    share: Share,
    workers: int,
    worker: Share | None,
    command: list[str],
    beam_options: list[str],
) -> dict[str, Any] | None:
    """Make this process's share of a dataset; the whole of it also gets its manifest, which is returned.

    Args:
        worker: set in a worker process: its part of `share`; it reports to its parent and writes no manifest.
        command: what a worker is started with.
    """
    from pipelines.local import checked_options
    from shards.manifest import finished_run, write_manifest

    options = checked_options(beam_options)
    own = share if worker is None else share.divided(worker.index, worker.of)
    prepared = prepare(config, path, out, own)
    if worker is None:
        say_beginning(prepared, out)
    if prepared.left:
        if workers > 1:
            _watch(Workers(command, beam_options, workers), prepared.planned)
        else:
            _here(prepared, options, worker is not None)
    if worker is not None:
        return None
    if share.of > 1:
        print(f"slice {share} is done: {len(prepared.shards)} shards in {out}")
        print(f"when all slices are: plumbline merge {out} ... --out WHOLE")
        return None
    known = finished_run(out, prepared.spec.run_hash)
    manifest = known if known is not None and not prepared.left else write_manifest(out)
    say_result(manifest, out, already=not prepared.left)
    return manifest


def say_beginning(prepared: Prepared, out: str) -> None:
    """What indexing left out, what is not computed, and what is already there."""
    report = prepared.indexed
    if report is not None and report.problems:
        print(f"pool: {report.indexed:,} references, {len(report.problems):,} left out (see {report.problems_file})")
    for score, reason in prepared.notes.items():
        print(f"note: {score}: {reason}")
    done = len(prepared.shards) - len(prepared.left)
    if done and prepared.left:
        print(f"resuming {out}: {done} of {len(prepared.shards)} shards are finished")


def say_result(manifest: dict[str, Any], out: str, already: bool) -> None:
    """The counts, and the reasons behind what was rejected."""
    counts = manifest["counts"]
    print(f"{out}: {'was finished already' if already else 'done'}")
    print(f"{counts['planned']:,} planned = {counts['kept']:,} kept + {counts['rejected']:,} rejected")
    for reason, count in sorted(manifest["rejected_by_reason"].items(), key=lambda item: (-item[1], item[0])):
        print(f"  {count:>8,}  {reason}")
    for model, usage in manifest["usage"].items():
        if usage["usd"] or usage["tokens_in"]:
            print(f"{model}: {usage['calls']:,} calls, {usage['ledger_hits']:,} from the ledger, ${usage['usd']:,.2f}")


def _here(prepared: Prepared, beam_options: list[str], is_worker: bool) -> None:
    from pipelines.local import LocalRun

    run = LocalRun(prepared.spec, prepared.left, beam_options)
    run.start()
    try:
        _watch(run, prepared.planned, is_worker)
        stopped = run.stopped
    finally:
        run.close()
    if stopped is not None:
        raise error_of(stopped.exit_code, stopped.line)


def _watch(run: Running, planned: int, is_worker: bool = False) -> None:
    with interrupts(run), Progress(planned, quiet=is_worker) as progress:
        while not run.wait(POLL):
            numbers = run.progress()
            if is_worker:
                tell_parent(numbers)
            progress.show(numbers)


@contextmanager
def interrupts(run: Running) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the run to stop in order; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def stop(signum: int, frame: object) -> None:
        nonlocal asked
        if asked:
            sys.exit(130)
        asked = True
        print("\nstopping; what is finished stays (again to end at once)", file=sys.stderr, flush=True)
        run.interrupt()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
