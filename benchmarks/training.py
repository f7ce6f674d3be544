"""Rates of the bundled trainer on a CPU, by the CPU second of one thread.

    python -m benchmarks.training --data d --init sft

`d`: an output of `plumbline realign configs/toy.yaml --set samples=8000`, made where it is absent; `sft`: the `out` of
`plumbline train sft configs/train-toy.yaml`, with which RL begins. Two shapes: a small
one, which the goals are of (32 pixels; 2 x 16 tokens of references, 50 of text, 64 of the image; texts are cut to
that), and that of the shipped configurations, whose text is whole. Batches come from shards, as in any run; evaluation
and checkpoints are not counted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.ablations.runs import ROOT, make_data
from benchmarks.results import Row, record
from training import rl, running, sft
from training.config import RLConfig, SFTConfig
from training.data import reader_of
from training.processes import Processes
from training.rewarding import Rollouts, Scores, Surrogate

TITLE = "Training"
GOALS = {"SFT": 2.5, "RL": 0.8}
SMALL: dict[str, Any] = {
    "kind": "toy",
    "side": 32,
    "patch": 4,
    "reference_patch": 8,
    "references": 2,
    "width": 96,
    "layers": 3,
    "heads": 3,
    "longest": 50,
    "reasoning": 28,
}
"""Of the text's 50 tokens at most 22 are the prompt's, the rest the reasoning's."""
NEVER = 1_000_000
CAPTION = "a small red star on the left"


def main(given: Sequence[str] | None = None) -> list[Row]:
    """Measure, print, and record in RESULTS.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--data", required=True)
    parser.add_argument("--init", required=True)
    parser.add_argument("--steps", type=int, default=25, help="that are timed, after as many that are not")
    told = parser.parse_args(given)
    make_data(told.data, 8000)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(told.data, told.init, Path(folder), told.steps)
    notes = [
        *(f"goal {goal} {name} steps a CPU second at the small shape" for name, goal in GOALS.items()),
        "small: 146 tokens (32 of two references, 50 of text, 64 of the image). RL there: rollouts of 7 flow steps, 2"
        " gradient steps, without `less_siblings`; its reasonings, cut short, have no caption, so images are scored by"
        " the toy CLIP against one and the same",
        "as shipped: SFT learns 64 lessons (captions, IC-CoTs) beside each batch of 32; RL draws in 4 flow steps, asks"
        " `less_siblings`",
    ]
    print(record(TITLE, "python -m benchmarks.training --data d --init sft", rows, notes))
    return rows


def measure(data: str, init: str, folder: Path, steps: int) -> list[Row]:
    """A row a stage and shape."""
    shared: dict[str, Any] = {"data": data, "threads": 1, "steps": 2 * steps, "log": steps, "eval_samples": 8}
    shared |= {"evaluate": NEVER, "save": NEVER}
    small = {**shared, "backbone": SMALL, "tasks": ["scene"], "max_references": 2, "keep_decoded": True}
    first = SFTConfig(**small, batch=48, out=str(folder / "small"))
    second = RLConfig(**small, batch=5, group=10, init=first.out, out=str(folder / "small-rl"))
    third = shipped("toy", shared, SFTConfig, folder / "sft")
    fourth = shipped("toy-rl", {**shared, "init": init}, RLConfig, folder / "rl")
    rows = []
    for name, config in (("SFT, small", first), ("SFT, as shipped", third)):
        sft.train(config, quiet)
        rows.append(row(name, config))
    for name, config, reward in (("RL, small", second, OneCaption()), ("RL, as shipped", fourth, None)):
        run = run_of(config)
        run.reward = reward or run.reward
        run.train()
        rows.append(row(name, config))
    return rows


def shipped(name: str, changes: dict[str, Any], kind: Any, out: Path) -> Any:
    """One of the shipped configurations with changes."""
    tree = yaml.safe_load((ROOT / f"configs/train-{name}.yaml").read_text())
    return kind(**{**tree, **changes, "out": str(out)})


def run_of(config: RLConfig) -> rl.RLRun:
    """As `plumbline train rl` makes it."""
    running.set_threads(config)
    reader = reader_of(config, "rl", side=config.backbone.side, seed=config.seed)
    backbone = running.open_backbone(config, lambda: iter(()))
    return rl.RLRun(config, backbone, reader, Processes(), quiet)


class OneCaption:
    """The surrogate's work on images, whatever the reasonings say."""

    def __init__(self) -> None:
        self.surrogate = Surrogate("toy")

    def __call__(self, rollouts: Rollouts) -> Scores:
        """[B] cosines with one caption."""
        return self.surrogate.cosines(rollouts.images, [CAPTION] * len(rollouts.images))


def row(name: str, config: SFTConfig | RLConfig) -> Row:
    """A line of the table: rates are of the second half; in the first, samples are decoded that are then kept."""
    lines = (Path(config.out) / running.METRICS).read_text().splitlines()
    first, second = (one for line in lines if "steps_per_cpu_s" in (one := json.loads(line)))
    backbone = running.open_backbone(config.model_copy(update={"init": config.out}), lambda: iter(()))
    return {
        "what": name,
        "batch": f"{config.batch} x {config.group}" if isinstance(config, RLConfig) else config.batch,
        "parameters": sum(one.numel() for _, one in backbone.trained("both")),
        "steps a CPU second": second["steps_per_cpu_s"],
        "waiting for data at first, %": 100 * first["waiting"],
        "then, %": 100 * second["waiting"],
    }


def quiet(line: str) -> None:
    """The table says it."""


if __name__ == "__main__":
    main()
