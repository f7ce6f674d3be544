"""Keys that lie in Google's Secret Manager: fetched by the process that needs one, under its own identity."""

from __future__ import annotations

import base64
import binascii
import re
import threading
from typing import TYPE_CHECKING

from schemas.errors import InputError, StoppedError

if TYPE_CHECKING:
    import requests

PREFIX = "secret:"
"""Begins an `api_key_env` that names a secret instead of a variable."""

ENDPOINT = "https://secretmanager.googleapis.com/v1"
FORM = "secret:projects/PROJECT/secrets/NAME, or with /versions/VERSION behind it"
_NAME = re.compile(r"projects/[^/\s]+/secrets/[\w-]{1,255}(/versions/(latest|\d+|[\w-]{1,63}))?")
_SECONDS = 30.0

_fetched: dict[str, str] = {}
_fetching = threading.Lock()


def secret_name(reference: str, where: str) -> str:
    """The resource name that `secret:NAME` stands for; the latest version where it names none.

    Raises:
        InputError: it is no such name.
    """
    name = reference.removeprefix(PREFIX)
    if not _NAME.fullmatch(name):
        raise InputError(f"{where}: {reference!r} names no secret; write {FORM}")
    return name if "/versions/" in name else f"{name}/versions/latest"


def secret_of(reference: str, where: str) -> str:
    """The secret's text, fetched once in a process; it is kept in memory alone.

    The identity is that of the platform (application default credentials; a worker's service account), which needs the
    role Secret Manager Secret Accessor.

    Raises:
        InputError: there is no such secret, it may not be read, or it is no text.
        StoppedError: the service gave no answer.
    """
    name = secret_name(reference, where)
    with _fetching:
        if name not in _fetched:
            _fetched[name] = _fetch(name, where)
        return _fetched[name]


def _fetch(name: str, where: str) -> str:
    import requests
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    try:
        answer = _authorized().get(f"{ENDPOINT}/{name}:access", timeout=_SECONDS)
    except DefaultCredentialsError as error:
        mend = "run `gcloud auth application-default login`, or give the machine a service account"
        raise InputError(f"{where}: {name}: no Google credentials here; {mend}") from error
    except (GoogleAuthError, requests.RequestException) as error:
        line = f"{where}: {name}: Secret Manager gave no answer ({type(error).__name__}); run the same command again"
        raise StoppedError(line) from error
    if answer.status_code == 404:
        raise InputError(f"{where}: {name}: there is no such secret; correct the name")
    if answer.status_code in (401, 403):
        mend = "give this identity the role Secret Manager Secret Accessor on it"
        raise InputError(f"{where}: {name}: may not be read ({answer.status_code}); {mend}")
    if answer.status_code != 200:
        line = f"{where}: {name}: Secret Manager answered {answer.status_code}; run the same command again later"
        raise StoppedError(line) if answer.status_code >= 500 or answer.status_code == 429 else InputError(line)
    try:
        return base64.b64decode(answer.json()["payload"]["data"]).decode("utf-8").strip()
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise InputError(f"{where}: {name}: holds no text; store the key itself, as UTF-8") from error


def _authorized() -> requests.Session:
    """A session that sends this machine's Google identity."""
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    found: requests.Session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]  # it has no types
    return found
