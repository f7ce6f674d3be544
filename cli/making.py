"""Making a dataset: prepare, run here or in workers, show progress, stop in order, close with the manifest."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from annotators.budget import Allowance
from cli.watching import UNWATCHED, Running, Watch, Watching
from pipelines.config import RunConfig
from pipelines.prepare import Prepared, prepare
from pipelines.processes import Workers
from pipelines.service import Service, is_service, service_of
from pipelines.shares import Share
from pools.input_index import InputReport
from schemas.counting import many
from schemas.errors import InputError, InterruptedRun, PlumblineError, error_of
from storage import paths

POLL = 0.25
OFFLINE = "offline"


def make(
    config: RunConfig,
    path: str,
    out: str,
    share: Share,
    workers: int,
    worker: Share | None,
    command: list[str],
    beam_options: list[str],
    watching: Watching = UNWATCHED,
    allowed: Allowance | None = None,
) -> dict[str, Any] | None:
    """Make this process's share of a dataset; the whole of it also gets its manifest, which is returned.

    Args:
        worker: set in a worker process: its part of `share`; it reports to its parent and writes no manifest.
        command: what a worker is started with.
        allowed: what a worker process may pay.
    """
    from pipelines.job_service import far
    from pipelines.local import checked_options

    with watching.begun(out, 0 if worker is None else worker.index + 1) as event_log:
        options, known = checked_options(beam_options)
        if is_service(known):
            service: Service | None = service_of(options, known, config, workers, out)
        else:
            service = far(options, known, config, workers)
        own = share if worker is None else share.divided(worker.index, worker.of)
        prepared = prepare(config, path, out, own, share, allowed, asks=service is None)
        watch = Watch(watching, prepared, event_log, worker is not None)
        if worker is None:
            say_beginning(prepared, out)
        watch.started(dataset=config.dataset, config=path, out=out, planned=prepared.planned, workers=workers)
        try:
            described = False
            if prepared.left and service is not None:
                described = not _on_service(prepared, service, watch)
            elif prepared.left and workers > 1:
                each = [["--allowance", str(part)] for part in _parts(prepared.spec.allowance, workers)]
                _watch(Workers([*command, *watching.words()], beam_options, each), watch)
            elif prepared.left:
                _here(prepared, options, watch)
            own_end = worker is None and not described
            manifest = _closed(prepared, out, share, changed=service is None) if own_end else None
            if own_end and prepared.left:
                _tidy(config.ledger)
        except BaseException as error:
            watch.ended(_exit_code(error), str(error))
            raise
        watch.ended(0, counts=None if manifest is None else manifest["counts"])
    return manifest


def _closed(prepared: Prepared, out: str, share: Share, changed: bool = True) -> dict[str, Any] | None:
    """Close the whole. A job on a service has written the manifest itself, so that nothing has changed since."""
    from pipelines.closing import closed

    if share.of > 1:
        print(f"slice {share} is done: {len(prepared.shards)} shards in {out}")
        print(f"when all slices are: plumbline merge {out} ... --out WHOLE")
        return None
    manifest = closed(prepared.spec.config, out, prepared.spec.run_hash, changed=changed and bool(prepared.left))
    say_result(manifest, out, already=not prepared.left)
    return manifest


def _tidy(ledger: str | None) -> None:
    """Compact a ledger in a bucket: the run is whole without it, so a failure is only said."""
    from annotators.ledger import LedgerError, compact

    try:
        compact(ledger)
    except (LedgerError, InputError) as error:
        print(f"note: {error}; the ledger is whole, and the next run tidies it")


def _parts(left: Allowance | None, workers: int) -> list[Allowance]:
    """What each worker may pay; fewer of them where there are fewer calls left, for each needs one at least."""
    left = left or Allowance()
    count = workers if left.calls is None else max(1, min(workers, left.calls))
    return [left.divided(k, count) for k in range(count)]


def _exit_code(error: BaseException) -> int:
    """What the command will end with because of `error`."""
    if isinstance(error, PlumblineError):
        return error.exit_code
    return InterruptedRun.exit_code if isinstance(error, KeyboardInterrupt | SystemExit) else 1


def say_beginning(prepared: Prepared, out: str) -> None:
    """What indexing left out, what one may not have meant, what is not computed, and what is already there."""
    if prepared.indexed is not None and (left := _left_out(prepared.indexed)):
        print(left)
    scores = (f"{score}: {reason}" for score, reason in prepared.notes.items())
    for note in [*prepared.doubts, *scores, *prepared.prices]:
        print(f"note: {note}")
    done = len(prepared.shards) - len(prepared.left)
    if done and prepared.left:
        print(f"resuming {out}: {done} of {len(prepared.shards)} shards are finished")


def _left_out(report: Any) -> str:
    """What indexing raw input could not use, and where that is listed; empty where all could be used."""
    if isinstance(report, InputReport):
        unusable = sum(report.reasons.values())
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.reasons.items())
        said = f"input: {report.rows:,} rows, {unusable:,} cannot be used: {reasons}"
        said += f" (see {report.problems_file})" if paths.exists(report.problems_file) else ""
        return said if unusable else ""
    said = f"pool: {report.indexed:,} references, {len(report.problems):,} left out (see {report.problems_file})"
    return said if report.problems else ""


def say_result(manifest: dict[str, Any], out: str, already: bool) -> None:
    """The counts, the reasons behind what was rejected, and for critic labels the judge's error and the balance."""
    from pipelines.closing import told_of_labels

    counts = manifest["counts"]
    print(f"{out}: {'was finished already' if already else 'done'}")
    print(f"{counts['planned']:,} planned = {counts['kept']:,} kept + {counts['rejected']:,} rejected")
    for reason, count in sorted(manifest["rejected_by_reason"].items(), key=lambda item: (-item[1], item[0])):
        print(f"  {count:>8,}  {reason}")
    for line in told_of_labels(out, manifest):
        print(line)
    for model, usage in manifest["usage"].items():
        if model != OFFLINE:
            uses = f"{usage['calls']:,} asked for it, {usage['ledger_hits']:,} from the ledger"
            print(
                f"{model}: {usage['calls'] + usage['ledger_hits']:,} answers used, worth ${usage['usd']:,.2f} ({uses})"
            )
    if any(model != OFFLINE for model in manifest["usage"]):
        calls, usd = _paid(out)
        print(f"paid for this output, all attempts together: {calls:,} calls, ${usd:,.2f}")
    if counts["planned"] and not counts["kept"]:
        print(f"nothing was kept; `plumbline rejects {out}` shows why")


