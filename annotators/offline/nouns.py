"""Noun phrases from captions as pools have them: sentences, slogans, place names, file-name nouns.

A caption such as "A mince pie is a traditional Christmas food." names its subject somewhere in front of a
description. What follows are rules of English, not entries for one pool; where they find nothing, the category,
the subject's slug or the kind stands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from annotators.offline.lexicon import words
from schemas.references import Reference

COLOURS = words("nouns", "colours")
_PAIRS = words("nouns", "pairs")
_IRREGULAR_PLURALS = words("nouns", "irregular_plurals")
_NUMBERS = words("nouns", "numbers")
_MASS = words("nouns", "mass")
_SOME = words("nouns", "some")
_GENERIC = words("nouns", "generic")
_SLUG_NOISE = words("nouns", "slug_noise")
_SLUG_ADJECTIVES = COLOURS | words("nouns", "slug_adjectives")
_SLUG_WORDS = {"rc": "remote-controlled"}
_COMMON_FIRST = words("nouns", "common_first")
_TIMES = words("nouns", "times")
_THE_NAMES = words("nouns", "the_names")
_UNIQUE = words("nouns", "unique")
_BEFORE_COLOURS = "|".join(sorted(_NUMBERS | words("nouns", "sizes")))
_VERBS = re.compile(
    r"\s(?:is|are|was|were|has|have|lets|let|contains|makes|shows|can(?! (?:of|on|in|with|and)\b)|will|helps|uses|"
    r"lives|eats|pushes)\s(?=\S)",
    re.IGNORECASE,
)
_FRAMING = re.compile(
    r"(?:an? |the )?(?:close-?up |aerial |old |vintage |black[ -]and[ -]white )?"
    r"(?:photo|photograph|picture|image|view|shot|close-?up|illustration|drawing|painting|portrait) of (?=\S)",
    re.IGNORECASE,
)
_DETAIL = re.compile(
    r"\s(?=(?:by|on|under|over|at|near|beside|against|below|above|between|inside|behind|among|around|along|across|"
    r"from|for|with|in|that|which|who|perched|lying|standing|sitting|seen|lit|worn|running|walking|making|holding|"
    r"resting|floating|hanging|placed|taken|used|surrounded|covered|next|beneath|outside|through|during|before)\s|"
    r"[a-z]+ing (?:by|on|under|over|at|in|into|near|from|through|along|across|behind|above|up|down)\s)"
)
_AFTER_HEAD = re.compile(r" (?:of|in|for|with|wearing|holding|riding|carrying|eating|playing|and (?:an?|the|its)) ")
_WORN = re.compile(
    r"in (?:an? |the |his |her |their )?(?:[\w-]+ )?(?:suit|dress|wheelchair|hat|jacket|coat|uniform|"
    r"shirt|helmet|costume|gown|kimono|sari|armour|armor|tuxedo|hoodie|sweater|jersey|box|pot|vase)\b"
)


@dataclass(frozen=True)
class NounPhrase:
    """What a reference shows, in parts that fit into a sentence.

    Attributes:
        article: what stands before the noun at its first mention: `a`, `an`, `the`, `some` or nothing.
        noun: without article: `camera`, `green Solaris grapes`, `Piazza Gae Aulenti`.
        plural: whether a verb after it is plural.
        proper: whether it is a name, which takes no adjective before it.
        detail: what the photo shows around it or of its pose, which a cut-out loses: `perched on a branch`.
        pair: whether the first mention counts it: `a pair of glasses`.
        renamed: what every later mention says where the noun alone is not enough: `the other dog`.
    """

    article: str
    noun: str
    plural: bool = False
    proper: bool = False
    detail: str = ""
    pair: bool = False
    renamed: str = ""

    @property
    def indefinite(self) -> str:
        """`a camera`, `a pair of glasses`, `green Solaris grapes`, `Uranus`."""
        return " ".join(filter(None, (self.article, "pair of" if self.pair else "", self.noun)))

    @property
    def definite(self) -> str:
        """`the camera`, `the glasses`, `the green Solaris grapes`, `Uranus`."""
        if self.renamed or (self.proper and not self.article):
            return self.renamed or self.noun
        return "the " + re.sub(r"\band an? ", "and the ", self.noun)

    @property
    def whole(self) -> str:
        """The first mention with its detail: `an osprey perched on a branch`."""
        return " ".join(filter(None, (self.indefinite, self.detail)))

    @property
    def whole_definite(self) -> str:
        """Every later mention with its detail: `the osprey perched on a branch`."""
        return " ".join(filter(None, (self.definite, self.detail)))

    @property
    def be(self) -> str:
        return "are" if self.plural else "is"

    @property
    def it(self) -> str:
        return "them" if self.plural else "it"

    @property
    def its(self) -> str:
        return "their" if self.plural else "its"

    @property
    def head(self) -> str:
        """The noun's own last word, in lower case: `camera` of `big digital camera`, `cup` of `cup of coffee`."""
        return _AFTER_HEAD.split(self.noun)[0].split()[-1].lower()

    def coloured(self, colour: str) -> NounPhrase:
        """The phrase with a colour before its noun; unchanged for a name or where it has a colour already."""
        parts = set(re.split(r"[\s-]", self.noun.lower()))
        if not colour or self.proper or parts & COLOURS:
            return self
        front = re.match(rf"(?:(?:{_BEFORE_COLOURS})\s)*", self.noun)
        at = front.end() if front else 0
        noun = f"{self.noun[:at]}{colour} {self.noun[at:]}"
        article = article_of(noun) if self.article in ("a", "an") and not self.pair else self.article
        return replace(self, noun=noun, article=article)


