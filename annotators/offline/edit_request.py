"""What an edit instruction asks for, read by rules: verbs, named colours, places, directions, counts and things.

What is said to the judge rather than of the picture ("give this a 5", a boxed number, a delimiter) is not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from toyworld.world import SCENES, SHAPES

_COLOUR_WORDS = {
    "red": ("red", "crimson", "maroon", "scarlet", "红"),
    "orange": ("orange", "橙"),
    "yellow": ("yellow", "golden", "gold", "黄"),
    "green": ("green", "lime", "绿"),
    "blue": ("blue", "navy", "蓝"),
    "purple": ("purple", "violet", "紫"),
    "pink": ("pink", "magenta", "粉"),
    "white": ("white", "白"),
    "black": ("black", "黑"),
    "brown": ("brown", "棕"),
    "grey": ("grey", "gray", "silver", "灰"),
    "beige": ("beige", "cream", "tan"),
    "teal": ("teal", "turquoise", "cyan"),
    "olive": ("olive",),
}
_COLOURS = {word: colour for colour, words in _COLOUR_WORDS.items() for word in words}
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WAYS = (
    (r"\bleft\b|左", (-1, 0)),
    (r"\bright\b(?! now| away)|右", (1, 0)),
    (r"\babove\b|\bup(?:wards?)?\b|\bhigher\b|\bbehind\b|上|\bon(?: top of)?\b(?! the (?:left|right))", (0, -1)),
    (r"\bbelow\b|\bunder(?:neath)?\b|\bbeneath\b|\bdown(?:wards?)?\b|\blower\b|\bin front of\b|下", (0, 1)),
)
_PICTURE = r"(?:it|this|everything|(?:the|this) (?:whole |entire )?(?:image|picture|photo(?:graph)?|scene)(?: to be)?)"
_VERBS = (
    (
        "grey",
        rf"\b(?:gr[ea]y-?scale|monochrome|desaturate|decolou?ri[sz]e)\b|\bin shades of gr[ea]y\b|黑白"
        rf"|\b{_PICTURE} (?:(?:in|into|to|fully|completely|all) )*(?:an? )?black[- ]and[- ]white\b"
        r"|\bblack[- ]and[- ]white (?:photo(?:graph)?|image|picture|film|version)\b"
        rf"|\b(?:remove|take|drop) (?:all |the )*colou?rs? (?:from|of|out of) {_PICTURE}",
    ),
    ("swap", r"\bswap the positions?\b|\b(?:swap|switch|exchange)\b.{0,120}\b(?:positions?|places)\b"),
    (
        "style",
        r"\bstyle\b|\banime\b|\bcartoon\b|\bsketch\b|\bwatercolou?r\b|\bsepia\b|\boil painting\b|风格|漫画|动漫|素描",
    ),
    (
        "text",
        r"\breplace\b(?:\s+\w+){0,4}\s*['\"“‘][^'\"“‘”’]{1,80}['\"”’]|\bfont\b|\b(?:the )?text\b|\bwords\b"
        r"|\bletter(?:s|ing)\b|文本|文字",
    ),
    (
        "remove",
        r"\b(?:remove|delete|erase|get rid of|eliminate|take (?:away|out|off)|hide)\b|\btake\b.{0,80}\baway\b"
        r"|去掉|删除|移除|去除|消除",
    ),
    (
        "light",
        r"\blight(?:ing)?\b(?! (?:blue|green|grey|gray|brown))|\bbrighte[rn]|\bdarke[rn]|\bwarmer\b|\bcooler\b"
        r"|光照|光线",
    ),
    ("background", r"\b(?:background|backdrop)\b|背景"),
    (
        "turn",
        r"\b(?:rotate|flip(?!-)|tilt|spin)\b|\bturn\b.{0,120}\b(?:around|upside|degrees|over|sideways)\b"
        r"|\bpush\b.{0,120}\bdown\b|旋转",
    ),
    ("resize", r"\b(?:bigger|larger|smaller|small|big|tiny|huge|large|enlarge|shrink|resize)\b|放大|缩小"),
    ("move", r"\b(?:move|shift|relocate|slide|drag)\b|\b(?:put|place|position)\s+the\b|移动|移到"),
    (
        "replace",
        r"\b(?:replace|substitute|exchange|swap)\b|替换|换成|变成"
        r"|\b(?:change|turn|transform|convert)\b.{0,120}\b(?:to|into|for|with)\b",
    ),
    (
        "add",
        r"\b(?:add|insert|put|place|include|draw|attach|hang|give)\b|\bthere be\b|\bhave (?:an?|there)\b"
        r"|添加|加上|加入|增加|放",
    ),
    ("recolour", r"\b(?:paint|dye|colou?r|recolou?r|tint)\b|颜色"),
)
_NO_VERB_FIRST = ("grey", "style", "light", "background", "resize")
_ASKING = re.compile(
    "|".join([p for name, p in _VERBS if name not in _NO_VERB_FIRST] + [r"\b(?:make|change|turn|let)\b"]),
    re.IGNORECASE,
)
_LONGEST = 2000
_SEAM = r"[.;!?\n。；]+|,\s*(?:and|then)\s+|,\s+|\s+and\s+(?:then\s+)?"
_TO_THE_JUDGE = re.compile(
    r"\\boxed\s*\{[^}]*\}|<[^<>]{0,80}>|\{[^{}]*\bscore\b[^{}]*\}"
    r"|(?:\band\s+|\bplease\s+|\bthen\s+|\byou (?:must|should)\s+)*"
    r"\b(?:give|score|rate|grade|mark|award|assign)\b\s+(?:(?:this|it|that|me|us|the|edit|image|picture|pair|result|"
    r"execution|consistency|both|a|an|as|with|at|of|score|rating|mark|full|maximum|highest|perfect|top|is|to|be)\W+)*"
    r"(?:\d+(?:\s*/\s*\d+)?|one|two|three|four|five|marks?|scores?|ratings?|points?|grades?)\b(?!\s+[a-z])"
    r"|\b(?:execution|consistency|the score|score|rating|final alignment rating)\b\s*(?:is|=|:|must be|should be)?"
    r"\s*\d\b"
    r"|\b(?:ignore|disregard|forget)\b[^.!?\n]{0,80}\b(?:instructions?|rules?|above|previous|rubric)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Asked:
    """One thing that an instruction asks for.

    Attributes:
        action: add, remove, replace, recolour, move, swap, turn, resize, style, background, light, grey (all colour
            gone), text or change.
        colours: named colours that the result should have; `old_colours` those of what is to change.
        count: how many are named, 0 where no number is.
        place: one of `changes.PLACES`, or "" where none is named: where something comes or goes to.
        old_place: the same, where what is to change stands.
        way: to the right and down, -1 to 1: where something is to move.
        larger: 1 bigger, -1 smaller, 0 not said.
        shapes, old_shapes: things of the drawn world by name: what should be there, and what is to change.
        scene: a scene of the drawn world that is to be the background.
        words: the instruction's own nouns after the verb, lower case, for what lies underneath: `the branch`.
    """

    action: str
    colours: tuple[str, ...] = ()
    old_colours: tuple[str, ...] = ()
    count: int = 0
    place: str = ""
    old_place: str = ""
    way: tuple[int, int] = (0, 0)
    larger: int = 0
    shapes: tuple[str, ...] = ()
    old_shapes: tuple[str, ...] = ()
    scene: str = ""
    words: str = ""


def asked(instruction: str) -> tuple[Asked, ...]:
    """What an instruction's first 2,000 characters ask for, clause by clause; empty where that is nothing."""
    text = of_the_picture(instruction)
    if not re.search(r"\w", text):
        return ()
    return tuple(_clause(c) for c in _clauses(text) if re.search(r"\w\w|[\u4e00-\u9fff]", c))


