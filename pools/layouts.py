"""Recipes as tables, so that a whole batch of plans draws its references at once.

A layout is a recipe with a number of references: then each place has its role and its shelves. A batch's first try is
a few array operations; where it shows one subject twice, or where a layout is no plain table (several photos of one
subject), `Recipe.select` draws that plan by itself. A plan comes out the same in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pools.recipes import Pick, Recipe
from pools.shelves import Shelf

if TYPE_CHECKING:
    from pools.draws import Floats, Integers


class FirstTry(NamedTuple):
    """What a plan's first draws say: its recipe, how many references, and which (None: draw them singly)."""

    recipe: Recipe
    total: int
    picks: list[Pick] | None


class Layouts:
    """Every recipe of a split at every number of references it may have."""

    def __init__(self, recipes: Sequence[Recipe], max_references: int) -> None:
        import numpy as np

        self._recipes, self._max_references = list(recipes), max_references
        shelves: list[Shelf] = []
        for recipe in recipes:
            shelves += [shelf for shelf in recipe.shelves if shelf not in shelves]
        self._rows = np.concatenate([shelf.rows for shelf in shelves])
        self._subjects = np.concatenate([shelf.subjects for shelf in shelves])
        self._sizes = np.array([len(shelf.rows) for shelf in shelves], dtype=np.float64)
        self._starts = np.cumsum([0, *(len(shelf.rows) for shelf in shelves[:-1])])

        self._fewest = np.array([recipe.fewest for recipe in recipes])
        self._totals = np.array([recipe.most - recipe.fewest + 1 for recipe in recipes], dtype=np.float64)
        self._first = np.cumsum([0, *(recipe.most - recipe.fewest + 1 for recipe in recipes[:-1])])
        layouts = [recipe.layout(total) for recipe in recipes for total in range(recipe.fewest, recipe.most + 1)]
        self._plain = np.array([layout is not None for layout in layouts])
        self._roles = [[role for role, _ in layout or ()] for layout in layouts]
        # Per layout and place: how many shelves may fill it, and which (their numbers, from the left).
        self._choices = np.zeros((len(layouts), max_references))
        self._shelf = np.zeros((len(layouts), max_references, len(shelves)), dtype=np.int64)
        for i, layout in enumerate(layouts):
            for j, (_, fitting) in enumerate(layout or ()):
                self._choices[i, j] = len(fitting)
                self._shelf[i, j, : len(fitting)] = [shelves.index(shelf) for shelf in fitting]

    def first_tries(self, recipes: Integers, drawn: Floats) -> list[FirstTry]:
        """One per plan, from the numbers of their recipes and 1 + max_references numbers in [0, 1) for each."""
        import numpy as np

        beyond = (drawn[:, 0] * self._totals[recipes]).astype(np.int64)
        totals, layouts = self._fewest[recipes] + beyond, self._first[recipes] + beyond
        used = np.arange(self._max_references) < totals[:, None]
        # One number chooses the shelf and, by what is left of it, the place on the shelf.
        scaled = drawn[:, 1:] * self._choices[layouts]
        number = scaled.astype(np.int64)
        shelf = np.take_along_axis(self._shelf[layouts], number[..., None], axis=2)[..., 0]
        place = ((scaled - number) * self._sizes[shelf]).astype(np.int64) + self._starts[shelf]
        rows = self._rows[place]
        # A place that is not used gets a subject of its own, so that only those used can be equal.
        subjects = np.sort(np.where(used, self._subjects[place], -1 - np.arange(self._max_references)), axis=1)
        fits = self._plain[layouts] & (subjects[:, 1:] != subjects[:, :-1]).all(axis=1)
        return [
            FirstTry(self._recipes[r], n, list(map(Pick, row, self._roles[i])) if fit else None)
            for r, n, i, row, fit in zip(
                recipes.tolist(), totals.tolist(), layouts.tolist(), rows.tolist(), fits.tolist(), strict=True
            )
        ]
