"""Rejections are read back, and only shards that another attempt could mend are opened again."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.draft import ErrorClass, Rejection
from schemas.errors import InputError
from shards.commit import write_shard
from shards.manifest import write_manifest, write_run
from shards.names import ShardName
from shards.rejects import rejected_drafts, rejections, reopen, worth_another_try
from shards.tables import read_rejects


def a_run(out: Path) -> list[ShardName]:
    """Three shards of one plan each: rejected by a filter, by a dead provider, by an answer that no repair mended."""
    run_hash = write_run(str(out), {"dataset": "realign", "shards": {"train": 3}})
    names = [ShardName("train", i, 3) for i in range(3)]
    kinds = [(ErrorClass.FILTERED, ""), (ErrorClass.RETRYABLE, "key-1"), (ErrorClass.REPAIRABLE, "key-2")]
    for name, (kind, key) in zip(names, kinds, strict=True):
        one = Rejection(
            id=f"{name.index:032x}",
            ordinal=name.index,
            stage="painter",
            reason="why",
            error_class=kind,
            request_key=key,
        )
        write_shard(str(out), name, [], [one], run_hash=run_hash, planned=1)
    write_manifest(str(out))
    return names


def test_only_what_another_attempt_can_mend_is_worth_it(tmp_path: Path) -> None:
    names = a_run(tmp_path)
    assert worth_another_try(str(tmp_path)) == (names[1:], ["key-2"])
    assert [row["reason"] for _, row in rejections(str(tmp_path))] == ["why"] * 3
    assert list(rejected_drafts(str(tmp_path))) == []


def test_reopened_shards_lose_their_finish_mark_and_the_run_its_manifest(tmp_path: Path) -> None:
    names = a_run(tmp_path)
    reopen(str(tmp_path), names[1:])
    assert (tmp_path / names[0].index_file).exists()
    assert not any((tmp_path / name.index_file).exists() for name in names[1:])
    assert not (tmp_path / "manifest.json").exists()
    assert (tmp_path / names[1].tar).exists()


def test_a_folder_without_a_finished_shard_is_named(tmp_path: Path) -> None:
    write_run(str(tmp_path), {"dataset": "realign", "shards": {"train": 1}})
    with pytest.raises(InputError, match="no shard is finished yet"):
        list(rejections(str(tmp_path)))


def test_an_output_of_before_there_was_an_input_id_is_still_read(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    (name, *_) = a_run(tmp_path)
    table = pq.read_table(tmp_path / name.rejects)
    assert "input_id" in table.column_names
    pq.write_table(table.drop_columns(["input_id"]), tmp_path / name.rejects)
    assert [row["input_id"] for _, row in rejections(str(tmp_path))] == [""] * 3
    assert read_rejects((tmp_path / name.rejects).read_bytes())[1][0]["input_id"] == ""
    assert "input_id" not in read_rejects((tmp_path / name.rejects).read_bytes(), ["id"])[1][0]
