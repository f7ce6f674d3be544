"""Training runs as jobs: each in a process of its own, what it needs first, and nothing twice.

A job is a configuration of `plumbline train` and what is measured when it is done. It is written as YAML beside its
run (`RUNS/NAME.yaml`, which `plumbline train sft|rl` takes as it is), says what it does in `NAME.log`, and leaves
`NAME.json`: the figures, its CPU seconds and its peak memory. A job whose JSON is of the same configuration is done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

ROOT = Path(__file__).parents[2]
Kind = Literal["sft", "rl", "base", "measure", "references"]
Tree = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One process.

    Attributes:
        kind: `sft` and `rl` train, then measure; `base` measures fresh weights, `measure` those of the job it needs,
            `references` times steps.
        tree: of the run's configuration, without `out`.
        needs: the job whose run this one begins with, by name.
        asks: what is measured, of the worker's names.
    """

    name: str
    kind: Kind
    tree: Tree
    needs: str | None = None
    asks: Tree = field(default_factory=dict)


@dataclass(frozen=True)
class Sitting:
    """What the command line said.

    Attributes:
        folder: of runs that are kept; those of another length have another folder.
        sft, rl: the two configurations that every arm changes.
        quick: the report stays with the runs.
        command: for the report.
        flags: all that the command line said, by name.
    """

    data: str
    folder: Path
    seeds: int
    jobs: int
    quick: bool
    sft: Tree
    rl: Tree
    command: str
    flags: Tree

    def stage(self, kind: Literal["sft", "rl"], seed: int, **changes: Any) -> Tree:
        """The configuration of a stage with an arm's changes."""
        tree = self.sft if kind == "sft" else self.rl
        optimiser = {**tree["optimiser"], **changes.pop("optimiser", {})}
        return {**tree, "seed": seed, "optimiser": optimiser, **changes}

    def sft_job(self, seed: int, form: str = "structured", **changes: Any) -> Job:
        """SFT of one form and seed: the same job, hence the same run, for whoever asks."""
        words = [form, *(f"{key}-{value}" for key, value in changes.items()), f"seed{seed}"]
        return Job("sft-" + "-".join(words), "sft", self.stage("sft", seed, form=form, **changes))

    def rl_job(self, seed: int, start: Job, **changes: Any) -> Job:
        """RL as its configuration has it, but for `changes`, which name it."""
        words = [*(f"{key}-{value}" for key, value in changes.items()), f"seed{seed}", "from", start.name]
        if "lr" in changes:
            changes["optimiser"] = {"lr": changes.pop("lr")}
        return Job("rl-" + "-".join(words), "rl", self.stage("rl", seed, **changes), needs=start.name)


