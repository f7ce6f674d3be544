"""How large a subject looks beside others and whether it stands or floats: by what its caption names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from annotators.offline.lexicon import kind_of_word
from schemas.references import Kind, Reference

_WORD = re.compile(r"[a-z]+")

# Shares of the staged height. The true range (a ring to a train) is far wider: what is small is shown close up.
_BY_KIND = {
    "person": 1.0, "hoofed": 1.0, "vehicle": 0.95, "rail": 1.0, "aircraft": 0.8, "spacecraft": 0.8, "building": 1.0,
    "machine": 0.8, "drawing": 0.9, "animal": 0.85, "bird": 0.65, "sea animal": 0.75, "insect": 0.5, "plush": 0.7,
    "toy": 0.68, "planet": 0.7, "bag": 0.72, "instrument": 0.8, "plant": 0.75, "clothes": 0.75, "hat": 0.55,
    "shoe": 0.55, "ball": 0.45, "food": 0.5, "vessel": 0.55, "can": 0.55, "tool": 0.6, "camera": 0.55, "clock": 0.55,
    "glasses": 0.45, "jewel": 0.45, "circuit": 0.6, "spice": 0.5,
}  # fmt: skip
_BY_WORD = {
    "tree": 1.0, "truck": 1.0, "bus": 1.0, "bulldozer": 0.95, "tractor": 0.95, "forklift": 0.95, "bicycle": 0.8,
    "bike": 0.8, "kitten": 0.65, "balloon": 0.8, "kite": 0.75, "padlock": 0.45, "candle": 0.5, "tealight": 0.4,
    "disc": 0.45, "toadstool": 0.6, "cone": 0.7, "stopwatch": 0.5, "stethoscope": 0.6, "umbrella": 0.8,
    "microwave": 0.65, "washing": 0.85, "vacuum": 0.8, "sledge": 0.65,
}  # fmt: skip
_FLOATING_KINDS = frozenset({"planet", "aircraft", "spacecraft"})
_FLOATING_WORDS = frozenset(["balloon", "kite", "satellite", "probe", "spacewalk", "moon", "rocket", "airship"])
_TOYS = frozenset({"toy", "model", "globe"})
_GROUNDLESS = frozenset(["galaxy", "nebula", "stars", "cosmos"])


@dataclass(frozen=True)
class Stature:
    """share: of the staged height that it takes, in (0, 1]; floats: whether it hangs in the air outdoors."""

    share: float
    floats: bool


def stature(reference: Reference) -> Stature:
    """The stature of a reference's subject; a thing whose noun is unknown is of middling size and stands."""
    words = _words(reference)
    kinds = [k for k in map(kind_of_word().get, words) if k is not None]
    sizes = [_BY_WORD[w] for w in words if w in _BY_WORD] + [_BY_KIND[k] for k in kinds if k in _BY_KIND]
    floats = any(w in _FLOATING_WORDS for w in words) or any(k in _FLOATING_KINDS for k in kinds[:1])
    default = 0.85 if reference.kind is Kind.CHARACTER else 0.65
    return Stature(share=sizes[0] if sizes else default, floats=floats and not _TOYS.intersection(words))


def groundless(scene: Reference) -> bool:
    """Whether a scene has nothing to stand on: outer space."""
    return any(word in _GROUNDLESS for word in _words(scene))


def indoors(scene: Reference) -> bool:
    """Whether a scene is a room, in which nothing hangs in the air."""
    kinds = kind_of_word()
    return any(kinds.get(word) == "interior" for word in _words(scene))


def _words(reference: Reference) -> list[str]:
    return _WORD.findall(f"{reference.category} {reference.caption}".lower())
