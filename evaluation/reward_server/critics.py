"""FIRM's critics as rewards: each sample is an item of the engine, which holds limits, retries, repairs and the ledger.

Asked directly, as FIRM's reward models are (images and instruction in, score out), or with the teacher's aid: the
differences described first, or a checklist planned first (arXiv 2603.12247, figure 3).
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from annotators import events, registry
from annotators.budget import Allowance, Budget
from annotators.config import ModelConfig
from annotators.critics import EditCritic, GenerationCritic
from annotators.engine import Engine, EngineSpec, Finished
from annotators.errors import Failure, Stop
from annotators.interface import Answer, Models, Provider
from annotators.models import side_by_side
from evaluation.reward_server.config import CmeReward, QmaReward, RewardServerConfig
from evaluation.reward_server.held import HeldPictures
from evaluation.reward_server.samples import Sample
from evaluation.reward_server.scoring import Halt, Scored
from prompts.catalogue import Catalogue
from rewards.critics import cme, qma
from schemas.errors import InputError
from schemas.following import GenerationJudgement
from schemas.judgements import Dimension, EditJudgement, QualityJudgement
from schemas.labels import EditPair
from schemas.references import ImageRef

log = logging.getLogger(__name__)

REVIVES_AFTER = 30.0
"""Seconds from a resumable stop (a judge that was down) to the next try."""
_RESUMABLE = 3
_LONGEST_ERROR = 500


@dataclass(frozen=True)
class Item:
    """A sample whose images lie where an `ImageRef` can name them."""

    id: str
    seed: int
    images: tuple[ImageRef, ...]
    text: str


@dataclass(frozen=True)
class EditRecipe:
    """Execution and Consistency of one edit."""

    critic: EditCritic
    aided: bool
    dimensions: tuple[Dimension, ...] = (Dimension.EXECUTION, Dimension.CONSISTENCY)

    async def __call__(self, item: Item, models: Models) -> Scored:
        source, edited = item.images
        pair = EditPair(id=item.id, source=source, edited=edited, instruction=item.text)
        if self.aided:
            report = (await self.critic.describe(pair, models)).report
            asked = [self.critic.score(one, pair, item.text, report, models) for one in self.dimensions]
        else:
            asked = [self.critic.score_directly(one, pair, item.text, models) for one in self.dimensions]
        return await _scored(dict(zip(map(str, self.dimensions), asked, strict=True)))


@dataclass(frozen=True)
class GenerationRecipe:
    """Instruction Following and Quality of one generated image."""

    critic: GenerationCritic
    aided: bool
    dimensions: tuple[Dimension, ...] = (Dimension.INSTRUCTION_FOLLOWING, Dimension.QUALITY)

    async def __call__(self, item: Item, models: Models) -> Scored:
        (image,) = item.images
        asked: dict[str, Awaitable[Answer[Any]]] = {
            str(Dimension.INSTRUCTION_FOLLOWING): self._following(item, image, models)
        }
        if Dimension.QUALITY in self.dimensions:
            asked[str(Dimension.QUALITY)] = self.critic.quality(image, models)
        return await _scored(asked)

    async def _following(self, item: Item, image: ImageRef, models: Models) -> Answer[GenerationJudgement]:
        if not self.aided:
            return await self.critic.score_directly(image, item.text, models)
        checklist = (await self.critic.plan(item.text, models)).parsed
        return await self.critic.score(image, item.text, checklist, models)


class Critics:
    """The engine and what it asks; see `evaluation.reward_server.scoring.Scorer`.

    An engine that a spent budget, a wrong key or an unknown model has stopped stays stopped. One that stopped because
    its models could not be reached is made anew after `REVIVES_AFTER` seconds, with what is left of the budget.

    Raises:
        InputError: as `Engine`; a prompt that is none.
    """

    side = None

    def __init__(
        self,
        config: RewardServerConfig,
        make: Callable[[ModelConfig, str, registry.World], Provider] = registry.make,
    ) -> None:
        assert isinstance(config.reward, CmeReward | QmaReward)
        self._config, self._reward, self._make = config, config.reward, make
        catalogue, aided = Catalogue(config.prompts, "firm"), config.reward.way == "aided"
        self._recipe: EditRecipe | GenerationRecipe
        if isinstance(config.reward, CmeReward):
            self._recipe = EditRecipe(EditCritic(catalogue), aided)
        else:
            self._recipe = GenerationRecipe(GenerationCritic(catalogue), aided)
            if config.reward.blend == "ins":
                self._recipe = replace(self._recipe, dimensions=(Dimension.INSTRUCTION_FOLLOWING,))
        self.dimensions = tuple(map(str, self._recipe.dimensions))
        own = tempfile.TemporaryDirectory(prefix="plumbline-rewards-") if config.ledger is False else None
        self._own_ledger = own
        self._budgets: list[Budget] = []
        self._under_way = 0
        self._reviving: asyncio.Task[None] | None = None
        self._pictures = HeldPictures()
        self._engine = self._new_engine()

    @property
    def halted(self) -> Halt | None:
        stop = self._engine.stopped
        return None if stop is None else Halt(stop.line, REVIVES_AFTER if _comes_back(stop) else None)

    def start(self, samples: Sequence[Sample]) -> list[asyncio.Future[Scored]]:
        return [asyncio.ensure_future(self._one(sample)) for sample in samples]

    def rewards(self, scored: Sequence[Scored]) -> Sequence[float]:
        columns = [[one.scores.get(str(name)) for one in scored] for name in Dimension]
        execution, consistency, following, quality = columns
        reward = self._reward
        if isinstance(reward, CmeReward):
            found = cme(execution, consistency, w1=reward.w1, w2=reward.w2, mode=reward.mode)
        elif reward.blend == "ins":
            found = qma(following, blend="ins")
        else:
            found = qma(following, quality, blend=reward.blend, w1=reward.w1, w2=reward.w2)
        return [float(one) for one in found]

    def about(self) -> dict[str, Any]:
        return {role: [one.model for one in self._config.models.of(role)] for role in self._reward.roles}

    def spent(self) -> float:
        return sum(one.usd for one in self._budgets)

    async def close(self) -> None:
        if self._reviving is not None:
            self._reviving.cancel()
            await asyncio.wait([self._reviving])
        await asyncio.to_thread(self._engine.close)
        self._pictures.close()
        if self._own_ledger is not None:
            self._own_ledger.cleanup()

    async def _one(self, sample: Sample) -> Scored:
        if (halt := self.halted) is not None:
            return Scored(stopped=halt.line)
        self._under_way += 1
        refs = tuple(self._pictures.hold(picture) for picture in sample.images)
        try:
            item = Item(sample.id, sample.seed, refs, sample.text or "")
            finished = await asyncio.wrap_future(self._engine.submit(self._recipe, item))
        finally:
            self._pictures.release(refs)
            self._under_way -= 1
        if finished.stopped is not None:
            self._revive_later()
        return _outcome(finished)

    def _new_engine(self) -> Engine:
        config, limits = self._config, self._config.budget
        calls = None if limits.calls is None else max(0, limits.calls - sum(one.calls for one in self._budgets))
        usd = None if limits.usd is None else max(0.0, limits.usd - self.spent())
        spec = EngineSpec(
            models=config.models,
            roles=self._reward.roles,
            ledger=config.ledger or None if self._own_ledger is None else self._own_ledger.name,
            budget=limits,
            allowance=Allowance(calls=calls, usd=usd),
            prices=config.prices,
            world=config.world,
        )
        engine = Engine(spec, make=self._make)
        self._budgets.append(engine.budget)
        return engine

    def _revive_later(self) -> None:
        stop = self._engine.stopped
        if stop is not None and _comes_back(stop) and self._reviving is None:
            self._reviving = asyncio.ensure_future(self._revived(stop))

    async def _revived(self, stop: Stop) -> None:
        old = self._engine
        await asyncio.sleep(REVIVES_AFTER)
        while self._under_way:  # what is at a provider is paid, and ends by itself
            await asyncio.sleep(0.1)
        await asyncio.to_thread(old.close)
        while self._engine is old:
            try:
                self._engine = await asyncio.to_thread(self._new_engine)
            except InputError as error:  # such as a ledger's disk that is gone
                log.warning("still stopped: %s", error)
                await asyncio.sleep(REVIVES_AFTER)
        self._reviving = None
        log.warning("asking again after: %s", stop.line)


async def _scored(asked: dict[str, Awaitable[Answer[Any]]]) -> Scored:
    """All of a sample's questions side by side; what fails leaves its own score out, and the others stand."""
    parts = await side_by_side(*(_part(name, one) for name, one in asked.items()))
    return Scored(
        {name: score for part in parts for name, score in part.scores.items()},
        {name: reasoning for part in parts for name, reasoning in part.reasonings.items()},
        "; ".join(part.error for part in parts if part.error),
    )


