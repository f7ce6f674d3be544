"""What only all rows of a list together decide: a plan's id, which rows repeat another, and what belongs together."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pools.inputs import Form
from pools.splits import groups, same_text

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Keys = np.ndarray[Any, np.dtype[np.bytes_]]

# Bytes of a digest that are kept: enough that no two of any number of rows agree by chance.
_WIDTH = 16
_NONE = bytes(_WIDTH)
_SLICE = 10_000


class InputKeys:
    """Digests of the rows of a list, a few dozen bytes for each, and what follows from them.

    A plan's id is a hash of the row's id, its images' digests, its text, and how many rows before it have the same.
    A row repeats another that has the same images and text. Rows of one subject share an image, or (for a list whose
    subject is a text) the text but for case and white space, directly or through other rows.
    """

    def __init__(self, form: Form) -> None:
        self._form = form
        self._ids, self._contents, self._nodes, self._rows = bytearray(), bytearray(), bytearray(), array("q")

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in the next rows."""
        shas = [f"sha256_{i}" for i in range(len(self._form.images))]
        names = ("id", "text", "problem", *shas)
        for id, text, problem, *images in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
            content = "\n".join([*images, text])
            self._ids += _digest(f"{id}\n{content}")
            self._contents += _NONE if problem else _digest(content)
            for image in images:
                self._nodes += bytes.fromhex(image)[:_WIDTH] or _NONE
            if not self._form.illustrated:
                same = same_text(text)
                self._nodes += _digest(same) if same else _NONE
        self._rows.extend(batch.column("row").to_pylist())

    def settled(self) -> SettledKeys:
        """What follows, once every row was taken in."""
        return SettledKeys(self._rows, _keys(self._ids), _keys(self._contents), _keys(self._nodes))


class SettledKeys:
    """See `InputKeys`. Rows go by their position in the list."""

    def __init__(self, rows: Sequence[int], ids: Keys, contents: Keys, nodes: Keys) -> None:
        import numpy as np

        self._rows, self._ids = rows, ids
        self._occurrence = _occurrence(ids)
        self._first = _first(contents)
        self._first[contents == _key(_NONE)] = -1
        repeated = self._first[(self._first >= 0) & (self._first != np.arange(len(rows)))]
        self._repeated = dict.fromkeys(repeated.tolist(), "")
        names, codes = np.unique(nodes, return_inverse=True)
        self._names, self._subject = names, _subjects(names, codes.reshape(len(rows), -1))

    def complete(self, batch: pa.RecordBatch, start: int, schema: pa.Schema) -> pa.RecordBatch:
        """`batch`, whose first row is at `start`, with its plans and subjects, and with `duplicate` as a problem."""
        import pyarrow as pa

        problems, details, ids = (batch.column(name).to_pylist() for name in ("problem", "detail", "id"))
        plans, subjects = [], []
        for i in range(batch.num_rows):
            at = start + i
            plan = sha256(_bytes(self._ids[at]) + b"%d" % self._occurrence[at]).hexdigest()[:32]
            plans.append(plan)
            subject = self._subject[at]
            subjects.append(plan if subject < 0 else _bytes(self._names[subject]).hex())
            first = self._first[at]
            if at in self._repeated:
                self._repeated[at] = ids[i]
            if first not in (-1, at):
                before = f"row {self._rows[first]} ({self._repeated[int(first)]})"
                problems[i] = "duplicate"
                details[i] = f"row {self._rows[at]} ({ids[i]}) has the same images and text as {before}"
        known = {name: batch.column(name) for name in batch.schema.names}
        made = {"problem": problems, "detail": details, "plan": plans, "subject": subjects}
        cells = known | {name: pa.array(values, pa.large_string()) for name, values in made.items()}
        return pa.record_batch([cells[field.name] for field in schema], schema=schema)


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()[:_WIDTH]


def _keys(data: bytearray) -> Keys:
    import numpy as np

    return np.frombuffer(bytes(data), dtype=f"S{_WIDTH}")


def _key(data: bytes) -> Any:
    return _keys(bytearray(data))[0]


def _bytes(key: Any) -> bytes:
    """numpy drops the zeros at a key's end."""
    return bytes(key).ljust(_WIDTH, b"\0")


def _first(keys: Keys) -> Any:
    """For each key, the position of the first one equal to it."""
    import numpy as np

    _, first, codes = np.unique(keys, return_index=True, return_inverse=True)
    return first[codes.reshape(-1)]


def _occurrence(keys: Keys) -> Any:
    """For each key, how many before it are equal to it."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    positions = np.arange(len(keys))
    starts = np.where(np.append(True, ordered[1:] != ordered[:-1]), positions, 0) if len(keys) else positions
    found = np.empty(len(keys), dtype=np.int64)
    found[order] = positions - np.maximum.accumulate(starts)
    return found


def _subjects(names: Keys, nodes: Any) -> Any:
    """For each row the least node of its group, -1 where it has none; names are sorted, so no order of rows matters."""
    import numpy as np

    none = 0 if len(names) and names[0] == _key(_NONE) else -1
    roots = np.array(groups(_connected(nodes, none), len(names)), dtype=np.int64)
    own = nodes.max(axis=1)  # any node of the row; it is `none`, the least, only where all are
    return np.where(own == none, -1, roots[own])


def _connected(nodes: Any, none: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(nodes), _SLICE):
        for row in nodes[start : start + _SLICE].tolist():
            linked = [node for node in row if node != none]
            if len(linked) > 1:
                yield linked
