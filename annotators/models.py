"""The models of a run as one plan sees them: which model a role means, and what the plan has cost so far."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from annotators.asking import Asker
from annotators.config import ModelConfig
from annotators.errors import Failure, Stop, Stopped
from annotators.interface import Answer, Facts, Modality, Prompt, Request
from annotators.lanes import Lane
from annotators.tally import Tally
from schemas.draft import ErrorClass
from schemas.errors import InputError
from schemas.usage import Usage

T = TypeVar("T")
A = TypeVar("A")
C = TypeVar("C")


@dataclass(frozen=True)
class Seat:
    """One model of a role, with its share of the role's plans."""

    config: ModelConfig
    lane: Lane


class BoundModels:
    """`annotators.interface.Models` for one item. `seed` decides which model of a mix it is given.

    Raises:
        InputError: from `ask` and `paint`, where the role has no model.
    """

    def __init__(
        self, asker: Asker, seats: Mapping[str, Sequence[Seat]], seed: int, stop: Callable[[Stop], object]
    ) -> None:
        self._asker, self._seats, self._seed, self._stop = asker, seats, seed, stop
        self._tallies: dict[str, Tally] = {}

    @property
    def usage(self) -> dict[str, Usage]:
        return {model: tally.usage for model, tally in sorted(self._tallies.items())}

    async def ask(self, role: str, prompt: Prompt, *, answer: Any = None, draw: int = 0, facts: Facts = Facts()) -> Any:  # noqa: B008
        schema = answer if isinstance(answer, type) and issubclass(answer, BaseModel) else None
        request = Request(role, "", tuple(prompt.messages), schema, draw=draw, facts=facts)
        return await self._put(request, None if schema else answer, prompt)

    async def paint(
        self,
        role: str,
        prompt: Prompt,
        *,
        size: tuple[int, int] | None = None,
        draw: int = 0,
        facts: Facts = Facts(),  # noqa: B008
    ) -> Answer[None]:
        request = Request(role, "", tuple(prompt.messages), modality="image", size=size, draw=draw, facts=facts)
        painted: Answer[None] = await self._put(request, None, prompt)
        return painted

    async def _put(self, request: Request, parser: Any, prompt: Prompt) -> Answer[Any]:
        seat = self._seat(request)
        provider = seat.lane.provider
        own: dict[str, Any] = {"model": seat.config.model, "sampling": seat.config.sampling}
        own["batch"] = seat.config.mode == "batch"
        if provider.capabilities.reads_facts:
            facts = request.facts.model_copy(update={"draw": request.draw})
            own |= {"facts": facts, "facts_version": provider.version}
        else:
            own |= {"facts": Facts(), "facts_version": provider.version}
        return await self._asker.ask(seat.lane, request.asked_of(**own), parser, self._spend, prompt.hash)

    def _spend(self, model: str) -> Tally:
        if model not in self._tallies:
            self._tallies[model] = Tally()
        return self._tallies[model]

    def check(self, role: str, *, images: int, size: tuple[int, int] | None = None) -> None:
        self._able(role, "plan", "image", images, size)

    def _seat(self, request: Request) -> Seat:
        able = self._able(request.role, request.role, request.modality, len(request.images), request.size)
        return chosen(able, self._seed, drawn_role(request))

    def _able(
        self, role: str, stage: str, modality: Modality, images: int, size: tuple[int, int] | None
    ) -> Sequence[Seat]:
        """The models of `role` that can be asked so."""
        seats = self._seats.get(role)
        if not seats:
            raise InputError(f"models.{role}: no model is configured for this role")
        lacks = [seat.lane.provider.capabilities.lacks(modality, images, size) for seat in seats]
        able = [seat for seat, lack in zip(seats, lacks, strict=True) if not lack]
        if able:
            return able
        names = ", ".join(seat.config.model for seat in seats)
        if lacks[0] in _INCAPABLE:
            stop = Stop(2, f"models.{role}: {names} {_INCAPABLE[lacks[0]]}; name a model that can")
            self._stop(stop)
            raise Stopped(stop)
        asked = f"{images} images in" + (f", {size[0]}x{size[1]} out" if size else "")
        detail = f"{names}: cannot be asked with {asked}; {_MENDS[lacks[0]]}"
        raise Failure(stage, lacks[0], ErrorClass.PLANNED, detail)


_MENDS = {
    "max_images": "lower max_references, or say with max_images that the model takes more",
    "size": "name a painter that gives this shape, or say which with sizes",
}
_INCAPABLE = {"images_in": "cannot see images", "images_out": "gives no images"}


def drawn_role(request: Request) -> str:
    """What a model of a mix is chosen by beside the seed: several paintings of one plan go to several painters."""
    return f"{request.role}/{request.draw}" if request.modality == "image" and request.draw else request.role


def chosen(seats: Sequence[Seat], seed: int, role: str) -> Seat:
    """The seat of a weighted mix that falls to `seed`; the same for the same seed, whoever asks and when."""
    if len(seats) == 1:
        return seats[0]
    digest = hashlib.sha256(f"{seed}/{role}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64 * sum(seat.config.weight for seat in seats)
    for seat in seats:
        point -= seat.config.weight
        if point < 0:
            return seat
    return seats[-1]


@overload
async def side_by_side(first: Awaitable[T], second: Awaitable[A], /) -> tuple[T, A]: ...
@overload
async def side_by_side(first: Awaitable[T], second: Awaitable[A], third: Awaitable[C], /) -> tuple[T, A, C]: ...
@overload
async def side_by_side(*asked: Awaitable[T]) -> tuple[T, ...]: ...
async def side_by_side(*asked: Awaitable[Any]) -> tuple[Any, ...]:
    """All answers, asked at the same time.

    Where some fail, the others are still waited for: they are paid for, so they belong in the ledger and in the
    item's usage. The failure raised is the first in the order of the arguments, not in time, so that a rejection
    says the same on every run; a run that ends goes before any failure, for then the item is not finished.
    """
    results = await asyncio.gather(*asked, return_exceptions=True)
    for kind in (Stopped, BaseException):
        for result in results:
            if isinstance(result, kind):
                raise result
    return tuple(results)