async def _part(name: str, asked: Awaitable[Answer[Any]]) -> Scored:
    """What one question adds."""
    try:
        answer = await asked
    except Failure as failure:
        return Scored({name: None}, {}, f"{name}: {_said(failure)}")
    score, reasoning = _value_and_reasoning(answer.parsed)
    return Scored({name: score}, {name: reasoning})


def _value_and_reasoning(parsed: EditJudgement | GenerationJudgement | QualityJudgement) -> tuple[float, str]:
    if isinstance(parsed, GenerationJudgement):
        return float(parsed.rating), parsed.text
    return parsed.value, parsed.reasoning


def _outcome(finished: Finished[Item, Scored]) -> Scored:
    if finished.stopped is not None:
        return Scored(stopped=finished.stopped.line)
    if finished.failure is not None:
        return Scored(error=_said(finished.failure))
    assert finished.result is not None
    return finished.result


def _comes_back(stop: Stop) -> bool:
    """Whether time may mend it: a provider that was down, a ledger's disk; neither a key nor a spent budget."""
    return stop.exit_code == _RESUMABLE and not stop.line.startswith("budget.")


def _said(failure: Failure) -> str:
    """One line, without any key."""
    return events.blot(" ".join(str(failure).split()))[:_LONGEST_ERROR]
