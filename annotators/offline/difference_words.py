"""The two texts of a difference report: what is plain to see in each picture, and every difference by category."""

from __future__ import annotations

from annotators.offline.changes import Change, Differences
from annotators.offline.grammar import joined

NOTHING = "Both images look the same."
WHERE = {
    "upper left": "in the upper left",
    "top": "at the top",
    "upper right": "in the upper right",
    "left": "on the left",
    "centre": "in the centre",
    "right": "on the right",
    "lower left": "in the lower left",
    "bottom": "at the bottom",
    "lower right": "in the lower right",
}
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_OBVIOUS = 3


def obvious(d: Differences) -> str:
    """What changed most, told of each image by itself, without weighing one against the other.

    By rules from pixels: things of photographs have no names here. One line where nothing differs.
    """
    if d.nothing:
        return NOTHING
    first, second = [], []
    if d.overall == "another picture":
        first.append("a picture of its own")
        second.append("a picture with hardly a line in the same place")
    if d.overall in ("relit", "restyled"):
        first.append("the scene as it was drawn and lit at first")
        second.append(f"the same layout, {'in other light and colours' if d.overall == 'relit' else 'drawn otherwise'}")
    for change in d.changes[:_OBVIOUS]:
        old, new = _sights(change, d)
        first.append(old)
        second.append(new)
    if not first:
        first.append("the scene in its own light and framing")
        second.append("the same scene, " + joined(_whole(d)))
    return f"First image: {'; '.join(first)}.\nSecond image: {'; '.join(second)}."


def detailed(d: Differences) -> str:
    """Every difference, compared, in numbered categories: Quantity, Shape & Form, Texture & Surface, Position & Layout.

    A category without a difference is left out; one line where nothing differs at all. By rules, as `obvious`.
    """
    if d.nothing:
        return NOTHING
    told = {
        "Quantity": [_quantity(c) for c in d.changes if c.kind in ("appeared", "disappeared")],
        "Shape & Form": [_shape(c) for c in d.changes if c.kind in ("replaced", "reshaped")],
        "Texture & Surface": [_surface(c, d) for c in d.changes if c.kind in ("recoloured", "shaded", "scene")],
        "Position & Layout": [_moved(c) for c in d.changes if c.kind == "moved"],
    }
    whole = _whole(d)
    if whole:
        told["Texture & Surface"].append(f"Over the whole image: {joined(whole)}")
    if d.reframed:
        told["Position & Layout"].append(_framing(d))
    if d.drift > 0.02:
        told["Position & Layout"].append(f"Elsewhere about {_percent(d.drift)} of the image drifts very slightly")
    lines = [f"{name}: {'. '.join(parts)}." for name, parts in told.items() if parts]
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))


def _sights(change: Change, d: Differences) -> tuple[str, str]:
    """What stands there in the first image, and in the second."""
    where = WHERE[change.place]
    if change.kind == "scene":
        old, new = d.background
        return (
            f"a {old} background" if old else f"a background of {_colours(change.before)}",
            f"a {new} background" if new else f"a background of {_colours(change.after)}",
        )
    size = f"about {_percent(change.share)} of the image"
    if change.kind == "appeared":
        return f"{where}, nothing but the surroundings", f"{where}, {_things(change)} ({size})"
    if change.kind == "disappeared":
        return f"{where}, {_things(change)} ({size})", f"{where}, nothing but the surroundings"
    if change.kind == "moved":
        thing = _things(change)
        return f"{where}, {thing} ({size})", f"{WHERE[change.to_place]}, {thing}"
    if change.kind == "shaded":
        return f"{where}, {_colours(change.before)} ({size})", f"{where}, {_colours(change.after)} in another light"
    new = change.new_name or change.name
    return (
        f"{where}, {_one(change.name, change.before)} ({size})",
        f"{where}, {_one(new, change.after)}" + (" in another shape" if change.kind == "reshaped" else ""),
    )


