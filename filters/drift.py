"""How far what an edit should have left alone drifted: moved, zoomed or tinted, outside the region that was edited.

Painters that redraw the whole picture often return it a little shifted, larger or in another light. The paper does not
speak of it. Ours: the target is laid onto the base by maximising the enhanced correlation coefficient (Evangelidis and
Psarakis, PAMI 2008), which no change of contrast disturbs, first with all of it and then with what did not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from filters.base import Candidate, Verdict
from schemas.tasks import Role

if TYPE_CHECKING:
    from PIL import Image

SIDE = 256
"""Both pictures are compared at this longest side."""
_LEVELS = (4, 2, 1)
_LEAST = 0.15
"""The share of the picture that must lie outside the edit; below it there is nothing to measure."""
_ROUNDS = 2
_FAR = 12.0
"""Levels of 255 beyond which a pixel does not fit, however far; what only one picture shows does not fit either."""
_BETTER = 0.9
"""A motion is believed where it leaves less misfit than this share. Things that an edit moved across a plain
background would otherwise be taken for a motion of the picture."""
_TOLERANCE, _PER_CONTRAST, _WINDOW = 7.0, 0.35, 7
"""What counts as left alone: mean colour over a window within so many levels of 255, more where there is texture."""


class DriftConfig(BaseModel):
    """`filters.drift`: the most that is let pass; null switches one off. A score is stored either way.

    Attributes:
        max_shift: how far the picture went, as a share of its longer side. (reason `drift_shift`)
        max_zoom: how much larger or smaller it became, in any direction: 0.01 is 1 %. (reason `drift_zoom`)
        max_tint: how much its colour changed, in CIE Lab (2.3 is just seen). (reason `drift_tint`)
        whole_picture: sub-types whose edit is the look of the whole picture: their tint is stored and not limited.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_shift: float | None = Field(default=0.02, ge=0, le=1)
    max_zoom: float | None = Field(default=0.03, ge=0, le=1)
    max_tint: float | None = Field(default=8.0, ge=0)
    whole_picture: tuple[str, ...] = ("style", "light", "tone")


class Drift(NamedTuple):
    """Shift as a share of the longer side, zoom as a share of the size, tint in CIE Lab; all 0 or more."""

    shift: float
    zoom: float
    tint: float


@dataclass(frozen=True)
class DriftFilter:
    """Scores samples with an image to edit; others, and edits that leave nothing alone, have no score and pass."""

    config: DriftConfig
    name: str = "drift"
    cost: int = 3
    scores: tuple[str, ...] = ("drift_shift", "drift_zoom", "drift_tint")

    def __call__(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        return [self._verdict(candidate) for candidate in candidates]

    def _verdict(self, candidate: Candidate) -> Verdict:
        plan = candidate.draft.plan
        if not plan.of_role(Role.BASE):
            return Verdict()
        found = drift(candidate.images.reference(plan.of_role(Role.BASE)[0][0]), candidate.images.target())
        if found is None:
            return Verdict()
        scores = {name: round(value, 4) + 0.0 for name, value in zip(self.scores, found, strict=True)}
        tint = None if plan.subtype in self.config.whole_picture else self.config.max_tint
        limits = (self.config.max_shift, self.config.max_zoom, tint)
        for (name, score), limit in zip(scores.items(), limits, strict=True):
            if limit is not None and score > limit:
                return Verdict(name, f"{name} {score:g} is above max_{name.removeprefix('drift_')} {limit:g}", scores)
        return Verdict(scores=scores)


def drift(base: Image.Image, target: Image.Image) -> Drift | None:
    """How the target lies on its base outside the edited region; None where too little of the base is left alone.

    A target of another size is laid over the base's frame first, so a picture that merely has more pixels has not
    drifted, and one that was cropped or stretched has.
    """
    import numpy as np

    before, after = _reduced(base, base.size), _reduced(target, base.size)
    matrix = np.eye(2, 3, dtype=np.float32)
    alone = np.ones(before.shape[:2], bool)
    misfit = _misfit(before, *_moved(after, matrix))
    for number in range(_ROUNDS):
        found = _laid(before, after, alone, matrix, _LEVELS if number == 0 else _LEVELS[-1:])
        better = _misfit(before, *_moved(after, found))
        if better < _BETTER * misfit:
            matrix, misfit = found, better
        moved, inside = _moved(after, matrix)
        alone = _left_alone(before, moved, inside)
        if alone.mean() < _LEAST:
            return None
    return Drift(*_motion(matrix, before.shape[1], before.shape[0]), _tint(before, moved, alone))


def _reduced(image: Image.Image, shape: tuple[int, int]) -> Any:
    """[H, W, 3] float32 RGB in 0..255, in the proportions of `shape`."""
    import numpy as np
    from PIL import Image

    scale = SIDE / max(shape)
    size = (max(16, round(shape[0] * scale)), max(16, round(shape[1] * scale)))
    return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)).astype(np.float32)


