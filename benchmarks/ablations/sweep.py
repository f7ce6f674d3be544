"""`make sweep`: what sizes and rates do on the drawn world, and what a reference costs.

python -m benchmarks.ablations.sweep --data d [--seeds 1] [--jobs 2] [--quick] [--stress 0.3]

RL by group size and learning rate; SFT on every reasoning of a sample or on the first alone, how many different ones
each then has to sample from, and what RL makes of that; SFT on data of which a share has a labelled defect; seconds and
memory of a step of SFT by the number of references.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import results
from benchmarks.ablations import figures
from benchmarks.ablations.reporting import keep, plot_path, section
from benchmarks.ablations.runs import Job, Sitting, Tree, make_data, run, sitting
from evaluation.bootstrap import Estimate

TITLE = "Sweep"
GROUPS, RATES, TEMPERATURES, REFERENCES = (4, 10, 20), (1e-4, 2e-4, 6e-4), (0.5, 1.0, 1.5), (1, 2, 3, 4)
HELD_OUT = {"truth": "truth", "reward": "reward", "clip_out": "CLIP_out", "pixel_mse": "pixel MSE"}
DURING = {"reward_std": "group reward std", "zero_std_ratio": "zero-std groups after siblings"}
Arms = dict[tuple[str, str], list[Job]]


def arms_of(asked: Sitting) -> Arms:
    """By (what is swept, its value), a job a seed; the configuration's own values are one and the same run."""
    found: Arms = {}
    own = {"group": asked.rl["group"], "lr": asked.rl["optimiser"]["lr"]}
    for seed in range(asked.seeds):
        start = asked.sft_job(seed)
        first = asked.sft_job(seed, reasonings="first")
        for key, values in (("group", GROUPS), ("lr", RATES)):
            for value in values:
                job = asked.rl_job(seed, start, **({} if value == own[key] else {key: value}))
                found.setdefault((key, f"{value:g}"), []).append(job)
        for seen, begun in (("all", start), ("first", first)):
            found.setdefault(("reasonings, SFT", seen), []).append(begun)
            found.setdefault(("reasonings, RL", seen), []).append(asked.rl_job(seed, begun))
        for share in asked.flags["stress"]:
            other = f"{asked.data}-stress{share:g}"
            make_data(other, 8000, f"stress.share={share:g}")
            stressed = Job(f"sft-stress-{share:g}-seed{seed}", "sft", asked.stage("sft", seed, data=other))
            found.setdefault(("needed", f"stress {share:g}"), []).append(stressed)
            # Measured on the same held-out samples as the others.
            job = Job(f"measured-{stressed.name}", "measure", asked.stage("rl", seed), stressed.name)
            found.setdefault(("stress share, SFT", f"{share:g}"), []).append(job)
    return found


def sampled(asked: Sitting, start: Job) -> Job:
    """How many different reasonings a backbone has to sample from."""
    asks = {"temperatures": list(TEMPERATURES), "draws": 10, "prompts": 24}
    return Job(f"sampled-{start.name}", "measure", asked.stage("rl", 0), start.name, asks)


def steps_of(asked: Sitting, references: int) -> Job:
    """A few steps of SFT on samples of so many references."""
    asks = {"references": references, "steps": 3 if asked.quick else 11}
    roomy = {**asked.sft["backbone"], "references": max(REFERENCES)}
    return Job(f"references-{references}", "references", asked.stage("sft", 0, backbone=roomy), None, asks)


def row_of(name: str, value: str, runs: list[Tree], found: dict[str, Estimate]) -> results.Row:
    """A line of the table."""
    told = {label: figures.told(found[key]) for key, label in {**HELD_OUT, **DURING}.items()}
    cpu = sum(one["cost"]["cpu_s"] for one in runs) / len(runs)
    return {"what": name, "value": value, **told, "CPU s a run": float(cpu)}


def estimates(runs: list[Tree]) -> dict[str, Estimate]:
    """Held-out figures over seeds and samples, those of RL's updates over seeds and updates."""
    found = {key: figures.over([one["each"].get(key) or [None] for one in runs]) for key in HELD_OUT}
    for key in DURING:
        rows = [figures.logged(one.get("metrics", []), key)[1] or [None] for one in runs]
        found[key] = figures.over(rows)
    return found


