"""A run as a service makes it: one element is one shard; stops, repeats and budgets over the processes of a fleet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import apache_beam as beam
import pytest
from apache_beam.utils.windowed_value import WindowedValue

from annotators.budget import Allowance
from annotators.errors import Stop
from annotators.spending import spent
from pipelines import fleet, realign_session, stop_mark
from pipelines.closing import closed
from pipelines.config import load
from pipelines.prepare import Prepared, prepare
from pipelines.remote import RemoteRun, numbers_of, on_service
from pipelines.service import Service
from pipelines.shares import Share
from pipelines.spec import RunSpec
from pipelines.whole_shards import _asked_in_turn
from schemas.errors import InputError, InterruptedRun, StoppedError
from schemas.usage import Usage
from shards.manifest import read_manifest
from shards.verify import verify
from tests.pipelines.conftest import ROOT, SETTINGS, digests
from tests.servers.running import PracticeServer

HERE = ["--runner=FnApiRunner"]
# Beam's own job service: the job runs elsewhere in this process, as one on a service does, and is polled.
JOB_SERVICE = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"]

PATIENCE = 280.0  # seconds, on a machine that is busy with something else

Made = Callable[..., tuple[RunSpec, RemoteRun]]


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Starts a run of a fleet of so many processes, on a local output, which a service would refuse."""
    monkeypatch.setattr(fleet, "LOOK_EVERY", 0.05)
    begun: list[RunSpec] = []

    def submit(prepared: Prepared, processes: int = 1, options: list[str] = HERE) -> tuple[RunSpec, RemoteRun]:
        spec = on_service(prepared.spec, Service([], processes))
        begun.append(spec)
        run = RemoteRun(spec, prepared.left, options)
        run.start()
        return spec, run

    yield submit
    for spec in begun:
        fleet.forget(spec)


def prepared_of(out: Path, tmp_path: Path, dataset: str = "realign", *more: str) -> Prepared:
    own, name = (SETTINGS, "toy.yaml") if dataset == "realign" else (("samples=4",), "toy-edit.yaml")
    path = str(ROOT / "configs" / name)
    config = load(path, [*own, f"ledger={tmp_path / 'ledger'}", *more], dataset)
    return prepare(config, path, str(out), Share())


