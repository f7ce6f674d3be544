"""Execution and Consistency by stated rules over a difference report: a baseline, and no more than that.

It knows which verb asks for which kind of change, and compares colours, places, directions, counts and, in the drawn
world, names. It cannot see whether a new thing in a photograph is a dog or a cat.
"""

from __future__ import annotations

from annotators.offline.changes import Change, Differences
from annotators.offline.edit_request import asked
from annotators.offline.matching import MET, found_for, said, wanted_changes

SIGNIFICANT = 0.006
"""The share of the picture from which an unasked-for change is significant rather than minor."""
_SPECK = 0.0008
_HIDES = 0.08
"""The share of the picture that an added thing may hide without that counting as a change of its own."""
_SHOWN = {1: "Nothing asked for is to be seen", 2: "The request is barely followed", 3: "The main intent is met"}
_SHOWN |= {4: "All key aspects are there", 5: "Everything asked for is there"}


def execution(instruction: str, d: Differences) -> tuple[int, str]:
    """How far what was asked for is done, 1 to 5, and why: a baseline by rules.

    Per clause, the change that fits its verb best gives 1 to 5; a named colour, place, direction, size, number or
    thing that is missed bounds it at 2 or 3. Several clauses count by their mean, and no score exceeds the worst
    clause by more than two, nor 3 where a clause is missed. Changes nobody asked for, quality and realism do not count.
    """
    clauses = asked(instruction)
    if not clauses:
        return 1, "The instruction asks for nothing that a picture can show."
    if d.nothing:
        return 1, "Both images look the same, so nothing that was asked for is done."
    verdicts = [found_for(clause, d) for clause in clauses]
    scores = [score for score, _ in verdicts]
    score = min(round(sum(scores) / len(scores)), min(scores) + 2)
    if min(scores) < MET:
        score = min(score, MET)  # a part is missing
    reasons = "; ".join(dict.fromkeys(reason for _, reason in verdicts))
    return score, f"{_SHOWN[score]}: {reasons}."


def consistency(instruction: str, d: Differences) -> tuple[int, str]:
    """How far all else is kept, 1 to 5, and why: a baseline by rules, whether or not the request was executed.

    What fits the request, where that is met in the main, is set aside, then significant and minor changes are counted:
    none 5; one significant or up to two minor 4; two or three significant, or three or four minor 3; more 2; another
    picture altogether 1. In photographs another background is many changes. Not counted, as far as pixels tell: what a
    new or moved thing hides or uncovers; sharpness, light and colour over the whole picture, shadows; whatever replaced
    the replaced thing; what touches the requested change.
    """
    clauses = asked(instruction)
    wide = {c.action for c in clauses} & {"style", "background", "light", "grey"}
    if d.overall == "another picture" and not wide:
        return 1, "Hardly anything of the first image is kept."
    wanted = {id(c) for clause in clauses for c in wanted_changes(clause, d)}
    kept = [c for c in d.changes if id(c) in wanted]
    significant: list[Change] = []
    minor: list[Change] = []
    for change in d.changes:
        if id(change) in wanted or _excused(change, kept, wide):
            continue
        (significant if change.kind == "scene" or change.share >= SIGNIFICANT else minor).append(change)
    large = [c for c in kept if c.kind == "appeared" and c.share > _HIDES and not any(a.larger for a in clauses)]
    if large and not d.exact and not wide:
        significant += large[:1]
    extra = _whole_picture(d, wide)
    # A thing counts as often as there are of it, but a crowd is one failure, not many.
    many = sum(min(c.count, 3) for c in significant) + len(extra)
    score = _by_count(many, sum(min(c.count, 3) for c in minor), scene=_redone(significant, d))
    return score, _why(many, significant, minor, extra)


def _redone(significant: list[Change], d: Differences) -> bool:
    """Whether the background of a photograph is another; that of a drawn picture is one thing among others."""
    return not d.exact and any(c.kind == "scene" for c in significant)


def _by_count(significant: int, minor: int, *, scene: bool) -> int:
    if significant == 0 and minor == 0:
        return 5
    if scene:
        return 2
    by_significant = 5 if significant == 0 else 4 if significant == 1 else 3 if significant <= 3 else 2
    by_minor = 5 if minor == 0 else 4 if minor <= 2 else 3 if minor <= 4 else 2
    return min(by_significant, by_minor)


def _whole_picture(d: Differences, wide: set[str]) -> list[str]:
    """Changes of the whole picture that no exception covers."""
    found = []
    if d.overall == "restyled" and not wide & {"style", "background"}:
        found.append("the whole image is redrawn")
    if "colourless" in d.light and not wide - {"background"}:
        found.append("all colours are gone")
    if d.reframed and d.covered < 0.9:
        found.append("the framing is another")
    return found


def _excused(change: Change, wanted: list[Change], wide: set[str]) -> bool:
    """Whether one of the exceptions covers a change that was not asked for."""
    if change.kind == "shaded" or change.share < _SPECK:
        return True
    if "style" in wide or (wide & {"light", "grey"} and change.kind == "recoloured"):
        return change.kind != "disappeared" or change.share < 4 * SIGNIFICANT
    if "background" in wide:
        return any(w.kind == "scene" for w in wanted) or change.share > 0.2
    return any(_touches(change, w) for w in wanted)


def _touches(change: Change, wanted: Change) -> bool:
    """Whether a lesser change lies at the requested one, where it was or where it went."""
    if change.share > 0.7 * wanted.share:
        return False
    for box in filter(None, (wanted.box, wanted.to)):
        reach = 0.02
        apart = (
            change.box[0] > box[2] + reach
            or change.box[2] < box[0] - reach
            or change.box[1] > box[3] + reach
            or change.box[3] < box[1] - reach
        )
        if not apart:
            return True
    return False


def _why(many: int, significant: list[Change], minor: list[Change], extra: list[str]) -> str:
    if not (many or minor):
        return "Besides what was asked for, nothing changed that counts."
    told = [*map(said, (*significant, *minor)[:4]), *extra]
    small = sum(min(c.count, 3) for c in minor)
    return f"Besides what was asked for, {many} significant and {small} minor changes: {', '.join(told)}."
