"""Which changes of a report answer which request, and how well: tables of verbs against kinds, then named details."""

from __future__ import annotations

from dataclasses import dataclass

from annotators.offline.changes import Change, Differences, middle
from annotators.offline.difference_words import WHERE
from annotators.offline.edit_request import Asked

_FITS: dict[str, dict[str, int]] = {
    "add": {"appeared": 5, "replaced": 4, "reshaped": 3, "recoloured": 2, "shaded": 2},
    "remove": {"disappeared": 5, "replaced": 4, "reshaped": 3, "recoloured": 2, "moved": 2},
    "replace": {"replaced": 5, "recoloured": 4, "reshaped": 3, "appeared": 4, "disappeared": 3, "scene": 3, "moved": 2},
    "recolour": {"recoloured": 5, "replaced": 5, "appeared": 4, "reshaped": 4, "shaded": 3, "disappeared": 2},
    "move": {"moved": 5, "reshaped": 3, "replaced": 2, "appeared": 2, "disappeared": 2},
    "swap": {"moved": 5, "replaced": 5, "reshaped": 3, "appeared": 2, "disappeared": 2},
    "turn": {"reshaped": 5, "replaced": 4, "recoloured": 3, "moved": 3, "appeared": 2, "disappeared": 2},
    "resize": {"reshaped": 5, "replaced": 2, "moved": 2, "appeared": 2, "disappeared": 2},
    "text": {"replaced": 5, "reshaped": 5, "appeared": 4, "recoloured": 4, "disappeared": 3},
    "background": {"scene": 5, "replaced": 3, "recoloured": 3},
    "change": dict.fromkeys(("appeared", "disappeared", "moved", "replaced", "recoloured", "reshaped", "scene"), 4),
}
"""How well a kind of change answers a verb; what is not listed is contrary to it."""
_DRAWN: dict[str, dict[str, int]] = {
    "add": {"appeared": 5, "replaced": 2},
    "remove": {"disappeared": 5, "replaced": 3},
    "replace": {"replaced": 5, "recoloured": 3},
    "recolour": {"recoloured": 5, "replaced": 2},
    "move": {"moved": 5},
    "swap": {"moved": 5, "replaced": 5},
    "turn": {"reshaped": 4},
    "resize": {"reshaped": 5},
    "background": {"scene": 5},
}
"""The same in the drawn world, where a kind is certain."""
_NEAR = {
    "white": ("pale grey", "beige"),
    "black": ("dark grey", "navy"),
    "grey": ("dark grey", "pale grey"),
    "brown": ("orange", "beige", "olive"),
    "yellow": ("orange", "olive", "beige"),
    "orange": ("brown", "red"),
    "red": ("pink", "brown", "orange"),
    "pink": ("red", "purple"),
    "purple": ("pink", "blue"),
    "blue": ("light blue", "navy", "teal"),
    "green": ("olive", "teal"),
    "teal": ("green", "blue", "light blue"),
    "beige": ("yellow", "white", "pale grey", "brown"),
    "olive": ("green", "yellow", "brown"),
}
_GROUNDS: dict[str, tuple[str, ...]] = {
    "branch": ("grey", "brown", "beige", "orange", "pale grey"),
    "tree": ("green", "olive", "brown", "grey"),
    "grass": ("green", "olive", "yellow", "brown"),
    "field": ("green", "olive", "yellow", "brown", "orange", "beige"),
    "lawn": ("green", "olive"),
    "sky": ("light blue", "blue", "white", "pale grey", "grey", "orange", "pink", "navy"),
    "snow": ("white", "pale grey", "light blue"),
    "sand": ("beige", "yellow", "orange", "brown", "pale grey"),
    "beach": ("beige", "yellow", "orange", "brown", "pale grey"),
    "water": ("blue", "light blue", "teal", "navy", "grey", "dark grey"),
    "sea": ("blue", "light blue", "teal", "navy", "grey"),
}
"""What a ground that is named looks like at its commonest; a ground of another look is a miss of this baseline."""


