"""A run's filters, read from its configuration and built once per process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from filters import critic, omnicontext, safety
from filters.appeal import AestheticConfig, AestheticFilter, PreferenceConfig, PreferenceFilter, check_head
from filters.base import Candidate, Filter
from filters.clip import ClipConfig, ClipFilter, check_vocabulary
from filters.clip_model import ClipModel
from filters.critic import CriticConfig
from filters.drift import DriftConfig, DriftFilter
from filters.heads import Head, load_head
from filters.omnicontext import OmniContextConfig
from filters.quality import QualityConfig, QualityFilter
from filters.relations import RelationsConfig, RelationsFilter
from filters.safety import SafetyConfig
from filters.score import run
from filters.similarity import SimilarityConfig, SimilarityFilter
from filters.task_limits import TaskLimits, checked, merged
from filters.weights import KEY, TOY, WeightsUnavailable
from schemas.draft import Draft, Rejection

_REVISION = 1
"""Part of the digest: raised when a measure changes, so that no run continues with scores of two kinds."""

_CLIP_REVISION = 3
"""The same for runs that score by a CLIP other than the toy's: 2 since images are decoded straight to its size, and
since it computes in fp16 on CUDA; 3 since they are never decoded below twice its size."""

_NOTED = ("clip_text", "relation_margin")
"""The scores whose absence a reader must hear about; the other columns go with them."""

_LATER = ("critic", "drift", "aesthetic", "preference", "safety", "omnicontext", "tasks")
"""Not in the settings of a run that does not use them."""


class FiltersConfig(BaseModel):
    """`filters:` of a run; one that is left out does not run. `{}` runs it with its defaults.

    Attributes:
        tasks: limits of a task where they differ: `{add: {clip: {min_text: 0.26}}}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quality: QualityConfig | None = None
    similarity: SimilarityConfig | None = None
    clip: ClipConfig | None = None
    relations: RelationsConfig | None = None
    drift: DriftConfig | None = None
    aesthetic: AestheticConfig | None = None
    preference: PreferenceConfig | None = None
    safety: SafetyConfig | None = None
    omnicontext: OmniContextConfig | None = None
    critic: CriticConfig | None = None
    tasks: TaskLimits = {}

    @model_validator(mode="after")
    def _can_be_built(self) -> FiltersConfig:
        if self.relations is not None and self.clip is None:
            raise ValueError("relations scores with the model of clip: add clip: {weights: ...}")
        if self.aesthetic is not None and self.aesthetic.clip is None and self.clip is None:
            raise ValueError("aesthetic needs the CLIP that its head was trained on: add clip: WEIGHTS to it")
        checked(self, self.tasks)
        return self

    def of_task(self, task: str) -> FiltersConfig:
        """The configuration for the samples of one task."""
        return merged(self, self.tasks[task]) if task in self.tasks else self

    @property
    def judges(self) -> dict[str, tuple[str, ...]]:
        """The filters that ask models, cheapest first, and the roles that each asks."""
        rooms = {"safety": safety.ROLES, "omnicontext": omnicontext.ROLES, "critic": critic.ROLES}
        return {name: roles for name, roles in rooms.items() if getattr(self, name) is not None}


@dataclass(frozen=True)
class FilterSet:
    """What a process runs over its drafts.

    Attributes:
        filters: cheap ones first.
        score_names: every column of the configuration, also those that cannot be computed here.
        notes: by column, why it is not computed.
        digest: of the settings and weights that shape scores and verdicts; for the run hash.
        vocabulary: to be called with the pool's captions before the run; None where any text will do.
        of_task: by task, the filters where their limits differ.
    """

    filters: tuple[Filter, ...] = ()
    score_names: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    vocabulary: Callable[[Iterable[str]], None] | None = None
    of_task: Mapping[str, tuple[Filter, ...]] = field(default_factory=dict)

    def run(self, drafts: Sequence[Draft]) -> list[Draft | Rejection]:
        """Keep or reject each draft, in order; see `filters.score.run`."""
        groups: dict[str, list[int]] = {}
        for number, draft in enumerate(drafts):
            task = draft.plan.task
            groups.setdefault(task if task in self.of_task else "", []).append(number)
        outcomes: dict[int, Draft | Rejection] = {}
        for task, numbers in groups.items():
            filters = self.of_task.get(task, self.filters)
            found = run(filters, [Candidate.of(drafts[number]) for number in numbers])
            outcomes.update(zip(numbers, found, strict=True))
        return [outcomes[number] for number in range(len(drafts))]


def build(config: FiltersConfig) -> FilterSet:
    """Load what the configured filters need.

    Weights that cannot be had leave out the filters that need them, with a note; they reject nothing.

    Raises:
        InputError: weights that do not exist or are no weights.
    """
    loaded = _Loaded.of(config)
    toy = config.clip is not None and config.clip.weights == TOY
    return FilterSet(
        filters=_filters(config, loaded),
        score_names=_score_names(config),
        notes=loaded.notes,
        digest=_digest(config, loaded.weights, loaded.others),
        vocabulary=check_vocabulary if toy else None,
        of_task={task: _filters(config.of_task(task), loaded) for task in config.tasks},
    )


@dataclass
class _Loaded:
    """The models of a configuration.

    Attributes:
        clip, aesthetic, preference: None where not configured, or where the weights cannot be had.
        weights: the digest of `clip`; empty where there is none.
        others: the digests of the other weights, by filter.
    """

    clip: ClipModel | None = None
    aesthetic: tuple[ClipModel, Head] | None = None
    preference: ClipModel | None = None
    notes: dict[str, str] = field(default_factory=dict)
    weights: str = ""
    others: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: FiltersConfig) -> _Loaded:
        found = cls()
        device, precision = ("auto", "auto") if config.clip is None else (config.clip.device, config.clip.precision)
        if config.clip is not None:
            names = _NOTED[: 1 if config.relations is None else 2]
            found.clip = found._model(config.clip.weights, device, precision, names)
            found.weights = "" if found.clip is None else found.clip.digest
        if config.aesthetic is not None:
            weights = config.aesthetic.clip or (config.clip.weights if config.clip is not None else "")
            head = load_head(config.aesthetic.weights, config.aesthetic.activation, "filters.aesthetic.weights")
            key = "filters.aesthetic.clip" if config.aesthetic.clip else KEY
            model = found._model(weights, device, precision, ("aesthetic",), key)
            found.others["aesthetic"] = head.digest
            if model is not None:
                check_head(head, model, "filters.aesthetic")
                found.aesthetic = model, head
                found.others["aesthetic"] += f" {model.digest}"
        if config.preference is not None:
            weights, key = config.preference.weights, "filters.preference.weights"
            found.preference = found._model(weights, device, precision, ("preference",), key)
            found.others["preference"] = "" if found.preference is None else found.preference.digest
        return found

    def _model(
        self, weights: str, device: str, precision: str, columns: Sequence[str], key: str = KEY
    ) -> ClipModel | None:
        try:
            return ClipModel.load(weights, device, precision, key)
        except WeightsUnavailable as error:
            self.notes |= dict.fromkeys(columns, f"not computed: {error.reason}")
            return None


def _filters(config: FiltersConfig, loaded: _Loaded) -> tuple[Filter, ...]:
    filters: list[Filter] = []
    if config.quality is not None:
        filters.append(QualityFilter(config.quality))
    if config.similarity is not None:
        filters.append(SimilarityFilter(config.similarity))
    if config.drift is not None:
        filters.append(DriftFilter(config.drift))
    if config.clip is not None and loaded.clip is not None:
        filters.append(ClipFilter(config.clip, loaded.clip))
        if config.relations is not None:
            filters.append(RelationsFilter(config.relations, loaded.clip))
    if config.aesthetic is not None and loaded.aesthetic is not None:
        filters.append(AestheticFilter(config.aesthetic, *loaded.aesthetic))
    if config.preference is not None and loaded.preference is not None:
        filters.append(PreferenceFilter(config.preference, loaded.preference))
    return tuple(filters)


_COLUMNS: dict[str, tuple[str, ...]] = {
    # Declared on the classes, so that a run without weights still has the columns.
    "quality": QualityFilter.scores,
    "similarity": SimilarityFilter.scores,
    "clip": ClipFilter.scores,
    "relations": RelationsFilter.scores,
    "critic": critic.SCORES,
    "drift": DriftFilter.scores,
    "aesthetic": AestheticFilter.scores,
    "preference": PreferenceFilter.scores,
    "safety": safety.SCORES,
    "omnicontext": omnicontext.SCORES,
}


def _score_names(config: FiltersConfig) -> tuple[str, ...]:
    return tuple(name for one, names in _COLUMNS.items() if getattr(config, one) is not None for name in names)


def shaping(config: FiltersConfig) -> dict[str, Any]:
    """The settings that shape scores and verdicts: all but the device."""
    settings = config.model_dump(mode="json", exclude={"clip": {"device"}})
    # So that folders begun before there were these filters and settings go on.
    if settings["clip"] and settings["clip"]["precision"] == "auto":
        del settings["clip"]["precision"]
    return {name: value for name, value in settings.items() if name not in _LATER or value}


def _models(config: FiltersConfig) -> set[str]:
    """The weights of every CLIP that scores."""
    aesthetic, preference = config.aesthetic, config.preference
    named = [config.clip and config.clip.weights, aesthetic and aesthetic.clip, preference and preference.weights]
    return {name for name in named if name}


def _digest(config: FiltersConfig, weights: str, others: Mapping[str, str]) -> str:
    """Neither the path of the weights nor the device shapes a score beyond what the device's kind does."""
    settings = shaping(config)
    for name in ("clip", "aesthetic", "preference"):
        if settings.get(name):
            settings[name] = {k: v for k, v in settings[name].items() if k not in ("weights", "clip")}
    revision = _REVISION if _models(config) <= {TOY} else _CLIP_REVISION
    text = json.dumps([revision, settings, weights, *([dict(others)] if others else [])], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