def noun_phrase(reference: Reference) -> NounPhrase:
    """What `reference` shows, from its caption, else its category, its subject's slug or its kind."""
    subject = "" if reference.subject == reference.sha256 else reference.subject  # a digest names nothing
    return _phrase(reference.caption, reference.category, subject, str(reference.kind))


@lru_cache(maxsize=65536)
def _phrase(caption: str, category: str, subject: str, kind: str) -> NounPhrase:
    text = _first_sentence(caption)
    if not text:
        return _plain(category or " ".join(_slug_words(subject)) or kind)
    if match := re.match(r"(inside|outside) (?=(?:an?|the) )", text):
        return NounPhrase("the", f"{match[1]} of {text[match.end() :]}")
    article, rest, sentence_case = _article(text)
    rest, extra = _after_colon(rest)
    rest = _without_tail(rest)
    rest, place = _place(rest)
    rest = _VERBS.split(rest, maxsplit=1)[0].strip()
    noun, detail = _split_detail(rest)
    noun, timed = _title_case(noun)
    noun, proper = _case(noun, article, sentence_case, caption)
    detail = " ".join(filter(None, (detail, timed, place, extra)))
    phrase = _articled(noun, article, proper, detail)
    return _exact(replace(phrase, noun=re.sub(r"\b[tT] shirt", "T-shirt", phrase.noun)), subject)


def _first_sentence(caption: str) -> str:
    text = " ".join(caption.replace("’", "'").split())
    if not re.search(r"[^\W\d_]", text) or re.fullmatch(r"[\w.-]*\d{3,}[\w.-]*", text):
        return ""  # a file's name, or no word at all
    text = _FRAMING.sub("", text, count=1) if _FRAMING.match(text) else text
    text = re.split(r"(?<!\bSt)(?<!\bMr)(?<!\bDr)(?<!\bMt)[.!?](?:\s|$)|[—–;]", text)[0]
    return text.strip(" \"'“”.,!?-")


