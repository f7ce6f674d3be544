"""The openai provider: what a config may say, and what of it and of the environment is heeded."""

from __future__ import annotations

import base64
import logging
import re
from typing import Any

import pytest

from annotators import registry
from annotators.errors import RetryableError
from annotators.interface import RawAnswer
from annotators.network.openai import OpenAIProvider, make
from schemas.errors import InputError
from tests.annotators.network.openai_server import (
    KEY,
    _key,
    always,
    completion,
    only,
    request,
    setup,
)
from tests.servers.scripted import Says, Scripted

__all__ = ["_key"]


# -- what a config may say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"base_url": "host:8000/v1"}, "models.writer.base_url: 'host:8000/v1' is no address"),
        ({"base_url": "ftp://host/v1"}, "models.writer.base_url: 'ftp://host/v1' is no address"),
        ({"base_url": "http://user:hunter2@host/v1"}, "models.writer.base_url: holds credentials"),
        ({"extra": {"stream": True}}, "models.writer.extra.stream: is the provider's own"),
        ({"extra": {"odd": {1, 2}}}, "models.writer.extra: cannot be sent as JSON"),
        ({"thinking_budget": 100}, "models.writer.thinking_budget: only gemini"),
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE is not set"),
        ({"base_url": None, "api_key_env": None}, "set OPENAI_API_KEY"),
    ],
)
def test_a_config_that_cannot_work_is_refused_in_one_line(server: Scripted, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        registry.make(setup(server, **given), "models.writer")
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_what_it_can_is_declared(server: Scripted) -> None:
    made = make(setup(server, model="Qwen-Image-Edit-2511", sizes=["512x512"]), "models.painter")
    assert isinstance(made, OpenAIProvider)
    assert made.capabilities.images_out
    assert made.capabilities.batch
    assert made.capabilities.max_images == 3
    assert made.capabilities.sizes == ((512, 512),)
    assert make(setup(server, max_images=7), "models.painter").capabilities.max_images == 7
    assert make(setup(server), "models.writer").capabilities.max_images is None
    assert made.secrets == (KEY,)


def test_the_key_is_in_no_log_line(server: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    config = setup(server)
    for says in (Says(200, completion()), Says(401, KEY.encode()), Says(then="break"), Says(500, KEY.encode())):
        server.reply = lambda got, says=says: says  # type: ignore[misc]
        for modality in ("text", "image"):
            error = only(config, request(config, modality=modality))
            assert KEY not in str(error)
            assert KEY not in repr(error)
            cause = error.__cause__ if isinstance(error, Exception) else None
            assert KEY not in repr(cause)
    assert KEY not in caplog.text


def test_the_proxy_of_the_environment_is_used_and_its_exceptions_are_kept_to(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply = always(completion())
    monkeypatch.setenv("http_proxy", f"http://who:pass@127.0.0.1:{server.port}")
    config = setup(server, base_url="http://far.invalid/v1")
    assert isinstance(only(config), RawAnswer)
    got = server.asked[0]
    assert got.path == "http://far.invalid/v1/chat/completions"
    assert base64.b64decode(got.headers["proxy-authorization"].split()[1]) == b"who:pass"
    monkeypatch.setenv("no_proxy", "far.invalid")
    assert isinstance(only(config), RetryableError)