def of_the_picture(text: str) -> str:
    """The first 2,000 characters on one line, without what is said to the judge."""
    return re.sub(r"\s+", " ", _TO_THE_JUDGE.sub(" . ", text[:_LONGEST])).strip(" .")


def _clauses(text: str) -> list[str]:
    """Parts that each have a verb of their own; a part without one belongs to the one before."""
    parts, seams = re.split(_SEAM, text), re.findall(_SEAM, text)
    out: list[str] = []
    for seam, part in zip(["", *seams], parts, strict=True):
        if out and not _ASKING.match(part.strip()):
            out[-1] += seam + part
        elif part.strip():
            out.append(part.strip())
    return out


def _clause(text: str) -> Asked:
    low = text.lower()
    action = next((name for name, pattern in _VERBS if re.search(pattern, low)), "")
    old, new = _sides(low, action)
    old_colours, colours = _colours(old), _colours(new)
    if action in ("", "replace") and colours and _is_recolouring(old, new):
        action = "recolour"
    if action == "resize" and re.match(r"\s*(?:add|put|place|insert|remove|delete|let there)\b", low):
        action = "remove" if re.match(r"\s*(?:remove|delete)", low) else "add"
    whole = action in ("add", "remove", "move", "turn", "resize", "swap")
    if action in ("remove", "move", "turn", "resize", "swap"):
        old_colours, colours = colours or old_colours, ()
    if action == "background":
        colours = colours or old_colours
    if action == "grey":
        old_colours, colours = (), ()
    head = re.split(r"\b(?:on|in|at|to|under|below|above|behind|beside|near|from|of)\b", new)[0] if whole else new
    if action == "add":
        colours = _colours(head) or colours
    if action in ("remove", "move", "turn", "resize"):
        old_colours = _colours(head) or old_colours
    shapes = tuple(s for s in SHAPES if re.search(rf"\b{s}s?\b", head))
    old_shapes = tuple(s for s in SHAPES if re.search(rf"\b{s}s?\b", old))
    if action in ("remove", "move", "turn", "resize", "recolour"):
        old_shapes, shapes = shapes or old_shapes, shapes if action == "recolour" else ()
    count = re.search(r"\b(\d{1,2}|" + "|".join(_NUMBERS) + r")\b(?! degrees)", head)
    return Asked(
        action=action or "change",
        colours=colours,
        old_colours=old_colours,
        count=_number(count[1]) if count else 0,
        place=_place(low, action) if action not in _STANDING else "",
        old_place=_old_place(low, action),
        way=_way(low) if action == "move" else (0, 0),
        larger=_larger(low) if action == "resize" else 0,
        shapes=shapes,
        old_shapes=old_shapes,
        scene=next((s for s in SCENES if re.search(rf"\b{s}\b", new)), "") if action == "background" else "",
        words=low,
    )