def plot(asked: Sitting, found: dict[tuple[str, str], dict[str, Estimate]], sampled_: Any, costs: Any) -> None:
    """Truth by what is swept, reasonings by temperature, and what references cost."""
    figure, axes = figures.sheet(2, 3, f"Sweep on the drawn world, {asked.seeds} seed(s), 95 % intervals")
    panels = (("group", "truth by group size"), ("lr", "truth by learning rate of RL"), ("reasonings, RL", ""))
    for axis, (name, title) in zip(axes[0], panels, strict=True):
        shown = {value: one["truth"] for (what, value), one in found.items() if what == name}
        figures.bars(axis, list(shown), list(shown.values()), title or "truth after RL, by the reasonings SFT saw")
    lines = {
        f"{name}, {key}": (list(TEMPERATURES), [Estimate(one[key], one[key], one[key]) for one in by.values()])
        for name, by in sampled_.items()
        for key in ("distinct", "true")
    }
    figures.curves(axes[1][0], lines, "temperature", "of 10 sampled reasonings, share")
    names = [str(one) for one in costs]
    for axis, key, title in (
        (axes[1][1], "seconds", f"seconds a step of SFT, batch {asked.sft['batch']}"),
        (axes[1][2], "mib", "memory of the steps, MiB"),
    ):
        figures.bars(axis, names, [Estimate(one[key]) for one in costs.values()], title)
        axis.set_xlabel("references", fontsize=8)
    figures.save(figure, plot_path(asked, "sweep"))


def main(given: Sequence[str] | None = None) -> None:
    """Run what is missing, then tables, figures and plot."""
    stress: Tree = {"type": float, "nargs": "*", "default": [], "help": "shares; each makes an output of its own"}
    asked = sitting("sweep", given, seeds=1, stress=stress)
    arms = arms_of(asked)
    sampling = {value: sampled(asked, arms["reasonings, SFT", value][0]) for value in ("all", "first")}
    timing = {count: steps_of(asked, count) for count in REFERENCES}
    every = {job.name: job for jobs in arms.values() for job in jobs}
    every |= {job.name: job for job in sampling.values()}
    done = run(list(every.values()), asked.folder, asked.jobs)
    done |= run(list(timing.values()), asked.folder, 1)  # alone: they are timed
    found = {arm: estimates([done[job.name] for job in jobs]) for arm, jobs in arms.items() if arm[0] != "needed"}
    rows = [row_of(*arm, [done[job.name] for job in arms[arm]], one) for arm, one in found.items()]
    sampled_ = {name: done[job.name]["diversity"] for name, job in sampling.items()}
    costs = {count: {**done[job.name], **done[job.name]["cost"]} for count, job in timing.items()}
    notes = [
        f"{asked.seeds} seed(s); SFT {asked.sft['steps']} steps, RL {asked.rl['steps']} updates of"
        f" {asked.rl['batch']} prompts; in brackets 95 %",
        *(
            f"SFT on {name} reasonings, temperature {at}: {one['distinct']:.2f} of 10 sampled reasonings differ,"
            f" {one['true']:.2f} have a caption that is true"
            for name, by in sampled_.items()
            for at, one in by.items()
        ),
        *(() if asked.flags["stress"] else ("stress share: not run (--stress 0.3 makes the data for it)",)),
    ]
    path = plot_path(asked, "sweep")
    section(asked, TITLE, rows, notes, path)
    cost_rows: list[results.Row] = [
        {
            "references": count,
            "s a step": float(one["seconds"]),
            "MiB of the steps": float(one["mib"]),
            "MiB of the process": one["peak_mib"],
            "words of reasoning": float(one["words"]),
        }
        for count, one in costs.items()
    ]
    threads = f"batch {asked.sft['batch']}, one thread, the median of {timing[1].asks['steps']} steps"
    section(asked, "Sweep, references", cost_rows, [threads], path)
    swept = {f"{name} {value}": one for (name, value), one in found.items()}
    keep(asked, "sweep", {"notes": notes, "arms": swept, "sampled": sampled_, "references": cost_rows})
    plot(asked, found, sampled_, costs)


if __name__ == "__main__":
    main()
