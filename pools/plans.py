"""Plan i of a split: its task, its references in order, and how its instruction is to speak."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice

from pools.draws import Draws, Weighted
from pools.options import PlanOptions as PlanOptions
from pools.options import StressOptions as StressOptions
from pools.options import WordingShares as WordingShares
from pools.pool import Pool
from pools.recipes import Pick, Recipe
from pools.shelves import Shelves, shelves_of
from pools.unchecked import unchecked
from schemas.errors import InputError
from schemas.plan import Plan, PlannedReference, Stress, Wording
from schemas.references import Reference
from schemas.tasks import Task

_BATCH = 1024


@dataclass(frozen=True)
class _Outline:
    """A plan whose references are still rows."""

    ordinal: int
    seed: int
    recipe: Recipe
    picks: list[Pick]
    wording: Wording
    stress: Stress


class Planner:
    """Makes the plans of every split.

    A plan depends on the pool, the tasks, the options, its split and its ordinal, and not on any other plan: any
    slice can be made anywhere.

    Attributes:
        weights: per task that is made, its share of the plans; they add up to 1.
        left_out: per split, the sub-types (`attribute.hair`) that the pool cannot fill and that are not drawn there.
    """

    def __init__(self, pool: Pool, tasks: Mapping[str, Task], options: PlanOptions) -> None:
        """Check that every split can fill every task.

        Raises:
            InputError: an unknown task or sub-type is named, or a split lacks what a task needs.
        """
        self._pool, self._options = pool, options
        self.weights = _weights(tasks, options)
        self.left_out: dict[str, list[str]] = {}
        _check_subtypes([tasks[name] for name in self.weights], options)
        self._recipes: dict[str, dict[str, Weighted[Recipe]]] = {}
        for split, shelves in shelves_of(pool, options).items():
            self.left_out[split] = []
            self._recipes[split] = {name: self._recipe(tasks[name], shelves) for name in self.weights}
        self._task = Weighted(self.weights)
        wording = options.wording
        self._wording = (
            Weighted(wording.style),
            Weighted(wording.naming),
            Weighted(wording.length),
            Weighted(wording.focus),
            Weighted(wording.language),
        )
        self._wordings: dict[tuple[object, ...], Wording] = {}

    def plan(self, split: str, ordinal: int) -> Plan:
        """Plan `ordinal` (from 0) of `split`."""
        return next(self.plans(split, (ordinal,)))

    def plans(self, split: str, ordinals: Iterable[int]) -> Iterator[Plan]:
        """The plans of `ordinals`, in that order; memory does not grow with their number.

        Raises:
            InputError: `split` is none of the options' splits.
        """
        if split not in self._recipes:
            raise InputError(f"splits: there is no split {split!r}; the configuration has {', '.join(self._recipes)}")
        coming = iter(ordinals)
        while batch := [self._outline(split, ordinal) for ordinal in islice(coming, _BATCH)]:
            rows = list({pick.row for outline in batch for pick in outline.picks})
            references = dict(zip(rows, self._pool.references(rows), strict=True))
            for outline in batch:
                yield self._filled(split, outline, references)

    def _outline(self, split: str, ordinal: int) -> _Outline:
        if ordinal < 0:
            raise ValueError(f"ordinal {ordinal} is below 0")
        # References are drawn last: how many numbers they take depends on the pool, and nothing comes after them.
        draws = Draws(f"{self._options.seed}/{split}/{ordinal}")
        recipe = self._recipes[split][self._task.draw(draws)].draw(draws)
        seed = draws.word() >> 1
        drawn = tuple(choice.draw(draws) for choice in self._wording)
        wording = self._wordings.get(drawn) or self._wordings.setdefault(drawn, Wording(**_named(drawn)))
        picks, stress = recipe.select(draws, self._stress(draws, recipe))
        return _Outline(ordinal, seed, recipe, picks, wording, stress)

    def _stress(self, draws: Draws, recipe: Recipe) -> Stress:
        """The defect this plan is to have; one that its task cannot have gives way to the next that it can."""
        options = self._options.stress
        if not options.share or draws.unit() >= options.share:
            return Stress.NONE
        first = draws.below(len(options.kinds))
        return next((s for s in (*options.kinds[first:], *options.kinds[:first]) if recipe.can(s)), Stress.NONE)

    def _filled(self, split: str, outline: _Outline, references: Mapping[int, Reference]) -> Plan:
        """The outline as a `Plan`, unchecked: every value comes from a checked one or is made here to fit."""
        planned, ids = [], []
        for pick in outline.picks:
            reference = references[pick.row]
            planned.append(
                unchecked(PlannedReference, {"reference": reference, "role": pick.role, "stress": pick.stress})
            )
            ids.append(reference.id)
        key = "\n".join((outline.recipe.task, ",".join(ids), str(self._options.seed), split, str(outline.ordinal)))
        return unchecked(
            Plan,
            {
                "id": sha256(key.encode()).hexdigest()[:32],
                "ordinal": outline.ordinal,
                "split": split,
                "seed": outline.seed,
                "task": outline.recipe.task,
                "subtype": outline.recipe.subtype,
                "references": tuple(planned),
                "wording": outline.wording,
                "stress": outline.stress,
            },
        )

    def _recipe(self, task: Task, shelves: Shelves) -> Weighted[Recipe]:
        """The task's recipes in one split: one, or one per sub-type that the split can fill."""
        most = self._options.max_references
        if not task.subtypes:
            return Weighted({Recipe(task, None, shelves, most): 1.0})
        recipes, lacking = {}, None
        for subtype in task.subtypes:
            weight = self._options.subtypes.get(subtype.name, subtype.weight)
            if not weight:
                continue
            try:
                recipes[Recipe(task, subtype, shelves, most)] = weight
            except InputError as error:
                if subtype.name in self._options.subtypes:  # asked for by name
                    raise
                lacking = error
                self.left_out[shelves.split].append(f"{task.name}.{subtype.name}")
        if not recipes:
            raise lacking or InputError(
                f"subtypes: every sub-type of task {task.name} has weight 0; leave the task out"
            )
        return Weighted(recipes)


def _weights(tasks: Mapping[str, Task], options: PlanOptions) -> dict[str, float]:
    wanted = options.tasks
    if wanted is None:
        wanted = {name: task.share for name, task in tasks.items()}
    for name in wanted:
        if name not in tasks:
            raise InputError(f"tasks: there is no task {name!r}; there are {', '.join(tasks)}")
    made = {name: weight for name, weight in wanted.items() if weight > 0}
    if not made:
        raise InputError("tasks: no task has a share above 0; give one in the configuration or in the tasks' file")
    total = sum(made.values())
    return {name: weight / total for name, weight in made.items()}


def _check_subtypes(tasks: Iterable[Task], options: PlanOptions) -> None:
    known = [subtype.name for task in tasks for subtype in task.subtypes]
    for name in options.subtypes:
        if name not in known:
            named = ", ".join(known) or "none, as no chosen task has any"
            raise InputError(f"subtypes: there is no sub-type {name!r} in the chosen tasks; there are {named}")


def _named(drawn: tuple[object, ...]) -> dict[str, object]:
    return dict(zip(("style", "naming", "length", "focus", "language"), drawn, strict=True))
