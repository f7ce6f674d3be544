"""Beam's job service (`--runner=PortableRunner`): what must be so before a job is sent to it, and how its loss is told.

A job service arranges work over gRPC. With `--environment_type=LOOPBACK` this process does that work, wave by wave, so
session, limits, budget, stops and progress are those of any local run; with another one, processes elsewhere do it.
"""

from __future__ import annotations

import logging
import threading
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from pipelines.config import RunConfig
from pipelines.service import PORTABLE, Service, check_fleet, runner_of
from schemas.errors import InputError, PlumblineError, StoppedError

if TYPE_CHECKING:
    import apache_beam as beam

LOOPBACK = "LOOPBACK"
EMBEDDED = "embed"
"""The endpoint that stands for a job service within this process."""

PATIENCE = 10.0
"""Seconds that a job service may take to answer at first."""

ANSWER_SECONDS = 60
"""Seconds that a job service may take over a request later on. Beam's `--job_server_timeout` also ends the streams that
tell of a job, whatever its help says (2.77), so a job is asked for its state instead."""

POLL = 0.2


def needed(given: Sequence[str], known: Namespace) -> list[str]:
    """What a job for a job service needs beside the options `given`; nothing for another runner.

    Raises:
        InputError: no service is named, none answers there, or nothing says where the work is to be done.
    """
    runner = runner_of(known)
    if runner not in PORTABLE:
        return []
    if runner == "PortableRunner" and not known.job_endpoint:
        raise InputError("--job_endpoint: is missing; name a job service, as in --job_endpoint=localhost:8099")
    if not known.environment_type:
        raise InputError("--environment_type: is missing; with LOOPBACK this process works; docs/engines.md has others")
    if known.job_endpoint not in (None, EMBEDDED) and not _answers(known.job_endpoint):
        raise InputError(
            f"--job_endpoint={known.job_endpoint}: no job service answers there; start it, or name its own"
        )
    _quieten_lost_streams()
    named = any(option.replace("-", "_").startswith("__job_server_timeout") for option in given)
    return [] if named else [f"--job_server_timeout={ANSWER_SECONDS}"]


def _answers(endpoint: str) -> bool:
    import grpc

    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE)
        except grpc.FutureTimeoutError:
            return False
    return True


def far(options: list[str], known: Namespace, config: RunConfig, workers: int) -> Service | None:
    """A run whose job is done by processes that a job service starts; None where this process does it.

    Such a job is one like Dataflow's (`pipelines.whole_shards`): limits and budget are divided by `--num_workers`, and
    a worker's stop is an object in the output.

    Raises:
        InputError: nothing says how many they are, or they cannot share what is to be shared.
    """
    if runner_of(known) not in PORTABLE or known.environment_type.upper() == LOOPBACK:
        return None
    if workers > 1:
        raise InputError(f"--workers {workers}: starts processes here; with {known.environment_type} leave it out")
    if not known.num_workers:
        raise InputError(
            "--num_workers: is missing; name how many processes the job service will have, by which every limit is "
            "divided"
        )
    check_fleet(config, known.num_workers)
    return Service(options, known.num_workers, same_paths=True)


def run_to_end(pipeline: beam.Pipeline) -> None:
    """Run a pipeline on any runner, and wait.

    Raises:
        StoppedError: the job service went away meanwhile; what was committed stays.
        PlumblineError, RuntimeError: the job failed.
    """
    with lost_in_order():
        wait_for(pipeline.run())


@contextmanager
def lost_in_order() -> Iterator[None]:
    """Ends the run in order where a job service no longer answers.

    Raises:
        StoppedError: it does not.
    """
    import grpc

    try:
        yield
    except (grpc.RpcError, grpc.FutureTimeoutError) as error:
        code = f" ({error.code().name})" if isinstance(error, grpc.Call) else ""
        raise StoppedError(f"the job service is gone{code}; run the same command to go on") from error


def wait_for(result: Any) -> None:
    """Wait until a job has ended, on any runner.

    Raises:
        grpc.RpcError: the job service went away.
        PlumblineError: the job failed there.
        RuntimeError: the same, with what its worker said.
    """
    import grpc
    from apache_beam.runners.portability.portable_runner import PipelineResult
    from apache_beam.runners.runner import PipelineState

    state = ""
    while isinstance(result, PipelineResult) and not PipelineState.is_terminal(state := result.state):
        time.sleep(POLL)
    try:
        result.wait_until_finish()  # it also ends what was begun for the job
    except grpc.RpcError:
        if state == PipelineState.DONE:  # the stream that would tell it had its deadline before
            return
        raise PlumblineError(f"the job ended as {state}; the job service's log says why") from None


@cache
def _quieten_lost_streams() -> None:
    """Beam's threads that lose their streams say nothing: the thread that waits for the job says it in one line."""
    import grpc

    before = threading.excepthook

    def hook(told: threading.ExceptHookArgs) -> None:
        if not isinstance(told.exc_value, grpc.RpcError):
            before(told)

    threading.excepthook = hook
    logging.getLogger("apache_beam.runners.worker.data_plane").setLevel(logging.CRITICAL)