@dataclass(frozen=True)
class Verdict:
    """How well one change answers a clause.

    Attributes:
        other: whether what changed is another thing than was named: by its name, its colour or its place.
    """

    score: int
    reason: str
    change: Change | None = None
    other: bool = False


_WHOLE = ("style", "light", "grey")


_UNDONE = {
    "add": "nothing was added",
    "remove": "nothing was removed",
    "replace": "nothing was replaced",
    "recolour": "nothing changed its colour",
    "move": "nothing moved",
    "swap": "no two things changed places",
    "turn": "nothing was turned",
    "resize": "nothing changed its size",
    "text": "no lettering changed",
    "background": "the background is as it was",
    "change": "nothing of the kind that was asked for changed",
}
_HAPPENED = {
    "replaced": "gave way to something else",
    "recoloured": "changed its colour",
    "reshaped": "was turned, resized or redrawn",
    "shaded": "fell into another light",
}


def said(change: Change) -> str:
    """A change in words: `something appeared on the left`."""
    if change.kind == "scene":
        return "the background is another"
    thing = f"the {change.name}" if change.name else "something"
    return f"{thing} {_HAPPENED.get(change.kind, change.kind)} {WHERE[change.to_place or change.place]}"


def found_for(clause: Asked, d: Differences) -> tuple[int, str]:
    """(1 to 5, why) for one clause."""
    verdict = _judged(clause, d)
    return verdict.score, verdict.reason


MET = 3
"""The score of a clause from which what fits it counts as its doing; below, it is a change nobody asked for."""
_MOVES = ("move", "swap", "turn")
"""Where these are asked for, what went the wrong way is still the thing that was to go."""


def wanted_changes(clause: Asked, d: Differences) -> list[Change]:
    """The changes that a clause asks for, where it is met in the main: they are no breach of consistency.

    What was to go and went the wrong way counts too; what came or went alone, or is another thing, does not.
    """
    if clause.action in _WHOLE:
        return []
    verdict = _judged(clause, d)
    best = verdict.change
    if best is None or (verdict.score < MET and (verdict.other or not _tried(clause, best, verdict.score, d))):
        return []
    wanted = [best]
    if clause.action in ("move", "swap"):
        wanted += [c for c in d.changes if _goes_with(clause, best, c)][:1]
    if clause.action in ("replace", "recolour", "text", "background"):
        # What was one thing may be seen as several places: the two sides of a curtain.
        kinds = ("replaced", "recoloured", "disappeared", "appeared", "reshaped")
        alike = (c for c in d.changes if c is not best and c.kind in kinds and not d.exact)
        wanted += [c for c in alike if _overlap(c.before, best.before) or _overlap(c.after, best.after)][:1]
    return wanted


def _tried(clause: Asked, best: Change, score: int, d: Differences) -> bool:
    """Whether a clause that is hardly met was still about this change."""
    if score < MET - 1:
        return False
    if clause.action in ("move", "swap") and best.kind in ("appeared", "disappeared", "replaced"):
        return any(_goes_with(clause, best, c) for c in d.changes)
    return clause.action in _MOVES or d.exact


def _goes_with(clause: Asked, best: Change, c: Change) -> bool:
    """Whether another change is the other half of a move, or the other thing of a swap."""
    if c is best:
        return False
    if best.kind == "moved":
        return clause.action == "swap" and c.kind in ("moved", "replaced")
    halves = {"appeared": ("disappeared", "replaced"), "disappeared": ("appeared", "replaced")}
    return c.kind in halves.get(
        best.kind, ("appeared", "disappeared", "moved") + ("replaced",) * (clause.action == "swap")
    )


