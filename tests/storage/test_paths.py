"""Paths: complete or absent, hashed right, and never outside their folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InputError
from storage import paths
from tests.servers.buckets import Bucket


@pytest.fixture(params=["local", "memory", "s3", "gs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same calls must do the same on a disk, on a bucket, and on whatever else fsspec reads."""
    if request.param in ("s3", "gs"):
        found: Bucket = request.getfixturevalue(request.param)
        return found.location
    return str(tmp_path / "out") if request.param == "local" else f"memory://bucket/{tmp_path.name}"


def test_a_written_file_reads_back_and_is_listed(folder: str) -> None:
    for name in ("b.bin", "a/x.bin"):
        paths.write_atomic(paths.join(folder, name), name.encode())
    with paths.open_atomic(paths.join(folder, "empty")):
        pass
    assert paths.list_files(folder) == ["a/x.bin", "b.bin", "empty"] and paths.read_bytes(f"{folder}/empty") == b""
    uri = paths.join(folder, "a/x.bin")
    assert paths.read_bytes(uri) == b"a/x.bin"
    assert paths.exists(uri) and paths.size(uri) == 7
    assert paths.sha256_file(uri) == hashlib.sha256(b"a/x.bin").hexdigest()
    paths.write_atomic(uri, b"new")
    assert paths.read_bytes(uri) == b"new"
    with paths.open_read(uri) as file:
        file.seek(1)
        assert file.read() == b"ew"
    paths.remove(uri)
    paths.remove(uri)
    assert not paths.exists(uri) and paths.list_files(folder) == ["b.bin", "empty"]


def test_a_folder_that_is_not_there_has_no_files(folder: str) -> None:
    assert paths.list_files(paths.join(folder, "none")) == []
    assert not paths.exists(paths.join(folder, "none"))
    with pytest.raises(FileNotFoundError):
        paths.read_bytes(paths.join(folder, "none"))


def test_a_failed_write_leaves_the_old_file_and_no_other(folder: str) -> None:
    uri = paths.join(folder, "f")
    paths.write_atomic(uri, b"old")
    with pytest.raises(RuntimeError), paths.open_atomic(uri) as file:
        file.write(b"half of the n")
        raise RuntimeError("disk full, say")
    assert paths.read_bytes(uri) == b"old"
    assert paths.list_files(folder) == ["f"]
    assert paths.is_remote(folder) or os.listdir(folder) == ["f"]


def test_nothing_is_visible_before_the_end(folder: str) -> None:
    uri = paths.join(folder, "f")
    with paths.open_atomic(uri) as file:
        file.write(b"x" * 100_000)
        file.flush()
        assert not paths.exists(uri)
        assert paths.list_files(folder) == []
    assert paths.size(uri) == 100_000


def test_copies_across_kinds_of_path(tmp_path: Path) -> None:
    here, there = str(tmp_path / "a"), f"memory://bucket/{tmp_path.name}/b"
    paths.write_atomic(here, b"bytes" * 1000)
    paths.copy_atomic(here, there)
    paths.copy_atomic(there, str(tmp_path / "c"))
    assert (tmp_path / "c").read_bytes() == b"bytes" * 1000


