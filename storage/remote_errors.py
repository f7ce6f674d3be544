"""What bucket libraries raise without it being an `OSError`, turned into one."""

from __future__ import annotations

import asyncio
import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CLASSES = (
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
)
"""Of the libraries that fsspec may use; one that is not loaded has raised nothing."""


def foreign() -> tuple[type[Exception], ...]:
    """The classes of the libraries that are loaded."""
    found = [getattr(sys.modules.get(module), name, None) for module, name in _CLASSES]
    classes = [one for one in found if isinstance(one, type) and issubclass(one, Exception)]
    # Before Python 3.11 this is no OSError; fsspec's own timeout is one of these.
    return (*classes, asyncio.TimeoutError)


@contextmanager
def as_os_errors(uri: str) -> Iterator[None]:
    """Whatever a bucket's library raises within becomes an `OSError` that says what it said.

    Raises:
        OSError: with the class and the first line of the message as its `strerror`; one that was raised passes.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if not isinstance(error, foreign()):
            raise
        said = (str(error).strip().splitlines() or [""])[0]
        raise OSError(errno.EIO, f"{type(error).__name__}: {said}".removesuffix(": "), uri) from error
