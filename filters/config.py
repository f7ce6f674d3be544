"""A run's filters, read from its configuration and built once per process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from filters import critic
from filters.base import Candidate, Filter
from filters.clip import ClipConfig, ClipFilter, ClipModel, check_vocabulary
from filters.critic import CriticConfig
from filters.quality import QualityConfig, QualityFilter
from filters.relations import RelationsConfig, RelationsFilter
from filters.score import run
from filters.similarity import SimilarityConfig, SimilarityFilter
from filters.weights import TOY, WeightsUnavailable
from schemas.draft import Draft, Rejection

_REVISION = 1
"""Part of the digest: raised when a measure changes, so that no run continues with scores of two kinds."""

_NOTED = ("clip_text", "relation_margin")
"""The scores whose absence a reader must hear about; the other columns go with them."""


class FiltersConfig(BaseModel):
    """`filters:` of a run; one that is left out does not run. `{}` runs it with its defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quality: QualityConfig | None = None
    similarity: SimilarityConfig | None = None
    clip: ClipConfig | None = None
    relations: RelationsConfig | None = None
    critic: CriticConfig | None = None

    @model_validator(mode="after")
    def _relations_have_a_model(self) -> FiltersConfig:
        if self.relations is not None and self.clip is None:
            raise ValueError("relations scores with the model of clip: add clip: {weights: ...}")
        return self


@dataclass(frozen=True)
class FilterSet:
    """What a process runs over its drafts.

    Attributes:
        filters: cheap ones first.
        score_names: every column of the configuration, also those that cannot be computed here.
        notes: by column, why it is not computed.
        digest: of the settings and weights that shape scores and verdicts; for the run hash.
        vocabulary: to be called with the pool's captions before the run; None where any text will do.
    """

    filters: tuple[Filter, ...] = ()
    score_names: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    vocabulary: Callable[[Iterable[str]], None] | None = None

    def run(self, drafts: Sequence[Draft]) -> list[Draft | Rejection]:
        """Keep or reject each draft, in order; see `filters.score.run`."""
        return run(self.filters, [Candidate.of(draft) for draft in drafts])


def build(config: FiltersConfig) -> FilterSet:
    """Load what the configured filters need.

    Weights that cannot be had leave out the filters that need them, with a note; they reject nothing.

    Raises:
        InputError: weights that do not exist or are no weights.
    """
    filters: list[Filter] = []
    if config.quality is not None:
        filters.append(QualityFilter(config.quality))
    if config.similarity is not None:
        filters.append(SimilarityFilter(config.similarity))
    names = [name for one in filters for name in one.scores]
    notes, weights = {}, ""
    if config.clip is not None:
        # Declared on the classes, so that a run without weights still has the columns.
        columns = [*ClipFilter.scores, *(RelationsFilter.scores if config.relations is not None else ())]
        names += columns
        try:
            model = ClipModel.load(config.clip.weights, config.clip.device)
        except WeightsUnavailable as error:
            notes = {name: f"not computed: {error.reason}" for name in _NOTED if name in columns}
        else:
            weights = model.digest
            filters.append(ClipFilter(config.clip, model))
            if config.relations is not None:
                filters.append(RelationsFilter(config.relations, model))
    if config.critic is not None:
        names += critic.SCORES
    toy = config.clip is not None and config.clip.weights == TOY
    return FilterSet(
        filters=tuple(filters),
        score_names=tuple(names),
        notes=notes,
        digest=_digest(config, weights),
        vocabulary=check_vocabulary if toy else None,
    )


def shaping(config: FiltersConfig) -> dict[str, Any]:
    """The settings that shape scores and verdicts: all but the device."""
    settings = config.model_dump(mode="json", exclude={"clip": {"device"}})
    if settings["critic"] is None:
        del settings["critic"]  # so that folders begun before there was a critic go on
    return settings


def _digest(config: FiltersConfig, weights: str) -> str:
    """Neither the path of the weights nor the device shapes a score beyond what the device's kind does."""
    settings = shaping(config)
    if settings["clip"]:
        del settings["clip"]["weights"]
    text = json.dumps([_REVISION, settings, weights], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
