"""A Re-Align run with its pool opened: tasks, plans, prompts, filters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from annotators.critics import EditCritic
from annotators.families import kinship
from annotators.registry import World
from filters import critic
from pipelines.config import RealignConfig
from pipelines.places import cache_folder
from pipelines.realign import ROLES, Recipe
from pipelines.spec import planned_per_split
from pipelines.work import Input
from schemas.errors import InputError
from schemas.plan import Plan

if TYPE_CHECKING:
    from filters.config import FilterSet
    from filters.critic import CriticFilter

CRITIC_PROMPTS = ("firm/obvious", "firm/detailed", "firm/execution", "firm/consistency")


class RealignWork:
    """See `pipelines.work.Work`.

    Args:
        where: the configuration's file, for messages.
        input: the index that another process resolved; by default what the configuration names.

    Raises:
        InputError: whatever of it cannot be planned.
    """

    family = "realign"

    def __init__(self, config: RealignConfig, where: str = "", input: str = "") -> None:
        from pools.plans import Planner
        from pools.pool import TOYWORLD, Pool
        from pools.tasks import load_tasks
        from prompts.catalogue import Catalogue

        self.config = config
        self.roles: tuple[str, ...] = (*ROLES, *(critic.ROLES if config.filters.critic else ()))
        self.tasks = load_tasks(config.tasks_file)
        self.pool = Pool.open(input or config.pool, cache_folder())
        try:
            self._planner = Planner(self.pool, self.tasks, config.planning)
        except InputError as error:
            raise InputError(f"{where}: {error}" if where else str(error)) from error
        self.catalogue = Catalogue(config.prompts, self.family)
        self.input = Input(self.pool.path, self.pool.digest, self.pool.report)
        self.world: World = "toyworld" if config.pool == TOYWORLD else "photos"

    @property
    def planned(self) -> dict[str, int]:
        return planned_per_split(self.config.samples, self.config.splits)

    def plans(self, split: str, ordinals: Sequence[int]) -> Iterator[Plan]:
        """(a) References by task."""
        return self._planner.plans(split, ordinals)

    def recipe(self) -> Callable[..., Any]:
        """(b) (c) (d)"""
        return Recipe(self.catalogue, self.tasks, self.config.reasonings, self.config.paintings)

    @cached_property
    def filters(self) -> FilterSet:
        """(e) Built, with whatever weights they need; they must know the words of the pool's captions."""
        from filters.config import build

        built = build(self.config.filters)
        if built.vocabulary is not None:
            built.vocabulary(str(caption) for caption in self.pool.column("caption"))
        return built

    @property
    def filters_digest(self) -> str:
        return self.filters.digest

    def judge(self) -> CriticFilter | None:
        """The filter that asks models, where one is configured."""
        settings = self.config.filters.critic
        return None if settings is None else critic.CriticFilter(settings, EditCritic(self.catalogue))

    @property
    def notes(self) -> dict[str, str]:
        kin = kinship(self.config.models.painter, self.config.models.judge) if self.config.filters.critic else ""
        return {**self.filters.notes, **({"critic": kin} if kin else {})}

    def prompts(self) -> dict[str, str]:
        asked = (f"{self.family}/", *(CRITIC_PROMPTS if self.config.filters.critic else ()))
        return {name: digest for name, digest in self.catalogue.hashes().items() if name.startswith(asked)}

    def shaping(self) -> dict[str, Any]:
        config = self.config
        wanted = config.tasks or self.tasks
        return {
            "pool": self.input.digest,
            "samples": config.samples,
            "reasonings": config.reasonings,
            # Only where it says something, so that folders begun before there was a choice of paintings go on.
            **({"paintings": config.paintings} if config.paintings > 1 else {}),
            "planning": config.planning.model_dump(mode="json"),
            "tasks": {name: task.model_dump(mode="json") for name, task in self.tasks.items() if name in wanted},
            "filters": {"config": _shaping(config), "digest": self.filters.digest},
        }


def _shaping(config: RealignConfig) -> dict[str, Any]:
    """The filters' settings without a folder's path and the device, which may differ between machines.

    What the weights are is in the filters' digest; a name such as ViT-L-14/openai is kept, for people to read.
    """
    from filters.config import shaping

    settings = shaping(config.filters)
    clip = settings.get("clip")
    if clip and str(clip["weights"]).startswith("local-dir:"):
        clip["weights"] = "local-dir"
    return settings
