"""The reader in torch's DataLoader: the same sequence whatever the workers, and a position that counts deliveries."""

from __future__ import annotations

import json
import re
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from schemas.errors import DamageError, InputError
from shards.loading import Loader, ReaderDataset
from shards.reader import Reader
from storage import paths
from tests.servers.buckets import Bucket
from tests.shards.test_reader import TOTAL, write_split


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_split(str(tmp_path_factory.mktemp("loading") / "out"))


def keys(batch: list[Any]) -> list[str]:
    """A collate that must be picklable."""
    return [one.id for one in batch]


def sequence(out: str, epochs: int = 1, **options: Any) -> list[str]:
    reader = Reader(out, **options)
    return [one.id for _ in range(epochs) for one in reader]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_the_readers_order_whatever_the_workers(out: str, workers: int) -> None:
    reader = Reader(out, seed=7, rank=1, world=2)
    loader = Loader(reader, 3, workers=workers, collate=keys)
    wanted = sequence(out, 2, seed=7, rank=1, world=2)
    assert len(loader) == 7
    found = [batch for _ in range(2) for batch in loader]
    assert [key for batch in found for key in batch] == wanted
    assert [len(batch) for batch in found] == [3, 3, 3, 3, 3, 3, 2] * 2
    assert reader.epoch == 2


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_prefetched_batches_are_not_counted_and_any_number_of_workers_resumes(out: str, data: st.DataObject) -> None:
    found: list[str] = []
    state = None
    wanted = sequence(out, 2, seed=3)
    for _ in range(2):
        reader = Reader(out, seed=3)
        if state is not None:
            reader.load_state_dict(state)
        size, workers = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 3))
        loader = Loader(reader, size, workers=workers, collate=keys)
        for batch in islice(loader, data.draw(st.integers(0, 4))):
            found += batch
        state = json.loads(json.dumps(loader.state_dict()))
        passed = TOTAL * state["epoch"] + state["given"]
        assert passed == len(found), "what workers hold ready is not counted"
    last = Loader(Reader(out, seed=3), 4, workers=2, collate=keys)
    last.load_state_dict(state)
    found += [key for _ in range(2 - state["epoch"]) for batch in last for key in batch]
    assert found == wanted


def test_workers_that_outlive_an_epoch_follow_it(out: str) -> None:
    loader = Loader(Reader(out, seed=7), 8, workers=2, collate=keys, persistent_workers=True)
    assert [key for _ in range(2) for batch in loader for key in batch] == sequence(out, 2, seed=7)
    loader.set_epoch(0)
    first = [next(iter(loader))]
    assert [key for batch in [*first, *loader] for key in batch] == sequence(out, seed=7)


def test_spawned_workers(out: str) -> None:
    loader = Loader(Reader(out, seed=7), 16, workers=1, collate=keys, multiprocessing_context="spawn")
    assert [key for batch in loader for key in batch] == sequence(out, seed=7)


def test_a_last_batch_that_is_not_full_may_be_left_out(out: str) -> None:
    loader = Loader(Reader(out), 16, collate=keys, drop_last=True)
    assert len(loader) == 2 and [len(batch) for batch in loader] == [16, 16]
    assert loader.reader.epoch == 1


def test_arrays_of_one_size_become_tensors(out: str) -> None:
    from torch.utils.data import default_collate

    def stacked(samples: list[Any]) -> Any:
        return default_collate([one.images["target"] for one in samples])

    batch = next(iter(Loader(Reader(out, form="numpy", side=32, images=["target"]), 5, workers=1, collate=stacked)))
    assert batch.shape == (5, 32, 32, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_is_raised_from_workers_or_skipped_and_counted(out: str, tmp_path: Path, workers: int) -> None:
    own = Path(shutil.copytree(out, tmp_path / "own"))
    (own / "shards" / "train-00002-of-00004.tar").unlink()
    with pytest.raises(DamageError, match=r"train-00002-of-00004\.tar: is missing"):
        list(Loader(Reader(str(own), seed=7), 4, workers=workers, collate=keys))
    reader = Reader(str(own), seed=7, on_damage="skip")
    found = [key for batch in Loader(reader, 4, workers=workers, collate=keys) for key in batch]
    assert len(found) == TOTAL - 7 and reader.skipped.total() == 7 and reader.epoch == 1


def test_what_the_loader_decides_is_no_option(out: str) -> None:
    with pytest.raises(InputError, match="shuffle: is the loader's own"):
        Loader(Reader(out), 4, shuffle=True)
    with pytest.raises(InputError, match="batch_size: 0"):
        Loader(Reader(out), 0)


def test_the_dataset_in_a_loader_of_ones_own(out: str) -> None:
    dataset = ReaderDataset(Reader(out, seed=7), 4, keys)
    for epoch in range(2):
        dataset.set_epoch(epoch)
        loader = DataLoader(dataset, batch_size=None, num_workers=2)
        found = [key for batch in loader for key in batch]
        wanted = Reader(out, seed=7)
        wanted.set_epoch(epoch)
        assert found == [one.id for one in wanted]
    with pytest.raises(InputError, match="workers read ahead"):
        dataset.state_dict()


def test_single_samples_and_an_exact_state_without_workers(out: str) -> None:
    dataset = ReaderDataset(Reader(out, seed=7))
    found = [one.id for one in islice(DataLoader(dataset, batch_size=None, collate_fn=_same), 5)]
    again = ReaderDataset(Reader(out, seed=7))
    again.load_state_dict(dataset.state_dict())
    assert len(again) == TOTAL - 5
    found += [one.id for one in again]
    assert found == sequence(out, seed=7)


def _same(one: Any) -> Any:
    return one


@pytest.mark.parametrize("workers", [0, 2])
def test_torchdata_resumes_it(out: str, workers: int) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def loader(count: int = workers, size: int = 3) -> Any:
        dataset = ReaderDataset(Reader(out, seed=7), size, keys)
        return stateful.StatefulDataLoader(dataset, batch_size=None, num_workers=count)

    first = loader()
    found = [key for batch in islice(first, 4) for key in batch]
    state = first.state_dict()
    again = loader()
    again.load_state_dict(state)
    assert found + [key for batch in again for key in batch] == sequence(out, seed=7)


def test_a_bucket_is_read_by_workers_and_by_threads(out: str, s3: Bucket) -> None:
    there = f"s3://{s3.name}/out"
    for name in paths.list_files(out):
        paths.copy_atomic(paths.join(out, name), paths.join(there, name))
    wanted = sequence(out, seed=7)
    assert sequence(there, seed=7) == wanted
    s3.proxy.seen.clear()
    assert [key for batch in Loader(Reader(there, seed=7), 8, workers=2, collate=keys) for key in batch] == wanted
    gets = [one for one in s3.proxy.seen if one.method == "GET" and ".tar" in one.name]
    assert 0 < len(gets) <= TOTAL, "a request for each sample at most"


def test_the_examples_of_the_page_run(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reader.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 4
    monkeypatch.chdir(Path(out).parent)
    for code in examples:
        exec(compile(code, "docs/reader.md", "exec"), {})
