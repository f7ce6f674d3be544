"""What an estimate assumes where nobody has measured: lengths of answers, thinking, seconds, shares of what goes wrong.

Each is a span: least, likely, most. `docs/cost.md` lists them; measured numbers (`estimate --live`, `--from`) take the
place of all but the seconds of a `--from`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from annotators.config import ModelConfig
from schemas.checklists import Checklist
from schemas.plan import Length
from schemas.safety import Hazard


@dataclass(frozen=True)
class Span:
    """A number as least, likely and most."""

    low: float
    expected: float
    high: float

    @classmethod
    def of(cls, value: float) -> Span:
        return cls(value, value, value)

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def __mul__(self, other: Span | float) -> Span:
        by = other if isinstance(other, Span) else Span.of(other)
        return Span(self.low * by.low, self.expected * by.expected, self.high * by.high)

    @property
    def points(self) -> tuple[float, float, float]:
        return self.low, self.expected, self.high


TEXT = Span(0.9, 1.0, 1.15)
"""True tokens of a question to those of the rules."""

KEPT_PLANS = Span(0.9, 0.97, 1.0)
"""Share of plans for which the writer finds an instruction; the others cost one call."""

FILTERED = Span(0.6, 0.8, 0.95)
"""Share of drafts that filters keep, which are all that a judge is asked about; Re-Align's paper keeps about 0.8."""

REPAIRED = Span(1.0, 1.02, 1.08)
"""Answers paid for one that is used: repairs of those that break their schema or the grammar."""

SENT = Span(1.0, 1.01, 1.1)
"""Requests sent for one answer: 429s, 5xx and timeouts cost a place in the queue and no dollars."""

SECONDS = {"text": Span(3.0, 6.0, 15.0), "image": Span(6.0, 12.0, 30.0)}
"""From question to answer, without thinking."""

THINKING_PER_SECOND = 120.0
"""Tokens."""

_WORDS = {
    # What the writer's prompt asks for, and what models make of it.
    Length.SHORT: Span(12, 17, 22),
    Length.MEDIUM: Span(22, 33, 48),
    Length.LONG: Span(48, 65, 95),
}
_CAPTION, _RELATION, _OTHER = Span(18, 32, 58), Span(9, 16, 28), Span(40, 120, 300)
# FIRM: what its prompts ask for.
_OBVIOUS, _DETAILED, _REWRITING = Span(40, 90, 180), Span(70, 170, 400), Span(8, 16, 30)
_REASONING, _MARK, _ANALYSIS, _ITEMS = Span(25, 50, 100), Span(14, 24, 45), Span(30, 55, 110), Span(4, 6, 10)
_SEEN = Span(6, 10, 20)
_PROSE = (
    "the", "copper", "lantern", "beside", "a", "worn", "stone", "wall", "takes", "on", "the", "soft", "evening",
    "light", "and", "its", "scratched", "rim", "shows", "against", "the", "striped", "awning", "behind", "it",
)  # fmt: skip
_THINKS = (
    # (names, tokens of thinking in each answer); the first that fits holds.
    (r"gemini-2\.5-flash-image|gemini-2\.5-flash-lite|gpt-4|gpt-image|gpt-5[.\d]*-chat", Span.of(0)),
    (r"gemini-(3|[4-9])[^/]*-image", Span(100, 400, 1500)),
    (r"gemini-2\.5-flash", Span(150, 700, 2500)),
    (r"gemini-", Span(400, 1200, 4000)),
    (r"gpt-[5-9]|o\d", Span(150, 800, 3000)),
    (r"-thinking|qwen3\.[5-9]|qwq|deepseek-r", Span(400, 1200, 4000)),
)


def prose(words: float) -> str:
    """English of about so many words, 5.6 letters each with the space."""
    count = max(1, round(words))
    return " ".join(_PROSE[i % len(_PROSE)] for i in range(count))


def answer_text(role: str, plan: Any, size: str, asks: str = "", checklist: Checklist | None = None) -> str:
    """An answer of `role` that its parser takes.

    Args:
        size: `low`, `expected` or `high`.
        asks: the prompt, where a role has several.
        checklist: what a judgement goes through.
    """
    if role == "writer":
        return json.dumps({"feasible": True, "reason": "", "instruction": _some(_WORDS[plan.wording.length], size)})
    if role == "reasoner":
        references = range(1, len(plan.references) + 1)
        relations = (f"<relation_{i}>{_some(_RELATION, size)} is from image_{i}.</relation_{i}>" for i in references)
        return f"<out_caption>{_some(_CAPTION, size)}.</out_caption>{''.join(relations)}"
    if role == "rewriter":
        return json.dumps({"instruction": _some(_REWRITING, size)})
    if role == "planner":
        return _checklist(size)
    if role == "judge" and asks == "firm/quality":
        return json.dumps({"reasoning": _some(_REASONING, size), "aesthetics": 4, "technical": 4, "structure": 4})
    if role == "judge" and asks.startswith("omnicontext/"):
        return json.dumps({"reasoning": _some(_REASONING, size), "score": 10})
    if role == "judge" and asks == "safety/verdict":
        return json.dumps({hazard: {"seen": _some(_SEEN, size), "present": False} for hazard in map(str, Hazard)})
    if role == "judge" and checklist is not None:
        marks = (f"{n}. [x]: {_some(_MARK, size)}. Verdict: met" for n in range(1, len(checklist.criteria) + 1))
        ending = f"Final Analysis: {_some(_ANALYSIS, size)}.\n\nFinal Alignment Rating: 5\n\\boxed{{5}}"
        return "\n".join([*marks, ending])
    if role == "judge":
        return json.dumps({"reasoning": _some(_REASONING, size), "score": [4]})
    return _some(_OBVIOUS if asks == "firm/obvious" else _DETAILED if asks == "firm/detailed" else _OTHER, size)


def _checklist(size: str) -> str:
    items = round(getattr(_ITEMS, size))
    return "\n".join(f"{n}. [{prose(2)}]:\n- {prose(9)}?\n- {prose(9)}?" for n in range(1, items + 1))


def thinking_tokens(config: ModelConfig) -> Span:
    """Tokens that a model thinks before it answers; they cost what its answers cost."""
    budget = config.thinking_budget
    if config.provider == "offline" or budget == 0 or _switched_off(config):
        return Span.of(0)
    name = config.model.lower()
    found = next((span for names, span in _THINKS if re.search(names, name)), Span.of(0))
    if budget is not None and budget > 0:
        likely = min(found.expected or 400.0, budget)
        return Span(min(found.low, budget), likely, budget)
    return found


def _switched_off(config: ModelConfig) -> bool:
    said = [config.extra, config.extra.get("chat_template_kwargs") or {}, config.extra.get("extra_body") or {}]
    return any(isinstance(one, dict) and one.get("enable_thinking") is False for one in said)


def _some(words: Span, size: str) -> str:
    return prose(getattr(words, size))
