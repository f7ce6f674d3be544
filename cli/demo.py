"""`plumbline demo`: a dataset from the toy world, and how well its filters found the painter's known errors."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

import yaml

from cli.making import make
from pipelines import config as configs
from pipelines.shares import Share
from storage import paths

CONFIG = "toy.yaml"


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
    folder = paths.join(out, "realign")
    path, tree = demo_config(samples)
    loaded = configs.validate(configs.DATASETS["realign"], tree, path)
    print(f"Re-Align: {samples:,} samples of the toy world, offline, into {folder}")
    make(loaded, path, folder, Share(), 1, None, [], [])
    say_verdicts(folder)
    print("\nNext:")
    for line in next_steps(out, folder):
        print(f"  {line}")


def demo_config(samples: int) -> tuple[str, dict[str, object]]:
    """(its name, its tree) of the toy configuration, for this many samples."""
    file = resources.files("configs").joinpath(CONFIG)
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    tree["samples"] = samples
    return f"configs/{CONFIG}", tree


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
        f"python examples/contact_sheet.py {folder} --out {paths.join(out, 'sheet.png')}",
        f"tar tf {folder}/shards/train-00000-of-*.tar | head",
    ]


def _confessions(out: str) -> Iterator[tuple[str, bool]]:
    """(the painter's known error or nothing, whether a filter rejected it) of every draft of a run."""
    import json

    from shards.reader import read_samples
    from shards.rejects import rejected_drafts

    for sample in read_samples(out):
        yield json.loads(sample.json["provenance"])["painter"]["note"], False
    for draft in rejected_drafts(out):
        yield draft.provenance["painter"].note, True
