"""The ablations: intervals that hold what they should, tables and plots of made-up runs, and one run that is real."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks import results
from benchmarks.ablations import figures, firm, realign, reporting, runs, sweep
from benchmarks.ablations.runs import Job, Tree, run, sitting
from tests.training.conftest import TINY, made

TINY_FLAGS = [f"--set={key}={json.dumps(value)}" for key, value in TINY.items()]


def test_an_interval_holds_the_spread_of_samples_and_of_seeds() -> None:
    rng = np.random.default_rng(3)
    samples = rng.normal(0.5, 0.2, 400)
    alone = figures.over([samples.tolist()])
    assert alone.value == pytest.approx(samples.mean())
    half = 1.96 * samples.std() / math.sqrt(400)
    assert (alone.high - alone.low) / 2 == pytest.approx(half, rel=0.1)
    # Seeds that differ widen it, however many samples there are.
    apart = figures.over([(samples + shift).tolist() for shift in (-0.2, 0.0, 0.2)])
    assert apart.value == pytest.approx(samples.mean()) and apart.high - apart.low > 4 * half


def test_what_is_missing_is_passed_over_and_nothing_has_no_figure() -> None:
    assert figures.over([[1.0, None, 3.0], [1.0, math.nan, 3.0]]).value == 2.0
    assert math.isnan(figures.over([[None, None]]).value) and figures.told(figures.over([[None]])) == "-"
    # Runs of unequal length: the longer one's columns are its own.
    assert figures.over([[1.0], [1.0, 4.0]]).value == 2.0


def test_a_difference_is_paired_so_that_hard_samples_do_not_blur_it() -> None:
    rng = np.random.default_rng(5)
    hard = rng.normal(0, 1, (3, 60))
    better = hard + 0.05 + rng.normal(0, 0.02, (3, 60))
    gap = figures.difference(better.tolist(), hard.tolist())
    assert gap.low < 0.05 < gap.high and figures.clear(gap) == "rises"
    assert figures.clear(figures.difference(hard.tolist(), better.tolist())) == "falls"
    assert figures.clear(figures.difference(hard.tolist(), rng.permuted(hard, axis=1).tolist())) == "not told apart"
    assert figures.told(gap).startswith("0.0") and " to " in figures.told(gap)


def invented(job: Job) -> Tree:
    """What a worker might have written for a job."""
    rng = np.random.default_rng(abs(hash(job.name)) % 2**32)
    trained = "rl" if job.kind == "rl" else ""
    level = {"base": 0.1, "sft": 0.5}.get(job.kind, 0.7)
    keys = [*realign.HELD_OUT, *firm.EDIT_FIGURES, *firm.GENERATION_FIGURES]
    each = {key: (level + rng.normal(0, 0.1, 12)).tolist() for key in dict.fromkeys(keys)}
    held = [
        {"step": n, "each": {k: (level + n / 9 + rng.normal(0, 0.1, 9)).tolist() for k in ("reward", "truth")}}
        for n in (0, 3)
    ]
    updates = [{"step": n, "reward_std": 0.02, "zero_std_ratio": 0.1} for n in (1, 2, 3)]
    evaluated = [{"step": n, "eval_reward": level + n / 9} for n in (0, 3)]
    return {
        "each": each,
        "metrics": [*held, *updates, *evaluated] if trained else [],
        "diversity": {str(one): {"distinct": one / 2, "true": 1 - one / 2} for one in sweep.TEMPERATURES},
        "cost": {"cpu_s": 12.0, "peak_mib": 300},
        "seconds": 0.4,
        "mib": 120.0,
        "words": 60.0,
    }


@pytest.mark.parametrize(
    ("module", "title", "jobs", "plot"),
    [
        (realign, "Ablation: Re-Align", 12, "ablation-realign.png"),
        (firm, "Ablation: FIRM, edits", 1 + 2 + 2 * 8, "ablation-firm.png"),
        (sweep, "Sweep", 2 * (2 + 6 + 2 * 1) + 2 + 4, "sweep.png"),
    ],
)
def test_each_reports_every_arm_as_table_json_and_plot(
    module: Any, title: str, jobs: int, plot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Job] = {}

    def pretended(asked: Sequence[Job], folder: Path, at_once: int) -> dict[str, Tree]:
        folder.mkdir(parents=True, exist_ok=True)
        for job in asked:
            assert seen.setdefault(job.name, job) == job  # one name is one configuration
        assert all(job.needs is None or job.needs in seen for job in asked)
        return {job.name: invented(job) for job in asked}

    monkeypatch.setattr(module, "run", pretended)
    monkeypatch.setattr(runs, "make_data", lambda *told: None)
    monkeypatch.setattr(sweep, "make_data", lambda *told: None)
    more = ["--stress", "0.3"] if module is sweep else []
    module.main(["--data", "d", "--runs", str(tmp_path), "--seeds", "2", "--quick", *more])
    assert len(seen) == jobs
    (folder,) = tmp_path.iterdir()
    text = (folder / "RESULTS.md").read_text()
    assert f"## {title}\n" in text and "--seeds 2 --quick" in text
    assert Image.open(folder / plot).width > 800
    name = {realign: "realign", firm: "firm", sweep: "sweep"}[module]
    assert json.loads((folder / f"{name}.json").read_text())["notes"]
    arms = {realign: realign.ARMS, firm: [*firm.EDIT_REWARDS, *firm.GENERATION_REWARDS], sweep: ["stress share, SFT"]}
    assert all(f"| {arm} |" in text for arm in arms[module])


def test_one_family_of_firm_is_reported_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretended(asked: Sequence[Job], folder: Path, at_once: int) -> dict[str, Tree]:
        folder.mkdir(parents=True)
        return {job.name: invented(job) for job in asked}

    monkeypatch.setattr(firm, "run", pretended)
    monkeypatch.setattr(runs, "make_data", lambda *told: None)
    firm.main(["--data", "d", "--runs", str(tmp_path), "--seeds", "1", "--quick", "--only", "generation"])
    (folder,) = tmp_path.iterdir()
    text = (folder / "RESULTS.md").read_text()
    assert "FIRM, generation" in text and "FIRM, edits" not in text
    assert Image.open(folder / "ablation-firm-generation.png").width > 800
    assert "generation" in json.loads((folder / "firm-generation.json").read_text())


def test_only_a_whole_sitting_writes_where_it_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "make_data", lambda *told: None)
    quick, whole = (sitting("realign", ["--data=d", f"--runs={tmp_path}", *more], 3) for more in (["--quick"], []))
    assert tmp_path in reporting.plot_path(quick, "realign").parents and quick.folder != whole.folder
    assert reporting.plot_path(whole, "realign") == runs.ROOT / "docs" / "ablation-realign.png"
    shipped = yaml.safe_load((runs.ROOT / "configs" / "train-toy-rl.yaml").read_text())
    assert quick.rl["steps"] < whole.rl["steps"] == shipped["steps"] and results.RESULTS.exists()
    assert quick.rl["optimiser"]["warmup"] == quick.rl["steps"] // 6, "or it would end while its rate still rises"
    assert whole.rl["optimiser"] == shipped["optimiser"]


@pytest.mark.soak
def test_one_run_is_made_measured_and_not_made_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = made(tmp_path)
    asked = sitting(
        "firm",
        [
            "--data",
            data,
            f"--runs={tmp_path / 'runs'}",
            "--sft-steps=2",
            "--set=batch=4",
            "--set=tasks=[]",
            *TINY_FLAGS,
        ],
        1,
    )
    job = asked.sft_job(0)
    found = run([job], asked.folder, 1)[job.name]
    assert 0 < len(found["each"]["truth"]) <= len(found["each"]["pixel_mse"])
    assert found["cost"]["cpu_s"] > 0 and found["metrics"][-1]["step"] == 2
    assert "begins" in capfd.readouterr().out
    assert run([job], asked.folder, 1)[job.name] == found and "begins" not in capfd.readouterr().out


def test_a_job_that_fails_is_named_and_what_needs_it_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs.sys, "executable", "false")
    jobs = [Job("b", "rl", {"steps": 1}, needs="a"), Job("a", "sft", {"steps": 1}), Job("c", "sft", {"steps": 2})]
    with pytest.raises(SystemExit, match=r"a, c, b: did not finish|a, b, c: did not finish|c, a, b: did not finish"):
        run(jobs, tmp_path, 2)
    assert not (tmp_path / "b.yaml").exists() and "init" not in (tmp_path / "a.yaml").read_text()
