"""FIRM's student rows out of the shards, by number: what TRL's trainer shuffles, shares among processes and resumes.

A row is made where `shards.export.trl` makes it, so training from the shards and from an export is the same.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas.errors import InputError
from shards.export.conversations import conversations
from shards.export.prompts import PlaceholderError
from shards.export.source import ImageBytes, Row
from shards.export.trl import turns
from shards.manifest import read_run, root_run
from shards.reader import Reader
from storage import paths

_FIRM = ("firm-edit", "firm-gen")


class Rows:
    """The student rows of a split of several outputs.

    Args:
        outs: outputs of `firm-edit` and `firm-gen`.
        split: outputs without it count for nothing, as long as one has it.
        ids: a file of sample ids, one to a line: these rows alone. None: all.

    Raises:
        InputError: an output that is none or of another dataset, no rows, a first row without student prompt or
            answer, an id that no output has.
        DamageError: an index is missing or damaged.
    """

    def __init__(self, outs: Sequence[str], split: str = "train", ids: str | None = None) -> None:
        self._readers: list[Reader] = []
        for out in outs:
            _, run = read_run(out)
            dataset = str(root_run(run).get("dataset", ""))
            if dataset not in _FIRM:
                what = f"is an output of `{dataset}`" if dataset else "says of no dataset"
                raise InputError(f"data: {out} {what}, which has no student rows; name one of {' or '.join(_FIRM)}")
            if run["shards"].get(split):
                self._readers.append(Reader(out, split, form="raw", check=True))
        if not self._readers:
            raise InputError(f"data: {', '.join(outs)}: no rows in the split `{split}`; give the run one (`splits:`)")
        self._outs = [out for out in outs if read_run(out)[1]["shards"].get(split)]
        sizes = [len(reader.places) for reader in self._readers]
        self._starts = np.cumsum([0, *sizes])
        self.numbers = np.arange(self._starts[-1]) if ids is None else self._chosen(ids)
        for start in self._starts[:-1]:
            self.row(int(start))

    def __len__(self) -> int:
        return len(self.numbers)

    def row(self, number: int) -> dict[str, Any]:
        """`prompt` and `completion`, a message each, and `images` in the order in which the prompt shows them (PIL).

        Raises:
            InputError: the row has no student prompt or no answer.
            DamageError: it is not what its index says.
        """
        from PIL import Image

        which = int(np.searchsorted(self._starts, number, side="right")) - 1
        reader, at = self._readers[which], number - int(self._starts[which])
        (found,) = reader.fetched(np.array([at]))
        if found.damage is not None:
            raise found.damage
        row = _row(found.sample, reader.split, self._outs[which])
        try:
            held = conversations(row, _FIRM[0])
        except PlaceholderError as error:
            raise InputError(f"{row.place}: sample {row.id}: its student prompt does not fit: {error}") from error
        if not held:
            raise InputError(f"{row.place}: sample {row.id} has no student answer; list the others in `ids`")
        images = [Image.open(io.BytesIO(image.data)).convert("RGB") for image in held[0].images]
        return {**turns(held[0]), "images": images}

    def dataset(self) -> Any:
        """A `datasets.Dataset` of numbers, each read from its shard when it is asked for."""
        from datasets import Dataset

        def read(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
            rows = [self.row(number) for number in batch["number"]]
            return {key: [row[key] for row in rows] for key in rows[0]}

        return Dataset.from_dict({"number": self.numbers.tolist()}).with_transform(read)

    def _chosen(self, file: str) -> np.ndarray:
        try:
            asked = paths.read_bytes(file).decode().split()
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise InputError(f"ids: {file}: cannot be read: {said}; name a file of ids, one to a line") from error
        known = [reader.places.id(n) for reader in self._readers for n in range(len(reader.places))]
        wanted = set(asked)
        if missing := sorted(wanted - set(known)):
            raise InputError(f"ids: {file}: {len(missing)} of {len(wanted)} are in no output, such as {missing[0]}")
        chosen = np.array([n for n, id in enumerate(known) if id in wanted], dtype=np.int64)
        if not len(chosen):
            raise InputError(f"ids: {file}: names no row")
        return chosen


def _row(raw: dict[str, Any], split: str, out: str) -> Row:
    import json

    view = json.loads(bytes(raw["json"]))
    for key in ("student_prompt", "student_answer"):
        if not view.get(key):
            raise InputError(f"{out}: sample {raw['__key__']} has no `{key}`; a critic learns from student rows alone")
    images = {
        suffix.removesuffix(".jpg"): ImageBytes(data, "") for suffix, data in raw.items() if suffix.endswith(".jpg")
    }
    return Row(raw["__key__"], split, out, view, images)
