"""`plumbline demo`: the datasets from the toy world, and how well filters and judges found what is known wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any, NamedTuple

import yaml

from cli.making import make
from cli.report import run as report
from pipelines import config as configs
from pipelines.shares import Share
from shards.reader import read_samples
from storage import paths
from toyworld.lists import truth_of

CONFIGS = {"realign": "toy.yaml", "firm-edit": "toy-edit.yaml", "firm-gen": "toy-gen.yaml"}
_TITLES = {
    "realign": "Re-Align: {:,} samples of the toy world",
    "firm-edit": "FIRM-Edit: {:,} drawn edit pairs",
    "firm-gen": "FIRM-Gen: {:,} prompts",
}


class Verdicts(NamedTuple):
    """How a filter's rejections agree with errors that are known: counts of samples."""

    found: int
    false_alarms: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of the rejected that are errors, in [0, 1]."""
        return self.found / max(1, self.found + self.false_alarms)

    @property
    def recall(self) -> float:
        """Share of the errors that were rejected, in [0, 1]."""
        return self.found / max(1, self.found + self.missed)


def run(out: str, samples: int) -> None:
    """Make the demo's datasets, each in its folder under `out`, and say what to do next."""
    folders = {name: paths.join(out, name) for name in CONFIGS}
    for name, folder in folders.items():
        path, tree = demo_config(name, samples)
        loaded = configs.validate(configs.DATASETS[name], tree, path)
        print(f"\n{_TITLES[name].format(tree['samples'])}, offline, into {folder}", flush=True)
        make(loaded, path, folder, Share(), 1, None, [], [])
        if name == "realign":
            say_verdicts(folder)
        elif name == "firm-edit":
            say_judged_edits(folder)
        else:
            say_judged_images(folder)
        report(folder, False, None, None)
    print("\nNext:")
    for line in next_steps(out, folders["realign"]):
        print(f"  {line}")


def demo_config(name: str, samples: int) -> tuple[str, dict[str, Any]]:
    """(its file's name, its tree) of a dataset's toy configuration; a quarter of the samples are pairs and prompts."""
    file = resources.files("configs").joinpath(CONFIGS[name])
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    tree["samples"] = samples if name == "realign" else max(1, samples // 4)
    return f"configs/{CONFIGS[name]}", tree


def say_judged_edits(out: str) -> None:
    """Print how far the judge's scores of the original instructions are from the truth of the drawn pairs."""
    errors: dict[str, list[float]] = {}
    for sample in read_samples(out):
        row = sample.json
        truth = truth_of(row["pair_id"])
        if truth is not None and not row["rewrite"]:
            errors.setdefault(row["dimension"], []).append(abs(row["score"] - truth[row["dimension"] == "consistency"]))
    print("\nThe drawn pairs' true scores are known; the rule-based judge, which does not see them, was off by")
    for dimension, off in sorted(errors.items()):
        print(f"  {sum(off) / len(off):.2f} on average in {dimension} ({sum(map(bool, off))} of {len(off)} differ)")


def say_judged_images(out: str) -> None:
    """Print what the judge gave images of which the painter says what it got wrong, and what it gave the others."""
    scores: dict[bool, list[float]] = {}
    for sample in read_samples(out):
        if sample.json["dimension"] == "instruction_following":
            note = json.loads(sample.json["provenance"])["painter"]["note"]
            scores.setdefault(bool(note), []).append(sample.json["score"])
    print("\nThe painter of prompts errs on purpose and says so; the judge, which does not see what it says, gave")
    for wrong, found in sorted(scores.items()):
        which = f"{len(found)} images {'with' if wrong else 'without'} an error"
        print(f"  {sum(found) / len(found):.2f} on average to {which}")


def verdicts(out: str) -> dict[str, Verdicts]:
    """By error of the painter, and for all of them, how the filters' rejections agree with its own confession."""
    told = [(note.partition(":")[0], rejected) for note, rejected in _confessions(out)]
    wrong = sum(1 for note, rejected in told if not note and rejected)
    kinds = sorted({note for note, _ in told if note})
    found = {kind: sum(1 for note, rejected in told if note == kind and rejected) for kind in kinds}
    all_of = {kind: sum(1 for note, _ in told if note == kind) for kind in kinds}
    by_kind = {kind: Verdicts(found[kind], 0, all_of[kind] - found[kind]) for kind in kinds}
    caught, known = sum(found.values()), sum(all_of.values())
    return {**by_kind, "all": Verdicts(caught, wrong, known - caught)}


def say_verdicts(out: str) -> None:
    """Print precision and recall of the filters against the painter's known errors."""
    found = verdicts(out)
    whole = found.pop("all")
    print("\nThe toy painter errs on purpose and says so; the filters do not see what it says. They rejected:")
    for kind, verdict in found.items():
        print(f"  {verdict.found:>4} of {verdict.found + verdict.missed:>4}  {kind}")
    print(f"  {whole.false_alarms:>4} without an error")
    print(f"  precision {whole.precision:.2f}, recall {whole.recall:.2f}")
    print("  (its CLIP of 3 MB tells colours and scenes well and shapes badly: see toyworld/clip/README.md)")


def next_steps(out: str, folder: str) -> list[str]:
    """Commands that work when pasted."""
    return [
        ". .venv/bin/activate",
        f"plumbline verify {folder}",
        f"plumbline rejects {folder}",
        f"plumbline verify {paths.join(out, 'firm-edit')}",
        f"python examples/contact_sheet.py {folder} --out {paths.join(out, 'sheet.png')}",
        f"tar tf {folder}/shards/train-00000-of-*.tar | head",
    ]


def _confessions(out: str) -> Iterator[tuple[str, bool]]:
    """(the painter's known error or nothing, whether a filter rejected it) of every draft of a run."""
    from shards.rejects import rejected_drafts

    for sample in read_samples(out):
        yield json.loads(sample.json["provenance"])["painter"]["note"], False
    for draft in rejected_drafts(out):
        yield draft.provenance["painter"].note, True
