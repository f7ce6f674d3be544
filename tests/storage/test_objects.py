"""Objects of a bucket: conditions that hold, ranges, listings, and what passes by itself is tried again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import InputError
from storage.objects import Objects, StoreError, open_objects
from tests.servers.buckets import Bucket

_NUMBERS = itertools.count()


@pytest.fixture(params=["s3", "gs", "memory"])
def store(request: pytest.FixtureRequest) -> Iterator[Objects]:
    if request.param == "memory":
        location = f"memory://objects-{next(_NUMBERS)}/below"
    else:
        location = request.getfixturevalue(request.param).location
    opened = open_objects(location)
    yield opened
    opened.wait(opened.close())


def test_what_is_written_is_read_listed_and_deleted(store: Objects) -> None:
    data = bytes(range(256)) * 10
    store.wait(store.write("a/x.bin", data))
    store.wait(store.write("b/y.bin", b"y"))
    found = store.wait(store.read("a/x.bin"))
    assert found is not None and found.data == data and found.version
    part = store.wait(store.read("a/x.bin", 250, 20))
    assert part is not None and part.data == data[250:270]
    assert store.wait(store.size("a/x.bin")) == 2560 and store.wait(store.size("none")) is None
    assert store.wait(store.read("none")) is None
    assert [(one.name, one.size) for one in store.wait(store.listing("a/"))] == [("a/x.bin", 2560)]
    assert [one.name for one in store.wait(store.listing(""))] == ["a/x.bin", "b/y.bin"]
    store.wait(store.delete(["a/x.bin", "b/y.bin", "none"]))
    assert store.wait(store.listing("")) == []


def test_many_are_deleted_with_few_requests(bucket: Bucket) -> None:
    store = open_objects(bucket.location)
    names = [f"many/{i:03d}" for i in range(150)]

    async def write() -> None:
        await asyncio.gather(*[store.write(name, b"x") for name in names])

    store.wait(write())
    bucket.proxy.seen.clear()
    store.wait(store.delete(names[:149]))
    assert len(bucket.proxy.seen) <= 2
    assert [one.name for one in store.wait(store.listing("many/"))] == names[149:]
    store.wait(store.close())


def test_creating_happens_once_however_many_try(store: Objects) -> None:
    async def race() -> list[str | None]:
        return await asyncio.gather(*[store.create("one", f"{i}".encode()) for i in range(8)])

    versions = store.wait(race())
    won = [i for i, version in enumerate(versions) if version is not None]
    assert len(won) == 1
    found = store.wait(store.read("one"))
    assert found is not None and found.data == f"{won[0]}".encode() and found.version == versions[won[0]]
    assert store.wait(store.create("one", f"{won[0]}".encode())) == found.version, "these bytes are ours already"
    assert store.wait(store.probe_conditions("one", b"probe"))


def test_a_delete_keeps_its_condition(store: Objects) -> None:
    version = store.wait(store.create("one", b"1"))
    assert version is not None
    store.wait(store.write("one", b"2"))
    assert not store.wait(store.delete_if("one", version))
    found = store.wait(store.read("one"))
    assert found is not None and found.data == b"2"
    assert store.wait(store.delete_if("one", found.version)) and store.wait(store.read("one")) is None
    assert not store.wait(store.delete_if("one", found.version))


def test_a_file_is_uploaded_whole(store: Objects, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\r\n\x00--" * 100_000)
    store.wait(store.upload("big", str(tmp_path / "f")))
    found = store.wait(store.read("big"))
    assert found is not None and found.data == (tmp_path / "f").read_bytes()


@pytest.mark.parametrize("kind", [503, "reset"])
def test_what_passes_by_itself_is_tried_again(bucket: Bucket, kind: int | str) -> None:
    counter = itertools.count()
    bucket.proxy.fault = lambda seen: kind if next(counter) % 2 == 0 else None
    store = open_objects(bucket.location)
    store.wait(store.write("a", b"1"))
    found = store.wait(store.read("a"))
    assert found is not None and found.data == b"1"
    assert len(store.wait(store.listing(""))) == 1
    store.wait(store.delete(["a"]))
    assert store.wait(store.read("a")) is None
    assert next(counter) >= 10
    store.wait(store.close())


def test_a_create_whose_answer_was_lost_is_ours(bucket: Bucket) -> None:
    counter = itertools.count()
    bucket.proxy.fault = lambda seen: "unheard" if next(counter) == 0 else None
    store = open_objects(bucket.location)
    assert store.wait(store.create("a", b"mine")) is not None
    assert store.wait(store.create("a", b"theirs")) is None
    store.wait(store.close())


def test_a_store_that_stays_away_is_an_error_after_a_bounded_number_of_attempts(
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("storage.objects.LONGEST_PAUSE", 0.01)
    bucket.proxy.fault = lambda seen: 503
    store = open_objects(bucket.location)
    with pytest.raises(StoreError, match=rf"{bucket.name}.*503.*tried 10 times"):
        store.wait(store.write("a", b"1"))
    assert len(bucket.proxy.seen) == 10
    store.wait(store.close())


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    scheme = bucket.location.partition("://")[0]
    store = open_objects(f"{scheme}://no-such-bucket/x")
    for attempt in (store.listing(""), store.write("a", b"1")):
        with pytest.raises(StoreError, match="no bucket no-such-bucket"):
            store.wait(attempt)
    store.wait(store.close())


def test_no_permission_is_said_at_once(bucket: Bucket) -> None:
    bucket.proxy.fault = lambda seen: 403
    store = open_objects(bucket.location)
    with pytest.raises(StoreError, match="no permission"):
        store.wait(store.read("a"))
    assert len(bucket.proxy.seen) == 1
    store.wait(store.close())


def test_a_store_without_conditions_is_found_out(gs: Bucket) -> None:
    gs.proxy.generations = False
    try:
        store = open_objects(gs.location)
        version = store.wait(store.create("a", b"1"))
        assert version is not None and not store.wait(store.probe_conditions("a", b"1"))
        assert store.wait(store.create("a", b"2")) is None
        held = store.wait(store.create("b", b"2"))
        assert held is not None and not store.wait(store.delete_if("b", "another"))
        assert store.wait(store.delete_if("b", held))
        store.wait(store.close())
    finally:
        gs.proxy.generations = True


@pytest.mark.parametrize("location", ["s3://", "az://bucket/x", "bucket/x"])
def test_an_address_that_is_none_is_refused(location: str) -> None:
    with pytest.raises(InputError, match=location):
        open_objects(location)
