"""An indexed list of inputs, open for planning, and the order in which each split takes its rows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from pools.draws import units, words
from pools.input_index import (
    COLUMNS_KEY,
    DIGEST_KEY,
    FILES_KEY,
    FORM_KEY,
    VERSION,
    VERSION_KEY,
    InputReport,
    column_notes,
    columns,
    index_inputs,
    problems_file,
)
from pools.inputs import Form, fingerprint
from pools.rows import parent
from pools.splits import planned_per_split, split_numbers
from pools.unchecked import unchecked
from schemas.errors import InputError
from schemas.references import ImageRef
from storage import paths

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from typing_extensions import Self

    Places = np.ndarray[Any, np.dtype[np.int64]]

_BATCH = 512


class InputList:
    """An indexed list. Pickles as its address and is opened again where it is unpickled.

    Attributes:
        path: the index; opening it again is quick, whatever `open` was given.
        spec: what `open` was given.
        digest: sha256 over the rows' content and problems; where the images lie has no part in it.
        there: the columns that the list has.
        report: what indexing found.
    """

    FORM: ClassVar[Form]

    def __init__(self, path: str, cache_dir: str, report: InputReport | None = None, spec: str = "") -> None:
        self.path, self._cache_dir, self.spec = path, cache_dir, spec or path
        metadata = _metadata(path, self.FORM)
        if not metadata:
            raise InputError(f"{path}: not an index of {self.FORM.name}; name the list itself")
        self.digest, files = metadata[DIGEST_KEY].decode(), metadata[FILES_KEY].decode()
        self.there: list[str] = json.loads(metadata[COLUMNS_KEY])
        self._folder = parent(path) if paths.is_remote(path) else os.path.abspath(parent(path))
        arrow = f"{self.FORM.name}-{self.digest[:32]}-{files[:16]}.arrow"
        self._batch = _mapped(path, os.path.join(cache_dir, arrow), self.FORM)
        self.report = report or self._reported()

    @classmethod
    def open(cls, spec: str, cache_dir: str) -> Self:
        """The list at `spec`: a JSONL, a Parquet table, or an index made before.

        A list is indexed under `cache_dir`, once for as long as it and its local images stay the same; of images on a
        bucket only the addresses are looked at again.

        Raises:
            InputError: the list is missing, empty or broken, or none of its rows can be used.
        """
        if spec.lower().endswith(".parquet") and paths.exists(spec) and _metadata(spec, cls.FORM):
            return cls(spec, cache_dir)
        # An index of another version is no use, and stays for whoever still reads it.
        folder = os.path.join(cache_dir, "indexed", f"{fingerprint(spec, cls.FORM)}-v{VERSION}")
        out = os.path.join(folder, f"{cls.FORM.name}.parquet")
        if paths.exists(out):
            return cls(out, cache_dir, spec=spec)
        return cls(out, cache_dir, index_inputs(spec, cls.FORM, out), spec)

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self._cache_dir, None, self.spec)

    @property
    def problems(self) -> dict[str, int]:
        """Rows per problem; those that can be used under the empty word."""
        return {one["values"]: one["counts"] for one in self.column("problem").value_counts().to_pylist()}

    def _reported(self) -> InputReport:
        """The report of an index that was there already."""
        problems = sorted(
            ((word, count) for word, count in self.problems.items() if word), key=lambda one: (-one[1], one)
        )
        notes = column_notes(self.FORM, self.there)
        return InputReport(self.path, problems_file(self.path), len(self), dict(problems), notes=notes, already=True)

    def column(self, name: str) -> pa.Array:
        """A whole column of the index (`pools.input_index.columns`) in one piece."""
        return self._batch.column(name)

    def taken(self, names: Sequence[str], rows: Places) -> Iterator[tuple[Any, ...]]:
        """The cells of `names` at each of `rows`."""
        import pyarrow as pa

        wanted = pa.array(rows)
        return zip(*(self._batch.column(name).take(wanted).to_pylist() for name in names), strict=True)

    def names(self, rows: Places) -> list[tuple[str, ...]]:
        """What the list calls the images of each of `rows`, in the order of the form's columns."""
        return list(self.taken([f"name_{i}" for i in range(len(self.FORM.images))], rows))

    def images(self, number: int, rows: Places) -> list[ImageRef]:
        """Image `number` of each of `rows`, unchecked: those of rows with a problem may be empty."""
        folder = self._folder.rstrip("/") + "/"
        names = ("uri", "sha256", "width", "height", "media_type")
        return unchecked(
            ImageRef,
            (
                {
                    "uri": uri if uri.startswith("/") or "://" in uri else folder + uri,
                    "sha256": sha256,
                    "width": width,
                    "height": height,
                    "media_type": media_type,
                }
                for uri, sha256, width, height, media_type in self.taken([f"{n}_{number}" for n in names], rows)
            ),
        )


