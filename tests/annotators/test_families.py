"""Models of one family, by their names."""

from __future__ import annotations

import pytest

from annotators.config import ModelConfig
from annotators.families import family, kinship


@pytest.mark.parametrize(
    ("one", "other", "kin"),
    [
        ("gemini-2.5-flash-image", "gemini-2.5-pro", True),
        ("imagen-4", "gemini-3-pro", True),
        ("Qwen/Qwen-Image-Edit-2509", "Qwen/Qwen3-VL-235B-A22B-Instruct", True),
        ("gpt-image-1", "gpt-4.1", True),
        ("black-forest-labs/FLUX.1-dev", "Qwen/Qwen3-VL-8B-Instruct", False),
        ("stabilityai/stable-diffusion-xl-base-1.0", "gemini-2.5-pro", False),
        ("my-own", "my-own", True),
        ("my-own", "your-own", False),
    ],
)
def test_a_family_is_known_by_its_models_names(one: str, other: str, kin: bool) -> None:
    assert (family(one) == family(other)) is kin


def test_kin_among_a_mix_are_named_and_rules_are_nobodys_kin() -> None:
    flux, gemini = (ModelConfig(provider="openai", model=name) for name in ("FLUX.1-dev", "gemini-2.5-flash-image"))
    judge = ModelConfig(provider="gemini", model="gemini-2.5-pro")
    assert "gemini-2.5-flash-image paints and gemini-2.5-pro judges" in kinship([flux, gemini], [judge])
    assert kinship([flux], [judge]) == ""
    offline = ModelConfig(provider="offline")
    assert kinship([offline], [offline]) == ""
