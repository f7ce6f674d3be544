"""Plan i of a split: its task, its references in order, and how its instruction is to speak."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import islice, product
from typing import Any, NamedTuple

from pools.draws import Draws, Weighted, units, words
from pools.layouts import Layouts
from pools.options import PlanOptions as PlanOptions
from pools.options import StressOptions as StressOptions
from pools.options import WordingShares as WordingShares
from pools.pool import Pool
from pools.recipes import Pick, Recipe
from pools.shelves import Shelves, shelves_of
from pools.unchecked import unchecked
from schemas.errors import InputError
from schemas.plan import Plan, PlannedReference, Stress, Wording
from schemas.tasks import Task

# Large enough that a batch's look-ups cost little per plan, small enough that its records are short-lived: the
# garbage collector walks those that live longer.
_BATCH = 512


class _Outline(NamedTuple):
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
        _check_subtypes(tasks.values(), options)
        self._recipes: dict[str, Weighted[Recipe]] = {}
        self._layouts: dict[str, Layouts] = {}
        for split, shelves in shelves_of(pool, options).items():
            self.left_out[split] = []
            recipes: dict[Recipe, float] = {}
            for name, weight in self.weights.items():
                recipes |= {recipe: weight * part for recipe, part in self._parts(tasks[name], shelves).items()}
            self._recipes[split] = Weighted(recipes)
            self._layouts[split] = Layouts(self._recipes[split].items, options.max_references)
        self._looks = Weighted(_looks(options))

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
        while batch := list(islice(coming, _BATCH)):
            yield from self._filled(split, self._outlines(split, batch))

    def _outlines(self, split: str, ordinals: list[int]) -> list[_Outline]:
        if min(ordinals) < 0:
            raise ValueError(f"ordinal {min(ordinals)} is below 0")
        keys = [f"{self._options.seed}/{split}/{ordinal}" for ordinal in ordinals]
        # A plan's own seed, its wording and defect, its recipe, how many references, and where each one lies.
        drawn = words(keys, 4 + self._options.max_references)
        seeds, parts = (drawn[:, 0] >> 1).tolist(), units(drawn)
        looks = self._looks.numbers(parts[:, 1]).tolist()
        tries = self._layouts[split].first_tries(self._recipes[split].numbers(parts[:, 2]), parts[:, 3:])
        outlines = []
        for key, ordinal, seed, look, (recipe, total, picks) in zip(keys, ordinals, seeds, looks, tries, strict=True):
            wording, asked = self._looks.items[look]
            stress = self._possible(recipe, asked) if asked else Stress.NONE
            if picks is None or stress is not Stress.NONE:
                picks = recipe.select(Draws(f"{key}/again"), total, stress)
                stress = next((pick.stress for pick in picks if pick.stress is not Stress.NONE), Stress.NONE)
            outlines.append(_Outline(ordinal, seed, recipe, picks, wording, stress))
        return outlines

    def _possible(self, recipe: Recipe, asked: Stress) -> Stress:
        """The defect asked for, or where the task cannot have it, the next of the configured ones that it can."""
        kinds = self._options.stress.kinds
        first = kinds.index(asked)
        return next((stress for stress in (*kinds[first:], *kinds[:first]) if recipe.can(stress)), Stress.NONE)

    def _filled(self, split: str, outlines: list[_Outline]) -> list[Plan]:
        """The outlines as plans, unchecked: every value comes from a checked one or is made here to fit."""
        rows = list({pick.row for outline in outlines for pick in outline.picks})
        references = dict(zip(rows, self._pool.references(rows), strict=True))
        planned = iter(
            unchecked(
                PlannedReference,
                (
                    {"reference": references[row], "role": role, "stress": stress}
                    for outline in outlines
                    for row, role, stress in outline.picks
                ),
            )
        )
        return unchecked(
            Plan, (self._values(split, outline, tuple(islice(planned, len(outline.picks)))) for outline in outlines)
        )

    def _values(self, split: str, outline: _Outline, planned: tuple[PlannedReference, ...]) -> dict[str, Any]:
        recipe, ids = outline.recipe, ",".join([p.reference.id for p in planned])
        key = f"{recipe.task}\n{ids}\n{self._options.seed}\n{split}\n{outline.ordinal}"
        return {
            "id": sha256(key.encode()).hexdigest()[:32],
            "ordinal": outline.ordinal,
            "split": split,
            "seed": outline.seed,
            "task": recipe.task,
            "subtype": recipe.subtype,
            "references": planned,
            "wording": outline.wording,
            "stress": outline.stress,
        }

    def _parts(self, task: Task, shelves: Shelves) -> dict[Recipe, float]:
        """The task's recipes in one split and the part each has in it: one, or one per sub-type the split can fill."""
        most = self._options.max_references
        if not task.subtypes:
            return {Recipe(task, None, shelves, most): 1.0}
        recipes: dict[Recipe, float] = {}
        lacking: InputError | None = None
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
        total = sum(recipes.values())
        return {recipe: weight / total for recipe, weight in recipes.items()}


def _weights(tasks: Mapping[str, Task], options: PlanOptions) -> dict[str, float]:
    wanted = options.tasks
    if wanted is None:
        wanted = {name: task.share for name, task in tasks.items()}
    for name in wanted:
        if name not in tasks:
            raise InputError(f"tasks: there is no task {name!r}; there are {', '.join(tasks)}")
    # By name, so that the order in which a configuration lists them decides nothing.
    made = {name: weight for name, weight in sorted(wanted.items()) if weight > 0}
    if not made:
        raise InputError("tasks: no task has a share above 0; give one in the configuration or in the tasks' file")
    total = sum(made.values())
    return {name: weight / total for name, weight in made.items()}


def _check_subtypes(tasks: Iterable[Task], options: PlanOptions) -> None:
    known = [subtype.name for task in tasks for subtype in task.subtypes]
    for name in options.subtypes:
        if name not in known:
            raise InputError(f"subtypes: there is no sub-type {name!r}; there are {', '.join(known) or 'none'}")


def _looks(options: PlanOptions) -> dict[tuple[Wording, Stress | None], float]:
    """Every combination of wording choices and of a defect (or none) with its weight: one draw makes them all."""
    shares, stress = options.wording, options.stress
    defects: dict[Stress | None, float] = {None: 1 - stress.share}
    defects |= {kind: stress.share / len(stress.kinds) for kind in stress.kinds if stress.share}
    looks: dict[tuple[Wording, Stress | None], float] = {}
    for (style, a), (naming, b), (length, c), (focus, d), (language, e) in product(
        sorted(shares.style.items()),
        sorted(shares.naming.items()),
        sorted(shares.length.items()),
        sorted(shares.focus.items()),
        sorted(shares.language.items()),
    ):
        wording = Wording(style=style, naming=naming, length=length, focus=focus, language=language)
        looks |= {(wording, defect): a * b * c * d * e * f for defect, f in defects.items()}
    return looks
