"""A Re-Align run with its pool opened: tasks, plans, prompts, filters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from annotators.critics import EditCritic
from annotators.families import kinship
from annotators.interface import Models
from annotators.omnicontext import OmniContextCritic
from annotators.registry import World
from annotators.safety import SafetyCritic
from filters.critic import CriticFilter
from filters.judges import JudgeFilter, Judges
from filters.omnicontext import OmniContextFilter, Shown, of_that_size
from filters.safety import SafetyFilter
from pipelines.config import RealignConfig
from pipelines.places import cache_folder
from pipelines.realign import ROLES, Recipe
from pipelines.spec import planned_per_split
from pipelines.work import Input
from schemas.draft import Draft, Rejection
from schemas.errors import InputError
from schemas.plan import Plan

if TYPE_CHECKING:
    from filters.config import FiltersConfig, FilterSet

PROMPTS = {
    "safety": ("safety/verdict",),
    "omnicontext": ("omnicontext/prompt_following", "omnicontext/subject_consistency"),
    "critic": ("firm/obvious", "firm/detailed", "firm/execution", "firm/consistency"),
}
"""By filter, what it asks."""


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
        asked = [role for roles in config.filters.judges.values() for role in roles]
        self.roles: tuple[str, ...] = tuple(dict.fromkeys((*ROLES, *sorted(asked))))
        self.tasks = load_tasks(config.tasks_file)
        _check_filters(config, list(self.tasks), where)
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

    def judge(self, shown: Shown = of_that_size) -> Callable[..., Any] | None:
        """The filters that ask models, where any are configured.

        Args:
            shown: brings a reference to the size that a protocol asks for; by default it only says so, for estimates.
        """
        config = self.config.filters
        if not config.judges:
            return None
        by_task = {task: self._judges(config.of_task(task), shown) for task in config.tasks}
        every = self._judges(config, shown)

        async def judge(draft: Draft, models: Models) -> Draft | Rejection:
            return await by_task.get(draft.plan.task, every)(draft, models)

        return judge

    def _judges(self, config: FiltersConfig, shown: Shown) -> Judges:
        found: dict[str, JudgeFilter] = {}
        if config.safety is not None:
            found["safety"] = SafetyFilter(config.safety, SafetyCritic(self.catalogue))
        if config.omnicontext is not None:
            found["omnicontext"] = OmniContextFilter(config.omnicontext, OmniContextCritic(self.catalogue), shown)
        if config.critic is not None:
            found["critic"] = CriticFilter(config.critic, EditCritic(self.catalogue))
        return Judges([found[name] for name in config.judges])

    @property
    def notes(self) -> dict[str, str]:
        models = self.config.models
        kin = kinship(models.painter, models.judge)
        return {**self.filters.notes, **(dict.fromkeys(self.config.filters.judges, kin) if kin else {})}

    def prompts(self) -> dict[str, str]:
        asked = (f"{self.family}/", *(prompt for name in self.config.filters.judges for prompt in PROMPTS[name]))
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


def _check_filters(config: RealignConfig, tasks: Sequence[str], where: str) -> None:
    """Nothing, where the filters' tasks exist, and no filter asks a model that has no rules for it.

    Raises:
        InputError: one line with the mend.
    """
    file = f"{where}: " if where else ""
    if unknown := sorted(set(config.filters.tasks) - set(tasks)):
        raise InputError(f"{file}filters.tasks.{unknown[0]}: is no task; there are {', '.join(tasks)}")
    for name in config.filters.judges:
        if name != "critic" and any(model.provider == "offline" for model in config.models.judge):
            raise InputError(
                f"{file}models.judge.provider: offline has no rules for filters.{name}; name gemini or openai, or "
                "leave that filter out"
            )


def _shaping(config: RealignConfig) -> dict[str, Any]:
    """The filters' settings without a folder's path and the device, which may differ between machines.

    What the weights are is in the filters' digest; a name such as ViT-L-14/openai is kept, for people to read.
    """
    from filters.config import shaping

    settings = shaping(config.filters)
    for name in ("clip", "aesthetic", "preference"):
        for key, value in (settings.get(name) or {}).items():
            if str(value).startswith("local-dir:"):
                settings[name][key] = "local-dir"
    return settings