def test_the_leftover_of_a_killed_process_is_swept_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import os, sys
        from storage import paths
        with paths.open_atomic(sys.argv[1]) as file:
            file.write(b"half")
            file.flush()
            os._exit(9)
        """
    )
    target = tmp_path / "out" / "f.tar"
    assert subprocess.run([sys.executable, "-c", code, str(target)]).returncode == 9
    leftovers = os.listdir(target.parent)
    assert len(leftovers) == 1 and leftovers[0].startswith(".f.tar.") and leftovers[0].endswith(".tmp")
    assert paths.list_files(str(tmp_path)) == []
    with paths.open_atomic(str(tmp_path / "out" / "g.tar")) as file:
        file.write(b"living")
        assert paths.sweep_temporaries(str(tmp_path)) == leftovers
    assert os.listdir(target.parent) == ["g.tar"]


def test_a_leftover_with_this_process_own_number_is_swept(tmp_path: Path) -> None:
    with paths.open_atomic(str(tmp_path / "f")) as file:
        name = Path(file.name).name
    (tmp_path / name).write_bytes(b"from a container that was killed and had our number")
    assert paths.sweep_temporaries(str(tmp_path)) == [name]


def test_sweeping_leaves_other_hosts_and_other_files_alone(tmp_path: Path) -> None:
    kept = [".f.tar.deadbeef-999999-0.tmp", ".hidden", "x.tmp", ".f.tar.tmp"]
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    assert paths.sweep_temporaries(str(tmp_path)) == []
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "gs://other/x", "memory://b/x"])
def test_a_path_that_leaves_its_folder_is_refused(folder: str, path: str) -> None:
    with pytest.raises(ValueError, match="leaves the folder"):
        paths.inside(folder, path)


def test_a_link_that_leaves_its_folder_is_refused_and_one_that_stays_is_not(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    (pool / "in").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"")
    (pool / "real.jpg").write_bytes(b"")
    (pool / "out.jpg").symlink_to(tmp_path / "secret")
    (pool / "in" / "link.jpg").symlink_to(pool / "real.jpg")
    with pytest.raises(ValueError, match="leaves the folder"):
        paths.inside(str(pool), "out.jpg")
    assert paths.inside(str(pool), "in/link.jpg") == str((pool / "real.jpg").resolve())
    assert paths.inside(str(pool), "in/../real.jpg") == str((pool / "real.jpg").resolve())


def test_a_folder_whose_name_only_begins_alike_is_outside(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool2").mkdir()
    with pytest.raises(ValueError, match="leaves the folder"):
        paths.inside(str(tmp_path / "pool"), str(tmp_path / "pool2" / "x"))


@given(st.text(max_size=30))
def test_whatever_a_row_says_the_path_stays_inside_or_is_refused(path: str) -> None:
    for folder in ("/some/pool", "gs://bucket/pool"):
        try:
            found = paths.inside(folder, path)
        except ValueError:
            continue
        assert found == folder or found.startswith(folder + "/")
        assert ".." not in found.removeprefix(folder).split("/")


def test_an_address_of_no_known_kind_is_a_one_line_error() -> None:
    with pytest.raises(InputError, match="nosuch://x/y"):
        paths.read_bytes("nosuch://x/y")


def test_a_range_of_a_file_is_read_and_no_more(folder: str) -> None:
    uri = paths.join(folder, "f")
    paths.write_atomic(uri, bytes(range(100)))
    assert paths.read_range(uri, 10, 3) == bytes([10, 11, 12])
    assert paths.read_range(uri, 98, 10) == bytes([98, 99])
    with pytest.raises(FileNotFoundError):
        paths.read_range(uri + "x", 0, 1)


def test_a_folder_is_the_same_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert paths.same(str(tmp_path / "a"), f"{tmp_path}/./a/")
    assert paths.same(str(tmp_path / "a"), str(tmp_path / "b"))
    assert not paths.same(str(tmp_path / "a"), str(tmp_path))
    assert paths.same("gs://bucket/out", "gs://bucket/out/")
    assert not paths.same("gs://bucket/out", "s3://bucket/out")


def test_a_folder_holds_what_lies_below_it_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    for below in ("out/x", "out/x/y", "./out/../out/x", "link/x", f"file://{tmp_path}/out/x"):
        assert paths.holds("out", below) and paths.holds(f"{tmp_path}/link/", below)
    for beside in ("out", "out/", "outer", "out/../x", "link", "memory://out/x"):
        assert not paths.holds("out", beside)
    assert paths.holds("memory://b/out/", "memory://b/out/x") and not paths.holds("memory://b/out", "memory://b/outer")
    assert not paths.holds("memory://b/out", "memory://b/out/")
