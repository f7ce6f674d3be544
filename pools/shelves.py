"""The pool as selection sees it: per split and kind, the rows that may be drawn, photos of a subject side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from pools.draws import Draws
from pools.licenses import AllowList
from pools.options import PlanOptions
from pools.pool import Pool
from schemas.errors import InputError
from schemas.references import Kind, Person

if TYPE_CHECKING:
    import numpy as np

    Codes = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]

_TRIES = 24


@dataclass(frozen=True, eq=False)
class Shelf:
    """The rows of one kind in one split, in the order of their subjects.

    Attributes:
        rows, subjects: row in the pool, and code of its subject, at each place.
        starts: the place of each subject's first photo, and at the end the number of rows.
    """

    kind: Kind
    rows: Codes
    subjects: Codes
    starts: Codes

    def place(self, word: int, draws: Draws, taken: Collection[int]) -> int | None:
        """A place whose subject is not in `taken`, each photo equally likely; None where there is none.

        `word` is the first draw, `draws` gives those after it.
        """
        for _ in range(_TRIES):
            place = word * len(self.rows) >> 64
            if self.subjects.item(place) not in taken:
                return place
            word = draws.word()
        # Few subjects, or most of the photos are of taken ones: go round the subjects.
        groups = len(self.starts) - 1
        first = draws.below(groups)
        for group in ((first + step) % groups for step in range(groups)):
            start, end = self.starts.item(group), self.starts.item(group + 1)
            if self.subjects.item(start) not in taken:
                return start + draws.below(end - start)
        return None

    def photos(self, draws: Draws, place: int, most: int) -> list[int]:
        """`place` and up to `most` - 1 other places that show its subject, in random order."""
        subject = self.subjects[place]
        start, end = (int(self.subjects.searchsorted(subject, side)) for side in ("left", "right"))
        chosen = [place]
        while len(chosen) < min(most, end - start):
            other = start + draws.below(end - start)
            if other not in chosen:
                chosen.append(other)
        return chosen


class Shelves:
    """The shelves of one split, and how many subjects any set of them has."""

    def __init__(self, split: str, by_kind: Mapping[Kind, Shelf]) -> None:
        self.split, self._by_kind = split, dict(by_kind)
        self._counts: dict[frozenset[Kind], int] = {}

    def of(self, kinds: Iterable[Kind]) -> tuple[Shelf, ...]:
        """The shelves of `kinds` that hold anything, in the order of `Kind`."""
        wanted = set(kinds)
        return tuple(shelf for kind, shelf in self._by_kind.items() if kind in wanted)

    def subjects(self, kinds: frozenset[Kind]) -> int:
        """How many subjects the images of `kinds` show."""
        import numpy as np

        if kinds not in self._counts:
            codes = [shelf.subjects[shelf.starts[:-1]] for shelf in self.of(kinds)]
            self._counts[kinds] = len(np.unique(np.concatenate(codes))) if codes else 0
        return self._counts[kinds]


def shelves_of(pool: Pool, options: PlanOptions) -> dict[str, Shelves]:
    """The shelves of each split, of the images that the licence and person allow-lists let through.

    Without a list of persons those that are `identifiable` are left out.

    Raises:
        InputError: the allow-lists let nothing through.
    """
    import numpy as np

    allowed = _allowed(pool, options)
    kinds, subjects = pool.column("kind"), pool.column("subject")
    kind_codes, subject_codes = kinds.indices.to_numpy(), subjects.indices.to_numpy()
    shares = dict(sorted(options.splits.items()))
    split_codes = _splits(subjects.dictionary.to_pylist(), shares)
    shelves = {}
    for number, split in enumerate(shares):
        here = allowed if len(options.splits) == 1 else allowed & (split_codes == number)[subject_codes]
        by_kind = {}
        for kind in Kind:
            if kind.value not in kinds.dictionary.to_pylist():
                continue
            rows = np.flatnonzero(here & (kind_codes == kinds.dictionary.index(kind.value).as_py()))
            rows = rows[np.argsort(subject_codes[rows], kind="stable")].astype(np.int32)
            if len(rows):
                codes = subject_codes[rows].astype(np.int32)
                starts = np.append(np.flatnonzero(np.diff(codes, prepend=-1)), len(codes)).astype(np.int32)
                by_kind[kind] = Shelf(kind, rows, codes, starts)
        shelves[split] = Shelves(split, by_kind)
    return shelves


def _allowed(pool: Pool, options: PlanOptions) -> Any:
    """A mask over the pool's rows."""
    import numpy as np

    allowed = np.ones(len(pool), dtype=bool)
    persons = set(Person) - {Person.IDENTIFIABLE} if options.persons is None else set(options.persons)
    lists: list[tuple[str, str, Any]] = []
    if options.licenses is not None:
        lists.append(("licenses", "license", AllowList(options.licenses)))
    lists.append(("persons", "person", {str(person) for person in persons}))
    for key, name, allow in lists:
        column = pool.column(name)
        values = column.dictionary.to_pylist()
        allowed &= np.array([value in allow for value in values], dtype=bool)[column.indices.to_numpy()]
        if not allowed.any():
            known = ", ".join(repr(value) for value in sorted(values)[:5]) + (", ..." if len(values) > 5 else "")
            raise InputError(f"{key}: the allow-list leaves no image of {pool.path}, which has {known}; widen it")
    return allowed


def _splits(subjects: list[str], shares: Mapping[str, float]) -> Any:
    """The number of the split of each subject: a point in [0, 1) by the hash of its name, cut by the shares."""
    import numpy as np

    if len(shares) == 1:
        return np.zeros(len(subjects), dtype=np.int8)
    ends = np.cumsum(list(shares.values()))
    hashes = b"".join(blake2b(subject.encode(), digest_size=8).digest() for subject in subjects)
    points = (np.frombuffer(hashes, dtype="<u8") >> np.uint64(11)).astype(np.float64) / (1 << 53)
    return np.minimum(np.searchsorted(ends, points * ends[-1], side="right"), len(ends) - 1).astype(np.int8)
