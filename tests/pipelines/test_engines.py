"""Beam's runners: the same bytes, counts and exit codes from each that is said to work, and a line from the others."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.watching import Watching
from pipelines import job_service as job_services
from pipelines.realign_session import RealignSession
from shards.manifest import read_manifest
from shards.verify import verify
from tests.servers.job_service import JobService, job_service, worker_pool
from tests.servers.running import PracticeServer
from tests.servers.runs import TOYS, attempt, digests, drawn, paid

Baseline = Callable[[str], Path]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    """A dataset's small run on FnApiRunner, made once."""
    made: dict[str, Path] = {}

    def of(dataset: str) -> Path:
        if dataset not in made:
            folder = tmp_path_factory.mktemp(dataset)
            assert attempt(folder / "out", drawn(dataset, folder / "ledger"), dataset=dataset) == (0, "")
            made[dataset] = folder / "out"
        return made[dataset]

    return of


def counts(out: Path) -> dict[str, object]:
    manifest = read_manifest(str(out))
    assert manifest is not None and verify(str(out)) == []
    return {key: manifest[key] for key in ("counts", "rejected_by_reason")}


# Both datasets of critic labels have the same steps: one of them is enough, but for `make soak`.
DATASETS = [pytest.param(name, marks=pytest.mark.soak if name == "firm-gen" else ()) for name in TOYS]


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_job_service_makes_the_same_bytes(
    dataset: str,
    service: JobService,
    baseline: Baseline,
    tmp_path: Path,
) -> None:
    before = service.jobs()
    options = service.options("LOOPBACK")
    assert attempt(tmp_path / "o", drawn(dataset, tmp_path / "ledger"), options, dataset=dataset) == (0, "")
    assert service.jobs() > before, "the service ran it"
    assert digests(tmp_path / "o") == digests(baseline(dataset))
    assert counts(tmp_path / "o") == counts(baseline(dataset))


