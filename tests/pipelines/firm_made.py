"""Inputs of FIRM's pipelines made on the spot, and models that answer from a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from pydantic import BaseModel

from annotators.errors import Failure
from annotators.interface import Answer, Facts
from schemas.draft import ErrorClass
from schemas.labels import EditPair, PairPlan, PromptPlan, Rewrite
from schemas.references import ImageRef
from schemas.usage import Usage

REPORT = {"firm/obvious": "First image: a ball. Second image: no ball.", "firm/detailed": "1. Quantity: a ball less."}
PLAN = "1. [Ball]:\n- Is there a ball?\n2. [Colour]:\n- Is it red?\n[Negative Constraints]:\n- lettering"
JUDGED = (
    "I go through the plan.\n1. [Ball]: there. Verdict: met\n2. [Colour]: blue. Verdict: not met\n"
    "3. [Negative Constraints]: none. Verdict: met\n\nFinal Analysis: The colour is wrong.\n\n"
    "Final Alignment Rating: 4\n\\boxed{4}"
)
QUALITY = '{"reasoning": "Soft.", "aesthetics": 4, "technical": 2, "structure": 5}'

Told = str | Failure
Answers = Mapping[str, Told | Callable[[Facts], Told]]


class FakeModels:
    """Answers by prompt id, through the parsers that the engine would use; notes what was asked and what was shown."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Facts]] = []
        self.shown: list[tuple[str, str, int]] = []
        self.usage = {"m": Usage(calls=4, tokens_in=400, tokens_out=40, usd=0.4)}

    def check(self, role: str, *, images: int, size: tuple[int, int] | None = None) -> None: ...

    async def ask(self, role: str, prompt: Any, *, answer: Any = None, draw: int = 0, facts: Facts) -> Any:
        self.asked.append((prompt.id, facts))
        parts = [part for message in prompt.messages for part in message.parts]
        texts = "\n".join(part.text for part in parts if part.type == "text")
        self.shown.append((prompt.id, texts, sum(part.type == "image" for part in parts)))
        told = self.answers[prompt.id]
        text = told if isinstance(told, str | Failure) else told(facts)
        if isinstance(text, Failure):
            raise text
        structured = isinstance(answer, type) and issubclass(answer, BaseModel)
        parsed = answer.model_validate_json(text) if structured else answer(text)
        return Answer(parsed=parsed, text=text, model="m", key=f"key-{len(self.asked)}", prompt=prompt.hash)

    async def paint(self, role: str, prompt: Any, *, size: Any = None, draw: int = 0, facts: Facts) -> Any:
        self.asked.append((prompt.id, facts))
        told = self.answers[prompt.id]
        if isinstance(told, Failure):
            raise told
        return Answer(parsed=None, text="", model=f"painter-{draw}", key="p", image=image(str(draw)))


def image(name: str) -> ImageRef:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ImageRef(uri=f"/nowhere/{name}.png", sha256=digest, width=64, height=48, media_type="image/png")


def pair_plan(instruction: str = "Remove the ball", rewrites: tuple[Rewrite, ...] = (), **more: Any) -> PairPlan:
    pair = EditPair(id="p1", source=image("a"), edited=image("b"), instruction=instruction)
    plan: dict[str, Any] = {"id": "a" * 32, "ordinal": 3, "seed": 9, "input_id": "p1", "pair": pair}
    return PairPlan(**{**plan, "rewrites": rewrites, **more})


def prompt_plan(prompt: str = "a red ball", **more: Any) -> PromptPlan:
    plan: dict[str, Any] = {"id": "b" * 32, "ordinal": 0, "seed": 9, "input_id": "q1", "prompt": prompt}
    return PromptPlan(**{**plan, **more})


def failure(stage: str, reason: str = "safety", error_class: ErrorClass = ErrorClass.FINAL) -> Failure:
    return Failure(stage, reason, error_class, "blocked", attempts=1, last_answer="no")


def drawn(path: Path, *boxes: tuple[int, int, int, int], size: tuple[int, int] = (160, 120), mode: str = "RGB") -> str:
    """A flat picture with red boxes on it, as PNG; its name."""
    picture = Image.new(mode, size, (200, 220, 235) if mode == "RGB" else (200, 220, 235, 120))
    for box in boxes:
        ImageDraw.Draw(picture).rectangle(box, fill=(200, 30, 30))
    picture.save(path)
    return path.name


def written(path: Path, rows: list[Any]) -> str:
    path.write_text(
        "".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    )
    return str(path)
