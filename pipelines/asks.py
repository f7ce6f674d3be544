"""What a recipe would ask, found by running it: its real prompts for real plans, and answers that are assumed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from pydantic import BaseModel

from annotators import registry
from annotators.config import ModelConfig, ModelsConfig
from annotators.errors import Failure
from annotators.interface import Answer, Capabilities, Facts, Prompt, Request
from annotators.models import chosen, drawn_role
from annotators.prices import Price
from annotators.tokens import painted_tokens, request_tokens, text_tokens
from pipelines.assumed import Span, answer_text, thinking_tokens
from schemas.draft import ErrorClass
from schemas.errors import InputError
from schemas.references import ImageRef
from schemas.usage import Usage

_NO_IMAGE = ImageRef(uri="", sha256="0" * 64, width=1024, height=1024, media_type="image/png")

Lanes = Mapping[tuple[str, str, str, str], Price | None]


@dataclass(frozen=True)
class Ask:
    """One question that a plan asks, as it goes when nothing goes wrong.

    Attributes:
        tokens_in: by the rules; 0 for the offline provider, which counts none.
        tokens_out: thinking included.
    """

    role: str
    config: ModelConfig
    tokens_in: float
    tokens_out: Span
    image: bool


@dataclass(frozen=True)
class Seat:
    """A model of a role and what it can do."""

    config: ModelConfig
    capabilities: Capabilities


def seats_of(models: ModelsConfig, roles: Sequence[str]) -> dict[str, list[Seat]]:
    """The models of each role; no key is needed.

    Raises:
        InputError: a role has no model.
    """
    return {
        role: [Seat(config, registry.capabilities(config, f"models.{role}")) for config in models.of(role)]
        for role in roles
    }


def asks_of(
    recipe: Any, judge: Any, plans: Sequence[Any], seats: Mapping[str, Sequence[Seat]], prices: Lanes
) -> list[list[Ask]]:
    """For each plan what it asks; nothing for one that no model can take, which is rejected before anything is paid.

    Args:
        judge: what is asked about a draft after the filters; None where nothing is.
    """

    async def everything() -> list[list[Ask]]:
        return [await _asks(recipe, judge, plan, seats, prices) for plan in plans]

    return asyncio.run(everything())


async def _asks(recipe: Any, judge: Any, plan: Any, seats: Mapping[str, Sequence[Seat]], prices: Lanes) -> list[Ask]:
    models = _AssumedModels(plan, seats, prices)
    with suppress(Failure):  # what it had asked by then is paid all the same
        draft = await recipe(plan, models)
        if judge is not None:
            await judge(draft, models)
    return models.asks


class _AssumedModels:
    """`annotators.interface.Models` that asks nobody and notes what it was asked."""

    def __init__(self, plan: Any, seats: Mapping[str, Sequence[Seat]], prices: Lanes) -> None:
        self._plan, self._seats, self._prices = plan, seats, prices
        self.asks: list[Ask] = []
        self.usage: dict[str, Usage] = {}

    def check(self, role: str, *, images: int, size: tuple[int, int] | None = None) -> None:
        self._able(role, "image", images, size)

    async def ask(
        self,
        role: str,
        prompt: Prompt,
        *,
        answer: Any = None,
        draw: int = 0,
        facts: Facts = Facts(),  # noqa: B008
    ) -> Answer[Any]:
        schema = answer if isinstance(answer, type) and issubclass(answer, BaseModel) else None
        request = Request(role, "", tuple(prompt.messages), schema, draw=draw)
        config = self._config(request)
        texts = [
            answer_text(role, self._plan, size, prompt.id, facts.checklist) for size in ("low", "expected", "high")
        ]
        self._note(request, config, Span(*(text_tokens(text) for text in texts)))
        parsed = texts[1] if answer is None else schema.model_validate_json(texts[1]) if schema else answer(texts[1])
        return Answer(parsed=parsed, text=texts[1], model=config.model, key="")

    async def paint(
        self,
        role: str,
        prompt: Prompt,
        *,
        size: tuple[int, int] | None = None,
        draw: int = 0,
        facts: Facts = Facts(),  # noqa: B008
    ) -> Answer[None]:
        request = Request(role, "", tuple(prompt.messages), modality="image", size=size, draw=draw)
        config = self._config(request)
        price = self._prices.get(config.lane)
        self._note(request, config, Span(*painted_tokens(config, None if price is None else price.image_tokens)))
        return Answer(parsed=None, text="", model=config.model, key="", image=_NO_IMAGE)

    def _note(self, request: Request, config: ModelConfig, answer: Span) -> None:
        offline = config.provider == "offline"
        self.asks.append(
            Ask(
                role=request.role,
                config=config,
                tokens_in=0.0 if offline else request_tokens(request, config),
                tokens_out=Span.of(0) if offline else answer + thinking_tokens(config),
                image=request.modality == "image",
            )
        )

    def _config(self, request: Request) -> ModelConfig:
        able = self._able(request.role, request.modality, len(request.images), request.size)
        # Only its config is looked at, and a lane needs a loop.
        seat = chosen(
            cast(Any, [SimpleNamespace(config=seat.config) for seat in able]), self._plan.seed, drawn_role(request)
        )
        return seat.config

    def _able(self, role: str, modality: Any, images: int, size: tuple[int, int] | None) -> Sequence[Seat]:
        if role not in self._seats:
            raise InputError(f"models.{role}: no model is configured for this role")
        able = [seat for seat in self._seats[role] if not seat.capabilities.lacks(modality, images, size)]
        if not able:
            raise Failure("plan", "max_images", ErrorClass.PLANNED)
        return able
