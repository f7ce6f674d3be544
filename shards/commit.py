"""One commit per shard: rejects, tar, then the index whose footer is the finish mark."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from schemas.draft import Draft, ErrorClass, Rejection
from schemas.errors import DamageError, ImageError
from schemas.usage import Usage
from shards.names import ShardName
from shards.tables import Cell, Column, Footer, IndexRow, count_reasons, index_bytes, read_footer, rejects_bytes
from shards.tar import TarWriter
from storage import paths

Content = bytes | memoryview | Callable[[], bytes]
Members = Sequence[tuple[str, Content]]
_READERS = 4


@dataclass(frozen=True)
class ShardSample:
    """A sample to write.

    Attributes:
        id: hex; the key that loaders see, so it has no dot.
        members: (suffix, content) in the order they shall have: `("image_1.jpg", ...)`, ..., `("json", ...)`.
            A callable, of one content or of all, is called in a thread shortly before it is written; it may raise
            `ImageError`, which turns this sample into a rejection.
        columns: the flat columns of its index row; a declared column that is left out is null.
        subjects: what may not appear in another split.
        ordinal, draft, input_id: for the rejection, should an image fail.
        digests: by suffix, the sha256 that a content must have, where it is known.
        origin: the tar that the contents are copied from; empty where they are new.
    """

    id: str
    members: Members | Callable[[], Members]
    columns: Mapping[str, Cell] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()
    ordinal: int = 0
    draft: Draft | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    input_id: str = ""
    origin: str = ""


def write_shard(
    out: str,
    name: ShardName,
    samples: Iterable[ShardSample],
    rejections: Sequence[Rejection],
    *,
    run_hash: str,
    planned: int,
    columns: Sequence[Column] = (),
    usage: Mapping[str, Usage] | None = None,
    readers: int = _READERS,
) -> Footer:
    """Commit a shard under the folder `out`; until the last file is there, it does not count.

    Equal samples give equal tar and index, in whatever order they come.

    Args:
        rejections: of the same range of the plan; together with `samples` they must make up `planned`.
        columns: the index's columns beyond id, split, subjects and members; there even if no sample has them.
        usage: per model, of everything in this shard.
        readers: threads that call the samples' callables; twice as many samples are held in memory.

    Raises:
        ValueError: ids that repeat or hold a dot, names too long for ustar, counts that do not add up.
        DamageError: a content does not have the digest that is known of it.
    """
    ordered = sorted(samples, key=lambda sample: sample.id)
    _check(name, ordered, len(rejections), planned)
    rows: list[IndexRow] = []
    rejected = list(rejections)
    with paths.open_atomic(paths.join(out, name.tar)) as file:
        with TarWriter(file) as tar:
            for sample, made in _made(ordered, readers):
                if isinstance(made, ImageError):
                    rejected.append(_rejection(name, sample, made))
                    continue
                members = tuple(tar.add(f"{sample.id}.{suffix}", data, digest) for suffix, data, digest in made)
                rows.append(IndexRow(sample.id, sample.columns, sample.subjects, members))
        footer = Footer(
            name=name,
            run_hash=run_hash,
            tar_sha256=tar.sha256,
            tar_bytes=tar.size,
            planned=planned,
            kept=len(rows),
            rejected=len(rejected),
            rejected_by_reason=count_reasons(rejected),
        )
        # Both tables are made before either is written: a mistake in a row must not leave half a shard.
        index, rejects = index_bytes(footer, rows, columns), rejects_bytes(name, rejected, usage or {})
        paths.write_atomic(paths.join(out, name.rejects), rejects)
    paths.write_atomic(paths.join(out, name.index_file), index)
    return footer


def finished(out: str, name: ShardName, run_hash: str) -> Footer | None:
    """The shard's footer if this run has finished it: its index is readable and the other two files are there."""
    try:
        footer = read_footer(paths.read_bytes(paths.join(out, name.index_file)), name)
        whole = paths.size(paths.join(out, name.tar)) == footer.tar_bytes
    except (FileNotFoundError, ValueError):
        return None
    return footer if whole and footer.run_hash == run_hash and paths.exists(paths.join(out, name.rejects)) else None


def _check(name: ShardName, ordered: Sequence[ShardSample], rejected: int, planned: int) -> None:
    for before, after in itertools.pairwise(ordered):
        if before.id == after.id:
            raise ValueError(f"{name}: two samples have the id {after.id}")
    for sample in ordered:
        if not sample.id or "." in sample.id or "/" in sample.id:
            raise ValueError(f"{name}: {sample.id!r} cannot be a sample's id: loaders cut keys at the first dot")
    if len(ordered) + rejected != planned:
        raise ValueError(f"{name}: {len(ordered)} kept and {rejected} rejected are not the {planned} planned")


def _rejection(name: ShardName, sample: ShardSample, error: ImageError) -> Rejection:
    draft = sample.draft
    return Rejection(
        id=sample.id,
        ordinal=sample.ordinal,
        split=name.split,
        task=str(sample.columns.get("task") or ""),
        stage="images",
        reason=error.reason,
        error_class=ErrorClass.FINAL,
        detail=error.detail,
        scores=draft.scores if draft else {},
        usage=draft.usage if draft else {},
        draft=draft,
        input_id=sample.input_id,
    )


Made = list[tuple[str, bytes | memoryview, str]]


def _make(sample: ShardSample) -> Made | ImageError:
    """(suffix, content, sha256) of all members, whole before any is written; or the image's error."""
    try:
        members = sample.members() if callable(sample.members) else sample.members
        contents = [(suffix, c() if callable(c) else c) for suffix, c in members]
    except ImageError as error:
        return error
    made = [(suffix, data, hashlib.sha256(data).hexdigest()) for suffix, data in contents]
    for suffix, _, digest in made:
        if (known := sample.digests.get(suffix, digest)) != digest:
            member = f"{sample.origin}: {sample.id}.{suffix}" if sample.origin else f"{sample.id}.{suffix}"
            raise DamageError(f"{member} has the sha256 {digest}, not {known}; run `verify` on the folder it is from")
    return made


def _made(samples: Sequence[ShardSample], readers: int) -> Iterator[tuple[ShardSample, Made | ImageError]]:
    """Samples in order with their contents, a few of them made ahead so that memory stays bounded."""
    ahead: deque[tuple[ShardSample, Future[Made | ImageError]]] = deque()
    with ThreadPoolExecutor(readers, thread_name_prefix="shard-members") as pool:
        try:
            for sample in samples:
                ahead.append((sample, pool.submit(_make, sample)))
                if len(ahead) > 2 * readers:
                    first, future = ahead.popleft()
                    yield first, future.result()
            while ahead:
                first, future = ahead.popleft()
                yield first, future.result()
        finally:
            for _, future in ahead:
                future.cancel()
