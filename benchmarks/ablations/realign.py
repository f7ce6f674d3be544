"""`make ablation-realign`: what reasoning, RL and its diversity are worth on the drawn world, as Re-Align asks it.

python -m benchmarks.ablations.realign --data d [--seeds 3] [--jobs 2] [--quick]

Arms: the untrained backbone; SFT without reasoning, with its plain sentences, with the structured IC-CoT; and RL by the
surrogate (RGA) from the last, all rollouts of a prompt sharing one IC-CoT or each with its own (RID).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.ablations import figures
from benchmarks.ablations.reporting import keep, plot_path, section
from benchmarks.ablations.runs import Job, Sitting, Tree, run, sitting
from evaluation.bootstrap import Estimate

TITLE = "Ablation: Re-Align"
BASE, NONE, FREE, SFT, RGA, RID = (
    "base, untrained",
    "SFT, no reasoning",
    "SFT, free reasoning",
    "SFT, structured",
    "+ RGA, one IC-CoT",
    "+ RGA with RID",
)
ARMS = (BASE, NONE, FREE, SFT, RGA, RID)
HELD_OUT = {
    "out_caption": "out_caption accuracy, share",
    "clip_out": "CLIP_out, cosine",
    "truth": "truth, share",
    "reward": "reward, cosine",
    "pixel_mse": "pixel MSE",
}
DURING = {"reward_std": "group reward std, cosine", "zero_std_ratio": "zero-std groups after siblings, share"}


def jobs_of(asked: Sitting) -> dict[str, list[Job]]:
    """The runs of each arm, one a seed."""
    found: dict[str, list[Job]] = {arm: [] for arm in ARMS}
    for seed in range(asked.seeds):
        found[BASE].append(Job(f"base-seed{seed}", "base", asked.stage("sft", seed)))
        structured = asked.sft_job(seed)
        for arm, job in ((NONE, asked.sft_job(seed, "none")), (FREE, asked.sft_job(seed, "free")), (SFT, structured)):
            found[arm].append(job)
        found[RGA].append(asked.rl_job(seed, structured, rid=False))
        found[RID].append(asked.rl_job(seed, structured))
    return found


def estimates(arms: dict[str, list[Tree]]) -> dict[str, dict[str, Estimate]]:
    """By arm and figure, over seeds and samples (held out) or seeds and updates (during RL)."""
    found: dict[str, dict[str, Estimate]] = {}
    for arm, runs in arms.items():
        found[arm] = {key: figures.over([one["each"].get(key, []) or [None] for one in runs]) for key in HELD_OUT}
        for key in DURING:
            rows = [figures.logged(one.get("metrics", []), key)[1] for one in runs] if arm in (RGA, RID) else [[None]]
            found[arm][key] = figures.over(rows)
    # It says nothing, so there is no caption to be right or wrong, nor to be rewarded.
    for key in ("out_caption", "reward"):
        found[NONE][key] = Estimate(float("nan"))
    return found


def differences(arms: dict[str, list[Tree]]) -> list[str]:
    """What the comparisons say that the arms were made for, paired by seed and sample."""
    pairs = ((SFT, NONE), (SFT, FREE), (RGA, SFT), (RID, SFT), (RID, RGA))
    lines = []
    for one, other in pairs:
        said = []
        for key in ("truth", "clip_out", "reward", "pixel_mse"):
            if key == "reward" and NONE in (one, other):
                continue
            a, b = ([run["each"][key] for run in arms[arm]] for arm in (one, other))
            gap = figures.difference(a, b)
            said.append(f"{key} {figures.told(gap)}, {figures.clear(gap)}")
        lines.append(f"{one} less {other}: " + "; ".join(said))
    a, b = ([figures.logged(run["metrics"], "reward_std")[1] for run in arms[arm]] for arm in (RID, RGA))
    gap = figures.difference(a, b)
    return [*lines, f"group reward std, RID less one IC-CoT: {figures.told(gap, 4)}, {figures.clear(gap)}"]


def plot(arms: dict[str, list[Tree]], found: dict[str, dict[str, Estimate]], path: Path, title: str) -> None:
    """Bars of every figure, and what RL does to reward and truth on its way."""
    figure, axes = figures.sheet(3, 3, title)
    every = {**HELD_OUT, **DURING}
    for axis, (key, label) in zip(axes.flat, every.items(), strict=False):
        shown = (RGA, RID) if key in DURING else ARMS
        figures.bars(axis, shown, [found[arm][key] for arm in shown], label, ARMS.index(shown[0]))
    for axis, key, label in ((axes[2, 1], "reward", "reward, cosine"), (axes[2, 2], "truth", "truth, share")):
        lines = {name: over_updates(arms[arm], key) for name, arm in (("one IC-CoT", RGA), ("RID", RID))}
        figures.curves(axis, lines, "updates", f"held-out {label}", ARMS.index(RGA))
    figures.save(figure, path)


def over_updates(runs: Sequence[Tree], key: str) -> tuple[list[int], list[Estimate]]:
    """(updates, the held-out figure there) of an arm's RL."""
    per_run = [[(line["step"], line["each"][key]) for line in one["metrics"] if "each" in line] for one in runs]
    steps = [step for step, _ in per_run[0]]
    return steps, [figures.over([values[number][1] for values in per_run]) for number in range(len(steps))]


def main(given: Sequence[str] | None = None) -> None:
    """Run what is missing, then table, figures and plot."""
    asked = sitting("realign", given, seeds=3)
    jobs = jobs_of(asked)
    done = run([job for arm in jobs.values() for job in arm], asked.folder, asked.jobs)
    arms = {arm: [done[job.name] for job in those] for arm, those in jobs.items()}
    found = estimates(arms)
    rows: list[results.Row] = []
    for arm in ARMS:
        told = {label: figures.told(found[arm][key]) for key, label in {**HELD_OUT, **DURING}.items()}
        cost = sum(one["cost"]["cpu_s"] for one in arms[arm]) / len(arms[arm])
        rows.append({"arm": arm, **told, "CPU s a run": float(cost)})
    samples = len(arms[SFT][0]["each"]["truth"])
    notes = [
        f"{asked.seeds} seed(s), {samples} held-out samples; SFT {asked.sft['steps']} steps, RL {asked.rl['steps']}"
        " updates; in brackets 95 %, seeds and samples both drawn anew",
        "reward: of the samples whose greedy caption parses and has no word that the CLIP does not know",
        *differences(arms),
    ]
    keep(asked, "realign", {"notes": notes, "arms": found})
    section(asked, TITLE, rows, notes, plot_path(asked, "realign"))
    plot(
        arms, found, plot_path(asked, "realign"), f"Re-Align on the drawn world, {asked.seeds} seed(s), 95 % intervals"
    )


if __name__ == "__main__":
    main()
