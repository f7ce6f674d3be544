"""Which models are of one family: a judge that made the picture, or whose kin did, favours it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from annotators.config import ModelConfig

_FAMILIES = (
    ("Gemini", r"gemini|imagen|nano-?banana|gemma"),
    ("Qwen", r"qwen|qwq|wan[-_.\d]|z-image"),
    ("OpenAI", r"gpt|dall-?e|\bo\d\b"),
    ("InternVL", r"intern"),
    ("FLUX", r"flux"),
    ("Stable Diffusion", r"stable-?diffusion|sdxl|\bsd[\d.]"),
    ("Seed", r"seed(?:ream|edit)?|bagel|doubao"),
    ("Llama", r"llama"),
    ("Ovis", r"ovis"),
)


def family(model: str) -> str:
    """The family of a model by its name; the name itself where it is none that is known."""
    last = model.lower().rpartition("/")[2]
    return next((name for name, pattern in _FAMILIES if re.search(pattern, last)), model)


def kinship(painters: Iterable[ModelConfig], judges: Iterable[ModelConfig]) -> str:
    """A warning that names the first painter and judge of one family; empty where there are none.

    The offline provider's rules are no kin: they measure.
    """
    pairs = ((p.model, j.model) for p in painters for j in judges if "offline" not in (p.provider, j.provider))
    for painter, judge in pairs:
        if family(painter) == family(judge):
            return (
                f"one family: {painter} paints and {judge} judges, and both are of the {family(judge)} family; judges "
                "favour their kin, so name a judge of another"
            )
    return ""
