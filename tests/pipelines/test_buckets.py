"""Whole runs on buckets: the same bytes as on a disk, and an ordered end to whatever a bucket or a disk refuses."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image, ImageDraw

from cli.main import main
from shards.manifest import read_manifest
from shards.names import ShardName
from shards.rejects import rejections
from shards.verify import verify
from storage import objects, paths, remote
from tests.pipelines.conftest import ROOT
from tests.servers.buckets import Bucket, Seen, denied, expired

OFFLINE = {"provider": "offline"}
# What differs between the two is tested in storage; here each kind of trouble is met on one of them.
on_s3 = pytest.mark.parametrize("bucket", ["s3"], indirect=True)
on_gs = pytest.mark.parametrize("bucket", ["gs"], indirect=True)


class Ended(NamedTuple):
    """How a command ended: its exit code, and what it said."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Command]:
    """`plumbline ...` in this process, with a cache and a ledger of its own."""
    monkeypatch.setenv("PLUMBLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(objects, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(objects, "ATTEMPTS", 4)
    remote.forget_stores()

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["plumbline", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capfd.readouterr()
        return Ended(code, said.out, said.err)

    yield run
    remote.forget_stores()


def picture(path: Path, number: int, mode: str = "RGB") -> str:
    """A picture like no other; with alpha it can be cut out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (37 * number % 256, 90 * number % 256, 200 - 11 * number % 200)
    image = Image.new(mode, (160, 128), (0, 0, 0, 0) if mode == "RGBA" else colour)
    ImageDraw.Draw(image).rectangle((30, 20, 90 + 3 * number, 110), fill=(220, 30 + 9 * number, 20))
    image.save(path)
    return path.name


def moved(folder: Path, to: str) -> None:
    names = paths.list_files(str(folder))
    paths.side_by_side(lambda name: paths.copy_atomic(str(folder / name), f"{to}/{name}"), names, to)


def pairs_on(place: str, tmp_path: Path, config: dict[str, Any] | None = None) -> Path:
    """Five pairs on `place`; the configuration that judges them in three shards."""
    raw = tmp_path / "raw-pairs"
    names = [picture(raw / f"{i}.png", i) for i in range(10)]
    rows = [
        {"id": f"p{i}", "instruction": "Make it larger", "source_image": names[2 * i], "edited_image": names[2 * i + 1]}
        for i in range(5)
    ]
    (raw / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    moved(raw, f"{place}/pairs")
    models = {"describer": OFFLINE, "rewriter": OFFLINE, "judge": OFFLINE}
    tree = {"dataset": "firm-edit", "pairs": f"{place}/pairs/pairs.jsonl", "models": models, **(config or {})}
    path = tmp_path / "edit.yaml"
    path.write_text(json.dumps({"seed": 7, "output": {"shard_samples": 2}, **tree}))
    return path


def pool_on(place: str, tmp_path: Path) -> None:
    """A small raw pool at `place`/raw."""
    raw = tmp_path / "raw"
    for i, name in enumerate(("red-fox", "old-man", "tall-robot", "grey-cat")):
        picture(raw / "characters" / f"{name}.png", i, "RGBA")
    for i, name in enumerate(("blue-ball", "green-cup", "wooden-chair", "clay-pot"), 4):
        picture(raw / "objects" / f"{name}.png", i, "RGBA")
    for i, name in enumerate(("sea-shore", "snowy-street", "kitchen"), 8):
        picture(raw / "scenes" / f"{name}.png", i)
    moved(raw, f"{place}/raw")


def realign_config(tmp_path: Path, pool: str) -> Path:
    tree = {
        "dataset": "realign",
        "seed": 7,
        "samples": 4,
        "pool": pool,
        "tasks": {"add": 1, "scene": 1, "subject_composition": 1},
        "models": {"writer": OFFLINE, "reasoner": OFFLINE, "painter": OFFLINE},
        "output": {"shard_samples": 2},
    }
    path = tmp_path / "realign.yaml"
    path.write_text(json.dumps(tree))
    return path


def digests(out: str) -> dict[str, str]:
    """sha256 of every file of an output's shards and rejects."""
    names = [name for name in paths.list_files(out) if name.startswith(("shards/", "rejects/"))]
    return {name: paths.sha256_file(paths.join(out, name)) for name in names}


def shards(out: str) -> dict[str, str]:
    return {name: digest for name, digest in digests(out).items() if name.startswith("shards/")}


def one_line(ended: Ended, code: int, *parts: str) -> None:
    lines = [line for line in ended.err.splitlines() if line.startswith("plumbline: ")]
    assert ended.code == code, ended
    assert len(lines) == 1 and "Traceback" not in ended.err, ended.err
    assert all(part in lines[0] for part in parts), lines[0]


def test_realign_makes_on_a_bucket_what_it_makes_on_a_disk(
    bucket: Bucket,
    command: Command,
    tmp_path: Path,
) -> None:
    place = bucket.location
    pool_on(place, tmp_path)
    indexed = command("pool", "index", f"{place}/raw", "--out", f"{place}/pool.parquet")
    assert indexed.code == 0 and "11 references" in indexed.out, indexed
    config = realign_config(tmp_path, f"{place}/pool.parquet")
    here = ("realign", config, "--set", f"ledger={tmp_path / 'ledger'}")
    there = ("realign", config, "--set", f"ledger={place}/ledger")
    assert command(*here, "--out", tmp_path / "out").code == 0
    made = command(*there, "--out", f"{place}/out")
    assert made.code == 0, made
    assert digests(f"{place}/out") == digests(str(tmp_path / "out")) and len(digests(f"{place}/out")) == 6
    assert read_manifest(f"{place}/out") == read_manifest(str(tmp_path / "out"))

    if bucket.location.startswith("gs"):
        return
    for part in ("1/2", "2/2"):
        assert command(*there, "--slice", part, "--out", f"{place}/slice-{part[0]}").code == 0
    merged = command("merge", f"{place}/slice-1", f"{place}/slice-2", "--out", f"{place}/merged")
    assert merged.code == 0 and "sound" in merged.out, merged
    # Rejects also say what was asked and what the ledger had, which the second time is another thing.
    assert shards(f"{place}/merged") == shards(f"{place}/out")

    assert "sound" in command("verify", f"{place}/out").out
    assert command("report", f"{place}/out").code == 0 and paths.exists(f"{place}/out/report.html")
    assert command("select", f"{place}/out", "--where", "references >= 1", "--out", f"{place}/chosen").code == 0
    assert verify(f"{place}/chosen") == []
    assert command("export", f"{place}/out", "--format", "parquet", "--out", tmp_path / "export").code == 0
    assert command("ledger", "stats", f"{place}/ledger").code == 0


@pytest.mark.parametrize(("dataset", "bucket"), [("firm-edit", "s3"), ("firm-gen", "gs")], indirect=["bucket"])
def test_labels_are_made_of_a_list_on_a_bucket(
    bucket: Bucket,
    command: Command,
    tmp_path: Path,
    dataset: str,
) -> None:
    place = bucket.location
    if dataset == "firm-edit":
        config = pairs_on(place, tmp_path)
    else:
        rows = [{"id": f"p{i}", "prompt": f"{i + 2} red mugs on a blue shelf"} for i in range(3)]
        listed = "".join(json.dumps(row) + "\n" for row in rows)
        paths.write_atomic(f"{place}/prompts.jsonl", listed.encode())
        models = {"painter": OFFLINE, "planner": OFFLINE, "judge": OFFLINE}
        tree = {"dataset": dataset, "prompts_file": f"{place}/prompts.jsonl", "models": models}
        config = tmp_path / "gen.yaml"
        config.write_text(json.dumps({"seed": 7, "output": {"shard_samples": 2}, **tree}))
    made = command(dataset, config, "--set", f"ledger={place}/ledger", "--out", f"{place}/out")
    assert made.code == 0, made
    assert command(dataset, config, "--out", tmp_path / "out").code == 0
    assert digests(f"{place}/out") == digests(str(tmp_path / "out"))
    assert verify(f"{place}/out") == []


@on_s3
def test_a_shard_is_three_whole_objects_its_index_last(
    bucket: Bucket,
    command: Command,
    tmp_path: Path,
) -> None:
    config = pairs_on(bucket.location, tmp_path)
    bucket.proxy.seen.clear()
    assert command("firm-edit", config, "--out", f"{bucket.location}/out").code == 0
    written = [seen.name for seen in bucket.proxy.seen if seen.method in ("PUT", "POST")]
    for index in range(3):
        name = ShardName("train", index, 3)
        order = [(i, file) for i, one in enumerate(written) for file in name.files if file in one]
        assert len(order) == 3 and order[-1][1] == name.index_file, "each written once, the index last"
    assert "manifest.json" in written[-1]


@pytest.mark.parametrize(
    ("what", "bucket"),
    [("out", "s3"), ("out", "gs"), ("pairs", "gs"), ("ledger", "gs"), ("pool", "s3")],
    indirect=["bucket"],
)
def test_a_bucket_that_is_not_there_is_one_line(
    bucket: Bucket,
    command: Command,
    tmp_path: Path,
    what: str,
) -> None:
    scheme = bucket.location.partition("://")[0]
    absent = f"{scheme}://no-such-bucket"
    config = pairs_on(str(tmp_path), tmp_path)
    if what == "pool":
        config = realign_config(tmp_path, f"{absent}/pool.parquet")
        one_line(command("realign", config, "--out", tmp_path / "out"), 2, f"{absent}/pool.parquet")
        return
    words = {
        "out": ["--out", f"{absent}/out"],
        "pairs": ["--out", tmp_path / "out", "--set", f"pairs={absent}/pairs.jsonl"],
        "ledger": ["--out", tmp_path / "out", "--set", f"ledger={absent}/ledger"],
    }[what]
    one_line(command("firm-edit", config, *words), 2, absent)


@pytest.mark.parametrize("words", [["verify"], ["report"], ["rejects"], ["merge", "--out"]], ids=lambda w: w[0])
def test_no_permission_is_one_line(s3: Bucket, command: Command, words: list[str]) -> None:
    s3.proxy.fault = denied
    ended = command(*words, f"{s3.location}/out", *([f"{s3.location}/out"] if "--out" in words else []))
    one_line(ended, 2, s3.location, "no permission", "docs/buckets.md")


@on_gs
def test_no_permission_to_write_is_found_before_anything_is_asked(
    bucket: Bucket,
    command: Command,
    tmp_path: Path,
) -> None:
    config = pairs_on(bucket.location, tmp_path)
    bucket.proxy.fault = lambda seen: denied(seen) if seen.method in ("PUT", "POST") else None
    ended = command("firm-edit", config, "--out", f"{bucket.location}/out")
    one_line(ended, 2, bucket.location, "no permission")


def after(mark: str, fault: Callable[[Seen], Any]) -> Callable[[Seen], Any]:
    """A fault that begins when something with `mark` in its name has been written."""
    begun: list[Seen] = []

    def told(seen: Seen) -> Any:
        if begun:
            return fault(seen)
        if seen.method in ("PUT", "POST") and mark in seen.name:
            begun.append(seen)
        return None

    return told


@pytest.mark.parametrize(
    ("fault", "said", "bucket"),
    [
        (expired, "the credentials are refused", "s3"),
        pytest.param(expired, "the credentials are refused", "gs", marks=pytest.mark.soak),
        (lambda seen: 503, "tried 4 times", "s3"),
        (denied, "no permission", "gs"),
    ],
    ids=["expired-s3", "expired-gs", "away-s3", "denied-gs"],
    indirect=["bucket"],
)
def test_a_bucket_that_fails_in_the_middle_stops_the_run_and_the_same_command_goes_on(
    bucket: Bucket,
    command: Command,
    tmp_path: Path,
    fault: Callable[[Seen], Any],
    said: str,
) -> None:
    out = f"{bucket.location}/out"
    words = ("firm-edit", pairs_on(bucket.location, tmp_path), "--out", out)
    first = ShardName("train", 0, 3)
    bucket.proxy.fault = after(first.index_file, fault)
    ended = command(*words)
    one_line(ended, 3, bucket.location, said, "run the same command to go on")
    bucket.proxy.fault = lambda seen: None
    there = paths.list_files(out)
    assert set(first.files) <= set(there) and "manifest.json" not in there
    assert not [name for name in there if name.startswith("shards/") and name not in first.files]
    again = command(*words)
    assert again.code == 0 and "1 of 3 shards are finished" in again.out, again
    assert verify(out) == [] and read_manifest(out)["counts"]["rejected"] == 0  # type: ignore[index]


@on_gs
def test_images_that_cannot_be_had_any_more_stop_the_run_and_reject_nothing(
    bucket: Bucket,
    command: Command,
    tmp_path: Path,
) -> None:
    config = pairs_on(bucket.location, tmp_path)
    words = ("firm-edit", config, "--out", tmp_path / "out")
    bucket.proxy.fault = lambda seen: expired(seen) if seen.name.rstrip("?").endswith("7.png") else None
    one_line(command(*words), 2, "7.png", "the credentials are refused")  # while the list is indexed: nothing is kept
    bucket.proxy.fault = lambda seen: None
    assert command(*words, "--set", "samples=1").code == 0
    bucket.proxy.fault = lambda seen: expired(seen) if ".png" in seen.name else None
    words = ("firm-edit", config, "--out", tmp_path / "more")
    one_line(command(*words), 3, ".png", "the credentials are refused", "run the same command to go on")
    assert not paths.list_files(str(tmp_path / "more" / "shards"))


@on_s3
def test_an_image_that_vanishes_after_it_was_planned_is_a_rejection(
    bucket: Bucket,
    command: Command,
    tmp_path: Path,
) -> None:
    place = bucket.location
    pool_on(place, tmp_path)
    assert command("pool", "index", f"{place}/raw", "--out", f"{place}/pool.parquet").code == 0
    for scene in ("sea-shore", "snowy-street", "kitchen"):
        paths.remove(f"{place}/raw/scenes/{scene}.png")
    ended = command("realign", realign_config(tmp_path, f"{place}/pool.parquet"), "--out", f"{place}/out")
    assert ended.code == 0, ended
    reasons = {row["reason"] for _, row in rejections(f"{place}/out")}
    assert "missing" in reasons and verify(f"{place}/out") == []


@on_gs
def test_a_shard_that_vanishes_between_listing_and_reading_is_named(
    bucket: Bucket,
    command: Command,
    tmp_path: Path,
) -> None:
    out = f"{bucket.location}/out"
    config = pairs_on(bucket.location, tmp_path)
    assert command("firm-edit", config, "--out", out).code == 0
    lost = ShardName("train", 1, 3)
    paths.remove(f"{out}/{lost.tar}")
    ended = command("verify", out)
    assert ended.code == 4 and f"{lost.tar}: is missing" in ended.out
    one_line(command("merge", out, "--out", f"{bucket.location}/merged"), 4, lost.tar, "is missing")
    assert not paths.exists(f"{bucket.location}/merged/manifest.json")
    one_line(command("export", out, "--format", "parquet", "--out", tmp_path / "export"), 4, lost.tar)
    assert command("firm-edit", config, "--out", out).code == 0 and verify(out) == []


@on_s3
def test_a_full_disk_here_stops_the_run_and_names_the_folder(
    bucket: Bucket,
    command: Command,
    tmp_path: Path,
) -> None:
    out = f"{bucket.location}/out"
    config = pairs_on(bucket.location, tmp_path)
    # A ledger on this disk would be full first: that is tested where it is at home.
    words = ("firm-edit", config, "--out", out, "--set", f"ledger={bucket.location}/ledger")
    assert command(*words, "--slice", "1/3").code == 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 13, before[1]))  # no file may grow beyond, as on a full disk
    try:
        ended = command(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ended.code == 3 and "Traceback" not in ended.err, ended.err
    assert "File too large" in ended.err and "run the same command to go on" in ended.err
    assert len([name for name in paths.list_files(out) if name.startswith("shards/")]) == 2
    assert command(*words).code == 0 and verify(out) == []


def test_a_run_killed_on_a_bucket_goes_on(s3: Bucket, command: Command, tmp_path: Path) -> None:
    out = f"{s3.location}/out"
    config = pairs_on(s3.location, tmp_path)
    words = ["firm-edit", str(config), "--out", out, "--set", f"ledger={s3.location}/ledger"]
    s3.proxy.fault = after("00001-of", lambda seen: time.sleep(60))  # in the middle of the second shard
    environment = {**s3.child(), "PLUMBLINE_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen([sys.executable, "-m", "cli.main", *words], cwd=ROOT, env=environment)
    deadline = time.monotonic() + 120
    while not any("00001-of" in seen.name for seen in s3.proxy.seen) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    s3.proxy.fault = lambda seen: None
    assert not paths.exists(f"{out}/manifest.json")
    assert command(*words).code == 0 and verify(out) == []
    assert command("firm-edit", config, "--out", tmp_path / "whole").code == 0
    assert shards(out) == shards(str(tmp_path / "whole"))
