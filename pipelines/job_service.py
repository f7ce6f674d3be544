"""Beam's job service (`--runner=PortableRunner`): what must be so before a job is sent to it, and how its loss is told.

A job service arranges a wave's work over gRPC. With `--environment_type=LOOPBACK` this process does that work, so
session, limits, budget, stops and progress are those of any local run.
"""

from __future__ import annotations

import logging
import threading
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from schemas.errors import InputError, StoppedError

PORTABLE = ("PortableRunner", "FlinkRunner", "SparkRunner")
RUNNERS = ("FnApiRunner", "DataflowRunner", *PORTABLE)
"""Those whose results a run relies on; docs/engines.md says which are tested, and why the others are not here."""

LOOPBACK = "LOOPBACK"
EMBEDDED = "embed"
"""The endpoint that stands for a job service within this process."""

PATIENCE = 10.0
"""Seconds that a job service may take to answer at first."""

A_YEAR = 365 * 24 * 3600
"""Beam's `--job_server_timeout` also ends the streams that tell of a job, whatever its help says (2.77): a wave that
takes longer would fail. So it is set out of reach, and whether anybody answers is asked before."""


def runner_of(known: Namespace) -> str:
    """Which of `RUNNERS` Beam's options name.

    Raises:
        InputError: another one.
    """
    asked = str(known.runner)
    word = asked.rpartition(".")[2].lower().removesuffix("runner")
    for name in RUNNERS:
        if name.lower().removesuffix("runner") == word:
            return name
    raise InputError(
        f"--runner={asked}: is none that plumbline works with ({', '.join(RUNNERS)}); leave it out for FnApiRunner, "
        "and see docs/engines.md"
    )


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
    return [] if named else [f"--job_server_timeout={A_YEAR}"]


def _answers(endpoint: str) -> bool:
    import grpc

    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE)
        except grpc.FutureTimeoutError:
            return False
    return True


@contextmanager
def lost_in_order() -> Iterator[None]:
    """A job service that goes away while a job is under way ends the run in order.

    Raises:
        StoppedError: it did; what was committed stays.
    """
    import grpc

    try:
        yield
    except grpc.RpcError as error:
        code = error.code() if isinstance(error, grpc.Call) else None
        late = code is grpc.StatusCode.DEADLINE_EXCEEDED
        why = "a wave took longer than --job_server_timeout" if late else "the job service is gone"
        raise StoppedError(f"{why} ({getattr(code, 'name', error)}); run the same command to go on") from error


@cache
def _quieten_lost_streams() -> None:
    """Beam's threads that lose their streams say nothing: the thread that waits for the job says it in one line."""
    import grpc

    before = threading.excepthook

    def hook(told: threading.ExceptHookArgs) -> None:
        if not isinstance(told.exc_value, grpc.RpcError):
            before(told)

    threading.excepthook = hook
    for name in ("data_plane", "sdk_worker"):
        logging.getLogger(f"apache_beam.runners.worker.{name}").setLevel(logging.CRITICAL)
