"""The reader in torch: batches from a DataLoader's workers, with a position that counts what was handed over.

Imports torch: nothing else of Plumbline imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from schemas.errors import InputError
from shards.order import Numbers
from shards.reader import Reader

Collate = Callable[[Any], Any]
_OURS = ("batch_size", "sampler", "batch_sampler", "shuffle", "drop_last", "collate_fn", "in_order")


class Batch(NamedTuple):
    """What a worker hands over.

    Attributes:
        given: how many samples of the sequence it stands for.
        skipped: a message for each that is damaged.
        content: collated; None where nothing is whole.
    """

    given: int
    skipped: tuple[str, ...]
    content: Any


class ReaderDataset(IterableDataset[Any]):
    """A `Reader` as a torch IterableDataset, for a DataLoader of your own, with `batch_size=None`.

    Workers take batches in turn, so a DataLoader gives the same sequence whatever their number. Say `set_epoch` before
    each epoch. Without workers `state_dict` is exact; torchdata's `StatefulDataLoader` keeps that of each worker, and
    resumes with as many workers. `Loader` has neither limit.

    Args:
        batch_size: samples per batch; None: single samples.
        collate: turns a batch (a list of samples), or a sample, into what is given; by default as it is.
    """

    def __init__(self, reader: Reader, batch_size: int | None = None, collate: Collate | None = None) -> None:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size: {batch_size}; it must be 1 or more")
        self.reader, self.batch_size, self.collate = reader, batch_size, collate
        # Workers may outlive an epoch and would not see what is set here: epoch, start, given; whether there are any.
        self._shared = torch.zeros(4, dtype=torch.int64)
        self._shared.share_memory_()  # type: ignore[no-untyped-call]
        self._taken = 0
        self._resumed: dict[str, Any] | None = None
        self.publish()

    def __iter__(self) -> Iterator[Any]:
        alone = get_worker_info() is None
        for batch in self.counted():
            self.reader.skipped.update(batch.skipped)
            if alone:
                self.reader.advance(batch.given)
            if batch.content is not None:
                yield batch.content
        if alone:
            self.reader.end_epoch()

    def counted(self) -> Iterator[Batch]:
        """This worker's batches of what is left of the epoch, or all where there are no workers."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        self._taken = 0
        if info is not None:
            self._shared[3] = 1
            self._go_on(workers)
        size = self.batch_size or 1
        own = _turns(self.reader, size, worker + self._taken * workers, workers)
        found = self.reader.fetched(np.concatenate([np.zeros(0, np.int64), *own]))
        for numbers in own:
            fetched = list(islice(found, len(numbers)))
            damage = [one.damage for one in fetched if one.damage is not None]
            if damage and self.reader.on_damage == "raise":
                raise damage[0]
            whole = [one.sample for one in fetched if one.damage is None]
            self._taken += 1
            yield Batch(len(numbers), tuple(map(str, damage)), self._collated(whole) if whole else None)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of this epoch; nothing happens where it is the current one."""
        self.reader.set_epoch(epoch)
        self.publish()

    def state_dict(self) -> dict[str, Any]:
        """The position; in a worker, that of the worker.

        Raises:
            InputError: asked beside workers, which read ahead of what was handed over.
        """
        info = get_worker_info()
        if info is not None:
            own = {"workers": info.num_workers, "batch_size": self.batch_size, "taken": self._taken}
            return {**own, "reader": self.reader.state_dict()}
        if int(self._shared[3]):
            raise InputError("workers read ahead of what was handed over: take the position from shards.loading.Loader")
        return self.reader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go where another was; raises as `Reader.load_state_dict`."""
        if "taken" in state:
            self._resumed = dict(state)
        else:
            self.reader.load_state_dict(state)
            self.publish()

    def __len__(self) -> int:
        """Batches, or samples, that are left of the epoch."""
        return -(-self.reader.left // (self.batch_size or 1))

    def publish(self) -> None:
        """Tell the workers where to begin."""
        state = self.reader.state_dict()
        self._shared[:3] = torch.tensor([state["epoch"], state["start"], state["given"]])

    def _go_on(self, workers: int) -> None:
        """In a worker: go to the position that was published, or to that of the worker whose state was given."""
        state, self._resumed = self._resumed, None
        if state is None:
            epoch, start, given = self._shared[:3].tolist()
            self.reader.load_state_dict({**self.reader.state_dict(), "epoch": epoch, "start": start, "given": given})
            return
        now = {"workers": workers, "batch_size": self.batch_size}
        for key, value in now.items():
            if state[key] != value:
                raise InputError(
                    f"the saved position is one of {key} = {state[key]}, not {value}; set it back, or take positions "
                    "from shards.loading.Loader, which resumes with any"
                )
        self.reader.load_state_dict(state["reader"])
        self._taken = int(state["taken"])

    def _collated(self, samples: list[Any]) -> Any:
        given = samples if self.batch_size is not None else samples[0]
        return given if self.collate is None else self.collate(given)


class Loader:
    """Batches of a reader from a torch DataLoader, resumed at the exact sample with any number of workers.

    Iterating gives what is left of the epoch, in the reader's own order; the next loop is the next epoch. The state
    is the reader's: it counts what was handed over, not what workers have read ahead, and another number of workers,
    batch size or, after the same step on every rank, number of ranks takes it.

    Args:
        reader: moves as the batches are handed over; give it to no other loop meanwhile.
        workers: processes; 0: this one.
        collate: turns a list of samples into a batch; must be picklable where processes are spawned.
        drop_last: leave out a last batch that is not full.
        options: the DataLoader's own (`prefetch_factor`, `pin_memory`, `persistent_workers`, ...).
    """

    def __init__(
        self,
        reader: Reader,
        batch_size: int,
        *,
        workers: int = 0,
        collate: Collate | None = None,
        drop_last: bool = False,
        **options: Any,
    ) -> None:
        if taken := sorted(set(options) & set(_OURS)):
            raise InputError(f"{taken[0]}: is the loader's own; see its arguments")
        self.reader, self.drop_last, self.batch_size = reader, drop_last, batch_size
        self._dataset = ReaderDataset(reader, batch_size, collate)
        self._torch: DataLoader[Any] = DataLoader(
            _Counted(self._dataset), batch_size=None, num_workers=workers, collate_fn=_as_it_is, **options
        )

    def __iter__(self) -> Iterator[Any]:
        self._dataset.publish()
        epoch = self.reader.epoch
        for given, skipped, content in self._torch:
            if self.reader.epoch != epoch:
                return
            self.reader.skipped.update(skipped)
            self.reader.advance(given)
            if content is not None and not (self.drop_last and given < self.batch_size):
                yield content
        self.reader.end_epoch()

    def __len__(self) -> int:
        """Batches that are left of the epoch."""
        each, over = divmod(self.reader.left, self.batch_size)
        return each + (over > 0 and not self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of this epoch; nothing happens where it is the current one."""
        self.reader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The position behind the last batch that was handed over."""
        return self.reader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go where another was; raises as `Reader.load_state_dict`."""
        self.reader.load_state_dict(state)


class _Counted(IterableDataset[Batch]):
    def __init__(self, dataset: ReaderDataset) -> None:
        self._dataset = dataset

    def __iter__(self) -> Iterator[Batch]:
        return self._dataset.counted()


def _turns(reader: Reader, size: int, first: int, workers: int) -> Sequence[Numbers]:
    """Every `workers`-th batch of what is left, from `first` on: the order in which a DataLoader asks its workers."""
    rest = reader.rest
    return [rest[at : at + size] for at in range(first * size, len(rest), workers * size)]


def _as_it_is(batch: Any) -> Any:
    return batch
