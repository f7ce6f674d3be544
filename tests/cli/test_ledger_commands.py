"""`plumbline ledger` on a disk and in buckets: what it says, what it removes and what never, and what it writes out."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from annotators.blobs import Blobs
from annotators.ledger import Claim, Entry, Ledger, open_ledger
from cli.main import main
from storage import paths

DAY = 86400.0
TEXT = Entry(model="gemini-x", role="writer", text="add ünï\n", tokens_in=1000, tokens_out=200, usd=0.25)
REFUSED = Entry(model="gemini-x", role="writer", refusal="safety", detail="blocked", tokens_in=10, usd=0.01)
OTHER = Entry(model="qwen-y", role="reasoner", text="because", tokens_in=500, tokens_out=50, usd=1.5)
IMAGE = b"\xff\xd8 the bytes of an image"
Run = Callable[..., SimpleNamespace]


def key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, in this process: its exit code and what it printed."""

    def command(*words: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["plumbline", "ledger", *words])
        capsys.readouterr()
        try:
            main()
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, error=said.err)

    return command


@pytest.fixture(params=["disk", "s3", "gs"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address without a ledger."""
    if request.param == "disk":
        return str(tmp_path / "ledger")
    found: str = request.getfixturevalue(request.param).location
    return found


@pytest.fixture
def ledger(location: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a ledger with an old answer, a refusal, another model's answer and an image."""
    sha256 = hashlib.sha256(IMAGE).hexdigest()
    painted = Entry("painter-z", "painter", "", sha256, "image/jpeg", len(IMAGE), 8, 6, usd=0.04)
    with monkeypatch.context() as patch:
        for module in ("annotators.sqlite_writes.time", "annotators.object_ledger.time"):
            patch.setattr(module, SimpleNamespace(time=lambda: time.time() - 40 * DAY))
        fill(open_ledger(location), {"old": TEXT})
    opened = open_ledger(location)
    assert asyncio.run(opened.put_blob(IMAGE, "image/jpeg")) == sha256
    fill(opened, {"refused": REFUSED, "other": OTHER, "painted": painted})
    yield location


def fill(opened: Ledger, entries: dict[str, Entry]) -> None:
    async def everything() -> None:
        for name, entry in entries.items():
            await opened.put(key(name), entry)

    asyncio.run(everything())
    opened.close()


def there(location: str) -> set[str]:
    opened = open_ledger(location)
    names = {name for name in ("old", "refused", "other", "painted") if asyncio.run(opened.get(key(name)))}
    opened.close()
    return names


def test_stats_says_what_is_there(ledger: str, run: Run) -> None:
    done = run("stats", ledger)
    assert done.code == 0 and done.error == ""
    lines = done.out.splitlines()
    assert lines[:3] == [ledger, "4 answers; 1 refusals or unusable among them", "1 images"]
    assert f"{len(IMAGE)} bytes of images" in lines[3]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["gemini-x"] == ["2", "1,010", "200", "0.26"]
    assert rows["qwen-y"] == rows["reasoner"] == ["1", "500", "50", "1.50"]
    assert rows["writer"] == rows["gemini-x"] and rows["painter"] == ["1", "0", "0", "0.04"]
    old = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 40 * DAY))
    assert f"from {old} " in done.out


