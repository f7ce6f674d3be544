"""Keys in Secret Manager, against a server on this machine that answers as it does. The real one was never asked."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from annotators import registry
from annotators.config import ModelConfig
from annotators.network import secret_manager
from annotators.network.keys import key_of
from schemas.errors import InputError, StoppedError

KEY = "key-from-a-secret"
NAMES = itertools.count()


class Secrets:
    """Answers by name: a status, or the secret's bytes. `asked` are the paths."""

    def __init__(self) -> None:
        self.answers: dict[str, int | bytes] = {}
        self.asked: list[str] = []

    def add(self, answer: int | bytes, version: str = "latest") -> str:
        """The reference to a new secret."""
        name = f"projects/p/secrets/s{next(NAMES)}"
        self.answers[f"{name}/versions/{version}"] = answer
        return f"secret:{name}" + ("" if version == "latest" else f"/versions/{version}")


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Secrets]:
    found = Secrets()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/v1/").removesuffix(":access")
            found.asked.append(name)
            answer = found.answers.get(name, 404)
            self.send_response(200 if isinstance(answer, bytes) else answer)
            self.end_headers()
            if isinstance(answer, bytes):
                data = base64.b64encode(answer).decode()
                self.wfile.write(json.dumps({"name": name, "payload": {"data": data}}).encode())

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.setattr(secret_manager, "ENDPOINT", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setattr(secret_manager, "_authorized", requests.Session)
    yield found
    server.shutdown()
    server.server_close()


def gemini(reference: str) -> ModelConfig:
    return ModelConfig(provider="gemini", model="gemini-2.5-flash", api_key_env=reference)


def test_a_key_is_fetched_once_by_who_needs_it(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    config = gemini(secrets.add(f"{KEY}\n".encode()))
    registry.require(config, "models.writer")
    assert secrets.asked == [], "a launcher looks at the name alone, and needs no right to the secret"
    assert key_of(config, "models.writer", ()) == KEY
    assert registry.make(config, "models.writer").secrets == (KEY,), "so that it is blotted out of every line"
    assert len(secrets.asked) == 1 and KEY not in repr(config)


def test_a_version_may_be_named(secrets: Secrets) -> None:
    assert key_of(gemini(secrets.add(KEY.encode(), "7")), "models.writer", ()) == KEY
    assert secrets.asked[0].endswith("/versions/7")


@pytest.mark.parametrize(
    ("answer", "kind", "line"),
    [
        (404, InputError, "there is no such secret; correct the name"),
        (403, InputError, "may not be read (403); give this identity the role Secret Manager Secret Accessor on it"),
        (500, StoppedError, "Secret Manager answered 500; run the same command again later"),
        (b"\xff\xfe", InputError, "holds no text"),
        (b"", InputError, "holds characters that no API key has"),
    ],
)
def test_a_secret_that_cannot_be_had_is_one_line(
    secrets: Secrets, answer: int | bytes, kind: type[Exception], line: str
) -> None:
    with pytest.raises(kind) as error:
        key_of(gemini(secrets.add(answer)), "models.writer", ())
    assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "reference", ["secret:", "secret:gemini", "secret:projects/p/secrets/a b", "secret:projects/p"]
)
def test_what_names_no_secret_is_refused_before_anything_is_asked(secrets: Secrets, reference: str) -> None:
    for use in (
        lambda: registry.require(gemini(reference), "models.writer", here=False),
        lambda: key_of(gemini(reference), "models.writer", ()),
    ):
        with pytest.raises(
            InputError, match=r"models\.writer\.api_key_env: .* names no secret; write secret:projects/"
        ):
            use()
    assert secrets.asked == []


def test_a_variable_of_other_machines_is_not_looked_for_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    config = ModelConfig(provider="gemini", model="gemini-2.5-flash")
    registry.require(config, "models.writer", here=False)
    assert registry.key_source(config) == "GEMINI_API_KEY"
    assert registry.key_source(ModelConfig(provider="openai", model="m", base_url="http://h/v1")) == ""
    assert registry.key_source(ModelConfig(provider="offline")) == ""
    with pytest.raises(InputError, match="GEMINI_API_KEY"):
        registry.require(config, "models.writer")
