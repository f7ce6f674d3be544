"""Is the target a picture worth training on: big enough, of sane shape, sharp, exposed, not blank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from filters.base import Candidate, Verdict, rounded

if TYPE_CHECKING:
    from PIL import Image

MEASURE_SIDE = 512
"""Sharpness depends on scale, so every larger picture is measured at this longest side."""
_TILES = 8


class QualityConfig(BaseModel):
    """Limits; null switches one off. A score is stored whether or not its limit is on.

    The defaults lie outside what 262 sharp photographs, product shots, cut-outs over white and cliparts measure
    (the ranges below), and inside what the same pictures measure when spoilt.

    Attributes:
        min_side: pixels of the shorter side; generators' smallest training bucket. (reason `small`)
        max_aspect: longer side by shorter side. (reason `aspect`)
        min_sharpness: see `measures`; found 161 to 37,000, and 2 to 16 after a Gaussian blur of 4 pixels at 768.
            (reason `blur`)
        min_luminance, max_luminance: mean, 0 to 1; found 0.11 to 0.95 (0.98 in drawings on white), and 0.01 to
            0.09 at a tenth of the light. (reason `exposure`)
        max_clipped: share of pixels that are black, or share that are white; found up to 0.87 by cut-outs over
            white, 0.967 by drawings. (reason `exposure`)
        min_contrast: see `measures`; found 0.10 to 0.47. (reason `blank`)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_side: int | None = Field(default=256, ge=1)
    max_aspect: float | None = Field(default=3.0, ge=1)
    min_sharpness: float | None = Field(default=20.0, ge=0)
    min_luminance: float | None = Field(default=0.06, ge=0, le=1)
    max_luminance: float | None = Field(default=0.985, ge=0, le=1)
    max_clipped: float | None = Field(default=0.97, gt=0, le=1)
    min_contrast: float | None = Field(default=0.04, ge=0, le=1)


def measures(image: Image.Image) -> dict[str, float]:
    """The scores of an RGB picture's pixels.

    Returns:
        sharpness: variance of the Laplacian of the luminance (0-255) in the sharpest tenth of an 8 x 8 grid of
            tiles, at `MEASURE_SIDE`. The sharpest tiles, because a sharp subject before a soft background or a
            clear sky is a good photograph.
        luminance: mean, 0 to 1.  dark_share, bright_share: share of pixels that are all but black or white.
        contrast: standard deviation over all pixels and channels, about each channel's mean, 0 to 0.5.
    """
    import cv2
    import numpy as np

    rgb = np.asarray(_at_scale(image))
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    # Every sum below is of whole numbers and exact: many times as fast as NumPy's variance over a short axis.
    levels = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    _, deviations = cv2.meanStdDev(rgb)
    return {
        "sharpness": rounded(_sharpness(cv2.Laplacian(grey, cv2.CV_16S, ksize=1))),
        "luminance": rounded(int(levels @ np.arange(256)) / grey.size / 255),
        "dark_share": rounded(levels[:5].sum() / grey.size),
        "bright_share": rounded(levels[251:].sum() / grey.size),
        "contrast": rounded(np.sqrt(np.square(deviations).mean()) / 255),
    }


@dataclass(frozen=True)
class QualityFilter:
    config: QualityConfig
    name: str = "quality"
    cost: int = 1
    scores: tuple[str, ...] = ("sharpness", "luminance", "dark_share", "bright_share", "contrast")

    def __call__(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        return [self._verdict(candidate) for candidate in candidates]

    def _verdict(self, candidate: Candidate) -> Verdict:
        target = candidate.draft.target
        scores = measures(candidate.images.target())
        reason, detail = next(defects(target.width, target.height, scores, self.config), ("", ""))
        return Verdict(reason, detail, scores)


def defects(width: int, height: int, scores: dict[str, float], config: QualityConfig) -> Iterator[tuple[str, str]]:
    """(reason, detail) of every limit that a picture of this size and these `measures` breaks.

    Args:
        width, height: of the whole picture, not of what was decoded.
    """
    side, aspect = min(width, height), max(width, height) / min(width, height)
    if config.min_side is not None and side < config.min_side:
        yield "small", f"the shorter side has {side} pixels, below min_side {config.min_side}"
    if config.max_aspect is not None and aspect > config.max_aspect:
        yield "aspect", f"{width} x {height} is {aspect:.2f} to 1, above max_aspect {config.max_aspect:g}"
    # A blank picture is neither sharp nor well exposed: it is called blank.
    if config.min_contrast is not None and scores["contrast"] < config.min_contrast:
        yield "blank", f"contrast {scores['contrast']:g} is below min_contrast {config.min_contrast:g}"
    luminance = scores["luminance"]
    if config.min_luminance is not None and luminance < config.min_luminance:
        yield "exposure", f"luminance {luminance:g} is below min_luminance {config.min_luminance:g}"
    if config.max_luminance is not None and luminance > config.max_luminance:
        yield "exposure", f"luminance {luminance:g} is above max_luminance {config.max_luminance:g}"
    for name in ("dark_share", "bright_share"):
        if config.max_clipped is not None and scores[name] > config.max_clipped:
            yield "exposure", f"{name} {scores[name]:g} is above max_clipped {config.max_clipped:g}"
    if config.min_sharpness is not None and scores["sharpness"] < config.min_sharpness:
        yield "blur", f"sharpness {scores['sharpness']:g} is below min_sharpness {config.min_sharpness:g}"


def _at_scale(image: Image.Image) -> Image.Image:
    scale = MEASURE_SIDE / max(image.size)
    if scale >= 1:
        return image
    # An area filter, which neither rings nor sharpens.
    from PIL import Image

    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX)


def _sharpness(laplacian: Any) -> float:
    import cv2
    import numpy as np

    tiles = [tile for row in np.array_split(laplacian, _TILES) for tile in np.array_split(row, _TILES, axis=1)]
    variances = sorted((cv2.meanStdDev(tile)[1].item() ** 2 for tile in tiles if tile.size), reverse=True)
    return float(np.mean(variances[: max(1, len(variances) // 10)]))
