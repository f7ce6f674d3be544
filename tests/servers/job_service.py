"""Beam's own job service, and far workers for it, in processes of their own on 127.0.0.1.

with job_service() as service:
    service.options("LOOPBACK")          # what a command takes after `--`
    service.jobs(), service.workers()    # how many jobs and workers there have been
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_STARTS_WITHIN = 120.0


@dataclass(frozen=True)
class JobService:
    """A job service under way.

    Attributes:
        address: host and port of its gRPC server.
    """

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def options(self, environment: str, *more: str) -> list[str]:
        """Beam's options for a job here, done by `environment`."""
        endpoint = f"--job_endpoint={self.address}"
        return ["--runner=PortableRunner", endpoint, f"--environment_type={environment}", *more]

    def jobs(self) -> int:
        """How many jobs were run so far."""
        return self.log.read_text().count("Running job 'job-")

    def workers(self) -> int:
        """How many workers it has asked for so far."""
        return self.log.read_text().count("Requesting worker at")


@contextmanager
def job_service() -> Iterator[JobService]:
    """`python -m apache_beam.runners.portability.local_job_service_main`, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="job-service-") as folder:
        log, port = Path(folder, "log"), Path(folder, "port")
        command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
        with log.open("wb") as file, _process([*command, f"--port_file={port}"], file.fileno()) as process:
            _until(port.exists, process, log)
            yield JobService(process, f"localhost:{port.read_text()}", log)


@contextmanager
def worker_pool() -> Iterator[str]:
    """Beam's worker pool, which starts a process for each worker that a job asks for; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="worker-pool-") as folder:
        log = Path(folder, "log")
        command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
        with log.open("wb") as file, _process(command, file.fileno()) as process:
            _until(lambda: _listens(port), process, log)
            yield f"localhost:{port}"


@contextmanager
def _process(command: list[str], log: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, and what it started with it."""
    # A worker pool starts its workers as `python`.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=log,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{' '.join(map(str, process.args[2:]))} did not start:\n{log.read_text()}")  # type: ignore[index]
        time.sleep(0.05)


@pytest.fixture(scope="session")
def service() -> Iterator[JobService]:
    """One job service for all tests of a session."""
    with job_service() as found:
        yield found
