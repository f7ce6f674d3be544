"""The one async interface to every model: text, vision and image answers, structured by pydantic schemas.

What a **recipe** sees is `Models`, bound to its plan::

    async def recipe(plan: Plan, models: Models) -> Draft:
        wrote = await models.ask("writer", rendered, answer=WriterAnswer, facts=Facts(plan=plan))
        wrote.parsed.instruction                         # a WriterAnswer
        thought, painted = await side_by_side(           # annotators.models.side_by_side
            models.ask("reasoner", rendered2, answer=lambda t: ICCoT.parse(t, n), draw=k, facts=...),
            models.paint("painter", rendered3, size=(w, h), facts=...),
        )
        painted.image                                    # an ImageRef; the bytes lie in the ledger's blobs
        wrote.source                                     # schemas.draft.Source for the draft's provenance
        models.usage                                     # {model: Usage} of this plan so far

`answer` is a pydantic model (sent to the provider as a schema, and parsed from the text) or a callable from text
to a value that raises ValueError (ICCoTError says several defects at once).
A recipe lets `Stopped` pass, and may raise `Failure("writer", "infeasible", ...)` itself.

What runs recipes is `annotators.engine.Engine`::

    engine = Engine(EngineSpec(models=..., roles=("writer", "reasoner", "painter"), ledger=None, ...))
    with engine.window(recipe) as window:                # one per bundle; blocks when full; unordered
        for plan in plans:
            for finished in window.put(plan): ...        # Finished(item, result | failure | stopped)
        for finished in window.drain(): ...
    engine.stopped                                       # Stop(exit_code, line) | None
    engine.progress()                                    # a snapshot for the live line
    engine.close()

A **provider** implements `Provider`: one file each, made known in `annotators.registry`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, overload

from pydantic import BaseModel

from schemas.base import Record
from schemas.checklists import Checklist
from schemas.draft import Source
from schemas.judgements import DifferenceReport
from schemas.labels import EditPair, Rewrite
from schemas.messages import ImagePart, Message, digest_view
from schemas.plan import Plan
from schemas.references import ImageRef
from schemas.usage import Usage

if TYPE_CHECKING:
    from annotators.batch_api import BatchApi

T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
Modality = Literal["text", "image"]
SAME_ASPECT = 1.2
"""How far two aspect ratios may lie apart for one size to do for the other: 16:9 passes for 3:2, 4:3 not for 1:1."""

_ADDRESSES: Any = {
    "plan": {"references": {"__all__": {"reference": {"uri"}}}},
    "pair": {"source": {"uri"}, "edited": {"uri"}, "references": {"__all__": {"uri"}}},
    "image": {"uri"},
}


class Facts(Record):
    """What a prompt was rendered from. Rule-based providers read it; network providers never do.

    Attributes:
        asks: which of a role's several prompts this is: its id.
        pair: of FIRM-Edit; `report` is what was described of it, `rewrite` the kind of instruction to write.
        prompt: of FIRM-Gen; `image` was made from it, `checklist` is its plan.
    """

    plan: Plan | None = None
    instruction: str = ""
    draw: int = 0
    focus: str = ""
    asks: str = ""
    pair: EditPair | None = None
    report: DifferenceReport | None = None
    rewrite: Rewrite | None = None
    prompt: str = ""
    image: ImageRef | None = None
    checklist: Checklist | None = None


class Prompt(Protocol):
    """What `prompts.catalogue.render` returns, as far as this room needs it."""

    @property
    def id(self) -> str: ...

    @property
    def hash(self) -> str: ...

    @property
    def messages(self) -> tuple[Message, ...]: ...


@dataclass(frozen=True, eq=False)
class Request:
    """One question to one model.

    Attributes:
        role: who asks (`writer`, ...); not part of the key of a network model.
        answer: the pydantic schema of a structured answer, or None for free text.
        size: (width, height) in pixels of the image asked for.
        sampling: temperature, top_p, max_tokens, seed and what else the config gives: all of it shapes the answer.
        draw: the number of this draw, from 0; equal prompts with different draws are different requests.
        repair: 0, or the number of the repair this is (1, 2).
        batch: its model is asked through the batch API where it can be; not part of the key.
        facts_version: of a provider in this process: then it, role and facts are in the key.
    """

    role: str
    model: str
    messages: tuple[Message, ...]
    answer: type[BaseModel] | None = None
    modality: Modality = "text"
    size: tuple[int, int] | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    draw: int = 0
    repair: int = 0
    batch: bool = False
    facts: Facts = field(default_factory=Facts)
    facts_version: str = ""

    @cached_property
    def key(self) -> str:
        """sha256, 64 hex digits, of everything that shapes the answer and of nothing else.

        Addresses (base_url, image uris), limits and keys are left out: they may change between two attempts.
        """
        shape: list[object] = [
            self.model,
            digest_view(self.messages),
            None if self.answer is None else answer_schema(self.answer),
            dict(self.sampling),
            self.modality,
            self.size,
            self.draw,
            self.repair,
        ]
        if self.facts_version:
            shape += [self.role, self.facts_version, self.facts.model_dump(mode="json", exclude=_ADDRESSES)]
        return hashlib.sha256(_CANONICAL.encode(shape).encode()).hexdigest()

    @property
    def images(self) -> list[ImageRef]:
        """The images shown, in order."""
        return [part.image for message in self.messages for part in message.parts if isinstance(part, ImagePart)]

    @property
    def seed(self) -> int:
        """The seed to send, of this draw's own: the configured one (or 0) plus the draw number."""
        return int(self.sampling.get("seed", 0)) + self.draw

    def asked_of(self, **own: Any) -> Request:
        """The same question put to one model, with its name, sampling and facts."""
        return replace(self, **own)

    def repaired(self, message: Message, number: int) -> Request:
        """The same question once more, with one message after it that lists the errors. Its key is its own."""
        return replace(self, messages=(*self.messages, message), repair=number)


