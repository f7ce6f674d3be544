r"""The offline judge of a generated image: Instruction Following, criterion by criterion, by stated rules.

On a picture of the drawn world every answer is read from its pixels: which things, colours, numbers, places, scene,
light. On any other picture pixels tell only colours, brightness and whether there is colour at all; whatever else is
asked is `partly met`, because rules cannot see it, and the answer says so: an honest baseline, not a critic.

The rating follows from the verdicts alone: 5 where all are met, 1 where less than an eighth is, else by the share met
(a partly met one counts half): 4 from 0.75, 3 from 0.45, else 2; and 2 at most where more than half of the main
subjects are missing. Where `schemas.following.contradiction` rules that out, it is the nearest rating allowed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from annotators.offline.casting import (
    cast,
    colour_of,
    is_scene,
    light_of,
    part_of,
    scene_of,
    things_of,
)
from annotators.offline.lexicon import words
from annotators.offline.planner import plan_of
from annotators.offline.prompt_painter import at_place, stands
from annotators.offline.prompt_reading import Asking, Subject, asking, plural
from schemas.checklists import NEGATIVE, Checklist, Criterion
from schemas.following import Mark, contradiction
from schemas.judgements import SCALE
from toyworld.world import PLACES, PLAIN, Picture, Thing

if TYPE_CHECKING:
    from PIL import Image

_STEP = 0.305
"""How far a step of the drawn world's places goes, as a share of the picture."""
Told = tuple[float, str]
"""How far a question is met, 0 to 1, and what is seen."""
_UNSEEN = (0.5, "rules cannot see this in pixels")
_EXISTS = re.compile(r"\s*(?:is|are) there\b|\s*(?:does|do|can) the (?:image|picture|scene)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Sight:
    """What rules see of an image.

    Attributes:
        picture: what the oracle reads; None where it is no picture of the drawn world.
        parts: which thing plays which noun of the prompt.
        colours: {drawn world's colour: share of the pixels}.
        brightness: `dark`, `dim`, `even` or `bright`.
    """

    picture: Picture | None
    parts: dict[str, str]
    colours: dict[str, float]
    brightness: str
    monochrome: bool


def following(image: Image.Image, prompt: str, checklist: Checklist | None = None) -> str:
    """The judgement's text: each criterion with its verdict, the final analysis and the rating.

    Args:
        checklist: the plan to go through; where None, the judge's own (`plan_of`).
    """
    plan = checklist or plan_of(prompt)
    sight = seen(image, prompt)
    told = [_criterion(c, sight) for c in plan.criteria]
    marks = [mark for mark, _ in told]
    main = [m for m, c in zip(marks, plan.criteria, strict=True) if "Subject" in c.name]
    rating = rating_from(marks, main, negative=bool(plan.negative))
    lines = ["I go through the plan point by point."]
    for number, (criterion, (mark, said)) in enumerate(zip(plan.criteria, told, strict=True), 1):
        lines.append(f"{number}. [{_plain(criterion.name)}]: {said}. Verdict: {mark}")
    counts = ", ".join(f"{marks.count(m)} {m}" for m in Mark if m in marks)
    how = "a drawn picture, read exactly" if sight.picture else "a picture of which rules see colours and light only"
    lines += ["", f"Final Analysis: Of {len(marks)} criteria, {counts}. This is {how}.", ""]
    return "\n".join([*lines, f"Final Alignment Rating: {rating}", f"\\boxed{{{rating}}}"])


def rating_from(marks: Sequence[Mark], subjects: Sequence[Mark] = (), *, negative: bool = False) -> int:
    """1 to 5 by the rule that the module states.

    Args:
        subjects: those of the criteria that are the main subjects; the first criterion where there are none.
        negative: whether the last verdict is that of the negative constraints.
    """
    first = _by_share(marks, subjects or marks[:1])
    return min((r for r in SCALE if not contradiction(r, marks, negative)), key=lambda r: (abs(r - first), r))


def _by_share(marks: Sequence[Mark], main: Sequence[Mark]) -> int:
    share = sum({Mark.MET: 1.0, Mark.PARTLY: 0.5, Mark.NOT_MET: 0.0}[m] for m in marks) / len(marks)
    if share == 1:
        return 5
    if share < 0.125:
        return 1
    if share < 0.45 or 2 * sum(m is Mark.NOT_MET for m in main) > len(main):
        return 2
    return 4 if share >= 0.75 else 3


def seen(image: Image.Image, prompt: str) -> Sight:
    """Look at an upright RGB image once, for all criteria."""
    import numpy as np

    from annotators.offline.looks import colour_shares, look
    from toyworld.oracle import is_drawn, read

    picture = read(image) if is_drawn(image) else None
    if picture is not None and not picture.things and picture.scene == PLAIN:
        picture = None
    small = image.convert("RGB").resize((96, 96))
    shares: dict[str, float] = {}
    for word, part in colour_shares(np.asarray(small, np.float32).reshape(-1, 3) / 255):
        if name := colour_of(word):
            shares[name] = shares.get(name, 0.0) + part
    general = look(small)
    return Sight(picture, cast(asking(prompt)), shares, general.brightness, general.monochrome)


def _criterion(criterion: Criterion, sight: Sight) -> tuple[Mark, str]:
    negative = criterion.name == NEGATIVE
    told = [_forbidden(q, sight) if negative else _question(q, sight) for q in criterion.questions]
    value = sum(v for v, _ in told) / len(told)
    mark = Mark.MET if value > 0.99 else Mark.NOT_MET if value < 0.01 else Mark.PARTLY
    said = "; ".join(dict.fromkeys(text for _, text in told))
    return mark, said[:400]


def _plain(text: str) -> str:
    """A criterion's name that cannot be taken for a verdict, a number or a rating."""
    return " ".join(re.sub(r"verdict|[^\w &'-]", " ", text, flags=re.IGNORECASE).split())[:80] or "criterion"


def _forbidden(element: str, sight: Sight) -> Told:
    if sight.picture is None:
        return _UNSEEN
    there = [s for s in things_of(asking(element)) if _of(s, sight, sight.picture)]
    return (0.0, "what is forbidden is there") if there else (1.0, "nothing forbidden is there")


def _question(question: str, sight: Sight) -> Told:
    question = question.split("?")[0]
    ask = asking(question)
    return _in_drawing(question, ask, sight, sight.picture) if sight.picture else _in_photo(ask, sight)


def _in_photo(ask: Asking, sight: Sight) -> Told:
    """Colours, brightness and monochrome; all else is out of sight."""
    if ask.styles and {"monochrome", "black and white"} & set(ask.styles):
        return (1.0, "it is without colour") if sight.monochrome else (0.0, "it is in colour")
    colours = dict.fromkeys(word for s in ask.subjects for word in s.colours if colour_of(word))
    if colours:
        shares = {word: sight.colours.get(colour_of(word), 0.0) for word in colours}
        rarest = min(shares, key=lambda word: shares[word])
        if shares[rarest] < 0.003:
            return 0.0, f"hardly a pixel is {rarest} or near it"
        named = " and ".join(shares)
        return (
            1.0 if shares[rarest] >= 0.02 else 0.5
        ), f"{named}, or near it, is there, though rules cannot see on what"
    if scene_of(ask) == "night" or light_of(ask) == "dim":
        dark = sight.brightness in ("dark", "dim")
        return (1.0, "the picture is dark") if dark else (0.0, "the picture is not dark")
    return _UNSEEN


def _in_drawing(question: str, ask: Asking, sight: Sight, picture: Picture) -> Told:
    """One question of a picture whose things are known."""
    if ask.lettering:
        return 0.0, "drawn pictures hold no letters"
    if ask.styles and not ask.subjects:
        return 1.0, "drawn pictures have one style, which counts for any"
    told: list[Told] = []
    things = [about] if (about := _about(question, sight.parts)) else things_of(ask)
    told += [_related(ask.named(a), how, ask.named(b), sight, picture) for a, how, b in ask.relations]
    if not told:
        told += [_thing(s, sight, picture, exists=bool(_EXISTS.match(question))) for s in things[:3]]
    if about is None and (scene := scene_of(ask)):
        told.append((float(picture.scene == scene), f"the scene is {picture.scene}"))
    elif about is None and any(is_scene(s.noun) for s in ask.subjects):
        told.append(_UNSEEN)
    if not told and (light := light_of(ask)):
        told.append((float(picture.light == light), f"the light is {picture.light}"))
    if not told:
        return _UNSEEN
    return sum(v for v, _ in told) / len(told), "; ".join(dict.fromkeys(text for _, text in told))


def _about(question: str, parts: dict[str, str]) -> Subject | None:
    """What `Is the red car on the left?` asks of a thing that the prompt names; None for other questions."""
    for noun in sorted(parts, key=len, reverse=True):
        match = re.match(
            rf"\s*(?:is|are) the (?:{re.escape(noun)}|{re.escape(plural(noun))})\b(.*)", question, re.I | re.S
        )
        if match:
            places = [s.place for s in asking(f"a block {match[1]}").subjects]
            colours = [
                w for w in re.findall(r"[a-z-]+", match[1].lower()) if w.split("-")[-1] in words("nouns", "colours")
            ]
            return Subject(noun, colours=colours, place=places[0] if places else "")
    return None


def _of(subject: Subject, sight: Sight, picture: Picture) -> list[Thing]:
    shape = part_of(subject.noun, sight.parts)
    return [t for t in picture.things if t.shape == shape]


def _thing(subject: Subject, sight: Sight, picture: Picture, *, exists: bool) -> Told:
    """Whether a thing is there as it is asked about: its number, colours and place; other details are out of sight."""
    found = _of(subject, sight, picture)
    name = f"the {_plain(subject.noun)}"
    if not found:
        return 0.0, f"{name} is not to be seen"
    if subject.count:
        off = abs(len(found) - subject.count)
        return (
            1.0 if off == 0 else 0.5 if off == 1 else 0.0
        ), f"there are {len(found)} rather than {subject.count}" * (off > 0) or f"there are {len(found)}"
    told: list[Told] = [(1.0, f"{name} is there")] if exists else []
    colours = list(dict.fromkeys(c for c in map(colour_of, subject.colours) if c))
    if colours:
        have = {t.colour for t in found}
        told.append((sum(c in have for c in colours) / len(colours), f"{name} is {' and '.join(sorted(have))}"))
    if subject.place:
        held = [at_place(PLACES[t.place], subject.place) for t in found]
        told.append((sum(held) / len(held), f"{name} is at the {' and '.join(sorted({t.place for t in found}))}"))
    if not told:
        return 0.5, f"{name} is there, but drawn pictures do not show such a detail"
    return sum(v for v, _ in told) / len(told), "; ".join(text for _, text in told)


def _related(one: Subject | None, how: str, other: Subject | None, sight: Sight, picture: Picture) -> Told:
    groups = [_of(s, sight, picture) if s else [] for s in (one, other)]
    if not all(groups):
        return 0.0, "one of the two is not to be seen"
    (ax, ay), (bx, by) = ((sum(t.centre[0] for t in g) / len(g), sum(t.centre[1] for t in g) / len(g)) for g in groups)
    held = stands(bx - ax, by - ay, how, 0.9 * _STEP)
    return float(held), f"the one is {'' if held else 'not '}{how} the other"
