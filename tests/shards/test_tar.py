"""Tars: what we write, every common reader reads; what others write, our walk reads."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DamageError
from shards.reader import read_shard
from shards.tar import LARGEST, Member, TarWriter, header, walk

CONTENTS = st.lists(st.binary(max_size=2000), max_size=8)


def written(contents: list[bytes]) -> tuple[bytes, list[Member], TarWriter]:
    out = io.BytesIO()
    with TarWriter(out) as tar:
        members = [tar.add(f"{i:08x}.bin", data) for i, data in enumerate(contents)]
    return out.getvalue(), members, tar


@settings(deadline=None)
@given(CONTENTS)
def test_what_is_written_is_read_by_python_and_by_the_walk(contents: list[bytes]) -> None:
    data, members, tar = written(contents)
    assert tar.sha256 == hashlib.sha256(data).hexdigest() and tar.size == len(data) and len(data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as read:
        assert [(i.name, read.extractfile(i).read(), i.mtime, i.uid, i.gid) for i in read] == [
            (m.name, c, 0, 0, 0) for m, c in zip(members, contents, strict=True)
        ]
    digest = hashlib.sha256()
    walked = [(n, o, bytes(c)) for n, o, c in walk(io.BytesIO(data), "it", digest)]
    assert walked == [(m.name, m.offset, c) for m, c in zip(members, contents, strict=True)]
    assert digest.hexdigest() == tar.sha256
    for member, content in zip(members, contents, strict=True):
        assert data[member.offset : member.offset + member.size] == content
        assert member.sha256 == hashlib.sha256(content).hexdigest()


def test_our_headers_are_those_of_python_but_for_the_device_numbers() -> None:
    info = tarfile.TarInfo("ab.image_1.jpg")
    info.size = 12345
    ours, theirs = header("ab.image_1.jpg", 12345), info.tobuf(tarfile.USTAR_FORMAT)
    # Some Pythons fill in two device numbers, which mean nothing for a regular file and move the checksum.
    same = [slice(0, 148), slice(156, 329), slice(345, 512)]
    assert [ours[part] for part in same] == [theirs[part] for part in same]
    assert tarfile.TarInfo.frombuf(ours, "ascii", "strict").chksum == sum(ours[:148]) + sum(ours[156:]) + 8 * 32


def test_gnu_tar_and_webdataset_read_a_shard(tmp_path: Path) -> None:
    out = io.BytesIO()
    contents = {f"{k:032x}.{s}": f"{k} {s}".encode() * 300 for k in range(5) for s in ("image_1.jpg", "json")}
    with TarWriter(out) as tar:
        for name, data in contents.items():
            tar.add(name, data)
    shard = tmp_path / "train-00000-of-00001.tar"
    shard.write_bytes(out.getvalue())
    (tmp_path / "x").mkdir()
    done = subprocess.run(["tar", "-xvf", shard, "-C", tmp_path / "x"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(contents) and not done.stderr
    assert {p.name: p.read_bytes() for p in (tmp_path / "x").iterdir()} == contents
    theirs = [
        {k: v for k, v in s.items() if k not in ("__url__", "__local_path__")}
        for s in webdataset.WebDataset(str(shard), shardshuffle=False)
    ]
    ours = [{k: v if k == "__key__" else bytes(v) for k, v in s.items()} for s in read_shard(str(shard))]
    assert ours == theirs and len(ours) == 5


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_tars_of_other_writers_are_read_with_their_long_names(form: int) -> None:
    names = ["short.jpg", "d" * 60 + "/" + "n" * 70 + ".jpg", "last.jpg"]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 3, 1.5 if form == tarfile.PAX_FORMAT else 1
            tar.addfile(info, io.BytesIO(b"abc"))
    assert [(n, bytes(c)) for n, _, c in walk(io.BytesIO(out.getvalue()), "it")] == [(n, b"abc") for n in names]


@pytest.mark.parametrize("name", ["", "n" * 101, "größe.jpg", "a\0b"])
def test_a_name_that_plain_ustar_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a tar member"):
        header(name, 1)
    assert header("n" * 100, 1)


def test_a_member_too_large_for_plain_ustar_is_refused() -> None:
    with pytest.raises(ValueError, match="more than a plain tar member holds"):
        header("a.bin", LARGEST + 1)
    assert tarfile.TarInfo.frombuf(header("a.bin", LARGEST), "ascii", "strict").size == LARGEST


@settings(deadline=None)
@given(CONTENTS.filter(any), st.floats(0, 1, exclude_max=True))
def test_a_cut_tar_is_named_with_the_place(contents: list[bytes], share: float) -> None:
    data, members, _ = written(contents)
    end = members[-1].offset + members[-1].size
    cut = data[: int(share * (len(data) - 1024))]
    with pytest.raises(DamageError, match=r"my\.tar.*byte"):
        list(walk(io.BytesIO(cut), "my.tar"))
    assert end <= len(data) - 1024


@settings(deadline=None)
@given(CONTENTS.filter(any), st.data())
def test_a_flipped_bit_in_a_header_is_found_by_its_checksum(contents: list[bytes], data: st.DataObject) -> None:
    tar, members, _ = written(contents)
    member = data.draw(st.sampled_from(members))
    at = member.offset - 512 + data.draw(st.integers(0, 511))
    damaged = bytearray(tar)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        names = [n for n, _, _ in walk(io.BytesIO(bytes(damaged)), "it")]
    except DamageError:
        return
    # The checksum's own field has bytes that say nothing (its trailing space): only there may a flip pass.
    assert names == [m.name for m in members] and 148 <= at - (member.offset - 512) < 156
