"""FIRM's runs with their inputs opened: edit pairs or prompts, plans, prompts, critics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from annotators.critics import EditCritic, GenerationCritic
from annotators.families import kinship
from annotators.registry import World
from pipelines import firm_edit, firm_gen
from pipelines.config import FirmEditConfig, FirmGenConfig
from pipelines.places import cache_folder
from pipelines.work import Input
from schemas.errors import InputError

TOYWORLD = "toyworld"


class FirmEditWork:
    """See `pipelines.work.Work`; the arguments are as `RealignWork`'s."""

    family = "firm"
    filters_digest = ""
    notes: Mapping[str, str] = {}

    def __init__(self, config: FirmEditConfig, where: str = "", input: str = "") -> None:
        from pools.pairs import PairPlanner, Pairs
        from prompts.catalogue import Catalogue

        self.config = config
        self.roles: tuple[str, ...] = ("describer", *(("rewriter",) if config.rewrites.share else ()), "judge")
        pairs = Pairs.open(input or _named(config.pairs, "pairs", where), cache_folder())
        self._planner = PairPlanner(pairs, config.seed, config.splits, config.samples, config.rewrites)
        self.catalogue = Catalogue(config.prompts, self.family)
        self.input = Input(pairs.path, pairs.digest, pairs.report)
        self.world: World = "toyworld" if config.pairs == TOYWORLD else "photos"

    @property
    def planned(self) -> dict[str, int]:
        return dict(self._planner.planned)

    def plans(self, split: str, ordinals: Sequence[int]) -> Iterator[Any]:
        return self._planner.plans(split, ordinals)

    def recipe(self) -> Callable[..., Any]:
        return firm_edit.Recipe(EditCritic(self.catalogue))

    def judge(self) -> None:
        return None

    def prompts(self) -> dict[str, str]:
        names = ["obvious", "detailed", *(["rewriter"] if self.config.rewrites.share else [])]
        return _hashes(self.catalogue.hashes(), [*names, *map(str, firm_edit.DIMENSIONS), *_STUDENT_EDIT])

    def shaping(self) -> dict[str, Any]:
        return {
            "input": self.input.digest,
            "samples": self.config.samples or "all",
            "planning": _planning(self.config, rewrites=self.config.rewrites.model_dump(mode="json")),
        }


class FirmGenWork:
    """See `pipelines.work.Work`; the arguments are as `RealignWork`'s."""

    family = "firm"
    filters_digest = ""

    def __init__(self, config: FirmGenConfig, where: str = "", input: str = "") -> None:
        from pools.prompts_file import PromptPlanner, Prompts
        from prompts.catalogue import Catalogue

        self.config = config
        prompts = Prompts.open(input or _named(config.prompts_file, "prompts", where), cache_folder())
        planner = PromptPlanner(prompts, config.seed, config.splits, config.samples, config.paintings, config.quality)
        self._planner = planner
        self.painted = prompts.imageless > 0
        self.roles: tuple[str, ...] = (*(("painter",) if self.painted else ()), "planner", "judge")
        self.catalogue = Catalogue(config.prompts, self.family)
        self.input = Input(prompts.path, prompts.digest, prompts.report)
        self.world: World = "toyworld" if config.prompts_file == TOYWORLD else "photos"

    @property
    def planned(self) -> dict[str, int]:
        return dict(self._planner.planned)

    def plans(self, split: str, ordinals: Sequence[int]) -> Iterator[Any]:
        return self._planner.plans(split, ordinals)

    def recipe(self) -> Callable[..., Any]:
        return firm_gen.Recipe(GenerationCritic(self.catalogue), self.config.size_pair)

    @property
    def notes(self) -> dict[str, str]:
        kin = kinship(self.config.models.painter, self.config.models.judge) if self.painted else ""
        return {"judge": kin} if kin else {}

    def judge(self) -> None:
        return None

    def prompts(self) -> dict[str, str]:
        quality = ["quality"] if self.config.quality else []
        painter = ["painter"] if self.painted else []
        return _hashes(self.catalogue.hashes(), [*painter, "planner", "following", "student_following", *quality])

    def shaping(self) -> dict[str, Any]:
        config = self.config
        own = {"paintings": config.paintings, "quality": config.quality, "size": config.size or ""}
        return {
            "input": self.input.digest,
            "samples": config.samples or "all",
            "planning": _planning(config, **own),
        }


_STUDENT_EDIT = ("student_execution", "student_consistency")


def _hashes(all_of: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {f"firm/{name}": all_of[f"firm/{name}"] for name in names}


def _planning(config: FirmEditConfig | FirmGenConfig, **own: Any) -> dict[str, Any]:
    return {"seed": config.seed, "splits": dict(config.splits), **own}


def _named(spec: str, what: str, where: str) -> str:
    """The input that a configuration names; the drawn world's is made on first use."""
    if spec == TOYWORLD:
        from pools.drawn import drawn_pairs, drawn_prompts

        return (drawn_pairs if what == "pairs" else drawn_prompts)(cache_folder())
    if not spec.strip():
        raise InputError(f"{where}: {what}: is empty; name a JSONL or Parquet file")
    return spec