def _quantity(change: Change) -> str:
    number = _NUMBERS[change.count] if change.count < len(_NUMBERS) else str(change.count)
    verb = "added" if change.kind == "appeared" else "gone"
    if change.count == 1:
        what = _things(change)
    elif change.name:
        what = f"{number} {change.name}s"
    else:
        what = f"{number} things in {_colours(change.before or change.after)}"
    be = "is" if change.count == 1 else "are"
    return f"{_capital(what)} {be} {verb} {WHERE[change.place]}, about {_percent(change.share)} of the image"


def _shape(change: Change) -> str:
    where, size = WHERE[change.place], _percent(change.share)
    if change.kind == "replaced":
        old, new = _one(change.name, change.before), _one(change.new_name, change.after)
        lettering = "Lettering, " if change.text else ""
        text = f"{lettering}{old} gave way to {new} {where}, about {size} of the image"
        return _capital(text)
    how = "larger" if change.growth > 1.25 else "smaller" if change.growth < 0.8 else "turned or redrawn"
    what = f"the {change.name}" if change.name else "lettering" if change.text else _one("", change.before)
    kept = ", colours kept" if set(change.before) & set(change.after) else ""
    return f"{_capital(what)} {where} is {how}{kept}, about {size} of the image"


def _surface(change: Change, d: Differences) -> str:
    if change.kind == "scene":
        old, new = d.background
        if old:
            return f"The background changes from {old} to {new}"
        return f"The background changes from {_colours(change.before)} to {_colours(change.after)}"
    where, size = WHERE[change.place], _percent(change.share)
    if change.kind == "shaded":
        return f"A shadow or light falls otherwise {where}, about {size} of the image"
    what = f"the {change.name}" if change.name else "a surface"
    old, new = _colours(change.before), _colours(change.after)
    turned = f"goes from {old} to {new}" if old != new else f"has other shades of {new}"
    return f"{_capital(what)} {where} {turned}, its outline kept, about {size} of the image"


def _moved(change: Change) -> str:
    grown = ", and looks larger" if change.growth > 1.4 else ", and looks smaller" if change.growth < 0.7 else ""
    if change.place != change.to_place:
        way = f"from {change.place} to {change.to_place}"
    else:
        dx, dy = change.shift
        way = ("to the right" if dx > 0 else "to the left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")
        way += f", staying {WHERE[change.place]}"
    thing = f"the {change.name}" if change.name else _things(change)
    return f"{_capital(thing)} moved {way}{grown}"


def _whole(d: Differences) -> list[str]:
    words = [f"the image is {joined(list(d.light))}"] if d.light else []
    if d.overall == "relit":
        words.append("light and colours are others while the drawing is kept")
    if d.overall == "restyled":
        words.append("it is drawn in another style or redrawn in detail")
    if d.overall == "another picture":
        words.append("hardly anything is kept")
    if d.sharpness:
        words.append(f"fine detail is {d.sharpness}")
    if d.reframed:
        words.append("the framing is another")
    return words


def _framing(d: Differences) -> str:
    zoom = ""
    if abs(d.zoom - 1) > 0.03:
        zoom = f", things {d.zoom:.2f} times as large"
    part = f", showing {_percent(d.covered)} of the first image" if d.covered < 0.97 else ""
    return f"Framing changed{zoom}{part}"


def _things(change: Change) -> str:
    colours = change.before if change.kind in ("disappeared", "moved") else change.after
    if change.count > 1:
        number = _NUMBERS[change.count] if change.count < len(_NUMBERS) else str(change.count)
        return f"{number} {change.name}s" if change.name else f"{number} things in {_colours(colours)}"
    if change.text and not change.name:
        return f"lettering in {_colours(colours)}"
    return _one(change.name, colours)


def _one(name: str, colours: tuple[str, ...]) -> str:
    if name:
        return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    return f"something {_colours(colours)}"


def _colours(colours: tuple[str, ...]) -> str:
    return joined(list(colours)) if colours else "its surroundings' colours"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.015 else f"{100 * share:.1f} %" if share >= 0.001 else "0.1 %"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
