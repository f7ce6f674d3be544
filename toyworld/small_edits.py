"""How well a small generated picture edits another, from pixels alone, beside what an edit's reward says.

Forced-choice readings in the spirit of FIRM's scales of Execution and Consistency (arXiv 2603.12247, appendix C), ours:
no judge is asked, and no rubric of the paper is claimed. What was to change and what was to stay follows from the
picture that the source is and the one that is meant; what is there is read by `toyworld.small_oracle`.

Of 296 pairs that `toyworld.edits` draws with known scores, at 64 and 48 pixels, plain or worn (as there), the rank
correlation with the true Execution is 0.91 to 0.92, with the true Consistency 0.91 to 0.93. The medians for true scores
of 1 to 5 are 1, 1.3, 3.3, 4, 5 in Execution, and for 2 to 5 they are 2.7, 3.4, 4.2, 5 in Consistency. They differ as
FIRM's scales count faults and these take shares, and as a place that is half right is wrong here. Every copy is called
one, and of the 276 others at most one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from toyworld.small_oracle import Image, alike, paired, read, soft
from toyworld.world import LIGHTS, Picture, Thing

_ATTRIBUTES = ("shape", "colour", "size", "place")
_OFF = 30.0
"""A softened pixel this much off, in the mean of its channels, is another; noise of a tenth of the range is 8."""
_AROUND = 1.35
"""Radii around a thing's middle that its white edge and its shadow may reach."""
_PATCH = 8
_CHANGED = 24.5
"""From which mean difference on, in any channel, a patch (an eighth of the picture a side) is another: of 300 drawn
pairs at 48 pixels, copies with noise of a tenth of the range reach 24, edits 25 at least; at 64 pixels 20 and 27."""


def edit_scores(source_image: Image, edited_image: Image, source: Picture, meant: Picture) -> tuple[float, float]:
    """(execution, consistency) of an edit, each from 1 to 5; both images uint8 [H, W, 3] and of one size.

    Execution: 1 + 4 x the share of what the edit changes that now is as meant: each changed attribute of a thing that
    stays, each attribute of a thing that comes, each thing that goes, the scene, the light. Consistency: 1 + 4 x the
    mean over what should stay: each thing, in whatever the edit does not change of it (0 or 1; a thing that nobody
    asked for is a 0 more), the scene, the light, and the share of the pixels that have stayed, outside of what changes.

    `source` and `meant` are complete; things of theirs that have two of shape, colour and place in common are one.
    An edit that returned its input has an execution of 1 and a consistency of 5. An edit that asks for nothing has an
    execution of 5.
    """
    partners = _partners(source, meant)
    asked, stays = [], []
    before, after = read([source_image, edited_image])
    if copied(source_image, edited_image):
        return (5.0 if _same(source, meant, partners) else 1.0), 5.0
    shown = paired(meant, after)
    was = dict(zip(source.things, paired(source, before), strict=True))
    for thing, now, old in zip(meant.things, shown, partners, strict=True):
        same = {a: now is not None and getattr(now, a) == getattr(thing, a) for a in _ATTRIBUTES}
        if old is None:
            asked += [same[a] for a in _ATTRIBUTES]
            continue
        asked += [same[a] for a in _ATTRIBUTES if getattr(old, a) != getattr(thing, a)]
        # What was misread in the source and is misread alike has stayed.
        kept = [a for a in _ATTRIBUTES if getattr(old, a) == getattr(thing, a)]
        stays.append(all(same[a] or _both(was[old], now, a) for a in kept))
    gone = [thing for thing in source.things if thing not in partners]
    left = [thing for thing in after.things if thing not in shown]
    asked += [not any(thing.place == other.place for other in left) for thing in gone]
    stays += [False for other in left if all(other.place != thing.place for thing in gone)]
    for name in ("scene", "light"):
        new, is_new = getattr(meant, name), getattr(after, name) == getattr(meant, name)
        if new != getattr(source, name):
            asked.append(is_new)
        else:
            stays.append(is_new or getattr(after, name) == getattr(before, name))
    pixels = _stayed(source_image, edited_image, source, meant, partners)
    values = [float(value) for value in stays] + ([] if pixels is None else [pixels])
    return 1 + 4 * _mean([float(value) for value in asked]), 1 + 4 * _mean(values)


def copied(source_image: Image, edited_image: Image) -> bool:
    """Whether the edit returned its input: no patch of the picture is another, noise and slight blur apart."""
    import cv2

    difference = soft(source_image) - soft(edited_image)
    side = max(1, min(difference.shape[:2]) // _PATCH)
    return bool(np.abs(cv2.blur(difference, (side, side))).max() < _CHANGED)


def _partners(source: Picture, meant: Picture) -> list[Thing | None]:
    """For each meant thing the source's that it is, or is made of; None for one that comes."""
    of: list[Thing | None] = [None] * len(meant.things)
    pairs = [(alike(a, b), i, b) for i, a in enumerate(meant.things) for b in source.things if _one(a, b)]
    for _, i, thing in sorted(pairs, key=lambda pair: -pair[0]):
        if of[i] is None and thing not in of:
            of[i] = thing
    return of


def _one(a: Thing, b: Thing) -> bool:
    return (a.shape == b.shape) + (a.colour == b.colour) + (a.place == b.place) >= 2


def _same(source: Picture, meant: Picture, partners: Sequence[Thing | None]) -> bool:
    things = len(source.things) == len(meant.things)
    every = all(old and alike(old, new) == len(_ATTRIBUTES) for old, new in zip(partners, meant.things, strict=True))
    return things and every and (source.scene, source.light) == (meant.scene, meant.light)


def _both(was: Thing | None, now: Thing | None, attribute: str) -> bool:
    return was is not None and now is not None and getattr(was, attribute) == getattr(now, attribute)


def _stayed(
    source_image: Image, edited_image: Image, source: Picture, meant: Picture, partners: Sequence[Thing | None]
) -> float | None:
    """Share of the pixels that are as they were, of those that should be; None where there are none such."""
    changed = [t for t in source.things if t not in partners]
    kept = []
    for new, old in zip(meant.things, partners, strict=True):
        if old is not None and alike(old, new) == len(_ATTRIBUTES):
            kept.append(new)
        else:
            changed += [new] if old is None else [new, old]
    height, width = source_image.shape[:2]
    should = np.ones((height, width), dtype=bool)
    if source.scene != meant.scene:
        should = _covered(kept, height, width, 0.8)
    should &= ~_covered(changed, height, width, _AROUND)
    if not should.any():
        return None
    tint = np.array(LIGHTS[meant.light]) / np.array(LIGHTS[source.light])
    expected = (source_image * tint).clip(0, 255)
    off = np.abs(soft(expected) - soft(edited_image)).mean(axis=2)
    return float((off[should] < _OFF).mean())


def _covered(things: Sequence[Thing], height: int, width: int, radii: float) -> npt.NDArray[np.bool_]:
    """[H, W], True within so many radii of any of `things`."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    covered = np.zeros((height, width), dtype=bool)
    for thing in things:
        (cx, cy), reach = thing.centre, thing.radius * radii * min(height, width)
        covered |= np.hypot(x - cx * width, y - cy * height) <= reach
    return covered


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 1.0
