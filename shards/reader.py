"""Reading shards back: one after the other, or as trainers do: split over ranks, shuffled, resumed at the sample."""

from __future__ import annotations

import json
import warnings
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from schemas.errors import DamageError, InputError
from shards.fetching import FORMS, Fetched, Fetcher, Form
from shards.fetching import Sample as Sample
from shards.indexes import listed
from shards.order import Even, Numbers, epoch_order, share_of_rank
from shards.places import places_of
from shards.tar import walk
from storage import paths

Raw = dict[str, Any]
OnDamage = Literal["raise", "skip"]
_REMOTE_THREADS = 16
_SETTINGS = ("tars", "split", "samples", "seed", "window", "even")


def read_shard(uri: str) -> Iterator[Raw]:
    """Each sample of a tar: `{"__key__": id, suffix: memoryview, ...}`, in order.

    The views share their memory with neighbouring samples: copy (`bytes(view)`) what is to be kept for long.

    Raises:
        DamageError: the tar is damaged or cut short; the message names the place.
        FileNotFoundError: where there is no such file.
    """
    sample: Raw = {}
    with paths.open_read(uri) as file:
        for name, _, content in walk(file, uri):
            folder, slash, base = name.rpartition("/")
            key, _, suffix = base.partition(".")
            key = folder + slash + key
            if sample and sample["__key__"] != key:
                yield sample
                sample = {}
            sample.setdefault("__key__", key)
            sample[suffix] = content
    if sample:
        yield sample


def iterate(out: str, split: str = "train") -> Iterator[Raw]:
    """Each sample of a split's finished shards: `json` parsed, images as memoryviews of their file's bytes.

    Raises:
        InputError: the folder has no finished shard of this split.
        DamageError: a shard is damaged, or its index is there and its tar is not.
    """
    for shard in shards_of(out, split):
        if not paths.exists(shard):
            raise DamageError(f"{shard}: is missing, though its index says that it is finished")
        for sample in read_shard(shard):
            try:
                sample["json"] = json.loads(bytes(sample["json"]))
            except (KeyError, ValueError) as error:
                raise DamageError(f"{shard}: sample {sample['__key__']} has no readable JSON ({error})") from error
            yield sample


def read_samples(out: str, split: str = "train") -> Iterator[Sample]:
    """Each sample of a split of an output folder, with bytes of its own, in the order of the shards.

    Raises:
        InputError: the folder has no finished shard of this split.
        DamageError: a shard is damaged, or its index is there and its tar is not.
    """
    for raw in iterate(out, split):
        images = {suffix.rpartition(".")[0]: bytes(data) for suffix, data in raw.items() if suffix.endswith(".jpg")}
        yield Sample(raw["__key__"], raw["json"], images)


def shards_of(out: str, split: str) -> list[str]:
    """The tars of a split's finished shards, in order: those whose index, the finish mark, is there.

    A run that is not finished is warned of (`UserWarning`).

    Raises:
        InputError: the folder has no finished shard of this split.
        DamageError: the run is finished, and an index is missing.
    """
    shards = listed(out, split)
    if lost := shards.lost(out):
        raise DamageError(lost[0])
    if unfinished := shards.unfinished(out):
        warnings.warn(unfinished, stacklevel=2)
    return [paths.join(out, name.tar) for name in shards.there]