@lru_cache(maxsize=64)
def answer_schema(answer: type[BaseModel]) -> str:
    """The JSON schema of an answer, as text with sorted keys."""
    return json.dumps(answer.model_json_schema(), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class RawAnswer:
    """What a provider returns and the ledger stores, before anything of it is parsed.

    Attributes:
        text: the answer's text, thinking already parted from it; may be empty for an image answer.
        image: encoded bytes of an image answer.
        tokens_in, tokens_out: as the provider counts them, thinking included.
        usd: what this answer cost, at the price of the day it was paid.
        note: what the provider says about its own answer (the toy painter names its deliberate error here).
    """

    text: str = ""
    image: bytes | None = None
    media_type: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A parsed answer.

    Attributes:
        parsed: the pydantic object or what the parser made of the text; the text itself where neither was given;
            None for an image answer.
        key: the request key under which the ledger has it (that of the last repair, if there was one).
        usage: what it cost, repairs included; a ledger hit costs what was paid for it then.
    """

    parsed: T
    text: str
    model: str
    key: str
    image: ImageRef | None = None
    prompt: str = ""
    note: str = ""
    attempts: int = 1
    usage: Usage = field(default_factory=Usage)

    @property
    def source(self) -> Source:
        """Where this answer came from, for a draft's provenance."""
        return Source(model=self.model, prompt=self.prompt, request_key=self.key, note=self.note)


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do with one model.

    Attributes:
        max_images: the most images it takes in one request; None where no bound is known.
        sizes: the (width, height) it can paint; None for any. A size of nearly the same aspect ratio
            (`SAME_ASPECT`) will do for one that is asked for: the provider asks for the nearest.
        batch: has a batch API.
        batch_images: and takes requests for images there.
        reads_facts: rule-based: answers from `Request.facts`, so that they belong to the request's key.
        remote: asks over a network; the stops for dead or refusing models apply.
        stores_text: whether text answers are worth keeping in the ledger. Images always are.
        roles: those it can play; None for any.
        in_flight: a bound of its own on calls at once (CPU-bound providers); None for the configured one.
    """

    images_in: bool = True
    images_out: bool = False
    max_images: int | None = None
    sizes: tuple[tuple[int, int], ...] | None = None
    batch: bool = False
    batch_images: bool = False
    reads_facts: bool = False
    remote: bool = True
    stores_text: bool = True
    roles: tuple[str, ...] | None = None
    in_flight: int | None = None

    def lacks(self, modality: Modality, images: int, size: tuple[int, int] | None = None) -> str:
        """One word for why a request cannot be asked of this model: `images_in`, `images_out`, `max_images`, `size`.

        Empty when it can.

        Args:
            images: how many it shows.
            size: (width, height) in pixels of the image asked for; None where the model chooses.
        """
        if modality == "image" and not self.images_out:
            return "images_out"
        if images and not self.images_in:
            return "images_in"
        if self.max_images is not None and images > self.max_images:
            return "max_images"
        if self.sizes is not None and size is not None and not any(_alike(size, own) for own in self.sizes):
            return "size"
        return ""


def _alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    ratio = one[0] * other[1] / (one[1] * other[0])
    return 1 / SAME_ASPECT <= ratio <= SAME_ASPECT


class Provider(Protocol):
    """One model behind one protocol.

    `answer` runs on the engine's loop and must not block it: network clients are async, CPU work goes through
    `asyncio.to_thread` (the engine's own pool). It makes one attempt; retries, limits and repairs are the engine's.

    Attributes:
        name: `gemini`, `openai`, `dashscope`, `offline`, `transformers`.
        version: changes when a provider of this process would answer differently; empty for network providers.
        secrets: key values, blotted out of every line the engine stores or shows.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def secrets(self) -> tuple[str, ...]: ...

    async def answer(self, request: Request) -> RawAnswer:
        """Ask once. A coroutine function: the engine bounds its time.

        Raises:
            RetryableError, RepairableError, FinalError, StopRun: nothing else.
        """
        ...

    def batches(self) -> BatchApi:
        """Its batch API; asked for only where `capabilities.batch` says that there is one."""
        ...

    async def close(self) -> None: ...


class Models(Protocol):
    """The models of a run, bound to one plan: what a recipe is given, and what a test can fake."""

    @property
    def usage(self) -> dict[str, Usage]:
        """By model, what the plan cost so far."""
        ...

    def check(self, role: str, *, images: int, size: tuple[int, int] | None = None) -> None:
        """Nothing, where a model of `role` can paint with so many reference images, in that size; it asks nobody.

        Raises:
            Failure: of stage `plan`: none can.
        """
        ...

    @overload
    async def ask(
        self, role: str, prompt: Prompt, *, answer: None = None, draw: int = 0, facts: Facts = ...
    ) -> Answer[str]: ...

    @overload
    async def ask(
        self, role: str, prompt: Prompt, *, answer: type[B], draw: int = 0, facts: Facts = ...
    ) -> Answer[B]: ...

    @overload
    async def ask(
        self, role: str, prompt: Prompt, *, answer: Callable[[str], T], draw: int = 0, facts: Facts = ...
    ) -> Answer[T]: ...

    async def paint(
        self, role: str, prompt: Prompt, *, size: tuple[int, int] | None = None, draw: int = 0, facts: Facts = ...
    ) -> Answer[None]:
        """Ask for an image. `size` is what the target should measure; `Answer.image` is always there."""
        ...
