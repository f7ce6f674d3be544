"""The ledger on disk, where it is special; what every ledger promises is in test_ledger_contract."""

from __future__ import annotations

import asyncio
import hashlib
import resource
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotators.engine import Engine, EngineSpec
from annotators.interface import Models, RawAnswer
from annotators.ledger import Claim, Entry, LedgerError, default_location, open_ledger
from schemas.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
KEY = "ab" * 32


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=300),
    detail=st.text(max_size=40),
    tokens=st.integers(0, 2**40),
    usd=st.floats(0, 1e6),
    key=st.binary(),
)
def test_every_entry_comes_back_as_it_was(
    tmp_path_factory: Any, text: str, detail: str, tokens: int, usd: float, key: bytes
) -> None:
    ledger = open_ledger(str(tmp_path_factory.getbasetemp() / "one-ledger"))
    entry = Entry(model="m", text=text, detail=detail, refusal="r" if detail else "", tokens_in=tokens, usd=usd)
    name = hashlib.sha256(f"{text}{detail}{tokens}{usd}{key!r}".encode()).hexdigest()

    async def round_trip() -> Entry | None:
        await ledger.put(name, entry)
        return await ledger.get(name)

    assert asyncio.run(round_trip()) == entry
    ledger.close()


def test_images_are_stored_once_by_content(tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path))
    data = b"the same bytes"
    names = {asyncio.run(ledger.put_blob(data, "image/jpeg")) for _ in range(3)}
    sha256 = hashlib.sha256(data).hexdigest()
    assert names == {sha256}
    files = [p for p in (tmp_path / "blobs").rglob("*") if p.is_file()]
    assert [p.relative_to(tmp_path / "blobs").as_posix() for p in files] == [f"{sha256[:2]}/{sha256}.jpg"]
    assert ledger.blobs.uri(sha256, "image/jpeg") == str(files[0])
    ledger.close()


def test_a_write_that_nobody_foresaw_fails_and_the_next_is_written(tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path))

    async def one_after_another() -> Entry | None:
        with pytest.raises(LedgerError, match="ledger: "):
            await asyncio.wait_for(ledger.put(KEY, None), 20)  # type: ignore[arg-type]
        await asyncio.wait_for(ledger.put(KEY, Entry(model="m", text="yes")), 20)
        return await ledger.get(KEY)

    try:
        assert asyncio.run(one_after_another()) == Entry(model="m", text="yes")
    finally:
        ledger.close()


def test_the_claim_of_a_silent_machine_is_taken_over(tmp_path: Path) -> None:
    one, two = open_ledger(str(tmp_path)), open_ledger(str(tmp_path))
    asyncio.run(one.claim(KEY))
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute("UPDATE owners SET place = 'elsewhere' WHERE owner = ?", (one._owner,))  # type: ignore[attr-defined]
    assert asyncio.run(two.claim(KEY)) is Claim.HELD, "its heart beats"
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute("UPDATE owners SET beat = beat - 100 WHERE place = 'elsewhere'")
    assert asyncio.run(two.claim(KEY)) is Claim.OURS
    for ledger in (one, two):
        ledger.close()


def test_bad_locations_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"ledger: .*file"):
        open_ledger(str(tmp_path / "file"))
    with pytest.raises(InputError, match="az://bucket/ledger"):
        open_ledger("az://bucket/ledger")
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "ledger.sqlite").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(InputError, match="junk"):
        open_ledger(str(tmp_path / "junk"))
    assert default_location().endswith("ledger") and "plumbline" in default_location()


def run_engine(fakes: Any, folder: Path, provider: Any, count: int, role: str = "writer") -> list[Any]:
    spec = EngineSpec(models=fakes.models(**{role: {}}), roles=(role,), ledger=str(folder))

    async def recipe(item: Any, models: Models) -> str:
        if role == "painter":
            painted = await models.paint(role, fakes.prompt(item.id), size=(8, 8))
            assert painted.image is not None
            return painted.image.sha256
        return (await models.ask(role, fakes.prompt(item.id))).text

    with Engine(spec, make=lambda config, where, world: provider) as engine, engine.window(recipe) as window:
        finished = [f for i in range(count) for f in window.put(fakes.Item(f"{i}"))]
        return finished + list(window.drain())


def test_painted_images_are_kept_with_their_size(fakes: Any, tmp_path: Path) -> None:
    from PIL import Image

    from storage.images import encode_jpeg

    data = encode_jpeg(Image.new("RGB", (8, 6), "red"))
    painter = fakes.Provider(lambda request, n: RawAnswer(image=data, media_type="image/png"))
    again = fakes.Provider()
    for provider in (painter, again):
        finished = run_engine(fakes, tmp_path, provider, 3, "painter")
        assert {f.result for f in finished} == {hashlib.sha256(data).hexdigest()}
    assert len(painter.requests) == 3 and not again.requests
    assert [p.suffix for p in (tmp_path / "blobs").rglob("*.*")] == [".jpg"], "named by its bytes, not by its label"


def test_the_folder_going_away_stops_the_run_with_exit_3(fakes: Any, tmp_path: Path) -> None:
    spec = EngineSpec(models=fakes.models(writer={}), roles=("writer",), ledger=str(tmp_path / "l"))

    async def recipe(item: Any, models: Models) -> str:
        return (await models.ask("writer", fakes.prompt(item.id))).text

    with Engine(spec, make=lambda config, where, world: fakes.Provider()) as engine:
        engine.ledger._writer.execute("PRAGMA query_only = 1")  # type: ignore[attr-defined]
        with engine.window(recipe) as window:
            window.put(fakes.Item("1"))
            (finished,) = window.drain()
        assert finished.stopped is not None and engine.stopped is not None
        assert engine.stopped.exit_code == 3 and "ledger" in engine.stopped.line


def test_a_full_disk_is_one_line_and_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path / "ledger"))
    text = "x" * 50_000

    async def filled() -> list[str]:
        kept: list[str] = []
        for i in range(100):
            key = f"{i:064x}"
            await ledger.put(key, Entry(model="m", text=text))
            kept.append(key)
        return kept

    async def some(keys: list[str]) -> list[Entry | None]:
        return [await ledger.get(key) for key in keys]

    asyncio.run(some([KEY]))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))  # no file may grow beyond, as on a full disk
    try:
        with pytest.raises(LedgerError) as told:
            asyncio.run(filled())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(tmp_path) in str(told.value) and "\n" not in str(told.value)
    there = [entry for entry in asyncio.run(some([f"{i:064x}" for i in range(100)])) if entry is not None]
    assert 5 <= len(there) < 100 and all(entry.text == text for entry in there)
    assert len(asyncio.run(filled())) == 100
    ledger.close()
