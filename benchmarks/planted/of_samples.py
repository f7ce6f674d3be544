"""What the filters and parsers find of the defects in samples, beside how many clean samples they reject."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.planted.counting import Outcome, Share
from benchmarks.planted.in_samples import DEFECTS, Defect, Ground
from benchmarks.planted.outputs import Sample, World

_NEEDS_CLIP = {"clip": "clip_text", "relations": "relation_margin"}


@dataclass(frozen=True)
class Planted:
    """A defect's samples, and the clean ones that they were made of."""

    defect: Defect
    samples: list[Sample]
    clean: list[int]


def planted(world: World, most: int) -> list[Planted]:
    """Every defect in as many samples of the world as can have it, `most` at most."""
    return [_planted(world, defect, defect.most or most) for defect in DEFECTS if world.name in defect.worlds]


def outcomes(world: World, every: Sequence[Planted]) -> list[Outcome]:
    """What was found of each defect."""
    clean = world.reasons(world.samples)
    return [_outcome(world, one, clean) for one in every]


def all_checks(world: World) -> Share:
    """How many clean samples any check rejects."""
    return Share(sum(map(bool, world.reasons(world.samples))), len(world.samples))


def missing(world: World, check: str) -> str:
    """Why a check cannot run on this machine; empty where it can."""
    if note := world.filters.notes.get(_NEEDS_CLIP.get(check, "")):
        return f"{check} ({note})"
    if check == "relations" and not any(one.name == "relations" for one in world.filters.filters):
        return (
            "relations (needs clip, whose weights are not here)"
            if world.filters.notes
            else "relations (not configured)"
        )
    return ""


def _planted(world: World, defect: Defect, most: int) -> Planted:
    samples: list[Sample] = []
    clean: list[int] = []
    order = random.Random(defect.name).sample(range(len(world.samples)), len(world.samples))
    for n in order:
        if len(samples) == most:
            break
        sample = world.samples[n]
        ground = Ground(random.Random(f"{defect.name} {sample.plan.id}"), world.images, world.samples)
        if (spoilt := defect.plant(sample, ground)) is not None:
            samples.append(spoilt)
            clean.append(n)
    return Planted(defect, samples, clean)


def _outcome(world: World, one: Planted, clean: Sequence[frozenset[str]]) -> Outcome:
    defect = one.defect
    found = world.reasons(one.samples)
    wrong = [clean[n] for n in one.clean]
    # A check that rejects the clean sample for the same reason did not find the defect, but that is its false alarm.
    return Outcome(
        world=world.name,
        defect=defect.name,
        check=defect.check,
        recall=Share(sum(bool(reasons & defect.reasons) for reasons in found), len(found)),
        anything=Share(sum(map(bool, found)), len(found)),
        false=Share(sum(bool(reasons & defect.reasons) for reasons in wrong), len(wrong)),
        missing=missing(world, defect.check),
    )
