"""A run on a service: one job, submitted and watched from here. Whoever watches may go; the job goes on without."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from annotators.errors import Stop
from pipelines import stop_mark
from pipelines.job_service import lost_in_order, wait_for
from pipelines.numbers import Numbers
from pipelines.service import Service
from pipelines.spec import RunSpec, ShardRange
from schemas.errors import InputError, InterruptedRun, PlumblineError, StoppedError, error_of
from storage import paths

log = logging.getLogger(__name__)

METRICS_EVERY = 30.0
"""Seconds between two requests for a job's counters."""

_COUNTED = ("answers", "ledger_hits", "throttled", "retries", "repairs", "failures", "tokens_in", "tokens_out")
_JOB_NAME = 63
Ended = Literal["done", "described"]


class RemoteRun:
    """Makes `shards` in one job of a service; see `pipelines.whole_shards` for what the job is.

    Args:
        spec: with `fleet`, which each of its processes divides every limit by.
        options: Beam's, checked.
    """

    def __init__(self, spec: RunSpec, shards: Sequence[ShardRange], options: Sequence[str]) -> None:
        self._spec, self._shards, self._options = spec, list(shards), list(options)
        self._result: Any = None
        self._error: BaseException | None = None
        self._interrupted = False
        self._numbers: Numbers = {}
        self._asked = 0.0
        self._thread = threading.Thread(target=self._wait, name="job", daemon=True)

    def start(self) -> None:
        """Submit the job; it is no longer this machine's then.

        Raises:
            InputError: Beam or the service refuses it.
            StoppedError: a job service is gone.
        """
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.dataflow.internal.apiclient import DataflowJobAlreadyExistsError
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError

        from pipelines.whole_shards import graph

        try:
            pipeline = beam.Pipeline(options=PipelineOptions(self._options))
            graph(pipeline, self._spec, self._shards)
            with lost_in_order():
                self._result = pipeline.run()
        except DataflowJobAlreadyExistsError as error:
            line = "a job makes this output already; wait for it or cancel it, then run the same command"
            raise InputError(f"{self._spec.out}: {line}") from error
        except ValueError as error:
            raise InputError(f"after `--`: {_one_line(error)}") from error
        except GoogleAuthError as error:
            mend = "run `gcloud auth application-default login`"
            raise InputError(f"no Google credentials on this machine ({type(error).__name__}); {mend}") from error
        except GoogleAPICallError as error:
            raise InputError(f"Google refuses the job: {_one_line(error)}; mend it and run the same command") from error
        self._thread.start()

    @property
    def job(self) -> str:
        """The job's id at the service; empty where it has none."""
        return str(self._result.job_id()) if getattr(self._result, "has_job", False) else ""

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; True when the job has ended, however it did."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def progress(self) -> Numbers:
        """The job's counters, some of them half a minute old; empty where the service does not tell."""
        now = time.monotonic()
        if self._result is not None and now - self._asked >= METRICS_EVERY:
            self._asked = now
            try:
                self._numbers = numbers_of(_counters(self._result.metrics()))
            except Exception as error:  # noqa: BLE001 - whatever a service's client raises; the next may succeed
                log.warning("the job's counters cannot be had (%s)", error)
        return self._numbers

    def interrupt(self) -> None:
        """Have the workers stop in order: calls under way are waited for, complete shards are written."""
        self._interrupted = True
        line = "stopped from where it was launched; the same command resumes"
        # To the workers it is a stop like any other; an interruption would cut off calls that are paid.
        try:
            stop_mark.put(self._spec, Stop(StoppedError.exit_code, line))
        except OSError as error:
            log.error("the workers cannot be told to stop (%s); cancel the job %s at the service", error, self.job)

    def raise_ending(self) -> None:
        """Nothing, where the job went through.

        Raises:
            PlumblineError: with the exit code of what stopped the run: a worker, this machine, somebody at the
                service, or the job's failure (1).
        """
        stop = stop_mark.read(self._spec)
        if self._interrupted:
            raise InterruptedRun("interrupted; the job has stopped in order, and the same command resumes")
        if stop is not None:
            raise error_of(stop.exit_code, stop.line)
        with lost_in_order():
            state = str(self._result.state)
        if state == "CANCELLED":
            raise StoppedError(f"the job {self.job} was cancelled; the same command resumes")
        if state != "DONE":
            said = _one_line(self._error or "it says nothing")[-800:]
            raise PlumblineError(f"the job {self.job} ended as {state}: {said}; mend it, and the same command resumes")

    def close(self) -> None:
        """Nothing is open here."""

    def _wait(self) -> None:
        try:
            wait_for(self._result)
        except BaseException as error:  # noqa: BLE001 - told by `raise_ending`, beside the job's state
            self._error = error


