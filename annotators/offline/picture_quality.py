"""The offline Quality of an image: three scores by rules from pixels, a baseline that knows no anatomy and no taste.

It sees blankness, silhouettes, noise, blur, exposure, clipping, contrast and size; what is well drawn or well composed
it cannot see, and takes for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from schemas.judgements import QualityJudgement

if TYPE_CHECKING:
    from PIL import Image

Array = NDArray[Any]
_SIDE = 512
_TILES = 8


@dataclass(frozen=True)
class Measures:
    """What is measured of a picture whose longer side is brought to at most 512 pixels.

    Attributes:
        sharpness: variance of the Laplacian (0 to 255) in the sharpest tenth of 64 tiles.
        noise: standard deviation of the noise (0 to 255) in the smoothest quarter of the tiles, after Immerkaer.
        luminance: mean, 0 to 1.  dark, bright: share of pixels that are all but black or white.
        contrast: standard deviation of the luminance, 0 to 0.5.
        two: share of the two commonest colours, of 4,096; of a silhouette it is all but 1.
        alike: correlation of neighbouring pixels, 1 in smooth pictures and 0 in pure noise.
        side: pixels of the shorter side as the picture came.
    """

    sharpness: float
    noise: float
    luminance: float
    dark: float
    bright: float
    contrast: float
    two: float
    alike: float
    side: int

    @property
    def shows_nothing(self) -> str:
        """Why a picture shows next to nothing: blank, a silhouette or noise; empty where it shows something."""
        if self.contrast < 0.02:
            return "The image is blank"
        if self.two > 0.975:
            return "The image is a flat silhouette of two colours"
        return "The image is noise" if self.alike < 0.35 else ""


def quality(image: Image.Image) -> QualityJudgement:
    """Aesthetics, technical quality and structure of an upright RGB image, 1 to 5 each.

    Each begins at 5 and falls to the worst bound of the rules below; an image that shows next to nothing is 1 in all.
    """
    m = measures(image)
    if m.shows_nothing:
        return QualityJudgement(reasoning=f"{m.shows_nothing}.", aesthetics=1, technical=1, structure=1)
    technical = _bounds(
        (m.sharpness < 6, 1, "hardly an edge is sharp"),
        (m.sharpness < 30, 2, "it is blurred"),
        (m.sharpness < 120, 3, "it is soft"),
        (m.noise > 18, 1, "it is full of noise"),
        (m.noise > 9, 2, "it is noisy"),
        (m.noise > 5, 3, "there is some noise"),
        (m.luminance < 0.05 or m.luminance > 0.985, 1, "it is hardly exposed at all"),
        (m.luminance < 0.1 or m.dark > 0.7, 2, "it is far too dark"),
        (m.side < 128, 2, f"it measures only {m.side} pixels across"),
        (m.side < 256, 3, f"it measures only {m.side} pixels across"),
    )
    aesthetics = _bounds(
        (m.contrast < 0.05, 2, "it has hardly any contrast"),
        (m.contrast < 0.09, 3, "its contrast is weak"),
        (m.dark > 0.5, 3, "much of it is lost in black"),
        (m.luminance < 0.15, 3, "it is dark"),
        (m.bright > 0.93, 3, "nearly all of it is empty white"),
        (m.luminance < 0.22 or m.bright > 0.6, 4, "much of it is dark or empty"),
    )
    structure = _bounds(
        (m.two > 0.955, 2, "next to no forms can be told"),
        (m.two > 0.88, 3, "few forms can be told"),
        (m.sharpness < 30, 2, "forms are dissolved"),
        (m.noise > 18 or m.alike < 0.6, 2, "noise hides the forms"),
    )
    told = list(dict.fromkeys(text for _, text in (technical, aesthetics, structure) if text))
    said = f"By its pixels: {', '.join(told)}." if told else "By its pixels it has no fault that rules can see."
    return QualityJudgement(reasoning=said, aesthetics=aesthetics[0], technical=technical[0], structure=structure[0])


def _bounds(*rules: tuple[bool, int, str]) -> tuple[int, str]:
    """(the least bound of those that hold, why); (5, "") where none does."""
    return min(((bound, why) for holds, bound, why in rules if holds), default=(5, ""))


def measures(image: Image.Image) -> Measures:
    """See `Measures`."""
    import cv2

    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE), reducing_gap=2.0)
    rgb = np.asarray(small)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    bins = (rgb >> 4).astype(np.int32) @ np.array([256, 16, 1])
    counts = np.sort(np.bincount(bins.ravel(), minlength=4096))
    edges = np.square(cv2.Laplacian(grey, cv2.CV_32F))
    # Immerkaer's mask answers to noise and not to slopes or straight edges.
    residue = np.abs(cv2.filter2D(grey, cv2.CV_32F, np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)))
    tiles = _means(residue)
    # A tile without any residue is flat or clipped, and says nothing of noise.
    smooth = np.sort(tiles[tiles > 0.05]) if (tiles > 0.05).any() else np.zeros(1)
    return Measures(
        sharpness=float(np.sort(_means(edges))[-max(1, _TILES * _TILES // 10) :].mean()),
        noise=float(np.sqrt(np.pi / 2) / 6 * smooth[: max(1, len(smooth) // 4)].mean()),
        luminance=float(grey.mean() / 255),
        dark=float((grey <= 6).mean()),
        bright=float((grey >= 250).mean()),
        contrast=float(grey.std() / 255),
        two=float(counts[-2:].sum() / counts.sum()),
        alike=_neighbours(grey),
        side=min(image.size),
    )


def _means(values: Array) -> Array:
    """Means over a grid of tiles, [64] or fewer where the picture is tiny."""
    rows = np.array_split(values, min(_TILES, values.shape[0]), axis=0)
    return np.array([tile.mean() for row in rows for tile in np.array_split(row, min(_TILES, row.shape[1]), axis=1)])


def _neighbours(grey: Array) -> float:
    one, other = grey[:, :-1].ravel(), grey[:, 1:].ravel()
    if one.size < 2 or one.std() < 1e-3 or other.std() < 1e-3:
        return 1.0
    return float(np.corrcoef(one, other)[0, 1])
