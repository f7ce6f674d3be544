"""What a text-to-image prompt asks for, read by rules of English: things, numbers, colours, places, deeds, lettering.

There is no grammar of English here, only word lists and where words stand: what is in no list and before no noun is
taken for a noun. Words of another script are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from annotators.offline.lexicon import words

LONGEST = 5000
"""Characters of a prompt that are read."""
MOST_SUBJECTS = 40
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_LETTERS = re.compile(r"[\"“”]([^\"“”\n]{1,80})[\"“”]|(?<![\w'])['‘]([^'‘’\n]{2,80})['’](?!\w)")
_RELATIONS = (
    ("left of", r"(?:(?:to|on|at) )?(?:the )?left(?:[- ]hand)?(?: side)? of(?! the (?:image|picture|photo|frame))"),
    ("right of", r"(?:(?:to|on|at) )?(?:the )?right(?:[- ]hand)?(?: side)? of(?! the (?:image|picture|photo|frame))"),
    ("above", r"on (?:the )?top of|above|over|atop|perched on|on"),
    ("below", r"on the bottom of|below|under|underneath|beneath|hidden by"),
    ("in front of", r"in front of"),
    ("behind", r"behind"),
    ("beside", r"next to|beside|near|adjacent to|by the side of|on (?:the )?side of|alongside"),
)
_SPOT = r"top left|top right|bottom left|bottom right|upper left|upper right|lower left|lower right"
_SIDE = r"left|right|top|bottom|above|below|middle|centre|center"
_SPOTS = re.compile(
    rf"\b(?:on|at|in|to) the (?:far )?(?:({_SPOT})(?:[- ]hand)?(?: corner)?"
    rf"|({_SIDE})(?: side| part| half)?(?: of the (?:image|picture|photo|frame))?)\b(?! of\b)",
    re.IGNORECASE,
)
_PLACES = {"above": "top", "below": "bottom", "centre": "middle", "center": "middle"}
_TOKEN = re.compile(r"<[a-z_]+>|[A-Za-z]+(?:['’-][A-Za-z]+)*|\d+|[.,;:!?()\n]")
_PLURALS = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse",
    "geese": "goose", "feet": "foot", "teeth": "tooth", "knives": "knife", "leaves": "leaf",
    "wolves": "wolf", "shelves": "shelf", "loaves": "loaf", "halves": "half", "skies": "sky",
}  # fmt: skip
_ALIKE = ("fish", "sheep", "deer")
_NEVER_PLURAL = ("ss", "us", "is", "'s", "’s")
_HUNG = frozenset({"painting", "poster", "logo", "icon", "drawing", "portrait", "mural", "collage", "comic"})
"""Media that are things, too: a painting on a wall."""
_SAME = words("nouns", "pairs") | {"skis"}


@dataclass
class Subject:
    """One thing that a prompt names.

    Attributes:
        noun: singular and in lower case, without what is said of it: `stop sign`.
        count: how many are asked for by number, 0 where no number is named.
        plural: whether it is named in the plural.
        colours: as they are named.
        details: other adjectives.
        place: one of the drawn world's places (`left`, `top right`, ...), or "".
    """

    noun: str
    count: int = 0
    plural: bool = False
    colours: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    place: str = ""


@dataclass
class Asking:
    """All that a prompt asks for.

    Attributes:
        relations: (thing, `left of` and so on, other thing), by noun.
        deeds: (thing, what it does in the prompt's own words).
        styles: media and styles, in the prompt's words.
        lettering: what is to be read in the picture.
        forbidden: what must not be seen.
        text: lower case, for words that stand for a scene or a light.
    """

    subjects: list[Subject] = field(default_factory=list)
    relations: list[tuple[str, str, str]] = field(default_factory=list)
    deeds: list[tuple[str, str]] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    lettering: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    text: str = ""

    def named(self, noun: str) -> Subject | None:
        return next((s for s in self.subjects if s.noun == noun), None)


def asking(prompt: str) -> Asking:
    """What the first `LONGEST` characters of a prompt ask for; an empty `Asking` where nothing is understood."""
    text = " ".join(prompt[:LONGEST].replace("’s ", "'s ").split())
    found = Asking()
    found.lettering = [said for m in _LETTERS.finditer(text) if (said := " ".join((m[1] or m[2]).split()))][:4]
    text = _LETTERS.sub(" ", text)
    found.text = text.lower()
    found.styles = [w for w in re.findall(r"[a-z-]+", found.text) if w in words("prompts", "styles")]
    if re.search(r"\bblack[ -]and[ -]white (?:photo|image|picture|film|drawing|portrait)", found.text):
        found.styles.append("black and white")
    _Reader(_marked(text), found).read()
    found.styles = list(dict.fromkeys(found.styles))[:4]
    found.forbidden = list(dict.fromkeys(found.forbidden))[:6]
    return found


def singular(noun: str) -> str:
    """`dogs` to `dog`; the last word alone changes."""
    *front, last = noun.split()
    if last in _PLURALS:
        last = _PLURALS[last]
    elif last.endswith("ies") and len(last) > 4:
        last = f"{last[:-3]}y"
    elif re.search(r"(?:[sx]|[^aeiou]o|ch|sh)es$", last) and not last.endswith(("shoes", "horses", "houses", "vases",
                                                                              "nurses", "roses", "buses")):  # fmt: skip
        last = last[:-2]
    elif last == "buses":
        last = "bus"
    elif last.endswith("s") and not last.endswith(_NEVER_PLURAL) and last not in _SAME and len(last) > 3:
        last = last[:-1]
    return " ".join([*front, last])


def plural(noun: str) -> str:
    """`dog` to `dogs`; the last word alone changes."""
    *front, last = noun.split()
    back = {one: many for many, one in _PLURALS.items()}
    if last in back:
        last = back[last]
    elif last not in _SAME and last not in _ALIKE and singular(last) == last:
        if re.search(r"(?:[sxz]|ch|sh)$", last):
            last += "es"
        elif re.search(r"[^aeiou]y$", last):
            last = f"{last[:-1]}ies"
        else:
            last += "s"
    return " ".join([*front, last])


def _marked(text: str) -> str:
    """Places and relations as one token each: `<at_top_left>`, `<left_of>`."""

    def spot(match: re.Match[str]) -> str:
        name = (match[1] or match[2]).lower().replace("upper", "top").replace("lower", "bottom")
        return f"<at_{_PLACES.get(name, name).replace(' ', '_')}>"

    text = _SPOTS.sub(spot, text)
    for name, pattern in _RELATIONS:
        text = re.sub(rf"\b(?:{pattern})\b", f"<{name.replace(' ', '_')}>", text, flags=re.IGNORECASE)
    return text


class _Reader:
    """Walks over the words of a prompt once, remembering which thing was named last."""

    def __init__(self, text: str, found: Asking) -> None:
        self.text = text
        self.tokens = list(_TOKEN.finditer(text))
        self.found = found
        self.last: Subject | None = None
        self.relation: tuple[str, str] | None = None
        self.place = ""
        self.forbids = False
        self.at = 0

    def read(self) -> None:
        while self.at < len(self.tokens) and len(self.found.subjects) < MOST_SUBJECTS:
            word = self._word(self.at)
            if word.startswith("<"):
                self._mark(word[1:-1])
            elif word in words("prompts", "forbidding"):
                self.forbids = True
            elif not word[0].isalnum():
                self.forbids = self.forbids and word == ","
                self.relation = self.relation if word == "," else None
                self.place = self.place if word == "," else ""
            elif self._opens_phrase(self.at):
                self._phrase()
                continue
            elif self._is_deed(word):
                self._deed()
            self.at += 1

    def _word(self, at: int) -> str:
        return self.tokens[at][0].lower() if at < len(self.tokens) else "."

    def _mark(self, name: str) -> None:
        if name.startswith("at_"):
            place = name[3:].replace("_", " ")
            if self.last is not None and self._word(self.at - 1) not in (".", ",", ";", "and") and self.at:
                self.last.place = self.last.place or place
            else:
                self.place = place
        elif self.last is not None:
            self.relation = (self.last.noun, name.replace("_", " "))

    def _opens_phrase(self, at: int) -> bool:
        word = self._word(at)
        return word in words("prompts", "determiners") or self._part(at) in ("number", "colour", "adjective", "noun")

    def _part(self, at: int) -> str:
        """What a word is, as far as its list, its ending and the next word tell."""
        word = self._word(at)
        if word in words("prompts", "numbers") or (word.isdigit() and 0 < int(word) <= 99):
            return "number"
        if not word[0].isalpha():
            return "end"
        if word in words("nouns", "colours") or word.split("-")[-1] in words("nouns", "colours"):
            return "colour"
        if word in words("prompts", "adjectives"):
            return "adjective"
        for kind in ("determiners", "pronouns", "joints", "prepositions", "verbs", "forbidding"):
            if word in words("prompts", kind):
                return "end"
        return self._by_ending(word, at)

    def _by_ending(self, word: str, at: int) -> str:
        before_noun = self._word(at + 1)[0].isalpha() and self._bare(at + 1)
        if word.endswith("ly") and word not in words("prompts", "ly_nouns"):
            return "end"
        if word.endswith("ing") and word not in words("prompts", "ing_nouns") and len(word) > 4:
            after = self._word(at - 1) if at else "."
            described = after in words("prompts", "determiners") or after in words("prompts", "adjectives")
            return "adjective" if described and before_noun else "end"
        if word.endswith("ed") and word not in words("prompts", "ed_nouns") and len(word) > 3:
            return "adjective" if before_noun else "end"
        if re.search(r"(?:ful|ous|less|ish|some|al|ic|ive)$", word) and before_noun:
            return "adjective"
        return "noun"

    def _bare(self, at: int) -> bool:
        """Whether the word at `at` could go on a noun phrase, by lists alone."""
        word = self._word(at)
        lists = ("determiners", "pronouns", "joints", "prepositions", "verbs", "forbidding")
        return not any(word in words("prompts", kind) for kind in lists)

    def _goes_on(self) -> bool:
        return self._part(self.at + 1) in ("noun", "adjective", "colour")

    def _phrase(self) -> None:
        """Read one noun phrase from here on."""
        start, count, colours, details, nouns, late = self.at, 0, [], [], [], []  # type: ignore[var-annotated]
        while self._word(self.at) in words("prompts", "determiners"):
            self.at += 1
        while self.at < len(self.tokens):
            word, part = self._word(self.at), self._part(self.at)
            if part == "number" and not nouns:
                count = _number(word)
            elif part == "colour":
                (late if nouns else colours).append(word)
            elif part == "adjective" and word in words("prompts", "either") and not self._goes_on():
                nouns.append(word)
            elif part == "adjective" and (self._goes_on() or not nouns):
                details.append(word)
            elif part == "noun":
                nouns += [*(w for w in late if nouns), word]
                late = []
            elif word in ("and", ",") and not nouns and self._part(self.at + 1) in ("colour", "adjective", "noun"):
                pass
            else:
                break
            self.at += 1
        self.at = max(self.at, start + 1)
        if not nouns and colours and (count or details or self._word(start) in ("a", "an")) and colours[-1] == "orange":
            nouns.append(colours.pop())
        # "A kite soars": a verb that ends like a plural.
        if len(nouns) > 1 and self._word(start) in ("a", "an") and singular(nouns[-1]) != nouns[-1]:
            nouns.pop()
        if nouns:
            self._thing(nouns, count, colours + late, details)
        elif self.last is not None and self._word(start - 1) in ("is", "are", "was", "were", "colored", "coloured"):
            self.last.colours += [c for c in colours if c not in self.last.colours]
            self.last.details += [d for d in details if d not in self.last.details]

    def _thing(self, nouns: list[str], count: int, colours: list[str], details: list[str]) -> None:
        head = singular(nouns[-1].removesuffix("'s").removesuffix("’s"))
        owner = nouns[-1].endswith(("'s", "’s"))
        if self._word(self.at) == "of" and head in words("prompts", "media") | words("prompts", "collectives"):
            self._medium(nouns, colours)
            if head in ("pair", "couple"):
                self._counted_next(2)
            return
        if head in words("prompts", "media") - _HUNG or (head == "style" and len(nouns) > 1):
            self._medium(nouns, colours)
            return
        if {head, nouns[-1]} & words("prompts", "abstract") and set(nouns[:-1]) <= words("prompts", "abstract"):
            return
        if len(head) < 2 or owner:
            return
        if details[-1:] == ["hot"] and nouns == ["dog"]:
            nouns = ["hot", *nouns]
        noun = " ".join([*nouns[-3:-1], head])
        if self.forbids:
            self.found.forbidden.append(" ".join([*colours, *nouns[-3:]]))
            return
        subject = self.found.named(noun) or (self.found.named(head) if len(nouns) == 1 else None)
        if subject is None:
            subject = Subject(noun)
            self.found.subjects.append(subject)
        subject.plural = subject.plural or head != nouns[-1] or head in _SAME or count > 1
        subject.count = subject.count or count
        subject.colours += [c for c in colours if c not in subject.colours]
        subject.details += [d for d in details if d not in subject.details]
        subject.place, self.place = subject.place or self.place, ""
        if self.relation is not None and self.relation[0] != noun:
            self.found.relations.append((*self.relation, noun))
        self.relation = None
        self.last = subject

    def _medium(self, nouns: list[str], colours: list[str]) -> None:
        if nouns[-1] not in ("scene", "image", "picture", "view") and not set(nouns) & words("prompts", "collectives"):
            self.found.styles.append(" ".join([*colours, *nouns[-3:]]))

    def _counted_next(self, count: int) -> None:
        """A pair of dogs is two; a pair of scissors is not."""
        ahead = self._word(self.at + 1)
        if ahead not in _SAME and self._part(self.at + 1) in ("noun", "adjective", "colour"):
            self.at += 1
            before = len(self.found.subjects)
            self._phrase()
            for subject in self.found.subjects[before:]:
                subject.count = count

    def _is_deed(self, word: str) -> bool:
        if self.last is None or self._word(self.at - 1) in ("a", "an", "the"):
            return False
        return word.endswith("ing") and len(word) > 4 and word not in ("being", "having", "during", "featuring")

    def _deed(self) -> None:
        """What the thing named last does, to the end of the clause, in five words at most."""
        assert self.last is not None
        said = list(self._clause_words())
        if len(self.found.deeds) < 8:
            self.found.deeds.append((self.last.noun, " ".join(said)))

    def _clause_words(self) -> Iterator[str]:
        for at in range(self.at, min(self.at + 5, len(self.tokens))):
            word = self.tokens[at][0]
            if word.startswith("<"):
                word = word[1:-1].replace("at_", "at the ").replace("_", " ")
                word = "on" if word == "above" else word
            if not word[0].isalnum() or (at > self.at and word.lower() in ("and", "while", "but", "with")):
                return
            yield word


def _number(word: str) -> int:
    return _NUMBERS.index(word) + 1 if word in _NUMBERS else int(word)
