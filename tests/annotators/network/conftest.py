"""What the providers' tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.scripted import Scripted, scripted


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as running:
        yield running