def _article(text: str) -> tuple[str, str, bool]:
    """(article, the rest, whether the first letter's case says nothing since a sentence begins there)."""
    match = re.match(r"(an?|the|our|my|your|this|these|some)\s+(?=\S)", text, re.IGNORECASE)
    if not match:
        return "", text, False
    word = match[1].lower()
    return ("the" if word in ("our", "my", "your", "this", "these") else word), text[match.end() :], True


def _after_colon(text: str) -> tuple[str, str]:
    """`room: book under table` is a room, with a book under a table."""
    head, _, tail = text.partition(": ")
    match = re.fullmatch(r"(\w+) (on|under|in|beside|behind|near|above|below) (\w+)", tail.strip())
    if not match:
        return head, ""
    thing, where, other = match.groups()
    return head, f"with {article_of(thing)} {thing} {where} {article_of(other)} {other}"


def _without_tail(text: str) -> str:
    """The part of `name - other name` that is the shorter name, or the front of a listing."""
    parts = [part for part in text.split(" - ") if part]
    if len(parts) > 1 and all(part.istitle() or part[0].isupper() for part in parts):
        return parts[-1] if len(parts[-1].split()) <= 4 else parts[0]
    return parts[0] if parts else text


def _place(text: str) -> tuple[str, str]:
    """`Big Ben, London` is Big Ben in London; what follows any other comma is left out."""
    head, _, tail = text.partition(", ")
    tail = re.sub(r"\s*\b\d{4}\b", "", tail).strip()
    if not re.fullmatch(r"(?:[A-Z][\w'.-]*\s?)+(?:, (?:[A-Z][\w'.-]*\s?)+)*", tail):
        return head.strip(), ""
    return head.strip(), f"in {tail}"


def _split_detail(text: str) -> tuple[str, str]:
    """(noun, what follows it): `osprey`, `perched on a branch`; clothes and containers stay with the noun."""
    for match in _DETAIL.finditer(text):
        rest = text[match.end() :]
        worn = _WORN.match(rest)
        if worn:
            after = rest[worn.end() :].strip()
            return f"{text[: match.start()]} {worn.group()}".strip(), after
        detail = rest.strip()
        if re.match(r"(for|that|which|who|worn|used|from)\b", detail):
            detail = ""
        return text[: match.start()].strip(), detail
    return text.strip(), ""


def _title_case(noun: str) -> tuple[str, str]:
    """`Tower Sunset` is a tower at sunset; a long run of parts without a preposition is its first noun."""
    parts = noun.split()
    if len(parts) == 2 and parts[0].lower() in _COMMON_FIRST and parts[1].lower() in _TIMES:
        return parts[0].lower(), f"at {parts[1].lower()}"
    if len(parts) > 5 and parts[0].lower() in _COMMON_FIRST and any(part[0].isupper() for part in parts[1:]):
        return parts[0].lower(), ""
    return noun, ""


def _case(noun: str, article: str, after_article: bool, caption: str) -> tuple[str, bool]:
    """Undo the capital of a sentence's beginning; say whether the noun is a name."""
    parts = noun.split()
    if not parts:
        return noun, False
    if after_article:
        named = parts[-1][0].isupper() and not parts[-1].isupper()
        return noun, named and article == "the"
    if len(parts) > 1 and all(part[0].isupper() or part.isdigit() for part in parts):
        return noun, True
    first_common = parts[0].lower() in _COMMON_FIRST | _NUMBERS or parts[0].lower() in _MASS
    sentence = caption.rstrip().endswith((".", "!")) and len(parts) > 1 and parts[1][0].islower()
    if first_common or sentence or parts[0].lower().endswith("ing"):
        parts[0] = parts[0].lower().replace("-market", " market")
        return " ".join(parts), False
    return noun, parts[0][0].isupper()


