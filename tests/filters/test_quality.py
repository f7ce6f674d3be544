"""Spoilt targets are named for what is wrong with them; good ones pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from pydantic import ValidationError

from filters.base import Candidate
from filters.quality import QualityConfig, QualityFilter, measures
from schemas.tasks import Role
from storage.images import decode


def verdict(desk: Any, image: Image.Image, config: QualityConfig | None = None) -> Any:
    draft = desk.draft(image, [(Role.SUBJECT, image)])
    return QualityFilter(config or QualityConfig())([Candidate.of(draft)])[0]


def pasted_on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image.resize((60, 60)), (100, 100))
    return white


def test_a_good_target_passes_with_every_score(desk: Any, scene: Any) -> None:
    found = verdict(desk, scene(1))
    assert found.reason == ""
    assert set(found.scores) == set(QualityFilter(QualityConfig()).scores)


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("small", lambda i: i.resize((240, 300))),
        ("aspect", lambda i: i.resize((1200, 300))),
        ("blank", lambda i: Image.new("RGB", i.size, (90, 120, 200))),
        ("blank", lambda i: Image.blend(Image.new("RGB", i.size, (120, 120, 120)), i, 0.05)),
        ("blur", lambda i: i.filter(ImageFilter.GaussianBlur(5))),
        ("exposure", lambda i: Image.fromarray((np.asarray(i) // 4 * (np.asarray(i) > 180)).astype(np.uint8))),
        ("exposure", pasted_on_white),
    ],
)
def test_a_defect_is_found_and_named(desk: Any, scene: Any, reason: str, spoil: Any) -> None:
    found = verdict(desk, spoil(scene(2)))
    assert found.reason == reason, (found.detail, found.scores)
    assert found.detail


def test_a_limit_of_null_is_off_but_still_scored(desk: Any, scene: Any) -> None:
    blurred = scene(3).filter(ImageFilter.GaussianBlur(5))
    found = verdict(desk, blurred, QualityConfig(min_sharpness=None))
    assert found.reason == "" and found.scores["sharpness"] < 20


def test_a_sharp_subject_before_a_soft_background_is_sharp(scene: Any) -> None:
    soft = scene(4).filter(ImageFilter.GaussianBlur(8))
    soft.paste(scene(5, (110, 110)), (200, 120))
    assert measures(soft)["sharpness"] > 100


def test_an_unknown_key_or_an_impossible_limit_is_refused() -> None:
    for bad in ({"min_sid": 3}, {"max_aspect": 0.5}, {"min_luminance": 7}):
        with pytest.raises(ValidationError):
            QualityConfig.model_validate(bad)


def test_real_photographs_pass_and_blurred_or_dark_ones_do_not(test_data: Path) -> None:
    rows = [json.loads(line) for line in (test_data / "pool" / "pool.jsonl").read_text().splitlines()]
    photos = [r for r in rows if r["style"] == "photo" and min(r["width"], r["height"]) >= 256][::40]
    config = QualityConfig()
    for row in photos:
        image = decode((test_data / "pool" / row["path"]).read_bytes(), max_side=768)
        scores = measures(image)
        assert scores["sharpness"] > config.min_sharpness and scores["contrast"] > config.min_contrast, row["path"]
        assert config.min_luminance < scores["luminance"] < config.max_luminance, row["path"]
        assert measures(image.filter(ImageFilter.GaussianBlur(4)))["sharpness"] < config.min_sharpness, row["path"]
        assert measures(ImageEnhance.Brightness(image).enhance(0.05))["luminance"] < config.min_luminance, row["path"]