def test_a_shard_made_whole_has_the_bytes_of_a_local_run_and_the_job_writes_the_manifest(
    submitted: Made, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _, run = submitted(prepared_of(out, tmp_path), 1, JOB_SERVICE)
    while not run.wait(0.1):
        run.progress()
    run.raise_ending()
    assert digests(out) == digests(whole)
    assert read_manifest(str(out)) is not None and verify(str(out)) == [], "nobody at the launcher closed it"


def test_labels_are_made_whole_too(submitted: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared = prepared_of(out, tmp_path, "firm-edit")
    _, run = submitted(prepared)
    assert run.wait(PATIENCE)
    run.raise_ending()
    manifest = closed(prepared.spec.config, str(out), prepared.spec.run_hash, changed=False)
    assert manifest["counts"]["kept"] > 0 and verify(str(out)) == []


def test_a_bundle_that_is_repeated_makes_no_shard_again(
    submitted: Made, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    written: list[str] = []
    write = realign_session.write_shard
    monkeypatch.setattr(realign_session, "write_shard", lambda *a, **k: written.append(str(a[1])) or write(*a, **k))
    _, run = submitted(prepared_of(out, tmp_path), 1, [*HERE, "--direct_runner_bundle_repeat=1"])
    assert run.wait(PATIENCE)
    run.raise_ending()
    assert digests(out) == digests(whole)
    assert sorted(f"{name}.tar" for name in written) == sorted(n for n in digests(whole) if n.endswith(".tar"))


def test_what_a_worker_cannot_open_is_the_launchers_exit_code_and_is_not_tried_again(
    submitted: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepared_of(tmp_path / "out", tmp_path)
    opened: list[RunSpec] = []
    find = fleet.session
    monkeypatch.setattr(fleet, "session", lambda spec: opened.append(spec) or find(spec))
    spec, run = submitted(replace(prepared, spec=replace(prepared.spec, filters="other weights")))
    assert run.wait(PATIENCE)
    with pytest.raises(InputError, match="other weights than the one that began the run"):
        run.raise_ending()
    assert len(opened) == 1, "seven shards, one try"
    stop = stop_mark.read(spec)
    assert stop is not None and stop.exit_code == 2
    _, again = submitted(prepared)
    assert again.wait(PATIENCE)
    again.raise_ending()
    assert verify(str(tmp_path / "out")) == [], "the next attempt begins afresh"


def test_an_image_of_another_version_is_said(submitted: Made, tmp_path: Path) -> None:
    prepared = prepared_of(tmp_path / "out", tmp_path)
    _, run = submitted(replace(prepared, spec=replace(prepared.spec, version="0.0.1")))
    assert run.wait(PATIENCE)
    with pytest.raises(InputError, match=r"the launcher 0\.0\.1: build the image again"):
        run.raise_ending()


def of_models(server: PracticeServer, *more: str, in_flight: int = 4) -> list[str]:
    model = f"provider: openai, base_url: '{server.openai}', in_flight: {in_flight}"
    roles = ", ".join(f"{role}: {{{model}, model: m-{role}}}" for role in ("writer", "reasoner", "painter"))
    return [f"models={{{roles}}}", "reasonings=1", "filters={}", *more]


def test_the_processes_of_a_fleet_cannot_spend_more_than_the_budget(
    submitted: Made,
    practice_server: PracticeServer,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    settings = of_models(practice_server, "budget.calls=21")
    processes = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    _, run = submitted(prepared_of(out, tmp_path, "realign", *settings), 2, [*HERE, *processes])
    assert run.wait(PATIENCE)
    with pytest.raises(StoppedError, match=r"budget.calls: what this process could pay of the 21 calls"):
        run.raise_ending()
    paid = sum(spent(str(out)).values(), Usage()).calls
    assert practice_server.stats()["ok"] == paid <= 21
    assert paid >= 10, "each has its half"


def test_a_process_that_comes_later_has_its_part_of_what_is_left(tmp_path: Path) -> None:
    from annotators.spending import Journal

    prepared = prepared_of(tmp_path / "out", tmp_path, "realign", "budget.calls=100", "budget.usd=10")
    spec = on_service(prepared.spec, Service([], 4))
    assert spec.share.of == 4 and spec.slice.of == 1
    assert fleet.part_of_budget(spec) == Allowance(calls=25, usd=2.5)
    dead = Journal(spec.out)
    dead.paid(20, 2.0)
    dead.close()
    assert fleet.part_of_budget(spec) == Allowance(calls=20, usd=2.0)


def test_ctrl_c_stops_the_workers_in_order_and_the_same_command_goes_on(
    submitted: Made,
    practice_server: PracticeServer,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    practice_server.configure(latency=0.5)
    settings = of_models(practice_server, in_flight=2)  # 36 rounds of half a second, were nobody to stop it
    _, run = submitted(prepared_of(out, tmp_path, "realign", *settings), 1, JOB_SERVICE)
    while practice_server.stats()["ok"] < 5:
        assert not run.wait(0.02)
    run.interrupt()
    assert run.wait(PATIENCE), "the workers drain, and the job ends by itself"
    with pytest.raises(InterruptedRun, match="the same command resumes"):
        run.raise_ending()
    before = practice_server.stats()["ok"]
    assert before < 24 * 3 and sum(spent(str(out)).values(), Usage()).calls == before, "no answer was lost"
    practice_server.configure(latency=0)
    _, again = submitted(prepared_of(out, tmp_path, "realign", *of_models(practice_server)))
    assert again.wait(PATIENCE)
    again.raise_ending()
    stats = practice_server.stats()
    assert stats["repeats"] == 0 and verify(str(out)) == []


def test_shards_under_way_in_one_process_are_begun_one_after_the_other() -> None:
    begun: list[str] = []

    class Asking(beam.DoFn):
        def process(self, plan: str) -> Iterator[str]:
            begun.append(plan)
            time.sleep(0.002)  # so that the other thread has its chance
            yield plan

        def finish_bundle(self) -> Iterator[WindowedValue]:
            yield WindowedValue("the last", 0, ())

    def made(shard: str) -> list[Any]:
        return list(_asked_in_turn(Asking(), cast(Any, [f"{shard}{n}" for n in range(20)])))

    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(made, "ab"))
    assert [len(result) for result in results] == [21, 21]
    assert [plan[0] for plan in begun] in (["a"] * 20 + ["b"] * 20, ["b"] * 20 + ["a"] * 20)


def test_the_first_reason_to_stop_is_kept_and_belongs_to_one_attempt(tmp_path: Path) -> None:
    spec = RunSpec(cast(Any, None), str(tmp_path), "", "hash", attempt="one")
    assert stop_mark.read(spec) is None
    stop_mark.put(spec, Stop(3, "budget.usd: spent"))
    stop_mark.put(spec, Stop(2, "another"))
    assert stop_mark.read(spec) == Stop(3, "budget.usd: spent")
    assert stop_mark.read(replace(spec, attempt="two")) is None
    Path(stop_mark.place(spec)).write_text("not JSON")
    damaged = stop_mark.read(spec)
    assert damaged is not None and damaged.exit_code == 3


def test_counters_of_a_job_are_the_numbers_of_the_line() -> None:
    told = {
        ("plumbline.annotate", "drafts"): 7,
        ("plumbline.annotate", "rejections"): 2,
        ("plumbline.annotate", "answers"): 20,
        ("plumbline.judge", "answers"): 5,
        ("plumbline.annotate", "usd_millionths"): 1_500_000,
        ("plumbline.annotate", "tokens_in"): 10,
        ("plumbline.shards", "committed"): 3,
    }
    numbers = numbers_of(told)
    assert (numbers["done"], numbers["answers"], numbers["usd"], numbers["shards"]) == (9, 25, 1.5, 3)
    assert numbers["tokens"] == 10
