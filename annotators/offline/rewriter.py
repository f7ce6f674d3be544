"""The offline rewriter of FIRM-Edit: an instruction that an edit does not fulfil, in one of five named ways, by rules.

Each way has several wordings; the first that the offline judge finds within the bound of its kind (`MOST_EXECUTION`)
is taken, so that a thing that pixels cannot name is told apart by its colour or place. It starts from the original
instruction where that is understood, and from the differences alone where it is not: another script, or none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from annotators.offline.chance import number, shuffled
from annotators.offline.changes import PLACES, Change, Differences
from annotators.offline.critic import execution
from annotators.offline.edit_parts import COLOUR, Edit, edit_of, where
from annotators.offline.nouns import article_of
from schemas.labels import MOST_EXECUTION, Rewrite

_OTHERS = ("bench", "umbrella", "basket", "lamp", "suitcase", "ladder", "bucket", "kite", "flag", "clock", "stool")
_COLOURS = ("red", "yellow", "green", "blue", "purple", "pink", "orange", "white", "black")
_FAMILY = {"navy": "blue", "light blue": "blue", "teal": "blue", "olive": "green", "brown": "orange", "beige": "yellow",
           "dark grey": "black", "grey": "black", "pale grey": "white"}  # fmt: skip
_ADDED = ("hot-air balloon", "lighthouse", "grand piano", "sailing boat", "snowman", "circus tent",
          "stone fountain", "rocking horse")  # fmt: skip
_SIZES = ("small", "big", "large", "tiny", "huge", "little", "round", "new", "old")
_CONTRARY = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}


@dataclass(frozen=True)
class _Scene:
    """One pair as the wordings see it: what was asked for, what changed, and choices of the pair's own."""

    edit: Edit
    d: Differences
    seed: int
    kind: Rewrite

    @property
    def main(self) -> Change | None:
        """The change that is most of the edit: the first, as they come strongest first."""
        return self.d.changes[0] if self.d.changes else None

    @property
    def others(self) -> list[str]:
        """Things that the edit is not about."""
        return [o for o in shuffled(_OTHERS, self.seed, "other") if o not in self.edit.thing and o not in self.edit.new]

    def far_colours(self) -> list[str]:
        """Colours that neither was nor came to be in what changed, nor is asked for."""
        seen = {_FAMILY.get(w, w) for c in self.d.changes[:4] for w in (*c.before, *c.after)}
        said = f"{self.edit.thing} {self.edit.new} {self.edit.colour}"
        left = [c for c in _COLOURS if c not in seen and c not in said]
        return shuffled(left or [c for c in _COLOURS if c not in said], self.seed, "colour")

    def far_places(self) -> list[str]:
        """Corners where nothing changed, the farthest from the main change first."""
        used = {p for c in self.d.changes for p in (c.place, c.to_place) if p}
        here = (self.main.to_place or self.main.place) if self.main else "centre"
        at = PLACES.index(here)
        corners = [p for p in PLACES if " " in p]

        def distance(place: str) -> int:
            n = PLACES.index(place)
            return abs(n % 3 - at % 3) + abs(n // 3 - at // 3)

        return sorted(corners, key=lambda p: (p in used, -distance(p)))

    @property
    def place(self) -> str:
        """Where the main change is, in words."""
        return where(self.main.place) if self.main else "in the picture"

    def colour(self, *, before: bool) -> str:
        words = (self.main.before if before else self.main.after) if self.main else ()
        return words[0] if words else ""


def rewritten(instruction: str, d: Differences, kind: Rewrite, seed: int) -> str:
    """An instruction that the edit behind `d` does not fulfil, in the way of `kind`; equal input gives equal text.

    Args:
        instruction: the original one; empty where it is not known.
        seed: chooses among wordings, things and colours; the pair's own.
    """
    scene = _Scene(edit_of(instruction, d), d, number(seed, "rewrite", kind), kind)
    first = ""
    for text in _WORDINGS[kind](scene):
        text = _sentence(text)
        if text.lower().strip(" .") == instruction.lower().strip(" ."):
            continue
        first = first or text
        if execution(text, d)[0] <= MOST_EXECUTION[kind]:
            return text
    return first


def _wrong_object(s: _Scene) -> Iterator[str]:
    edit = s.edit
    for other, place, colour in zip(s.others, [*s.far_places(), *s.far_places()], [*s.far_colours()] * 3, strict=False):
        the = f"the {other} {where(place)}"
        if edit.action == "add":
            yield f"Add {_a(f'{colour} {other}')} {edit.where}"
            yield f"Add {_a(f'{colour} {other}')} {where(place)}"
        elif edit.action == "replace":
            yield f"Replace {the} with {edit.new}"
        elif edit.action == "recolour":
            yield f"Paint {the} {edit.colour}"
            yield f"Paint the {colour} {other} {where(place)} {edit.colour}"
        elif edit.action == "move":
            yield f"Move the {colour} {other} {where(place)} {edit.where}"
            yield f"Move {edit.anchor or 'the ' + other} to the {place.split()[-1]} side of the picture"
        elif edit.action == "text":
            yield f"Change the letters on {the} to {edit.new or 'OPEN'}, in {colour}"
        elif edit.action in ("style", "light", "background"):
            yield f"Paint only {the} {colour}"
        else:
            yield f"{_VERBS[edit.action].format(the)}"
            yield f"{_VERBS[edit.action].format(f'the {colour} {other} {where(place)}')}"
            yield f"Remove the {colour} {other} {where(place)}"


_VERBS = {"remove": "Remove {}", "turn": "Turn {} around", "resize": "Make {} smaller", "change": "Change {}"}


def _wrong_attribute(s: _Scene) -> Iterator[str]:
    edit, thing = s.edit, s.edit.thing
    for place, colour in zip([*s.far_places(), *s.far_places()], [*s.far_colours()] * 3, strict=False):
        if edit.action == "add":
            yield f"Add {_a(_coloured(colour, edit.new))} {edit.where}"
            yield f"Add {edit.new} {where(place)}"
            yield f"Add {_a(_coloured(colour, edit.new))} {where(place)}"
        elif edit.action == "replace":
            yield f"Replace {thing} with {_a(_coloured(colour, edit.new))}"
            yield f"Replace {thing} {where(place)} with {_a(_coloured(colour, edit.new))}"
        elif edit.action == "remove":
            yield f"Remove {thing} {where(place)}"
            yield f"Remove the {_coloured(colour, thing)} {where(place)}"
        elif edit.action == "move":
            yield f"Move {thing} to the {place.split()[-1]} side of the picture"
            yield f"Move {thing} to the {place} corner of the picture"
            yield f"Move the {_coloured(colour, thing)} to the {place} corner of the picture"
        elif edit.action == "text":
            yield f"Replace {thing} with {edit.new or 'OPEN'} in {colour} letters"
        elif edit.action == "background":
            yield f"Change the background to plain {colour}"
        elif edit.action in ("style", "light"):
            yield f"Paint the {_bare(thing)} {where(place)} {colour}"
        else:
            yield f"Paint {thing} {colour}"
            yield f"Paint {thing} {where(place)} {colour}"


def _opposite(s: _Scene) -> Iterator[str]:
    edit, thing = s.edit, s.edit.thing
    old, new = s.colour(before=True), s.colour(before=False)
    if edit.action == "add":
        yield f"Remove {_the(edit.new)}"
        yield f"Remove {_the(edit.new)} {s.place}"
        yield f"Remove the {_coloured(new, edit.new)} {s.place}"
    elif edit.action == "remove":
        yield f"Add another {_bare(thing)}"
        yield f"Add another {_coloured(old, thing)} {s.place}"
        yield f"Make {thing} much larger"
    elif edit.action == "replace":
        yield f"Replace {_the(edit.new)} with {_a(_bare(thing))}"
        for one in s.main.after if s.main else ():
            for other in s.main.before if s.main else ():
                yield f"Replace the {_coloured(one, edit.new)} with {_a(_coloured(other, thing))}"
    elif edit.action == "recolour":
        yield f"Change the {edit.colour} {_bare(edit.bare_thing)} to {old}"
        yield f"Change the {edit.colour} {_bare(edit.bare_thing)} {s.place} to {_contrary_colour(edit.colour)}"
    elif edit.action == "move":
        side = _away(s)
        yield f"Move {thing} to the {side} side of the picture"
        yield f"Move {thing} to the far {side} side of the picture"
        yield f"Move {thing} back to the {side} edge and add a second {_bare(thing)} beside it"
    elif edit.action == "resize":
        yield f"Make {thing} {'smaller' if edit.larger > 0 else 'much larger'}"
    elif edit.action == "light":
        yield (
            "Make the whole picture much darker" if "brighter" in s.d.light else "Make the whole picture much brighter"
        )
        yield "Remove all light from the picture"
    elif edit.action == "background":
        yield f"Remove everything but the background and keep the background {old}"
    else:
        yield f"Remove {thing}"
        yield f"Remove {thing} {s.place}"
    # Where pixels cannot tell that from what was done, the contrary of what is not there either.
    for place, colour in zip([*s.far_places(), *s.far_places()], s.far_colours(), strict=False):
        if edit.action == "remove":
            yield f"Add {_a(_coloured(colour, thing))} {where(place)}"
        else:
            yield f"Remove the {_coloured(colour, edit.new or edit.bare_thing)} {where(place)}"


def _partly_done(s: _Scene) -> Iterator[str]:
    asked = s.edit.said
    for other, place, colour in zip(s.others, s.far_places(), [*s.far_colours()] * 2, strict=False):
        yield f"{asked}, and add {_a(f'{colour} {other}')} {where(place)}"
    for colour in s.far_colours():
        yield f"{asked}, and turn the whole picture into a pencil sketch with a {colour} background"


def _unrelated(s: _Scene) -> Iterator[str]:
    things = [t for t in shuffled(_ADDED, s.seed, "added") if t not in s.edit.said]
    for other, place, colour in zip(things, [*s.far_places(), *s.far_places()], [*s.far_colours()] * 3, strict=False):
        texts = [
            f"Add {_a(f'{colour} {other}')} {where(place)}",
            f"Remove the {colour} flag {where(place)}",
            f"Turn the whole picture into a pencil sketch, with {colour} letters reading 'OPEN' {where(place)}",
            f"Swap the positions of the {colour} lamp and the clock",
        ]
        yield from shuffled(texts, s.seed, "unrelated", other)


_WORDINGS: dict[Rewrite, Callable[[_Scene], Iterator[str]]] = {
    Rewrite.WRONG_OBJECT: _wrong_object,
    Rewrite.WRONG_ATTRIBUTE: _wrong_attribute,
    Rewrite.OPPOSITE: _opposite,
    Rewrite.PARTLY_DONE: _partly_done,
    Rewrite.UNRELATED: _unrelated,
}


def _away(s: _Scene) -> str:
    """The side that lies against the way a thing went."""
    if s.main is not None and s.main.kind == "moved":
        dx, dy = s.main.shift
        return ("left" if dx > 0 else "right") if abs(dx) >= abs(dy) else ("top" if dy > 0 else "bottom")
    return next((_CONTRARY[w] for w in s.edit.where.split() if w in _CONTRARY), "right")


def _contrary_colour(colour: str) -> str:
    pairs = {"white": "black", "black": "white", "red": "blue", "blue": "orange", "green": "pink"}
    return pairs.get(colour, "white")


def _bare(noun: str) -> str:
    """Without its article or number."""
    words = noun.split()
    while words and words[0].lower() in ("a", "an", "the", "some", "1", "one", "his", "her", "its"):
        words.pop(0)
    return " ".join(words) or "thing"


def _a(noun: str) -> str:
    noun = " ".join(noun.split())
    return f"{article_of(noun)} {noun}"


def _coloured(colour: str, noun: str) -> str:
    """A noun without its article, with a colour of its own in the place of the one it had."""
    words = re.sub(rf"\b{COLOUR}\b(?:-{COLOUR}\b)?", "", _bare(noun)).split()
    front = next((i for i, w in enumerate(words) if w not in _SIZES), 0)
    return " ".join([*words[:front], colour, *words[front:]])


def _the(noun: str) -> str:
    return f"the {_bare(noun)}"


def _sentence(text: str) -> str:
    text = " ".join(text.split()).strip(" .")
    return f"{text[:1].upper()}{text[1:]}."