def test_a_job_may_take_longer_than_an_answer_of_the_service_and_progress_counts_every_plan(
    service: JobService,
    baseline: Baseline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, waits = RealignSession.commit, iter([1.2, 1.2])

    def slowly(self: RealignSession, *words: object) -> object:
        time.sleep(next(waits, 0.0))
        return write(self, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(RealignSession, "commit", slowly)
    options, metrics = service.options("LOOPBACK", "--job_server_timeout=1"), tmp_path / "run.prom"
    settings = drawn("realign", tmp_path / "ledger")
    assert attempt(tmp_path / "o", settings, options, watching=Watching(str(metrics))) == (0, "")
    assert digests(tmp_path / "o") == digests(baseline("realign"))
    plans = [line for line in metrics.read_text().splitlines() if line.startswith("plumbline_plans_total")]
    assert len(plans) == 1 and plans[0].endswith(" 12.0")


def test_a_stop_inside_ends_with_its_own_line_and_goes_on(
    service: JobService,
    practice_server: PracticeServer,
    tmp_path: Path,
) -> None:
    settings, options = paid(practice_server, tmp_path / "ledger"), service.options("LOOPBACK")
    practice_server.configure(faults={"401": 1.0})
    code, line = attempt(tmp_path / "o", settings, options)
    assert code == 2 and "401" in line and "models.writer" in line
    practice_server.configure(faults={})
    code, line = attempt(tmp_path / "o", [*settings, "budget.calls=10"], options)
    assert code == 3 and line.startswith("budget.calls: the 10 calls are spent")
    assert practice_server.stats()["ok"] == 10
    assert attempt(tmp_path / "o", settings, options) == (0, "")
    assert counts(tmp_path / "o")["counts"] == {"planned": 12, "kept": 12, "rejected": 0}
    assert practice_server.stats()["ok"] == 36 and practice_server.stats()["repeats"] == 0


def test_a_failure_inside_is_told_and_what_was_paid_is_kept(
    service: JobService,
    practice_server: PracticeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("something nobody foresaw")

    settings, options = paid(practice_server, tmp_path / "ledger"), service.options("LOOPBACK")
    with monkeypatch.context() as patch:
        patch.setattr(RealignSession, "commit", fails)
        with pytest.raises(RuntimeError, match="something nobody foresaw"):
            attempt(tmp_path / "o", settings, options)
    assert not (tmp_path / "o" / "manifest.json").exists()
    assert attempt(tmp_path / "o", settings) == (0, ""), "and another runner goes on"
    assert practice_server.stats()["ok"] == 36 and practice_server.stats()["repeats"] == 0


def test_a_job_service_that_dies_stops_the_run_in_order(
    practice_server: PracticeServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings = paid(practice_server, tmp_path / "ledger")
    practice_server.configure(latency=0.5)
    with job_service() as dying:

        def kill_at_half() -> None:
            while practice_server.stats()["ok"] < 12:
                time.sleep(0.05)
            dying.process.kill()

        killer = threading.Thread(target=kill_at_half)
        killer.start()
        code, line = attempt(tmp_path / "o", settings, dying.options("LOOPBACK"))
        killer.join()
    assert code == 3 and line.startswith("the job service is gone") and "\n" not in line
    assert "Traceback" not in capfd.readouterr().err
    practice_server.configure(latency=0.0)
    assert attempt(tmp_path / "o", settings) == (0, "")
    assert counts(tmp_path / "o")["counts"] == {"planned": 12, "kept": 12, "rejected": 0}
    assert practice_server.stats()["repeats"] == 0


def test_an_interruption_stops_it_in_order(
    service: JobService,
    practice_server: PracticeServer,
    tmp_path: Path,
) -> None:
    settings, options = paid(practice_server, tmp_path / "ledger"), service.options("LOOPBACK")
    practice_server.configure(latency=0.3)

    def interrupt() -> None:
        while practice_server.stats()["ok"] < 6:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert attempt(tmp_path / "o", settings, options)[0] == 130
    assert not (tmp_path / "o" / "manifest.json").exists()
    assert attempt(tmp_path / "o", settings, options) == (0, "")
    assert practice_server.stats()["repeats"] == 0


@pytest.mark.soak
def test_workers_of_its_own_divide_the_budget_and_a_stop_of_theirs_is_the_command_s(
    service: JobService,
    practice_server: PracticeServer,
    tmp_path: Path,
) -> None:
    settings = paid(practice_server, tmp_path / "ledger")
    with worker_pool() as pool:
        options = service.options("EXTERNAL", f"--environment_config={pool}")
        code, line = attempt(tmp_path / "o", [*settings, "budget.calls=10"], [*options, "--num_workers=2"])
        assert code == 3 and line.startswith("budget.calls: ")
        assert practice_server.stats()["ok"] == 5, "the one of two that there is spent its half"
        assert attempt(tmp_path / "o", settings, [*options, "--num_workers=1"]) == (0, "")
    assert counts(tmp_path / "o")["counts"] == {"planned": 12, "kept": 12, "rejected": 0}
    assert practice_server.stats()["ok"] == 36 and practice_server.stats()["repeats"] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--runner=PortableRunner", "--environment_type=LOOPBACK"], "--job_endpoint: is missing"),
        (["--runner=portable", "--job_endpoint=localhost:8099"], "--environment_type: is missing"),
        (["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=DOCKER"], "--num_workers: is missing"),
        (["--runner=PrismRunner"], "--runner=PrismRunner: is none that plumbline works with"),
        (["--runner=DirectRunner"], "leave it out for FnApiRunner"),
        (["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"], "DaskRunner: is none"),
        (["--runner=Sparkle"], "--runner=Sparkle: is none"),
        (
            ["--runner=PortableRunner", "--environment_type=LOOPBACK", "--job_endpoint=localhost:1"],
            "--job_endpoint=localhost:1: no job service answers there",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_begun(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_services, "PATIENCE", 0.5)
    code, line = attempt(tmp_path / "o", drawn("realign", tmp_path / "ledger"), options)
    assert code == 2 and said in line and "\n" not in line
    assert not (tmp_path / "o").exists()