def on_service(spec: RunSpec, service: Service) -> RunSpec:
    """The spec as the workers get it: with their share of every limit, and an input that they can open.

    The drawn world is drawn by each of them. An index that was made here, of a list or a folder, is copied beside the
    output.

    Raises:
        InputError: an image of the input lies on this machine.
    """
    drawn = "toyworld" in (getattr(spec.config, key, "") for key in ("pool", "pairs", "prompts_file"))
    input = "" if drawn else spec.input if service.same_paths else _reachable(spec.input, spec.out)
    share = spec.share.divided(0, service.fleet)
    return replace(
        spec,
        input=input,
        share=share,
        slice=spec.share,
        allowance=None,
        fleet=service.fleet,
        attempt=uuid.uuid4().hex[:12],
    )


def job_options(spec: RunSpec, service: Service) -> list[str]:
    """The options with a name for the job, so that the same run is not started twice side by side."""
    if any(option == "--job_name" or option.startswith("--job_name=") for option in service.options):
        return service.options
    part = f"-{spec.slice.index + 1}-of-{spec.slice.of}" if spec.slice.of > 1 else ""
    name = f"plumbline-{spec.config.dataset}-{spec.run_hash[:12]}{part}"[:_JOB_NAME]
    return [*service.options, f"--job_name={name}"]


def _reachable(index: str, out: str) -> str:
    """Where workers find an index; it is copied beside the output where it lies on this machine."""
    import pyarrow.parquet as pq

    moved = not paths.is_remote(index)
    with paths.open_read(index) as file:
        table = pq.ParquetFile(file)
        columns = [name for name in table.schema_arrow.names if name == "uri" or name.startswith("uri_")]
        for batch in table.iter_batches(columns=columns):
            for uri in (uri for column in batch.columns for uri in column.to_pylist() if uri):
                if not paths.is_remote(uri) and (moved or uri.startswith("/")):
                    raise InputError(
                        f"{index}: the image {uri} lies on this machine, where no worker sees it; copy the images to "
                        "a bucket and name them there"
                    )
    if not moved:
        return index
    there = paths.join(out, f".input/{paths.sha256_file(index)[:32]}.parquet")
    if not paths.exists(there):
        paths.copy_atomic(index, there)
    return there


def _one_line(said: object) -> str:
    return " ".join(str(said).split())


def _counters(metrics: Any) -> dict[tuple[str, str], int]:
    """A job's counters by (namespace, name), those of all steps added up; attempted where nothing is committed yet."""
    found: dict[tuple[str, str], int] = {}
    for one in metrics.query()["counters"]:
        key = (one.key.metric.namespace, one.key.metric.name)
        found[key] = found.get(key, 0) + int(one.committed or one.attempted or 0)
    return found


def numbers_of(counters: dict[tuple[str, str], int]) -> Numbers:
    """A job's counters as the numbers of the live line; what only a process knows (calls in flight) is not there."""
    asked = {
        name: sum(counters.get((f"plumbline.{step}", name), 0) for step in ("annotate", "judge")) for name in _COUNTED
    }
    spent = sum(counters.get((f"plumbline.{step}", "usd_millionths"), 0) for step in ("annotate", "judge"))
    done = sum(counters.get(("plumbline.annotate", name), 0) for name in ("drafts", "rejections"))
    tokens = asked["tokens_in"] + asked["tokens_out"]
    shards = counters.get(("plumbline.shards", "committed"), 0)
    return {**asked, "usd": spent / 1e6, "done": done, "tokens": tokens, "shards": shards}
