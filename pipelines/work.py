"""What a run makes, with its input opened: the one thing that preparing, estimating and running a dataset share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from annotators.registry import World
from pipelines.config import RunConfig
from prompts.catalogue import Catalogue
from schemas.draft import Draft, Rejection
from schemas.labels import Labels, PairPlan, PromptPlan
from schemas.plan import Plan

AnyPlan = Plan | PairPlan | PromptPlan
Outcome = Draft | Labels | Rejection
"""What comes of a plan: one for each, whatever the dataset; `Labels` holds several rows."""


@dataclass(frozen=True)
class Input:
    """The opened input of a run.

    Attributes:
        path: the index; opening it again is quick, whatever the configuration names.
        digest: of what it holds, wherever that lies.
        report: what indexing raw input found and left out; None where a pool's index was there already.
    """

    path: str
    digest: str
    report: Any = None


class Work(Protocol):
    """A configuration with its input opened. Made in each process; it asks nothing of a model.

    Attributes:
        roles: whom the recipe asks.
        family: the folder of its prompts.
        world: what the images show, for the offline provider.
        catalogue: the prompts, with the user's own in their places.
        planned: plans by split.
    """

    config: RunConfig
    roles: tuple[str, ...]
    family: str
    world: World
    input: Input
    catalogue: Catalogue

    @property
    def planned(self) -> dict[str, int]: ...

    def plans(self, split: str, ordinals: Sequence[int]) -> Iterator[Any]: ...

    def recipe(self) -> Callable[..., Any]: ...

    def judge(self) -> Callable[..., Any] | None:
        """What is asked about a draft that the filters kept; None where nothing is."""
        ...

    def prompts(self) -> dict[str, str]:
        """The hash of each prompt that the recipe may render."""
        ...

    def shaping(self) -> dict[str, Any]:
        """What of this dataset's own settings shapes the bytes, for run.json."""
        ...

    @property
    def notes(self) -> dict[str, str]:
        """What is not computed and why, by score; other warnings by a word of their own."""
        ...

    @property
    def filters_digest(self) -> str: ...


def doubts(work: Work) -> list[str]:
    """Sentences about what of a run's input and splits its user may not have meant."""
    empty = [f"`{split}`" for split, plans in work.planned.items() if not plans]
    said = [f"input: {note}" for note in getattr(work.input.report, "notes", ())]
    if empty:
        said.append(
            f"splits: {' and '.join(empty)} get{'s' * (len(empty) == 1)} no plan: there is too little for its share, "
            "or what belongs together fell into another split; give more rows, another share or another seed"
        )
    return said