def test_the_users_own_ledger_is_the_default(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert run("stats").code == 2
    fill(open_ledger(), {"a": TEXT})
    done = run("stats")
    assert done.code == 0 and done.out.startswith(str(tmp_path)) and "1 answers" in done.out


TWO_FILTERS = (["--model", "gemini-x", "--older-than", "2w"], {"old"})
PRUNED: list[tuple[list[str], set[str]]] = [
    (["--older-than", "30d"], {"old"}),
    (["--older-than", "60d"], set()),
    (["--model", "gemini-x"], {"old", "refused"}),
    (["--refusals"], {"refused"}),
    TWO_FILTERS,
    (["--refusals", "--model", "qwen-y"], set()),
    (["--yes"], {"old", "refused", "other", "painted"}),
]


# A ledger is pruned by one code on a disk and by another in a bucket, which is the same for both stores.
@pytest.mark.parametrize(
    ("location", "words", "gone"),
    [*((place, *one) for place in ("disk", "s3") for one in PRUNED), ("gs", *TWO_FILTERS)],
    indirect=["location"],
)
def test_prune_removes_what_meets_every_filter(ledger: str, run: Run, words: list[str], gone: set[str]) -> None:
    everything = {"old", "refused", "other", "painted"}
    would = run("prune", ledger, *words, "--dry-run")
    assert would.code == 0 and f"would remove {len(gone)} answers" in would.out
    done = run("prune", ledger, *words)
    assert done.code == 0 and f"\nremoved {len(gone)} answers" in done.out, done
    assert there(ledger) == everything - gone
    assert f"\n{4 - len(gone)} answers" in run("stats", ledger).out


def test_prune_says_how_much_it_freed(location: str, run: Run) -> None:
    fill(open_ledger(location), {f"{i}": dataclasses.replace(TEXT, text=os.urandom(5000).hex()) for i in range(30)})
    fill(open_ledger(location), {"kept": OTHER})
    for words in (["--dry-run"], []):
        done = run("prune", location, "--model", "gemini-x", *words)
        amount, unit = done.out.split("answers, ")[1].split("\n")[0].split()[-2:]
        assert unit == "kB" and 100 < float(amount) < 500, done.out


def test_prune_never_removes_everything_by_accident(ledger: str, run: Run) -> None:
    for words in ([], ["--dry-run"]):
        done = run("prune", ledger, *words)
        assert done.code == 2 and "--yes" in done.error and done.error.count("\n") == 1
    assert len(there(ledger)) == 4


def test_images_that_no_answer_names_go_when_they_are_old(ledger: str, run: Run, monkeypatch: Any) -> None:
    uri = Blobs(paths.join(ledger, "blobs")).uri(hashlib.sha256(IMAGE).hexdigest(), "image/jpeg")
    monkeypatch.setattr("annotators.sqlite_books.YOUNG", -60.0)
    monkeypatch.setattr("annotators.bucket.books.YOUNG", -60.0)
    assert "removed 0 images" in run("prune", ledger, "--blobs").out, "an answer names it"
    assert run("prune", ledger, "--model", "painter-z").code == 0 and paths.exists(uri)
    assert "would remove 1 images" in run("prune", ledger, "--blobs", "--dry-run").out and paths.exists(uri)
    monkeypatch.setattr("annotators.sqlite_books.YOUNG", DAY)
    monkeypatch.setattr("annotators.bucket.books.YOUNG", DAY)
    assert "removed 0 images" in run("prune", ledger, "--blobs").out, "its answer may be on its way"
    monkeypatch.setattr("annotators.sqlite_books.YOUNG", -60.0)
    monkeypatch.setattr("annotators.bucket.books.YOUNG", -60.0)
    done = run("prune", ledger, "--blobs")
    assert f"removed 1 images that no answer names, {len(IMAGE)} bytes" in done.out and not paths.exists(uri)
    assert there(ledger) == {"old", "refused", "other"}


def test_an_old_image_that_is_put_again_is_young(tmp_path: Path) -> None:
    opened = open_ledger(str(tmp_path))
    uri = opened.blobs.uri(asyncio.run(opened.put_blob(IMAGE, "image/jpeg")), "image/jpeg")
    os.utime(uri, (time.time() - 3 * DAY,) * 2)
    assert paths.age(uri) > DAY
    asyncio.run(opened.put_blob(IMAGE, "image/jpeg"))
    assert paths.age(uri) < DAY
    opened.close()


def test_a_run_goes_on_while_its_ledger_is_pruned(ledger: str, run: Run) -> None:
    at_work = open_ledger(ledger)
    assert asyncio.run(at_work.get(key("old"))) == TEXT
    assert asyncio.run(at_work.claim(key("new"))) is Claim.OURS
    assert run("prune", ledger, "--older-than", "30d").code == 0
    asyncio.run(at_work.put(key("new"), OTHER))
    assert asyncio.run(at_work.get(key("new"))) == OTHER and asyncio.run(at_work.get(key("other"))) == OTHER
    if paths.is_remote(ledger):  # what it knows of segments may be ten seconds old
        at_work.wait(at_work.shelf.refresh())  # type: ignore[attr-defined]
    assert asyncio.run(at_work.get(key("old"))) is None and asyncio.run(at_work.claim(key("old"))) is Claim.OURS
    asyncio.run(at_work.put(key("old"), TEXT))
    at_work.close()
    assert "\n5 answers" in run("stats", ledger).out and there(ledger) == {"old", "refused", "other", "painted"}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_export_writes_every_answer_and_image(ledger: str, run: Run, tmp_path: Path, kind: str) -> None:
    at_work = open_ledger(ledger)
    asyncio.run(at_work.put(key("new"), TEXT))
    out, images = tmp_path / f"out.{kind}", tmp_path / "images"
    done = run("export", ledger, "--out", str(out), "--images", str(images))
    at_work.close()
    assert done.code == 0 and "5 answers" in done.out and "1 images" in done.out
    if kind == "jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert all(row["created"].endswith("+00:00") for row in rows)
    else:
        rows = pq.read_table(out).to_pylist()
    by_key = {row["request_key"]: row for row in rows}
    assert set(by_key) == {key(name) for name in ("old", "refused", "other", "painted", "new")}
    old, painted = by_key[key("old")], by_key[key("painted")]
    assert (old["model"], old["text"], old["tokens_in"], old["usd"]) == ("gemini-x", "add ünï\n", 1000, 0.25)
    assert by_key[key("refused")]["refusal"] == "safety" and by_key[key("refused")]["repairable"] is False
    assert painted["image"] == hashlib.sha256(IMAGE).hexdigest() and (painted["width"], painted["height"]) == (8, 6)
    assert (images / painted["image_file"]).read_bytes() == IMAGE and old["image_file"] == ""
    assert len(list(images.iterdir())) == 1


def test_an_export_names_images_that_are_lost(ledger: str, run: Run, tmp_path: Path) -> None:
    paths.remove(Blobs(paths.join(ledger, "blobs")).uri(hashlib.sha256(IMAGE).hexdigest(), "image/jpeg"))
    done = run("export", ledger, "--out", str(tmp_path / "o.jsonl"), "--images", str(tmp_path / "i"))
    assert done.code == 0 and "0 images; 1 are lost" in done.out


@pytest.mark.parametrize(
    "command", [["stats"], ["prune", "--refusals"], ["prune", "--blobs"], ["export", "--out", "o.jsonl"]]
)
def test_where_there_is_no_ledger_none_is_made(
    location: str, run: Run, command: list[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*command, location)
    assert done.code == 2 and done.error == f"plumbline: ledger: {location}: there is no ledger here\n"
    assert not paths.exists(location) and not (tmp_path / "o.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stats", "az://bucket/x"], "az://bucket/x"),
        (["export", "--out", "o.csv"], "o.csv"),
        (["prune", "--older-than", "soon"], "soon"),
    ],
)
def test_bad_words_are_one_line(run: Run, words: list[str], said: str) -> None:
    done = run(*words)
    assert done.code == 2 and said in done.error and done.error.count("\n") == 1, done.error


def test_a_store_that_goes_away_meanwhile_is_exit_3(s3: Any, run: Run, monkeypatch: Any) -> None:
    fill(open_ledger(s3.location), {"a": TEXT})
    monkeypatch.setattr("storage.objects.LONGEST_PAUSE", 0.01)
    s3.proxy.fault = lambda seen: 503 if seen.prefix is not None and "runs/" in seen.prefix else None
    done = run("stats", s3.location)
    assert done.code == 3 and "503" in done.error and done.error.count("\n") == 1, done.error
