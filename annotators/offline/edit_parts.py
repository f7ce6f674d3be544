"""The parts of an edit in words that other instructions can be built from: what is done, to what, with what, where.

From the instruction where one of a few English forms fits it; else from the differences, which name a thing by its
colour and place (`the brown object on the left`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from annotators.offline.changes import Change, Differences
from annotators.offline.difference_words import WHERE
from annotators.offline.edit_request import asked
from annotators.offline.nouns import article_of


@dataclass(frozen=True)
class Edit:
    """What an edit does.

    Attributes:
        action: as `edit_request.Asked` has it.
        thing: what is changed, with its article; "the picture" where that is the whole.
        new: what comes, with its article; empty where nothing does.
        where: where it comes or goes to, with its preposition; may be empty.
        anchor: the thing that `where` names.
        colour: what it is to be painted.
        larger: 1, -1 or 0.
        said: the whole as an instruction, without a full stop.
    """

    action: str
    thing: str
    new: str = ""
    where: str = ""
    anchor: str = ""
    colour: str = ""
    larger: int = 0
    said: str = ""

    @property
    def bare_thing(self) -> str:
        """The thing without its article and without a colour before it."""
        return re.sub(rf"^(?:the |an? )?(?:{COLOUR} )*", "", self.thing)


COLOUR = (
    r"(?:(?:bright|dark|light|pale|lime|deep) )*(?:red|orange|yellow|golden|gold|green|blue|purple|violet|pink|white|"
    r"black|brown|gr[ea]y|silver|beige|cream|teal|olive|navy)"
)
_WHERE = (
    r"(?:on|in|into|to|onto|under|underneath|below|above|behind|beside|near|at|over|next to|in front of|through|across)"
)
_THE = r"(?:the|a|an|his|her|its|this|that|all(?: the)?|[0-9]+|one|two|three|four|some)"
_FORMS: tuple[tuple[str, str], ...] = (
    ("swap", r"(?:swap|switch|exchange) the (?:positions?|places) of (?P<thing>the .+?) and (?P<new>the .+)"),
    ("text", r"replace (?P<thing>['\"‘“].+?['\"’”]) (?:with|by) (?P<new>['\"‘“].+?['\"’”])"),
    ("recolour", rf"(?:change|turn|transform|convert|make|let|paint|dye) (?P<thing>the .+?) (?:to|into|be|to be)?\s*"
                 rf"(?:an? |all |fully |the colou?r )*(?P<colour>{COLOUR})(?: colou?r)?"),
    ("recolour", rf"(?:change|turn|transform|convert) (?P<thing>the .+?) (?:to|into) (?:an? |the )?(?P<colour>{COLOUR})"
                 rf"(?: (?P<new>.+))?"),
    ("resize", r"make (?P<thing>the .+?) (?:much |a bit |a little )?"
               r"(?:small|smaller|tiny|big|bigger|large|larger|huge)"),
    ("turn", r"(?:turn|rotate|flip|tilt|spin|push) (?P<thing>the .+?) "
             r"(?:around|upside down|over|sideways|down|\d+ degrees)"),
    ("move", rf"(?:move|shift|relocate|slide|drag|put|place|position) (?:the position of )?(?P<thing>the .+?) "
             rf"(?P<where>(?:further |{_WHERE} ).+)"),
    ("replace", rf"(?:replace|substitute|change|turn|transform|convert|let) (?P<thing>the .+?) "
                rf"(?:with|by|to|into|turn into) (?P<new>{_THE} .+)"),
    ("remove", rf"(?:remove|delete|erase|get rid of|take away) (?P<thing>{_THE} .+?)"
               r"(?: from the (?:image|picture|photo))?"),
    ("add", rf"(?:let's |please )?(?:add|insert|put|place|include|draw|let there be|have there be|there be) "
            rf"(?P<new>(?:{_THE} )?.+?)(?P<where> {_WHERE} .+)?"),
)  # fmt: skip


def where(place: str) -> str:
    """`on the left`, `in the upper left corner`."""
    return f"{WHERE[place]} corner" if " " in place else WHERE[place]


def edit_of(instruction: str, d: Differences) -> Edit:
    """The edit as the instruction says it; as the differences show it where no form fits or it is not English."""
    text = " ".join(instruction.split()).strip(" .!?")
    clauses = asked(text)
    plain = bool(clauses) and text.isascii() and len(text) <= 200 and not re.search(r"[<>{}\\]", text)
    found = _by_form(text) if plain and len(clauses) == 1 else None
    if found is None:
        found = from_differences(d)
        if plain and clauses[0].action in ("style", "light", "background"):
            found = replace(found, action=clauses[0].action)
    asks = re.match(r"(?:what|why|how|can|could|would)\b", text, re.IGNORECASE)
    return replace(found, said=text if plain and not asks else found.said)


def _by_form(text: str) -> Edit | None:
    for action, pattern in _FORMS:
        match = re.fullmatch(pattern, text, re.IGNORECASE)
        if match is None:
            continue
        part = {name: (value or "").strip() for name, value in match.groupdict().items()}
        to, low = part.get("where", ""), text.lower()
        anchor = re.search(r"\bthe (?!left|right|top|bottom|far)[\w' -]+$", to)
        larger = -1 if re.search(r"\b(?:small|smaller|tiny)\b", low) else 1
        thing, new = part.get("thing", "the picture"), part.get("new", "")
        if action == "add" and (doing := re.search(r" (\w+ing)$", new)) and to:
            new, to = new[: doing.start()], f"{doing[1]} {to}"
        if new and action == "add" and not re.match(rf"{_THE}\b", new, re.IGNORECASE):
            new = new if new.endswith("s") else f"{article_of(new)} {new}"
        return Edit(
            "move" if action == "swap" else action,
            _definite(thing),
            new if action != "swap" else "",
            to if action != "swap" else f"to where {new} is",
            anchor[0] if anchor else "",
            part.get("colour", "").lower(),
            larger if action == "resize" else 0,
        )
    return None


def _definite(thing: str) -> str:
    return re.sub(r"^(?:an?|his|her|its|all(?: the)?|[0-9]+|one|some)\s", "the ", thing)


def from_differences(d: Differences) -> Edit:
    """The edit that the differences show, told by their main change."""
    if not d.changes:
        return _whole(d)
    change = d.changes[0]
    thing, new = f"the {_noun(change, after=False)}", _noun(change, after=True)
    a_new, here = f"{article_of(new)} {new}", where(change.place)
    if change.kind == "appeared":
        return Edit("add", f"the {new}", a_new, here, said=f"Add {a_new} {here}")
    if change.kind == "disappeared":
        return Edit("remove", thing, said=f"Remove {thing} {here}")
    if change.kind == "moved":
        to = f"to the {change.to_place} of the picture"
        return Edit("move", thing, "", to, said=f"Move {thing} {to}")
    if change.kind == "scene":
        colour = change.after[0] if change.after else ""
        named = d.background[1] or colour
        return Edit("background", "the background", colour=named, said=f"Change the background to {named}")
    if change.kind in ("recoloured", "shaded") and change.after:
        colour = change.after[0]
        return Edit("recolour", thing, colour=colour, said=f"Paint {thing} {here} {colour}")
    if change.kind == "replaced":
        return Edit("replace", thing, a_new, here, said=f"Replace {thing} {here} with {a_new}")
    larger = 1 if change.growth > 1.25 else -1 if change.growth < 0.8 else 0
    if larger:
        said = f"Make {thing} {here} {'larger' if larger > 0 else 'smaller'}"
        return Edit("resize", thing, larger=larger, said=said)
    return Edit("turn", thing, said=f"Turn {thing} {here} around")


def _whole(d: Differences) -> Edit:
    if "colourless" in d.light:
        return Edit("style", "the picture", said="Make the whole picture black and white")
    if d.light:
        return Edit("light", "the picture", said=f"Make the whole picture {' and '.join(d.light)}")
    if d.overall in ("restyled", "another picture"):
        return Edit("style", "the picture", said="Redraw the picture in another style")
    return Edit("change", "the picture", said="Make the picture a little clearer")


def _noun(change: Change, *, after: bool) -> str:
    """`red star`, `lettering`, `brown object`."""
    if change.name:
        return change.new_name or change.name if after else change.name
    colours = (change.after or change.before) if after else (change.before or change.after)
    noun = "lettering" if change.text else "object"
    return f"{colours[0]} {noun}" if colours else noun
