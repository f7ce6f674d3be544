"""The `gemini` provider: what it is made of, what it refuses, and what its models can do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from annotators import registry
from annotators.errors import StopRun
from annotators.network import gemini
from schemas.errors import InputError
from tests.annotators.network.gemini_server import (
    KEY,
    config,
)

# -- making one -----------------------------------------------------------------------------------------------------


def test_a_missing_key_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in gemini.USUAL_KEYS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="GEMINI_API_KEY"):
        registry.make(config(), "models.writer")


@pytest.mark.parametrize("name", gemini.USUAL_KEYS)
def test_either_of_the_usual_variables_is_named_in_lines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in gemini.USUAL_KEYS:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, KEY)
    provider = gemini.make(config(), "models.writer")
    assert provider.secrets == (KEY,)
    line = provider._refused(403, {"error": {"message": "no"}}, {})
    assert isinstance(line, StopRun) and name in line.line


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"model": "no model?"}, "models.writer.model"),
        ({"model": "../secrets"}, "models.writer.model"),
        ({"address": "ftp://host"}, "models.writer.base_url"),
        ({"address": "http://me:secret@host"}, "models.writer.base_url: holds credentials"),
        ({"address": "http://host/v1beta/"}, "models.writer.base_url: the SDK adds /v1beta"),
        ({"structured": "prompt"}, "models.writer.structured"),
        ({"extra": {"topk": 3}}, "models.writer.extra.topk: no field .* did you mean top_k"),
        ({"extra": {"max_output_tokens": 3}}, "say max_tokens"),
        ({"extra": {"http_options": {}}}, "say base_url"),
        ({"extra": {"candidate_count": 3}}, "models.writer.extra.candidate_count: is the provider's own"),
        ({"extra": {"audio_timestamp": True}}, "only Google's Agent Platform"),
        ({"extra": {"top_k": "many"}}, "models.writer.extra.top_k: .*number"),
        ({"extra": {"image_config": {"size": 3}}}, r"models.writer.extra.image_config.size"),
        ({"extra": {"media_resolution": "HUGE"}}, "models.writer.extra.media_resolution: .*HUGE"),
    ],
)
def test_configs_that_cannot_be_asked_with_are_refused(more: dict[str, Any], says: str) -> None:
    address = more.pop("address", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=says):
        gemini.make(config(address, **more), "models.writer")


def test_configs_that_can_are_not() -> None:
    extra = {
        "top_k": 40,
        "media_resolution": "MEDIA_RESOLUTION_LOW",
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "image_config": {"image_size": "2K"},
        "thinking_config": {"thinking_level": "LOW"},
    }
    assert gemini.make(config("http://127.0.0.1:9", extra=extra), "models.writer").name == "gemini"


@pytest.mark.parametrize(
    ("model", "paints", "most"),
    [
        ("gemini-2.5-flash", False, None),
        ("gemini-2.5-flash-image", True, 3),
        ("gemini-2.5-flash-image-preview", True, 3),
        ("gemini-2.0-flash-preview-image-generation", True, 3),
        ("gemini-3-pro-image-preview", True, 14),
        ("gemini-3.1-flash-image", True, 14),
        ("imagen-4.0-generate-001", False, None),  # another protocol
    ],
)
def test_what_models_can_do_is_read_off_their_names(model: str, paints: bool, most: int | None) -> None:
    can = gemini.make(config("http://127.0.0.1:9", model=model), "models.painter").capabilities
    assert (can.images_in, can.images_out, can.max_images, can.batch, can.sizes) == (True, paints, most, True, None)
    can = gemini.make(config("http://127.0.0.1:9", model=model, max_images=5), "models.painter").capabilities
    assert can.max_images == 5


def test_the_last_sdk_for_the_oldest_python_is_enough() -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.10"' in project
    least = re.search(r'"google-genai>=(\d+)\.(\d+)"', project)
    # 2.33 declares Python >= 3.10, 2.34 and later Python >= 3.11: pip would find nothing to install on 3.10.
    assert least is not None and (int(least[1]), int(least[2])) <= (2, 33)


def test_a_model_of_ones_own_paints_where_its_modalities_say_so() -> None:
    settings = config("http://127.0.0.1:9", model="house-painter", extra={"response_modalities": ["TEXT", "IMAGE"]})
    assert gemini.make(settings, "models.painter").capabilities.images_out