def _number(word: str) -> int:
    return _NUMBERS.index(word) + 1 if word in _NUMBERS else int(word)


def _sides(low: str, action: str) -> tuple[str, str]:
    """(what is to change, what it should become); the first empty where a clause names but one."""
    if action in ("replace", "text", "background", "", "recolour"):
        parts = re.split(r"\b(?:into|with|for|to|be|by)\b|换成|变成|替换为|替换成|转换为", low, maxsplit=1)
        if len(parts) == 2:
            return parts[0], parts[1]
        made = re.match(r"\s*(?:make|paint|dye|colou?r|turn)\s+(the\s+[\w -]*?)\s*((?:all |fully )?\w+)\W*$", low)
        if made:
            return made[1], made[2]
    return "", low


def _is_recolouring(old: str, new: str) -> bool:
    """Whether what it should become is the same thing in another colour."""
    rest = [w for w in re.findall(r"[a-z]+", new) if w not in _COLOURS and w not in _FILLERS]
    return not rest or set(rest) <= set(re.findall(r"[a-z]+", old))


_FILLERS = frozenset({"a", "an", "the", "all", "fully", "completely", "entirely", "colored", "coloured", "color"})
_FILLERS |= {"colour", "in", "its", "it", "bright", "dark", "light", "one"}


def _colours(text: str) -> tuple[str, ...]:
    words = [*re.findall(r"[a-z]+", text), *re.findall(r"[\u4e00-\u9fff]", text)]
    found = [_COLOURS[w] for w in words if w in _COLOURS]
    return tuple(dict.fromkeys(found))


_STANDING = ("remove", "replace", "recolour", "change", "text", "turn", "resize")
_GOING = re.compile(
    r"^\W*(?:move|shift|relocate|slide|drag)\s+the\s+(?:[\w'-]+\s+){1,4}?"
    r"((?:in|at|on) the "
    r"(?:(?:upper|top|lower|bottom)[ -](?:left|right)(?: corner)?|left|right|top|bottom|cent(?:re|er))"
    r"(?: of the (?:image|picture|photo))?)\b(?! (?:hand )?of\b| hand| side of\b)(?=\s+\w)"
)


def _old_place(low: str, action: str) -> str:
    """Where what is to change stands: for what is to move, only what is said before where it goes."""
    if action in _STANDING:
        return _place(low, action)
    going = _GOING.match(low) if action == "move" else None
    return _place(going[1], "change") if going else ""


def _place(low: str, action: str) -> str:
    """A named ninth of the picture; "left of" something is none, nor is a direction to move in."""
    if action == "move" and (going := _GOING.match(low)):
        low = low[going.end() :]
    if action not in ("add", "move", *_STANDING):
        return ""
    corner = re.search(r"\b(upper|top|lower|bottom)[ -](left|right)\b", low)
    if corner:
        return f"{'upper' if corner[1] in ('upper', 'top') else 'lower'} {corner[2]}"
    match = re.search(
        r"\b(?:on|at|in|to|into) the (?:far )?(left|right|top|bottom|centre|center|middle)\b"
        r"(?: (?:side|edge|part|half|of the (?:image|picture|photo)))?(?! (?:hand )?of| hand)",
        low,
    )
    if match and action == "move" and re.fullmatch(r"to the (?:left|right)", match[0]):
        return ""
    return {"center": "centre", "middle": "centre"}.get(match[1], match[1]) if match else ""


def _way(low: str) -> tuple[int, int]:
    low = low[going.end() :] if (going := _GOING.match(low)) else low
    rest = re.sub(r"^.*?\b(?:move|shift|put|place|slide|position|drag|relocate)\b", "", low)
    return next((way for pattern, way in _WAYS if re.search(pattern, rest)), (0, 0))


def _larger(low: str) -> int:
    if re.search(r"\b(?:smaller|small|tiny|shrink)\b|缩小", low):
        return -1
    return 1 if re.search(r"\b(?:bigger|larger|big|huge|large|enlarge)\b|放大", low) else 0