def _paid(out: str) -> tuple[int, float]:
    from annotators.spending import spent

    parts = spent(out).values()
    return sum(part.calls for part in parts), sum(part.usd for part in parts)


def _here(prepared: Prepared, beam_options: list[str], watch: Watch) -> None:
    from pipelines.local import LocalRun

    run = LocalRun(prepared.spec, prepared.left, beam_options)
    run.start()
    try:
        _watch(run, watch)
        stopped = run.stopped
        jobs = int(run.progress().get("batch_jobs", 0))
    finally:
        run.close()
    if stopped is not None:
        left = f"; {jobs} batch job{'s' * (jobs != 1)} go on at the provider, and are paid" if jobs else ""
        raise error_of(stopped.exit_code, stopped.line + left)


def _on_service(prepared: Prepared, service: Service, watch: Watch) -> bool:
    """Run on a service, and end as the job did; False where a template was written, and no job runs yet."""
    from pipelines.remote import RemoteRun, job_options, on_service

    spec = on_service(prepared.spec, service)
    run = RemoteRun(spec, prepared.left, job_options(spec, service))
    run.start()
    if service.template:
        print(
            f"the job is described for {len(prepared.left):,} shards; whoever starts it needs nothing of this machine"
        )
        return False
    job = f"job {run.job}" if run.job else "the job"
    print(
        f"{job}: {many(service.fleet, 'worker')}, {many(len(prepared.left), 'shard')}; Ctrl-C stops it in order, twice "
        "leaves"
    )
    _watch(run, watch)
    run.raise_ending()
    return True


def _watch(run: Running, watch: Watch) -> None:
    with interrupts(run):
        watch.until_done(run, POLL)


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
