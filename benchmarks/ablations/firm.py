"""`make ablation-firm`: FIRM's rewards against the ones it was measured against, on the drawn world.

python -m benchmarks.ablations.firm --data d [--seeds 3] [--jobs 2] [--quick]

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
EDIT_REWARDS: dict[str, Tree] = {
    "sum .5/.5": {"kind": "weighted_sum", "w1": 0.5, "w2": 0.5},
    "sum .6/.4": {"kind": "weighted_sum", "w1": 0.6, "w2": 0.4},
    "execution only": {"kind": "execution_only"},
    "CME .6/.4": {"kind": "cme"},
}
GENERATION_REWARDS: dict[str, Tree] = {
    "QMA .4/.6": {"kind": "qma"},
    "legacy .5/.5": {"kind": "qma", "w1": 0.5, "w2": 0.5},
    "following only": {"kind": "qma", "w1": 1.0, "w2": 0.0},
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
Arms = dict[str, list[Job]]


def jobs_of(asked: Sitting, start: Job, what: str, rewards: dict[str, Tree]) -> Arms:
    """The measured SFT, and per reward an RL of each seed."""
    asks = {what: True}
    found = {BEFORE: [Job(f"{what}-before", "measure", asked.stage("rl", 0), start.name, asks)]}
    for number, (arm, reward) in enumerate(rewards.items()):
        found[arm] = [
            Job(
                f"rl-{what}-{number}-{reward['kind']}-seed{seed}",
                "rl",
                asked.stage("rl", seed, reward=[reward]),
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


def plot(asked: Sitting, edits: Any, generation: Any) -> None:
    """A row of bars for edits and one for generation."""
    figure, axes = figures.sheet(
        2, 4, f"FIRM's rewards on the drawn world, {asked.seeds} seed(s) of RL, 95 % intervals"
    )
    for row, keys, found in ((axes[0], EDIT_FIGURES, edits), (axes[1], GENERATION_FIGURES, generation)):
        for axis, (key, label) in zip(row, keys.items(), strict=False):
            figures.bars(axis, list(found), [one[key] for one in found.values()], label)
            if label.endswith("1 to 5"):
                axis.set_ylim(1, 5)
    axes[1][3].set_axis_off()
    figures.save(figure, plot_path(asked, "firm"))


def main(given: Sequence[str] | None = None) -> None:
    """Run what is missing, then tables, figures and plot."""
    asked = sitting("firm", given, seeds=3)
    start = asked.sft_job(0)
    edits = jobs_of(asked, start, "edits", EDIT_REWARDS)
    generation = jobs_of(asked, start, "generation", GENERATION_REWARDS)
    every = [start, *(job for arms in (edits, generation) for jobs in arms.values() for job in jobs)]
    done = run(every, asked.folder, asked.jobs)

    def figures_of(arms: Arms) -> dict[str, list[Tree]]:
        return {arm: [done[job.name] for job in jobs] for arm, jobs in arms.items()}

    edit_rows, edit_lines, edit_found = told(figures_of(edits), EDIT_FIGURES)
    rows, lines, found = told(figures_of(generation), GENERATION_FIGURES)
    head = (
        f"one SFT of {asked.sft['steps']} steps, {asked.seeds} seed(s) of RL of {asked.rl['steps']} updates; in"
        " brackets 95 %, seeds and held-out samples both drawn anew; the held-out reward is the arm's own"
    )
    path = plot_path(asked, "firm")
    for what, part, notes in (("edits", edit_rows, edit_lines), ("generation", rows, lines)):
        samples = len(next(iter(done[f"{what}-before"]["each"].values())))
        section(asked, f"{TITLE}, {what}", part, [head, f"{samples} held-out samples", *notes], path)
    keep(asked, "firm", {"notes": [*edit_lines, *lines], "edits": edit_found, "generation": found})
    plot(asked, edit_found, found)


if __name__ == "__main__":
    main()
