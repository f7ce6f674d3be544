"""`practice_server`: one process for all tests of a worker, as new before each; tests/conftest.py has both names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.running import PracticeServer


@pytest.fixture(scope="session")
def practice_process() -> Iterator[PracticeServer]:
    """The process; tests take `practice_server`."""
    with PracticeServer() as server:
        yield server


@pytest.fixture
def practice_server(practice_process: PracticeServer) -> PracticeServer:
    """A practice server without counts and with the usual settings."""
    practice_process.reset()
    return practice_process
