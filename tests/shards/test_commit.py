"""A shard appears whole or not at all, and equal samples give equal bytes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas.errors import ImageError
from schemas.usage import Usage
from shards.commit import ShardSample, finished, write_shard
from shards.names import ShardName, parse_name
from shards.tables import read_index, read_rejects
from storage import paths
from tests.shards.made import COLUMNS, jpeg, rejection, sample

NAME = ShardName("train", 0, 1)


def write(out: Path, samples: list[ShardSample], rejected: int = 0, **options: object) -> object:
    rejections = [rejection("train", 100 + i) for i in range(rejected)]
    settings = {"run_hash": "r", "planned": len(samples) + rejected, "columns": COLUMNS, **options}
    return write_shard(str(out), NAME, samples, rejections, **settings)


def files(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_a_shard_holds_its_samples_in_the_order_of_their_ids(tmp_path: Path) -> None:
    samples = [sample("train", i) for i in range(6)]
    footer = write(tmp_path, samples, rejected=2)
    ordered = sorted(samples, key=lambda s: s.id)
    with tarfile.open(tmp_path / NAME.tar) as tar:
        assert tar.getnames() == [f"{s.id}.{suffix}" for s in ordered for suffix, _ in s.members]
    again, rows = read_index((tmp_path / NAME.index_file).read_bytes(), NAME)
    assert again == footer and (footer.planned, footer.kept, footer.rejected) == (8, 6, 2)
    assert footer.rejected_by_reason == {"no_op": 2}
    assert footer.tar_sha256 == hashlib.sha256((tmp_path / NAME.tar).read_bytes()).hexdigest()
    data = (tmp_path / NAME.tar).read_bytes()
    for row, made in zip(rows, ordered, strict=True):
        assert row["id"] == made.id and row["split"] == "train" and tuple(row["subjects"]) == made.subjects
        for member, (suffix, content) in zip(row["members"], made.members, strict=True):
            assert member["name"] == f"{made.id}.{suffix}"
            assert data[member["offset"] : member["offset"] + member["size"]] == content
            assert member["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_column_that_no_sample_has_is_there_and_null(tmp_path: Path) -> None:
    write(tmp_path, [sample("train", 0), sample("train", 1)])
    table = pq.read_table(tmp_path / NAME.index_file)
    assert table.column_names == ["id", "split", *(c for c, _ in COLUMNS), "subjects", "members"]
    assert str(table.schema.field("never_computed").type) == "double"
    assert table["never_computed"].to_pylist() == [None, None]
    assert sorted(map(str, table["clip_text"].to_pylist())) == ["0.25", "None"]


def test_equal_samples_give_equal_bytes_in_whatever_order_and_form_they_come(tmp_path: Path) -> None:
    samples = [sample("train", i) for i in range(30)]
    write(tmp_path / "a", samples, rejected=3, usage={"m": Usage(calls=5)})
    lazy = [
        ShardSample(s.id, [(suffix, lambda c=c: c) for suffix, c in s.members], s.columns, s.subjects)
        for s in reversed(samples)
    ]
    write(tmp_path / "b", lazy, rejected=3, usage={"m": Usage(ledger_hits=5)})
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    assert list(a) == [NAME.rejects, NAME.index_file, NAME.tar]
    assert a[NAME.tar] == b[NAME.tar] and a[NAME.index_file] == b[NAME.index_file]
    assert a[NAME.rejects] != b[NAME.rejects], "a restart's usage lies in the rejects and nowhere else"


def test_a_shard_of_which_nothing_was_kept_has_an_empty_tar(tmp_path: Path) -> None:
    footer = write(tmp_path, [], rejected=3)
    assert footer.kept == 0
    with tarfile.open(tmp_path / NAME.tar) as tar:
        assert tar.getnames() == []
    assert pq.read_table(tmp_path / NAME.index_file).num_rows == 0
    assert finished(str(tmp_path), NAME, "r") == footer


def test_an_image_that_fails_costs_its_sample_and_no_other(tmp_path: Path) -> None:
    def broken() -> bytes:
        raise ImageError("unreadable", "the file ends early")

    whole, victim = sample("train", 1, references=2), sample("train", 2, references=2)
    members = [victim.members[0], ("image_2.jpg", broken), *victim.members[2:]]
    footer = write(tmp_path, [whole, ShardSample(victim.id, members, victim.columns, ordinal=2)], rejected=1)
    assert (footer.planned, footer.kept, footer.rejected) == (3, 1, 2)
    assert footer.rejected_by_reason == {"no_op": 1, "unreadable": 1}
    with tarfile.open(tmp_path / NAME.tar) as tar:
        assert tar.getnames() == [f"{whole.id}.{suffix}" for suffix, _ in whole.members]
    _, rows = read_rejects((tmp_path / NAME.rejects).read_bytes())
    lost = next(row for row in rows if row["id"] == victim.id)
    assert (lost["stage"], lost["reason"], lost["class"]) == ("images", "unreadable", "final")
    assert lost["detail"] == "the file ends early" and lost["ordinal"] == 2 and lost["task"] == "add"


def test_rejects_tell_everything_about_themselves(tmp_path: Path) -> None:
    write(tmp_path, [], rejected=2, usage={"offline": Usage(calls=4, usd=1.0)})
    usage, rows = read_rejects((tmp_path / NAME.rejects).read_bytes())
    assert usage == {"offline": Usage(calls=4, usd=1.0)}
    assert [row["ordinal"] for row in rows] == [100, 101]
    assert json.loads(rows[0]["scores"]) == {"similarity": 0.99} and rows[0]["usd"] == 0.5
    assert rows[0]["draft"] is None and rows[0]["images"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: [s, s], "two samples have the id"),
        (lambda s: [ShardSample("a.b", s.members)], "cannot be a sample's id"),
        (lambda s: [ShardSample(s.id, s.members, {"tusk": "add"})], "undeclared column tusk"),
        (lambda s: [ShardSample("a", [("n" * 100, b"")])], "cannot name a tar member"),
    ],
)
def test_a_mistake_leaves_nothing_behind(
    tmp_path: Path, change: Callable[[ShardSample], list[ShardSample]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path, change(sample("train", 0)))
    assert files(tmp_path) == {}
    with pytest.raises(ValueError, match="are not the 5 planned"):
        write(tmp_path, [sample("train", 0)], planned=5)


def test_any_other_error_of_a_member_ends_the_shard_and_leaves_nothing(tmp_path: Path) -> None:
    def crash() -> bytes:
        raise PermissionError("no")

    before = threading.active_count()
    with pytest.raises(PermissionError):
        write(tmp_path, [ShardSample(f"{i:02x}", [("json", crash if i == 20 else b"{}")]) for i in range(40)])
    assert files(tmp_path) == {} and threading.active_count() == before


def test_a_kill_in_the_middle_leaves_nothing_visible_and_the_next_run_ends_the_same(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import os, sys
        from shards.commit import ShardSample, write_shard
        from shards.names import ShardName
        made = lambda i: (lambda: os._exit(9) if i == 150 else bytes([i]) * 40_000)
        samples = [ShardSample(f"{i:04x}", [("bin", made(i))]) for i in range(200)]
        write_shard(sys.argv[1], ShardName("train", 0, 1), samples, [], run_hash="r", planned=200)
        """
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")]).returncode == 9
    left = [p for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert left and all(p.name.startswith(".") and p.name.endswith(".tmp") for p in left)
    assert paths.list_files(str(tmp_path / "a")) == [] and finished(str(tmp_path / "a"), NAME, "r") is None
    samples = [ShardSample(f"{i:04x}", [("bin", bytes([i]) * 40_000)]) for i in range(200)]
    for folder in ("a", "b"):
        write(tmp_path / folder, samples)
    assert paths.sweep_temporaries(str(tmp_path / "a")) == [p.name for p in left]
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("lost", [NAME.tar, NAME.rejects, NAME.index_file])
def test_a_shard_without_one_of_its_files_is_not_finished(tmp_path: Path, lost: str) -> None:
    footer = write(tmp_path, [sample("train", 0)])
    assert finished(str(tmp_path), NAME, "r") == footer
    assert finished(str(tmp_path), NAME, "another run") is None
    (tmp_path / lost).unlink()
    assert finished(str(tmp_path), NAME, "r") is None


def test_a_shard_whose_index_is_cut_is_not_finished(tmp_path: Path) -> None:
    write(tmp_path, [sample("train", 0)])
    index = tmp_path / NAME.index_file
    index.write_bytes(index.read_bytes()[:-9])
    assert finished(str(tmp_path), NAME, "r") is None


def test_a_shard_goes_to_a_bucket_by_the_same_call(tmp_path: Path) -> None:
    out = f"memory://bucket/{tmp_path.name}"
    samples = [sample("train", i) for i in range(3)]
    footer = write_shard(out, NAME, samples, [], run_hash="r", planned=3, columns=COLUMNS)
    local = write(tmp_path, samples)
    assert footer == local == finished(out, NAME, "r")


@pytest.mark.parametrize(
    "stem", ["train-0-of-1", "train-00002-of-00002", "train-00000-of-00001x", "a b-00000-of-00001"]
)
def test_what_is_no_shard_name_is_not_taken_for_one(stem: str) -> None:
    assert parse_name(stem) is None


def test_a_shard_name_reads_back_also_beyond_five_digits() -> None:
    for name in (ShardName("train", 7, 8), ShardName("train", 7, 123456), ShardName("my_split", 100000, 123456)):
        assert parse_name(str(name)) == name


def test_members_are_made_ahead_but_not_without_bound(tmp_path: Path) -> None:
    alive, most, lock = 0, 0, threading.Lock()

    def make() -> bytes:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return jpeg(1)

    def last() -> bytes:
        nonlocal alive
        with lock:
            alive -= 1
        return b"{}"

    write(tmp_path, [ShardSample(f"{i:04x}", [("image_1.jpg", make), ("json", last)]) for i in range(300)])
    assert most <= 16