def sitting(prog: str, given: Sequence[str] | None, seeds: int, **flags: Tree) -> Sitting:
    """The arguments that all ablations share, and `flags` of this one; makes the data where there is none."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.ablations.{prog}")
    add = parser.add_argument
    add("--data", required=True, help="an output of plumbline realign configs/toy.yaml; made where it is absent")
    add("--runs", default="out/ablations", help="folder of the runs, which are kept and reused")
    add("--seeds", type=int, default=seeds)
    add("--jobs", type=int, default=1, help="processes at once, of one thread each")
    add("--quick", action="store_true", help="a few hundred steps: whether it works, not what is true")
    add("--sft-steps", type=int)
    add("--rl-steps", type=int)
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="in both stages' configurations")
    for flag, options in flags.items():
        add(f"--{flag}", **options)
    told = parser.parse_args(given)
    stages = {name: yaml.safe_load((ROOT / "configs" / f"train-{name}.yaml").read_text()) for name in ("toy", "toy-rl")}
    sft, rl = stages["toy"], stages["toy-rl"]
    sft["steps"] = told.sft_steps or (200 if told.quick else sft["steps"])
    rl["steps"] = told.rl_steps or (20 if told.quick else rl["steps"])
    # Every update is logged, as its statistics are reported; the curves have six points after the first.
    rl.update(log=1, evaluate=max(1, rl["steps"] // 6))
    sft.update(evaluate=sft["steps"])
    for tree in (sft, rl):
        tree.pop("out")
        tree.update(data=told.data, threads=1, save=min(tree["save"], tree["steps"]))
        # A run that is cut short is not to end while its rate still rises.
        tree["optimiser"]["warmup"] = min(tree["optimiser"]["warmup"], tree["steps"] // 6)
        for one in told.set:
            _set(tree, one)
    make_data(told.data, 8000)
    digest = hashlib.sha256(json.dumps([sft, rl], sort_keys=True).encode()).hexdigest()[:8]
    folder = Path(told.runs) / f"sft{sft['steps']}-rl{rl['steps']}-{digest}"
    command = f"python -m benchmarks.ablations.{prog} " + " ".join(sys.argv[1:] if given is None else given)
    return Sitting(told.data, folder, told.seeds, told.jobs, told.quick, sft, rl, command, vars(told))


def make_data(data: str, samples: int, *settings: str) -> None:
    """The drawn world's Re-Align output, where the folder is not there."""
    if Path(data).exists():
        return
    command = [sys.executable, "-m", "cli.main", "realign", "configs/toy.yaml"]
    sets = [word for one in (f"samples={samples}", *settings) for word in ("--set", one)]
    subprocess.run([*command, *sets, "--out", os.path.abspath(data)], cwd=ROOT, check=True)


def run(jobs: Sequence[Job], folder: Path, at_once: int) -> dict[str, Tree]:
    """The figures of every job, by name; those that are done already are not run again.

    Raises:
        SystemExit: a job failed: names its log. Those that do not need it have been run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting = {job.name: job for job in jobs if _done(job, folder) is None}
    going: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    failed: list[str] = []
    while waiting or going:
        for name, job in list(waiting.items()):
            ready = job.needs not in waiting and job.needs not in going
            if job.needs in failed:
                failed.append(waiting.pop(name).name)
            elif ready and len(going) < at_once:
                going[name] = _start(waiting.pop(name), folder), time.monotonic()
        time.sleep(0.1)
        for name, (process, began) in list(going.items()):
            if process.poll() is not None:
                del going[name]
                print(f"{name}: {time.monotonic() - began:,.0f} s, status {process.returncode}", flush=True)
                failed += [name] if process.returncode else []
    if failed:
        raise SystemExit(f"{', '.join(failed)}: did not finish; see {folder}/{failed[0]}.log, then run this again")
    return {job.name: json.loads((folder / f"{job.name}.json").read_text()) for job in jobs}


def settings_of(job: Job, folder: Path) -> Tree:
    """The configuration of a job, whole."""
    begins = {} if job.needs is None else {"init": str(folder / job.needs)}
    return {**job.tree, **begins, "out": str(folder / job.name)}


def _done(job: Job, folder: Path) -> Tree | None:
    path = folder / f"{job.name}.json"
    if not path.exists():
        return None
    found: Tree = json.loads(path.read_text())
    same = found["settings"] == json.loads(json.dumps(settings_of(job, folder))) and found["asks"] == job.asks
    return found if same else None


def _start(job: Job, folder: Path) -> subprocess.Popen[bytes]:
    config = folder / f"{job.name}.yaml"
    config.write_text(yaml.safe_dump(settings_of(job, folder), sort_keys=False))
    result = str(folder / f"{job.name}.json")
    command = [sys.executable, "-m", "benchmarks.ablations.worker", job.kind, str(config), result, json.dumps(job.asks)]
    # More threads than cores make small models slower, not faster.
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    print(f"{job.name}: begins", flush=True)
    with (folder / f"{job.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **one})


def _set(tree: Tree, setting: str) -> None:
    key, _, text = setting.partition("=")
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree[parent]
    tree[last] = yaml.safe_load(text)
