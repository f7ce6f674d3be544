"""What a bucket's library raises becomes an `OSError`; a mistake of our own stays what it is."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType

import pytest

from storage.remote_errors import as_os_errors


class Refused(Exception):
    """As gcsfs's HttpError: no OSError."""


def test_a_librarys_error_is_an_os_error_that_says_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("gcsfs.retry")
    library.HttpError = Refused  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gcsfs.retry", library)
    with pytest.raises(OSError) as told, as_os_errors("gs://b/x.png"):
        raise Refused("Forbidden, 403\nlong page")
    assert (told.value.strerror, told.value.filename) == ("Refused: Forbidden, 403", "gs://b/x.png")
    with pytest.raises(OSError), as_os_errors("gs://b/x.png"):
        raise asyncio.TimeoutError


def test_other_errors_pass() -> None:
    for error in (FileNotFoundError("x"), ValueError("ours"), KeyError("ours")):
        with pytest.raises(type(error)) as told, as_os_errors("gs://b/x.png"):
            raise error
        assert told.value is error


def test_the_real_class_is_known() -> None:
    retry = pytest.importorskip("gcsfs.retry")
    with pytest.raises(OSError, match="no access"), as_os_errors("gs://b/x.png"):
        raise retry.HttpError({"message": "no access", "code": 403})
