"""`make ablation-firm`: FIRM's rewards against the ones it was measured against, on the drawn world.

python -m benchmarks.ablations.firm --data d [--seeds 3] [--jobs 2] [--quick] [--only edits]

Edits under the weighted sums, execution alone and CME; the same prompts, as pictures to be generated, under QMA's
blends. Every RL begins with one and the same SFT, and seeds differ in RL alone. What it is rewarded by is
read from images as small as they are drawn; what it is measured by, from the whole target (`measuring.edits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import results
from benchmarks.ablations import figures
from benchmarks.ablations.reporting import keep, plot_path, section
from benchmarks.ablations.runs import Job, Sitting, Tree, run, sitting
from evaluation.bootstrap import Estimate

TITLE = "Ablation: FIRM"
BEFORE = "before RL"


def rewarded(kind: str, std: str = "global", **weights: float) -> Tree:
    """What an arm changes: the reward, and whose spread divides advantages (the batch's, in FIRM's trainers)."""
    return {"reward": [{"kind": kind, **weights}], "std": std}


EDIT_REWARDS: dict[str, Tree] = {
    "sum .5/.5": rewarded("weighted_sum", w1=0.5, w2=0.5),
    "sum .6/.4": rewarded("weighted_sum", w1=0.6, w2=0.4),
    "execution only": rewarded("execution_only"),
    "CME .6/.4": rewarded("cme"),
}
GENERATION_REWARDS: dict[str, Tree] = {
    "QMA .4/.6, std: group": rewarded("qma", std="group"),
    "QMA .4/.6": rewarded("qma"),
    "legacy .5/.5": rewarded("qma", w1=0.5, w2=0.5),
    "following only": rewarded("qma", w1=1.0, w2=0.0),
}
EDIT_FIGURES = {
    "execution": "true execution, 1 to 5",
    "consistency": "true consistency, 1 to 5",
    "copied": "copied inputs, share",
    "changed": "distance from the input, 0 to 1",
}
GENERATION_FIGURES = {
    "following": "true following, 1 to 5",
    "quality": "quality, 1 to 5",
    "pixel_mse": "pixel MSE",
}
FAMILIES = {"edits": (EDIT_REWARDS, EDIT_FIGURES), "generation": (GENERATION_REWARDS, GENERATION_FIGURES)}
Arms = dict[str, list[Job]]


def jobs_of(asked: Sitting, start: Job, what: str, rewards: dict[str, Tree]) -> Arms:
    """The measured SFT, and per reward an RL of each seed."""
    asks = {what: True}
    found = {BEFORE: [Job(f"{what}-before", "measure", asked.stage("rl", 0), start.name, asks)]}
    for number, (arm, changes) in enumerate(rewards.items()):
        found[arm] = [
            Job(
                f"rl-{what}-{number}-{changes['reward'][0]['kind']}-seed{seed}",
                "rl",
                asked.stage("rl", seed, **changes),
                start.name,
                asks,
            )
            for seed in range(asked.seeds)
        ]
    return found


def told(arms: dict[str, list[Tree]], keys: dict[str, str]) -> tuple[list[results.Row], list[str], Any]:
    """(rows, what differs from before RL, estimates) of one family of tasks."""
    found: dict[str, dict[str, Estimate]] = {}
    rows: list[results.Row] = []
    lines = []
    for arm, runs in arms.items():
        found[arm] = {key: figures.over([one["each"][key] for one in runs]) for key in keys}
        cells: results.Row = {label: figures.told(found[arm][key]) for key, label in keys.items()}
        begun, ended = reward_of(runs)
        cpu = sum(one["cost"]["cpu_s"] for one in runs) / len(runs)
        rows.append(
            {"reward": arm, **cells, "held-out reward before": begun, "after": ended, "CPU s a run": float(cpu)}
        )
        if arm == BEFORE:
            continue
        said = []
        for key in keys:
            before = arms[BEFORE][0]["each"][key]
            gap = figures.difference([one["each"][key] for one in runs], [before] * len(runs))
            said.append(f"{key} {figures.told(gap)}, {figures.clear(gap)}")
        lines.append(f"{arm} less {BEFORE}: " + "; ".join(said))
    return rows, lines, found


def reward_of(runs: list[Tree]) -> tuple[str, str]:
    """(before, after): the reward that the arm itself was trained on, held out; `-` where there is none."""
    values = [figures.logged(one.get("metrics", []), "eval_reward")[1] for one in runs]
    if not all(values):
        return "-", "-"
    ends = [[found[at] for found in values if found[at] is not None] for at in (0, -1)]
    begun, ended = (f"{sum(end) / len(end):.3f}" if end else "-" for end in ends)  # type: ignore[arg-type]
    return begun, ended


def plot(asked: Sitting, found: dict[str, dict[str, dict[str, Estimate]]]) -> None:
    """A row of bars for each family."""
    title = f"FIRM's rewards on the drawn world, {asked.seeds} seed(s) of RL, 95 % intervals"
    figure, axes = figures.sheet(len(found), 4, title)
    for row, (family, arms) in zip(axes, found.items(), strict=True):
        keys = FAMILIES[family][1]
        for axis, (key, label) in zip(row, keys.items(), strict=False):
            figures.bars(axis, list(arms), [one[key] for one in arms.values()], label)
            if label.endswith("1 to 5"):
                axis.set_ylim(1, 5)
        for axis in row[len(keys) :]:
            axis.set_axis_off()
    figures.save(figure, plot_path(asked, name_of(asked)))


def name_of(asked: Sitting) -> str:
    """Of plot and figures: one family alone leaves those of the other as they are."""
    return "-".join(["firm", asked.flags["only"]] if asked.flags["only"] else ["firm"])


def main(given: Sequence[str] | None = None) -> None:
    """Run what is missing, then tables, figures and plot."""
    only: Tree = {"choices": list(FAMILIES), "help": "one of the two families alone"}
    asked = sitting("firm", given, seeds=3, only=only)
    start = asked.sft_job(0)
    wanted = [asked.flags["only"]] if asked.flags["only"] else list(FAMILIES)
    arms = {family: jobs_of(asked, start, family, FAMILIES[family][0]) for family in wanted}
    every = [start, *(job for one in arms.values() for jobs in one.values() for job in jobs)]
    done = run(every, asked.folder, asked.jobs)
    head = (
        f"one SFT of {asked.sft['steps']} steps, {asked.seeds} seed(s) of RL of {asked.rl['steps']} updates; in"
        " brackets 95 %, seeds and held-out samples both drawn anew; the held-out reward is the arm's own"
    )
    found: dict[str, Any] = {}
    notes: list[str] = []
    for family in wanted:
        runs = {arm: [done[job.name] for job in jobs] for arm, jobs in arms[family].items()}
        rows, lines, found[family] = told(runs, FAMILIES[family][1])
        samples = len(next(iter(done[f"{family}-before"]["each"].values())))
        said = [head, f"{samples} held-out samples", *lines]
        section(asked, f"{TITLE}, {family}", rows, said, plot_path(asked, name_of(asked)))
        notes += lines
    keep(asked, name_of(asked), {"notes": notes, **found})
    plot(asked, found)


if __name__ == "__main__":
    main()