def _overlap(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    return bool(a and b and a[0] in b and b[0] in a)


def _judged(clause: Asked, d: Differences) -> Verdict:
    if clause.action in _WHOLE:
        return _whole(clause, d)
    fits = (_DRAWN if d.exact else _FITS).get(clause.action, _FITS["change"])
    verdicts = [_of_change(clause, c, fits[c.kind], d) for c in d.changes if c.kind in fits]
    if clause.action == "background" and d.overall in ("another picture", "relit", "restyled"):
        verdicts.append(Verdict(3, "the picture changed as a whole, the background with it"))
    if not verdicts:
        other = ", ".join(dict.fromkeys(map(said, d.changes[:3]))) or "the picture changed as a whole"
        score = 2 if d.changes and clause.action == "change" else 1
        return Verdict(score, f"{_UNDONE.get(clause.action, _UNDONE['change'])}, but {other}")
    return max(verdicts, key=lambda v: (v.score, v.change.share if v.change else 0.0))


def _whole(clause: Asked, d: Differences) -> Verdict:
    """Style, light and the loss of colour, which concern the whole picture."""
    if clause.action == "grey":
        if "colourless" in d.light:
            return Verdict(5, "the whole picture lost its colours")
        return Verdict(2 if d.overall == "relit" else 1, "the picture still has its colours")
    if clause.action == "style":
        if d.overall == "restyled":
            return Verdict(5, "the whole picture is drawn otherwise while its layout is kept")
        if d.overall == "relit":
            return Verdict(4, "colours are others all over, the drawing hardly is")
        share = sum(c.share for c in d.changes)
        return Verdict(4 if share > 0.1 else 2, f"{100 * share:.0f} % of the picture is drawn otherwise")
    if d.overall == "relit" or (d.light and _light_fits(clause, d)):
        return Verdict(5, "the light changed over the whole picture")
    if d.light:
        return Verdict(2, f"the light became {' and '.join(d.light)}, which was not asked for")
    if d.overall or any(c.kind == "shaded" for c in d.changes):
        return Verdict(3, "the light changed in places")
    return Verdict(1, "the light is as it was")


def _light_fits(clause: Asked, d: Differences) -> bool:
    opposite = {"brighter": "darker", "darker": "brighter", "warmer": "cooler", "cooler": "warmer"}
    roots = {"bright": "brighter", "dark": "darker", "dim": "darker", "warm": "warmer", "cool": "cooler"}
    meant = [word for root, word in roots.items() if root in clause.words]
    return not meant or any(m in d.light for m in meant) or not any(opposite[m] in d.light for m in meant)


def _of_change(clause: Asked, change: Change, fit: int, d: Differences) -> Verdict:
    """One change against one clause: the verb's fit, bounded by every detail that is missed."""
    told = said(change)
    other = [*_old_colour_misses(clause, change, d), *_old_name_misses(clause, change, d), *_old_place(clause, change)]
    missed = [
        *_colour_misses(clause, change, d),
        *other,
        *_name_misses(clause, change, d),
        *_place_misses(clause, change),
        *_count_misses(clause, change, d),
        *_swap_misses(clause, change, d),
    ]
    bound = min((limit for limit, _ in missed), default=5)
    score = max(1, min(fit, bound) - (1 if len(missed) > 1 else 0))
    another = any(limit <= 2 for limit, _ in other)
    return Verdict(score, ", but ".join([told, *(miss for _, miss in missed)]), change, another)


def _colour_misses(clause: Asked, change: Change, d: Differences) -> list[tuple[int, str]]:
    out = []
    if clause.colours and clause.action in ("add", "replace", "recolour", "background", "text", "change"):
        seen = change.after
        if seen and not any(_is(c, seen, exact=d.exact) for c in clause.colours):
            limit = 2 if clause.action in ("recolour", "background") else 3
            out.append((limit, f"not in {' or '.join(clause.colours)}"))
    return out


def _old_colour_misses(clause: Asked, change: Change, d: Differences) -> list[tuple[int, str]]:
    if not (clause.old_colours and change.before and clause.action in _OLD_ONES):
        return []
    if any(_is(c, change.before, exact=d.exact) for c in clause.old_colours):
        return []
    return [(2 if d.exact else 4, f"what changed was not {' or '.join(clause.old_colours)}")]


_OLD_ONES = ("remove", "move", "replace", "recolour", "turn", "resize")


def _is(colour: str, seen: tuple[str, ...], *, exact: bool) -> bool:
    if exact:
        return colour in seen
    return any(word == colour or word in _NEAR.get(colour, ()) for word in seen)


def _name_misses(clause: Asked, change: Change, d: Differences) -> list[tuple[int, str]]:
    """Only the drawn world's things have names."""
    if not d.exact or change.kind == "scene":
        if clause.scene and d.background[1] and clause.scene != d.background[1]:
            return [(2, f"the background is {d.background[1]}")]
        return []
    out = []
    new = (change.new_name or change.name).split()[-1:]
    if clause.shapes and clause.action in ("add", "replace") and new and new[0] not in clause.shapes:
        out.append((2, "another thing than was asked for"))
    return out


def _old_name_misses(clause: Asked, change: Change, d: Differences) -> list[tuple[int, str]]:
    old = change.name.split()[-1:]
    if d.exact and change.kind != "scene" and clause.old_shapes and old and old[0] not in clause.old_shapes:
        return [(2, "another thing changed than was asked for")]
    return []


def _old_place(clause: Asked, change: Change) -> list[tuple[int, str]]:
    if _elsewhere(clause, change):
        return [(2, f"it is not what stands at the place that was named ({clause.old_place})")]
    return []


def _elsewhere(clause: Asked, change: Change) -> bool:
    """Whether what changed lies clearly off the place by which the thing to change was told apart."""
    (x, y), (left, top, right, bottom) = middle(change.box), change.box
    wide, high = right - left > _WIDE, bottom - top > _WIDE
    words = set(clause.old_place.split())
    return (
        (not wide and (("left" in words and x > _MIDDLE) or ("right" in words and x < 1 - _MIDDLE)))
        or (not high and bool(words & {"upper", "top"}) and y > _MIDDLE)
        or (not high and bool(words & {"lower", "bottom"}) and y < 1 - _MIDDLE)
        or ("centre" in words and not (wide or high) and max(abs(x - 0.5), abs(y - 0.5)) > 0.3)
    )


_MIDDLE = 0.45
"""As a share of the picture's side: what has its middle beyond is no longer on the left, or at the top."""
_WIDE = 0.6


def _swap_misses(clause: Asked, change: Change, d: Differences) -> list[tuple[int, str]]:
    if clause.action != "swap" or any(_goes_with(clause, change, c) for c in d.changes):
        return []
    return [(1 if change.kind in ("appeared", "disappeared") else 2, "no second thing went the other way")]


def _place_misses(clause: Asked, change: Change) -> list[tuple[int, str]]:
    out = []
    named = clause.place or (clause.old_place if not _elsewhere(clause, change) and not change.to else "")
    if named and not _meets(named, change.to_place or change.place):
        out.append((3, f"not at the place that was named ({named})"))
    if clause.way != (0, 0) and change.kind == "moved":
        along = change.shift[0] * clause.way[0] + change.shift[1] * clause.way[1]
        if along < -0.04:
            out.append((3, "it went the other way"))
    if clause.larger and change.kind in ("reshaped", "moved") and change.growth != 1:
        other_way = (change.growth > 1) != (clause.larger > 0)
        if other_way:
            out.append((2, "its size changed the other way"))
    ground = next((g for g in _GROUNDS if f" the {g}" in clause.words), "") if clause.action == "add" else ""
    if ground and change.under:
        seen = sum(share for word, share in change.under if word in _GROUNDS[ground])
        if seen < 0.3:
            out.append((3, f"what lies under it does not look like the {ground}"))
    return out


def _meets(named: str, seen: str) -> bool:
    """Whether a named place and a seen one agree: `left` holds for `upper left`."""
    return set(named.split()) & {"left", "right"} == set(seen.split()) & {"left", "right"} and _height(named, seen)


def _height(named: str, seen: str) -> bool:
    rows = {"upper": 0, "top": 0, "lower": 2, "bottom": 2}
    row = [next((rows[w] for w in place.split() if w in rows), 1) for place in (named, seen)]
    return row[0] == row[1] or (named in ("left", "right"))


def _count_misses(clause: Asked, change: Change, d: Differences) -> list[tuple[int, str]]:
    if not clause.count or clause.action not in ("add", "remove") or change.count == clause.count:
        return []
    # Pixels hardly tell two touching things from one, but a drawn world's count is certain.
    return [(3 if d.exact or change.count > 1 else 4, f"{change.count} rather than {clause.count}")]
