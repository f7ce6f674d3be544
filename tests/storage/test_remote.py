"""Files on buckets: whole or absent, read in blocks, listed side by side; what a store refuses is no missing file."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from schemas.errors import ImageError
from schemas.references import ImageRef
from storage import objects, objects_gcs, objects_s3, paths, remote
from storage.objects import StoreError
from storage.references import image_bytes
from tests.servers.buckets import Bucket, Seen, denied, expired


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small as S3 allows, and no long pauses."""
    monkeypatch.setattr(objects, "IN_PARTS", 6 << 20)
    monkeypatch.setattr(objects, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(objects, "LONGEST_PAUSE", 0.02)
    for module in (objects_s3, objects_gcs):
        monkeypatch.setattr(module, "PART", 5 << 20)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk: what would make a file longer fails, in whatever library, with an `OSError`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_large_file_goes_in_parts_and_appears_whole(bucket: Bucket, small_parts: None) -> None:
    data = os.urandom(12 << 20)
    uri = f"{bucket.location}/big.tar"
    count = itertools.count()
    with paths.open_atomic(uri) as file:
        file.write(data)
        assert not paths.exists(uri)
        bucket.proxy.fault = lambda seen: 503 if next(count) % 3 == 0 else None
    bucket.proxy.fault = lambda seen: None
    assert paths.size(uri) == len(data) and paths.read_bytes(uri) == data
    with paths.open_read(uri) as file:
        assert file.read() == data


def test_parts_that_cannot_be_sent_leave_nothing(s3: Bucket, small_parts: None) -> None:
    s3.proxy.fault = lambda seen: denied(seen) if seen.query.get("partNumber") == ["2"] else None
    with pytest.raises(StoreError, match="no permission"), paths.open_atomic(f"{s3.location}/big.tar") as file:
        file.write(bytes(12 << 20))
    assert paths.list_files(s3.location) == []
    assert any(seen.method == "DELETE" and "uploadId" in seen.query for seen in s3.proxy.seen), "taken back"


def test_a_block_that_raises_uploads_nothing(bucket: Bucket) -> None:
    with pytest.raises(KeyError), paths.open_atomic(f"{bucket.location}/x") as file:
        file.write(b"half")
        raise KeyError
    assert not any(seen.method in ("PUT", "POST") for seen in bucket.proxy.seen)


def test_a_full_disk_names_the_folder_of_the_spool(bucket: Bucket) -> None:
    with pytest.raises(OSError) as told, files_of_at_most(1 << 16), paths.open_atomic(f"{bucket.location}/x") as file:
        file.write(bytes(1 << 20))
    assert told.value.errno in (errno.ENOSPC, errno.EFBIG) and os.path.isdir(str(told.value.filename))
    assert paths.list_files(bucket.location) == []


def test_a_file_is_read_block_by_block_from_anywhere(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BLOCK", 100_000)
    data, uri = os.urandom(450_000), f"{bucket.location}/f"
    paths.write_atomic(uri, data)
    with paths.open_read(uri) as file:
        assert file.read(10) == data[:10]
        assert file.seek(-7, os.SEEK_END) == len(data) - 7 and file.read() == data[-7:]
        file.seek(99_990)
        assert file.read(250_000) == data[99_990:349_990]
        file.seek(len(data) + 5)
        assert file.read(3) == b""
    assert paths.read_range(uri, 449_990, 100) == data[-10:]
    assert paths.read_range(uri, 450_000, 10) == b"" and paths.read_range(uri, 5, 0) == b""


def test_a_range_behind_the_end_is_empty_where_the_store_refuses_it(bucket: Bucket) -> None:
    uri = f"{bucket.location}/cut.tar"
    paths.write_atomic(uri, b"12345")
    bucket.proxy.fault = lambda seen: 416 if seen.method == "GET" else None  # as the real stores do
    assert paths.read_range(uri, 5, 10) == b"", "a tar that was cut is damage, not a store that fails"


def test_a_file_that_changes_or_vanishes_while_it_is_read_is_an_error(
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "BLOCK", 1000)
    uri = f"{bucket.location}/f"
    paths.write_atomic(uri, bytes(10_000))
    with paths.open_read(uri) as file:
        file.read(10)
        paths.write_atomic(uri, os.urandom(10_000))
        file.seek(9000)
        with pytest.raises(OSError, match="was replaced while it was read"):
            file.read(10)
    with paths.open_read(uri) as file:
        paths.remove(uri)
        with pytest.raises(FileNotFoundError):
            file.read(10)


def test_a_long_list_is_asked_for_folder_by_folder(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    names = sorted([f"{kind}/{i:02d}.jpg" for kind in ("characters", "objects") for i in range(7)] + ["pool.jsonl"])
    paths.side_by_side(lambda name: paths.write_atomic(f"{bucket.location}/{name}", b"x"), names, bucket.location)
    assert paths.list_files(bucket.location) == names and len(bucket.proxy.listings()) == 1
    monkeypatch.setattr(objects, "MOST_LISTED", 5)
    for folders in (64, 0):
        monkeypatch.setattr(objects, "FOLDERS", folders)
        assert paths.list_files(bucket.location) == names
    by_folder = [prefix for prefix in bucket.proxy.listings() if prefix.endswith("characters/")]
    assert len(by_folder) >= 2


def test_nothing_is_remembered_of_what_was_not_there(bucket: Bucket) -> None:
    uri = f"{bucket.location}/late/x"
    assert not paths.exists(uri) and paths.list_files(f"{bucket.location}/late") == []
    scheme = bucket.location.partition("://")[0]
    other = objects.open_objects(f"{scheme}://{bucket.name}")  # as another machine would
    other.wait(other.write(uri.partition(f"{bucket.name}/")[2], b"1"))
    assert paths.exists(uri) and paths.list_files(f"{bucket.location}/late") == ["x"]
    other.wait(other.close())


@pytest.mark.parametrize(
    ("fault", "line", "code"),
    [
        (denied, "no permission", 2),
        (expired, r"the credentials are refused \(.*\); renew them", 2),
        (lambda seen: 503, "503.*tried 3 times.*try again", 3),
    ],
    ids=["denied", "expired", "away"],
)
def test_a_store_that_refuses_is_one_line_and_no_missing_file(
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Seen], object],
    line: str,
    code: int,
) -> None:
    monkeypatch.setattr(objects, "LONGEST_PAUSE", 0.01)
    uri = f"{bucket.location}/x.png"
    paths.write_atomic(uri, b"1")
    monkeypatch.setattr(remote._at(uri)[0], "attempts", 3)
    bucket.proxy.fault = fault  # type: ignore[assignment]
    image = ImageRef(uri=uri, sha256="0" * 64, width=64, height=64, media_type="image/png")
    calls: list[Callable[[], object]] = [
        lambda: paths.read_bytes(uri),
        lambda: paths.exists(uri),
        lambda: paths.list_files(bucket.location),
        lambda: paths.write_atomic(uri, b"2"),
        lambda: paths.open_read(uri),
        lambda: image_bytes(image),
    ]
    for call in calls:
        with pytest.raises(StoreError, match=line) as told:
            call()
        assert told.value.exit_code == code and "\n" not in str(told.value)
        assert str(told.value).startswith(bucket.location)


def test_an_image_that_is_gone_is_missing_and_one_in_no_bucket_is_no_image(bucket: Bucket) -> None:
    image = ImageRef(uri=f"{bucket.location}/x.png", sha256="0" * 64, width=64, height=64, media_type="image/png")
    with pytest.raises(ImageError, match="missing"):
        image_bytes(image)


def test_ages_are_told_by_the_stores_clock(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "time", SimpleNamespace(time=lambda: time.time() + 3 * 86400))
    uri = f"{bucket.location}/x"
    paths.write_atomic(uri, b"1")
    assert abs(paths.age(uri)) < 60
