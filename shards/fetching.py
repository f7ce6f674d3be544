"""Samples by number: their bytes out of the tars, compared with the index, split into members and decoded."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from schemas.errors import DamageError, ImageError
from shards.indexes import read_span
from shards.order import Numbers
from shards.places import Place, Places
from shards.tar import BLOCK, LONGEST_NAME
from storage import paths

Form = Literal["raw", "bytes", "numpy", "pil"]
FORMS: tuple[Form, ...] = ("raw", "bytes", "numpy", "pil")
_RUN = 1 << 20
"""What lies side by side is fetched in reads of about this many bytes: more would not fit a processor's cache."""
_REMOTE_RUN = 8 << 20
_SLICE = 4096
"""Samples whose reads are laid out at once."""


@dataclass(frozen=True)
class Sample:
    """A sample as a trainer sees it.

    Attributes:
        id: hex.
        json: its record (docs/realign.md, "A sample's JSON", says what each key holds).
        images: by name: `image_1`, `image_2`, ..., `target`; where several targets were painted, those not chosen
            as `other_1`, `other_2`, ... (the JSON's `paintings` says which is which). JPEG bytes, NumPy arrays
            (height, width, 3) or PIL images, as the reader was told.
    """

    id: str
    json: dict[str, Any]
    images: dict[str, Any]


class Fetched(NamedTuple):
    """What came of a sample's number.

    Attributes:
        sample: a `Sample`; of the form `raw`, `{"__key__": id, suffix: memoryview, ...}`.
        damage: why there is none, naming the shard and the member; None where there is one.
    """

    number: int
    sample: Any
    damage: DamageError | None


@dataclass(frozen=True)
class Fetcher:
    """How samples are fetched.

    Attributes:
        form: `raw` members, or a `Sample` whose images are JPEG `bytes`, `numpy` arrays or `pil` images.
        side: neither side of a decoded image exceeds it; None: as they are.
        check: whether every member is compared with its sha256.
        threads: fetch and decode ahead; 0: when asked for.
        keep: the names of the images that are wanted (`target`, `image_1`); None: all.
    """

    places: Places
    form: Form = "bytes"
    side: int | None = None
    check: bool = False
    threads: int = 0
    keep: frozenset[str] | None = None

    def __call__(self, numbers: Numbers) -> Iterator[Fetched]:
        """The samples in the order of `numbers`."""
        runs = self._runs(numbers)
        if not self.threads:
            for run in runs:
                yield from self._lazily(run)
            return
        for fetched in _ahead(lambda run: list(self._lazily(run)), runs, self.threads):
            yield from fetched

    def _runs(self, numbers: Numbers) -> Iterator[list[int]]:
        """Neighbours in a tar, one read each."""
        places = self.places
        most = _REMOTE_RUN if places.tars and paths.is_remote(places.tars[0]) else _RUN
        for at in range(0, len(numbers), _SLICE):
            part: list[int] = numbers[at : at + _SLICE].tolist()
            spans = zip(
                part, places.shards(part), places.starts[part].tolist(), places.ends[part].tolist(), strict=True
            )
            run: list[int] = []
            tar, first, last = -1, 0, 0
            for number, shard, start, end in spans:
                # Between two samples lies nothing but the padding of the first.
                if run and shard == tar and 0 <= start - last < BLOCK and end - first <= most:
                    run.append(number)
                else:
                    if run:
                        yield run
                    run, tar, first = [number], shard, start
                last = end
            yield run

    def _lazily(self, run: Sequence[int]) -> Iterator[Fetched]:
        places = self.places
        tar = places.tars[places.shard(run[0])]
        start = int(places.starts[run[0]])
        try:
            data = read_span(tar, start, int(places.ends[run[-1]]) - start)
        except DamageError as damage:
            yield from (Fetched(number, None, damage) for number in run)
            return
        for number in run:
            try:
                yield Fetched(number, self._sample(tar, data, start, number), None)
            except DamageError as error:
                yield Fetched(number, None, error)

    def _sample(self, tar: str, data: bytes, start: int, number: int) -> Any:
        key, view = self.places.id(number), memoryview(data)
        members: dict[str, Any] = {"__key__": key}
        for place in self.places.members(number):
            at = place.offset - start
            name = f"{key}.{place.suffix}"
            _compare_header(tar, data, at, name, place)
            content = view[at : at + place.size]
            if self.check and hashlib.sha256(content).digest() != place.sha256:
                raise DamageError(f"{tar}: {name} is damaged: its sha256 is not what the index says; run `verify`")
            members[place.suffix] = content
        return members if self.form == "raw" else self._decoded(tar, key, members)

    def _decoded(self, tar: str, key: str, members: dict[str, Any]) -> Sample:
        import orjson

        images: dict[str, Any] = {}
        record: Any = None
        for suffix, content in members.items():
            stem, _, kind = suffix.rpartition(".")
            if suffix == "json":
                try:
                    record = orjson.loads(content)
                except orjson.JSONDecodeError as error:
                    raise DamageError(f"{tar}: {key}.json is no readable JSON ({error}); run `verify`") from error
            elif kind == "jpg" and (self.keep is None or stem in self.keep):
                try:
                    images[stem] = self._image(content)
                except ImageError as error:
                    raise DamageError(f"{tar}: {key}.{suffix} is {error}; run `verify`") from error
        if not isinstance(record, dict):
            raise DamageError(f"{tar}: sample {key} has no readable JSON (it has {', '.join(members)}); run `verify`")
        return Sample(key, record, images)

    def _image(self, content: memoryview) -> Any:
        if self.form == "bytes":
            return bytes(content)
        from storage.scaled import rgb_within

        pixels = rgb_within(content, self.side)
        if self.form == "numpy":
            return pixels
        from PIL import Image

        return Image.fromarray(pixels)


def _compare_header(tar: str, data: bytes, at: int, name: str, place: Place) -> None:
    """A member's header must say what the index says, and the content be there: a cut or foreign tar does not pass."""
    if at + place.size > len(data):
        raise DamageError(f"{tar}: is cut short within {name}; run `verify`")
    header = at - BLOCK
    said = data[header : header + LONGEST_NAME].partition(b"\0")[0]
    size = data[header + 124 : header + 135]
    if said != name.encode() or size != b"%011o" % place.size:
        raise DamageError(f"{tar}: {name} is not where the index says, or not of its size; run `verify`")


def _ahead(fetch: Callable[[list[int]], list[Fetched]], runs: Iterator[list[int]], threads: int) -> Iterator[Any]:
    """`fetch` of every run, in order, in threads; a few are held ready, so memory stays bounded."""
    waiting: deque[Future[list[Fetched]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="reader") as pool:
        try:
            for run in runs:
                waiting.append(pool.submit(fetch, run))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