def _laid(before: Any, after: Any, alone: Any, matrix: Any, levels: Sequence[int]) -> Any:
    """The affine matrix [2, 3] that takes points of `before` to points of `after`; the given one where none is found.

    Coarse to fine, so that a shift of a tenth is still found.
    """
    import cv2
    import numpy as np

    for level in levels:
        size = (max(16, before.shape[1] // level), max(16, before.shape[0] // level))
        grey = [
            cv2.cvtColor(cv2.resize(p, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for p in (before, after)
        ]
        mask = cv2.resize(alone.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        scaled = matrix.copy()
        scaled[:, 2] /= level
        enough = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
        try:
            _, found = cv2.findTransformECC(grey[0], grey[1], scaled, cv2.MOTION_AFFINE, enough, mask, 5)
        except cv2.error:
            continue  # it does not converge: nothing in common at this level, or a flat picture
        found = found.copy()
        found[:, 2] *= level
        if _credible(found, before.shape):
            matrix = found
    return matrix


def _moved(after: Any, matrix: Any) -> tuple[Any, Any]:
    """`after` as the matrix lays it onto the base, and [H, W] bool, where it shows something."""
    import cv2
    import numpy as np

    size, way = after.shape[1::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(np.ones(after.shape[:2], np.float32), matrix, size, flags=way) > 0.999
    return cv2.warpAffine(after, matrix, size, flags=way), inside


def _misfit(before: Any, after: Any, inside: Any) -> float:
    """How badly two pictures lie on one another, in levels of 255 up to `_FAR`, but for a common change of colour."""
    import cv2
    import numpy as np

    away = cv2.blur(after - before, (3, 3), borderType=cv2.BORDER_REFLECT_101)
    if not inside.any():
        return _FAR
    far = np.minimum(np.abs(away - np.median(away[inside], axis=0)).max(-1), _FAR)
    return float(np.where(inside, far, _FAR).mean())


def _credible(matrix: Any, shape: Sequence[int]) -> bool:
    """A drift, and not two pictures forced onto one another."""
    import numpy as np

    sizes = np.linalg.svd(matrix[:, :2], compute_uv=False)
    shift, _ = _motion(matrix, shape[1], shape[0])
    return bool(sizes.min() > 0.6 and sizes.max() < 1.7 and shift < 0.25)


def _motion(matrix: Any, width: int, height: int) -> tuple[float, float]:
    """(shift of the middle as a share of the longer side, the larger of both directions' change of size)."""
    import numpy as np

    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = matrix[:, :2] @ middle + matrix[:, 2] - middle
    sizes = np.linalg.svd(matrix[:, :2].astype(np.float64), compute_uv=False)
    return float(np.hypot(*shift)) / max(width, height), float(abs(sizes - 1).max())


def _left_alone(before: Any, after: Any, inside: Any) -> Any:
    """[H, W] bool: where both pictures show the same, but for one change of colour of them all.

    That change is what most of the picture agrees on: the median, taken again of what lies near it.
    """
    import cv2
    import numpy as np

    window = (_WINDOW, _WINDOW)
    smooth = [cv2.blur(picture, window, borderType=cv2.BORDER_REFLECT_101) for picture in (before, after)]
    away = smooth[1] - smooth[0]
    if not inside.any():
        return inside
    common = np.median(away[inside], axis=0)
    near = inside & (np.abs(away - common).max(-1) < 2 * _TOLERANCE)
    if near.mean() > _LEAST:
        common = away[near].mean(axis=0)
    squares = cv2.blur(before * before, window, borderType=cv2.BORDER_REFLECT_101) - smooth[0] ** 2
    contrast = np.sqrt(np.maximum(squares, 0)).max(-1)
    alone = inside & (np.abs(away - common).max(-1) < _TOLERANCE + _PER_CONTRAST * contrast)
    # What stands alone amid an edit agrees by chance, and an edit's soft rim belongs to it.
    return cv2.erode(alone.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1).astype(bool)


def _tint(before: Any, after: Any, alone: Any) -> float:
    """How far the mean colour of what was left alone lies from where it was, in CIE Lab (1976)."""
    import cv2
    import numpy as np

    lab = [cv2.cvtColor(picture / 255, cv2.COLOR_RGB2LAB)[alone] for picture in (before, np.clip(after, 0, 255))]
    return float(np.linalg.norm(np.mean(lab[1] - lab[0], axis=0, dtype=np.float64)))