def _articled(noun: str, article: str, proper: bool, detail: str) -> NounPhrase:
    parts = noun.split()
    if not parts:
        return NounPhrase("a", "thing", detail=detail)
    head = re.split(r" (?:of|in) ", noun)[0].split()[-1]
    if proper and not article:
        return _named(noun, parts, detail)
    if head.lower() in _PAIRS:
        noun = noun.removeprefix("pair of ")
        return NounPhrase("a", noun, plural=True, detail=detail, pair=True)
    if noun.startswith("pair of "):
        return NounPhrase("a", noun.removeprefix("pair of "), plural=True, detail=detail, pair=True)
    plural = article not in ("a", "an") and not proper and _is_plural(head, parts)
    plural = plural or (not proper and re.search(r" and (?:an?|the|its) ", noun) is not None)
    if not article and noun in _UNIQUE:
        article = "the"
    if not article and not plural:
        article = "some" if head.lower() in _SOME else article_of(noun)
        article = "" if head.lower() in _MASS and article != "some" else article
    return NounPhrase(article_of(noun) if article in ("a", "an") else article, noun, plural, proper, detail)


def _named(noun: str, parts: list[str], detail: str) -> NounPhrase:
    """A name without article: some take `the`, models take `a`, and a lower-case head makes it a common noun."""
    if " and " in noun:
        front, _, back = noun.partition(" and ")
        return NounPhrase("", f"{front} and its {back}" if back.islower() else noun, True, True, detail)
    if parts[-1][0].islower():
        return NounPhrase("the", noun, _is_plural(parts[-1], parts), False, detail)
    if parts[-1].isdigit():
        return NounPhrase(article_of(noun), noun, False, False, detail)
    return NounPhrase(
        "the" if parts[-1].lower() in _THE_NAMES and len(parts[0]) > 1 and noun != "Earth" else "",
        noun,
        False,
        True,
        detail,
    )


def _is_plural(head: str, parts: list[str]) -> bool:
    word = head.lower()
    if word in _IRREGULAR_PLURALS or parts[0].lower() in _NUMBERS:
        return True
    return word.endswith("s") and not word.endswith(("ss", "us", "is"))


def _exact(phrase: NounPhrase, subject: str) -> NounPhrase:
    """Make a generic noun exact by the subject's slug: `toy` and `robot_toy` give `robot toy`."""
    parts = _slug_words(subject)
    if len(parts) < 2 or phrase.proper:
        return phrase
    if phrase.noun in _GENERIC:
        generic = "plush toy" if parts[-1] == "plushie" else phrase.noun.split()[-1]
        parts = [w for w in parts if w != "plushie"]
        if parts[-1] != generic.split()[-1] and generic in ("toy", "plush toy"):
            parts = parts if parts[0] == "remote-controlled" else [*parts, generic]
        if parts[-1] == "cartoon":
            parts = [*parts, "character"]
        noun = " ".join(parts)
    elif (parts[-1] == phrase.noun.lower() or (phrase.pair and parts[-1].endswith(phrase.noun))) and set(
        parts[:-1]
    ) <= _SLUG_ADJECTIVES:
        noun = " ".join(parts)
    else:
        return phrase
    return replace(phrase, noun=noun, article=phrase.article if phrase.pair else article_of(noun))


def _slug_words(slug: str) -> list[str]:
    parts = re.split(r"[\s_-]+", re.sub(r"\d+", " ", slug).strip().lower())
    return [_SLUG_WORDS.get(w, w) for w in parts if w and w not in _SLUG_NOISE and w.isalpha()]


def _plain(noun: str) -> NounPhrase:
    parts = noun.split()
    plural = _is_plural(parts[-1], parts)
    return NounPhrase("" if plural else article_of(noun), noun, plural)


def article_of(noun: str) -> str:
    """`a` or `an` by the sound that the noun begins with."""
    word = noun.split()[0].lower()
    if re.match(r"(?:uni|use|usu|eu|ur(?!n)|one\b|once|ufo)", word):
        return "a"
    if re.match(r"(?:hour|honest|heir|honou?r|x-|mri|led\b|suv|lcd)", word):
        return "an"
    return "an" if word[0] in "aeiou" else "a"
