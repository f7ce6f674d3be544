"""Re-Align's CLIP surrogate as a reward: samples of several requests share a forward pass."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from evaluation.reward_server.config import ClipReward, RewardServerConfig
from evaluation.reward_server.samples import Sample
from evaluation.reward_server.scoring import Scored
from filters.clip_model import ClipModel
from filters.weights import WeightsUnavailable
from rewards.surrogate import Metric, clip_surrogate
from schemas.errors import InputError

log = logging.getLogger(__name__)

NAME = "clip"


@dataclass(frozen=True)
class _Waiting:
    sample: Sample
    scored: asyncio.Future[Scored]


class Surrogate:
    """CLIP and the samples that wait for it; see `evaluation.reward_server.scoring.Scorer`.

    Raises:
        InputError: unknown weights, or weights that cannot be had here.
    """

    side = None  # the files, as the filter takes them: a reward is the filter's own score
    halted = None
    dimensions = (NAME,)

    def __init__(self, config: RewardServerConfig) -> None:
        assert isinstance(config.reward, ClipReward) and config.clip is not None
        self._metric: Metric = config.reward.metric
        self._serving = config.clip
        try:
            self._model = ClipModel.load(config.clip.weights, config.clip.device)
        except WeightsUnavailable as error:
            raise InputError(f"clip.weights: {error}") from None
        except InputError as error:
            raise InputError(str(error).replace("filters.clip.", "clip.", 1)) from None
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None
        self.passes = 0
        """How many times samples were scored together."""

    def start(self, samples: Sequence[Sample]) -> list[asyncio.Future[Scored]]:
        if self._running is None:
            self._running = asyncio.ensure_future(self._run())
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(sample, loop.create_future()) for sample in samples]
        for one in waiting:
            self._waiting.put_nowait(one)
        return [one.scored for one in waiting]

    def rewards(self, scored: Sequence[Scored]) -> Sequence[float]:
        return [float("nan") if (score := one.scores.get(NAME)) is None else score for one in scored]

    def about(self) -> dict[str, Any]:
        return {NAME: [f"{self._model.weights} ({self._model.digest[:12]})"]}

    def spent(self) -> float:
        return 0.0

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            if self._waiting.qsize() + 1 < self._serving.most:
                await asyncio.sleep(self._serving.window)
            while len(batch) < self._serving.most and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            self.passes += 1
            work = asyncio.ensure_future(asyncio.to_thread(self._scored, [one.sample for one in batch]))
            await asyncio.wait([work])
            error = work.exception()
            if error is not None:  # a device out of memory, say: whoever asked is told, and the next ones are tried
                log.error("a forward pass failed", exc_info=error)
            failed = Scored(stopped=f"CLIP failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            scored = work.result() if error is None else [failed] * len(batch)
            for one, found in zip(batch, scored, strict=True):
                one.scored.set_result(found)

    def _scored(self, samples: Sequence[Sample]) -> list[Scored]:
        errors = [self._refusal(sample.text) for sample in samples]
        sound = [sample for sample, error in zip(samples, errors, strict=True) if not error]
        values = iter(self._cosines(sound) if sound else [])
        return [Scored({NAME: None}, {}, error) if error else Scored({NAME: next(values)}) for error in errors]

    def _refusal(self, caption: str | None) -> str:
        if caption is None:
            return "caption: null: this rollout has none"
        refusal = self._model.refusal(caption)
        return f"caption: {' '.join(refusal.split())}" if refusal else ""

    def _cosines(self, samples: Sequence[Sample]) -> list[float]:
        seen = self._model.image_embeddings(
            [(one.images[0].sha256, partial(bytes, one.images[0].data)) for one in samples]
        )
        said = self._model.text_embeddings([one.text or "" for one in samples])
        return [float(one) for one in clip_surrogate(seen, said, metric=self._metric)]
