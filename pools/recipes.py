"""Task-specific random selection (Re-Align, data pipeline, stage a): what a task takes from a split's shelves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from pools.draws import Draws
from pools.shelves import Shelf, Shelves
from schemas.errors import InputError
from schemas.plan import Stress
from schemas.references import Kind
from schemas.tasks import Role, Slot, Subtype, Task

_ATTEMPTS = 200


@dataclass(frozen=True)
class Pick:
    """A reference to be: the row of the pool, its role, and the defect it was put there with."""

    row: int
    role: Role
    stress: Stress = Stress.NONE


@dataclass(frozen=True)
class _Place:
    """A slot with the shelves that may fill it, and those that are wrong for it."""

    slot: Slot
    shelves: tuple[Shelf, ...]
    wrong: tuple[Shelf, ...]


class Recipe:
    """One task, or one sub-type of it, over the shelves of one split."""

    def __init__(self, task: Task, subtype: Subtype | None, shelves: Shelves, max_references: int) -> None:
        """Join the slots to their shelves.

        Raises:
            InputError: the split cannot fill the slots, or the task needs more than `max_references`.
        """
        self.task, self.subtype, self.split = task.name, subtype.name if subtype else "", shelves.split
        self.slots = tuple(_narrowed(slot, subtype) for slot in task.slots)
        self.fewest = sum(slot.min for slot in self.slots)
        self.most = min(max_references, sum(slot.max for slot in self.slots))
        self._room_for_distractor = self.fewest < max_references
        self._max_references = max_references
        if self.most < self.fewest or not self.most:
            raise InputError(f"max_references: {max_references} is fewer than task {task.name} needs ({self.fewest})")
        for kinds, needed in _needs(self.slots):
            if shelves.subjects(kinds) < needed:
                raise InputError(_lacking(task, subtype, shelves, kinds, needed))
        self._any = shelves.of(Kind)
        self._places = tuple(
            _Place(slot, shelves.of(slot.kinds), shelves.of(set(Kind) - set(slot.kinds))) for slot in self.slots
        )
        self._may_mismatch = tuple(
            number for number, place in enumerate(self._places) if place.wrong and place.slot.role is not Role.BASE
        )

    def can(self, stress: Stress) -> bool:
        """Whether a plan of this recipe can have that defect."""
        if stress is Stress.MISMATCHED:
            return bool(self._may_mismatch)
        return stress is not Stress.DISTRACTOR or self._room_for_distractor

    def select(self, draws: Draws, stress: Stress) -> tuple[list[Pick], Stress]:
        """References for one plan, in order, and the defect they have in the end.

        No two are of one subject, but for those of a `same_subject` slot, which all are. A defect for which the pool
        turns out to have nothing left is dropped.

        Raises:
            InputError: the split has so few subjects that none of many draws fitted.
        """
        for _ in range(_ATTEMPTS):
            picks = self._attempt(draws, stress)
            if picks is not None:
                return picks, max((p.stress for p in picks), key=lambda s: s is not Stress.NONE)
        raise InputError(
            f"pool: split {self.split} has too few subjects for task {self.task}; add some, or leave it out"
        )

    def _attempt(self, draws: Draws, stress: Stress) -> list[Pick] | None:
        counts = self._counts(draws, self.most - (stress is Stress.DISTRACTOR and self.most == self._max_references))
        wrong = self._wrong(draws, counts) if stress is Stress.MISMATCHED else -1
        picks: list[Pick] = []
        taken: set[int] = set()
        for number, (place, count) in enumerate(zip(self._places, counts, strict=True)):
            rows = _fill(draws, place, count, taken)
            if len(rows) < place.slot.min:
                return None
            found = [Pick(row, place.slot.role) for row in rows]
            if number == wrong and found:
                stranger = _one(draws, place.wrong, taken)
                if stranger is not None:
                    found[draws.below(len(found))] = Pick(stranger, place.slot.role, Stress.MISMATCHED)
            picks += found
        if not picks:
            return None
        if stress is Stress.BLURRED:
            chosen = draws.below(len(picks))
            picks[chosen] = Pick(picks[chosen].row, picks[chosen].role, Stress.BLURRED)
        elif stress is Stress.DISTRACTOR:
            extra = _one(draws, self._any, taken)
            if extra is not None:
                picks.append(Pick(extra, Role.DONOR, Stress.DISTRACTOR))
        return picks

    def _counts(self, draws: Draws, most: int) -> list[int]:
        """References per slot: their sum is equally likely anywhere between the fewest and `most`."""
        counts = [slot.min for slot in self.slots]
        for _ in range(draws.below(most - self.fewest + 1) if most > self.fewest else 0):
            open_slots = [i for i, slot in enumerate(self.slots) if counts[i] < slot.max]
            counts[open_slots[0] if len(open_slots) == 1 else open_slots[draws.below(len(open_slots))]] += 1
        return counts

    def _wrong(self, draws: Draws, counts: list[int]) -> int:
        filled = [number for number in self._may_mismatch if counts[number]]
        return filled[draws.below(len(filled))] if filled else -1


def _fill(draws: Draws, place: _Place, count: int, taken: set[int]) -> list[int]:
    """Up to `count` rows for a slot; their subjects join `taken`."""
    if not place.slot.same_subject:
        rows = (_one(draws, place.shelves, taken) for _ in range(count))
        return [row for row in rows if row is not None]
    # The subject must have as many photos as the slot takes at least; few do where that is more than one.
    for _ in range(_ATTEMPTS if count and place.slot.min > 1 else min(count, 1)):
        shelf = place.shelves[draws.below(len(place.shelves))]
        at = shelf.place(draws, taken)
        if at is None:
            continue
        photos = shelf.photos(draws, at, count)
        if len(photos) >= place.slot.min:
            taken.add(shelf.subjects.item(at))
            return [shelf.rows.item(photo) for photo in photos]
    return []


def _one(draws: Draws, shelves: tuple[Shelf, ...], taken: set[int]) -> int | None:
    """A row of a subject that is not taken yet: each shelf equally likely, then each of its photos."""
    if not shelves:
        return None
    first = draws.below(len(shelves)) if len(shelves) > 1 else 0
    for shelf in (*shelves[first:], *shelves[:first]):
        at = shelf.place(draws, taken)
        if at is not None:
            taken.add(shelf.subjects.item(at))
            return shelf.rows.item(at)
    return None


def _narrowed(slot: Slot, subtype: Subtype | None) -> Slot:
    kinds: tuple[Kind, ...] = ()
    if subtype and slot.role in (Role.BASE, Role.DONOR):
        kinds = subtype.base_kinds if slot.role is Role.BASE else subtype.donor_kinds
    return slot.model_copy(update={"kinds": kinds}) if kinds else slot


def _needs(slots: tuple[Slot, ...]) -> Iterator[tuple[frozenset[Kind], int]]:
    """For every set of kinds, how many subjects the slots confined to it need: enough of each is enough (Hall)."""
    for size in range(1, len(Kind) + 1):
        for kinds in map(frozenset, combinations(Kind, size)):
            confined = (slot for slot in slots if set(slot.kinds) <= kinds)
            yield kinds, sum(min(slot.min, 1) if slot.same_subject else slot.min for slot in confined)


def _lacking(task: Task, subtype: Subtype | None, shelves: Shelves, kinds: frozenset[Kind], needed: int) -> str:
    named = " or ".join(str(kind) for kind in Kind if kind in kinds)
    what = f"task {task.name}" + (f" ({subtype.name})" if subtype else "")
    return (
        f"pool: split {shelves.split} has {shelves.subjects(kinds)} subjects of kind {named} and {what} needs {needed};"
        f" add such images, give the split a larger share, or leave the task out"
    )