class Order:
    """Which rows each split plans, and in which order: a prefix of a fixed shuffle of those whose subject is its own.

    Attributes:
        planned: plans per split.
    """

    def __init__(self, inputs: InputList, seed: int, splits: Mapping[str, float], samples: int | None) -> None:
        import numpy as np

        shares = {split: splits[split] for split in sorted(splits)}
        wanted = planned_per_split(samples, shares) if samples is not None else dict.fromkeys(shares, len(inputs))
        subjects = inputs.column("subject").dictionary_encode()
        numbers = split_numbers(subjects.dictionary.to_pylist(), seed, list(shares.values()))
        of_rows = numbers[subjects.indices.to_numpy()]
        self._seed = seed
        shuffled = np.argsort(self.drawn(inputs.column("plan").to_pylist())[:, 0], kind="stable")
        self._rows: dict[str, Places] = {
            split: shuffled[of_rows[shuffled] == number][: wanted[split]] for number, split in enumerate(shares)
        }
        self.planned = {split: len(self._rows[split]) for split in splits}

    def drawn(self, plans: Sequence[str]) -> Any:
        """Four words for each plan: its place in the order, its own seed, and two for whatever it draws."""
        return words([f"{self._seed}/{plan}" for plan in plans], 4)

    def seeds(self, drawn: Any) -> list[int]:
        """Each plan's own 63 bits."""
        found: list[int] = (drawn[:, 1] >> 1).tolist()
        return found

    def units(self, drawn: Any) -> Any:
        """Each plan's two numbers in [0, 1)."""
        return units(drawn[:, 2:])

    def rows(self, split: str) -> Places:
        """The rows of a split's plans, plan 0 first.

        Raises:
            InputError: `split` is none of the configured ones.
        """
        if split not in self._rows:
            raise InputError(f"splits: there is no split {split!r}; the configuration has {', '.join(self._rows)}")
        return self._rows[split]

    def batches(self, split: str, ordinals: Sequence[int]) -> Iterator[tuple[list[int], Places]]:
        """(ordinals, their rows), a bounded number at a time.

        Raises:
            IndexError: an ordinal is not below the number of plans.
        """
        rows, coming = self.rows(split), iter(ordinals)
        while batch := list(islice(coming, _BATCH)):
            if min(batch) < 0:
                raise IndexError(f"ordinal {min(batch)} is below 0")
            yield batch, rows[batch]


def _metadata(path: str, form: Form) -> dict[bytes, bytes]:
    """What an index of `form` says of itself; empty where `path` is a table that is no index.

    Raises:
        InputError: it is no Parquet file, or an index of another kind or version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with paths.open_read(path) as file:
            found: dict[bytes, bytes] = pq.read_metadata(file).metadata or {}
    except (pa.ArrowException, OSError) as error:
        said = str(error).splitlines()[0]
        raise InputError(f"{path}: not a Parquet file that can be read ({said}); write it again") from error
    if VERSION_KEY not in found:
        return {}
    version, name = found[VERSION_KEY].decode("utf-8", "replace"), found.get(FORM_KEY, b"").decode("utf-8", "replace")
    if version != VERSION:
        raise InputError(f"{path}: an index of version {version}, this reads {VERSION}; name the list it was made of")
    if name != form.name:
        raise InputError(f"{path}: an index of {name}, not of {form.name}; name a list of {form.name}")
    return found


def _mapped(path: str, arrow: str, form: Form) -> pa.RecordBatch:
    """The index as one record batch, mapped from `arrow`, a copy laid out for that, made where it is missing.

    Processes on a machine share the mapped pages, so a list of a million rows costs each of them next to nothing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not os.path.exists(arrow):
        schema = columns(form)
        with paths.open_read(path) as file:
            table = pq.ParquetFile(file)
            # One column after the other, as putting pieces together takes each of them twice.
            whole = [table.read([field.name]).column(0).cast(field.type).combine_chunks() for field in schema]
        if not len(whole[0]):
            raise InputError(f"{path}: an index without a row; name a list that has some")
        batch = pa.record_batch(whole, schema=schema)
        with paths.open_atomic(arrow) as out, pa.ipc.new_file(out, schema) as writer:
            writer.write_batch(batch)
    return pa.ipc.open_file(pa.memory_map(arrow)).get_batch(0)
