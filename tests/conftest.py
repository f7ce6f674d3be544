"""Fixtures that every room shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from annotators import events
from tests.servers.buckets import bucket, gs, gs_proxy, s3, s3_proxy
from tests.servers.fixtures import practice_process, practice_server

# One emulator of each store and one practice server for all rooms of a worker.
__all__ = ["bucket", "gs", "gs_proxy", "practice_process", "practice_server", "s3", "s3_proxy"]

# Machines differ and are shared: no test fails for taking long.
settings.register_profile("plumbline", deadline=None)
settings.load_profile("plumbline")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real input, or a skip that says why."""
    folder = Path(os.environ.get("PLUMBLINE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "pool" / "pool.jsonl").is_file():
        pytest.skip(f"no real input at {folder}: set PLUMBLINE_TEST_DATA")
    return folder


@pytest.fixture(autouse=True)
def no_secret_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test uses as a key is not blotted out of what the next one reads."""
    monkeypatch.setattr(events, "_secrets", set(events._secrets))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses an emulator of a bucket (`tests.servers.buckets`) is marked `cloud`."""
    for item in items:
        given = getattr(getattr(item, "callspec", None), "params", {}).values()
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & {"bucket", "s3", "gs"} or any(value in ("s3", "gs") for value in given if isinstance(value, str)):
            item.add_marker("cloud")