class Reader:
    """One rank's samples of a split, epoch after epoch; a plain iterator with a position.

    Iterating gives what is left of the current epoch and ends with it; the next loop is the next epoch. The position
    counts what was given out, so a state taken in the loop's body resumes behind the sample in hand. Every sample
    comes exactly once per epoch over all ranks.

    Args:
        out: an output folder, local or remote; its finished shards are read, and where the run is not finished,
            `unfinished` and a warning name the others.
        form: `raw` gives `{"__key__": id, suffix: memoryview}`; the others a `Sample` whose images are JPEG `bytes`,
            `numpy` arrays (height, width, 3) or `pil` images.
        side: neither side of a decoded image exceeds it. None: as they are.
        images: the names of the images that are wanted (`target`, ...). None: all.
        ids: read these samples alone, such as a list that `plumbline select` wrote. None: all.
        seed: shuffles, each epoch in its own way. None: as stored.
        window: samples among which the order is mixed at once (`shards.order.epoch_order`): 4,096 keeps reads near
            each other for spinning disks. None: over the whole split.
        rank, world: this process among those that train together.
        even: what happens where `world` does not divide the count: `no` (some ranks have one more), `drop`, `repeat`.
        on_damage: `skip` counts damaged samples in `skipped` and goes on.
        check: compare every member with its sha256. By default where images are decoded, which costs far more.
        threads: fetch and decode ahead in threads. By default 16 for a bucket and none for a disk.

    Raises:
        InputError: no finished shard of this split, `ids` or `images` that it does not hold, or arguments that cannot
            be.
        DamageError: an index is missing or damaged, or on the way a shard is; names shard and member.
    """

    def __init__(
        self,
        out: str,
        split: str = "train",
        *,
        form: Form = "bytes",
        side: int | None = None,
        images: Collection[str] | None = None,
        ids: Collection[str] | None = None,
        seed: int | None = None,
        window: int | None = None,
        rank: int = 0,
        world: int = 1,
        even: Even = "no",
        on_damage: OnDamage = "raise",
        check: bool | None = None,
        threads: int | None = None,
    ) -> None:
        _refuse_impossible(form, side, window, rank, world, even, on_damage)
        places = places_of(out, split, skip_damaged=on_damage == "skip")
        self.split, self.seed, self.window = split, seed, window
        self.rank, self.world, self.even, self.on_damage = rank, world, even, on_damage
        self.epoch = 0
        self.skipped: Counter[str] = Counter()
        """By message, what was skipped: shards without a readable index (one each), then samples."""
        self.skipped.update(places.left_out)
        self.unfinished = places.unfinished
        """Of a run that is not finished, which shards are not there yet; empty where all are. Warned of, too."""
        if self.unfinished:
            warnings.warn(self.unfinished, stacklevel=2)
        self.places = places
        if images is not None:
            places.check_images(images)
        self._wanted = None if ids is None else places.numbered(ids)
        decodes = form in ("numpy", "pil")
        self.fetcher = Fetcher(
            places,
            form,
            side,
            check=decodes if check is None else check,
            threads=(_REMOTE_THREADS if paths.is_remote(out) else 0) if threads is None else threads,
            keep=None if images is None else frozenset(images),
        )
        # `_start` samples of the epoch's sequence were given out by a world of another size, `_given` of this rank's
        # share of the rest by this one.
        self._start = self._given = 0
        self._cached: tuple[tuple[int, int], Numbers] | None = None

    def __len__(self) -> int:
        """How many samples this rank has in a whole epoch."""
        each, over = divmod(self.samples, self.world)
        fills = {"no": self.rank < over, "drop": False, "repeat": over > 0}
        return each + fills[self.even]

    @property
    def samples(self) -> int:
        """How many samples all ranks have in a whole epoch."""
        return len(self.places) if self._wanted is None else int(self._wanted.sum())

    @property
    def left(self) -> int:
        """How many samples of the current epoch are still to come."""
        return len(self.rest)

    @property
    def rest(self) -> Numbers:
        """They, by number."""
        return self.sequence[self._given :]

    @property
    def sequence(self) -> Numbers:
        """This rank's samples of the current epoch, by number, from where this world began."""
        key = (self.epoch, self._start)
        if self._cached is None or self._cached[0] != key:
            whole = epoch_order(self.places.counts, self.seed, self.epoch, self.window)
            if self._wanted is not None:
                whole = whole[self._wanted[whole]]
            self._cached = key, share_of_rank(whole[self._start :], self.rank, self.world, self.even)
        return self._cached[1]

    def __iter__(self) -> Iterator[Any]:
        """The rest of the epoch. Two loops at once share one position."""
        epoch = self.epoch
        for found in self.fetched(self.rest):
            if self.epoch != epoch:
                return
            whole = self.accepted(found)
            self._given += 1
            if whole:
                yield found.sample
        self.end_epoch()

    def fetched(self, numbers: Numbers) -> Iterator[Fetched]:
        """These samples, wherever the position is; damage is part of what is given."""
        return self.fetcher(numbers)

    def accepted(self, found: Fetched) -> bool:
        """Whether there is a sample.

        Raises:
            DamageError: there is none, and nothing was said about skipping.
        """
        if found.damage is None:
            return True
        if self.on_damage == "raise":
            raise found.damage
        self.skipped[str(found.damage)] += 1
        return False

    def end_epoch(self) -> None:
        """Go to the beginning of the next epoch."""
        self.epoch, self._start, self._given = self.epoch + 1, 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of this epoch; in the current one nothing happens, so a resumed loop may say so too."""
        if epoch != self.epoch:
            self.epoch, self._start, self._given = epoch, 0, 0

    def rewind(self) -> None:
        """Back to the beginning of the current epoch."""
        self._start = self._given = 0

    def advance(self, given: int) -> None:
        """Count `given` further samples of `sequence` as given out, by whoever read them in this reader's stead."""
        self._given += given

    def state_dict(self) -> dict[str, Any]:
        """The position, as JSON: the same on every rank after the same number of steps."""
        return {
            **self._settings(),
            "epoch": self.epoch,
            "world": self.world,
            "start": self._start,
            "given": self._given,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go where another reader was: of the same samples in the same order, in a world of any size.

        With another number of ranks the state must have been taken after the same number of samples on every rank;
        then nothing is lost or repeated.

        Raises:
            InputError: it is the position in other samples or another order; names the first thing that differs.
        """
        now = self._settings()
        for key in _SETTINGS:
            if key not in state or state[key] != now[key]:
                found = f"{state.get(key)!r}, here {now[key]!r}" if key in state else "not in it"
                raise InputError(f"the saved position is not one of this reader: {key} is {found}")
        counts = {key: state.get(key) for key in ("epoch", "world", "start", "given")}
        if any(type(value) is not int or value < (key == "world") for key, value in counts.items()):
            raise InputError(f"the saved position is damaged: {counts}")
        epoch, world, start, given = (int(state[key]) for key in ("epoch", "world", "start", "given"))
        if world != self.world:
            start, given = min(start + given * world, self.samples), 0
        self.epoch, self._start, self._given = epoch, start, given

    def _settings(self) -> dict[str, Any]:
        tars = self.places.digest
        if self._wanted is not None:
            tars += f" {zlib.crc32(self._wanted.tobytes()):08x}"
        values = (tars, self.split, self.samples, self.seed, self.window, self.even)
        return dict(zip(_SETTINGS, values, strict=True))


def _refuse_impossible(
    form: str, side: int | None, window: int | None, rank: int, world: int, even: str, on_damage: str
) -> None:
    words = (
        ("form", form, FORMS),
        ("even", even, ("no", "drop", "repeat")),
        ("on_damage", on_damage, ("raise", "skip")),
    )
    for name, value, allowed in words:
        if value not in allowed:
            raise InputError(f"{name}: {value!r} is none of {', '.join(allowed)}")
    if side is not None and (side < 1 or form not in ("numpy", "pil")):
        raise InputError(f"side: {side} needs to be 1 or more, and images that are decoded (form='numpy' or 'pil')")
    if window is not None and window < 1:
        raise InputError(f"window: {window} samples; it must be 1 or more, or None for the whole split")
    if not 0 <= rank < world:
        raise InputError(f"rank {rank} of {world}: ranks count from 0 to one below the number of processes")
