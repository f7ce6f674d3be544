"""Drift: what an edit moved, zoomed or tinted beside what it was asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from filters.config import FiltersConfig, build
from filters.drift import Drift, drift
from schemas.draft import Draft, Rejection
from schemas.tasks import Role

Scene = Callable[..., Image.Image]


def edited(base: Image.Image) -> Image.Image:
    """A thing more in the picture, and the file saved again."""
    image = base.copy()
    ImageDraw.Draw(image).ellipse((300, 60, 430, 190), fill=(250, 240, 20))
    return image.filter(ImageFilter.GaussianBlur(0.6))


def moved(
    image: Image.Image, shift: float = 0.0, zoom: float = 1.0, tint: tuple[int, int, int] = (0, 0, 0)
) -> Image.Image:
    """`shift` as a share of the width, `zoom` about the middle, `tint` added to each channel."""
    w, h = image.size
    matrix = (1 / zoom, 0, w / 2 - w / 2 / zoom - shift * w, 0, 1 / zoom, h / 2 - h / 2 / zoom)
    turned = image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=(90, 90, 90)
    )
    return Image.fromarray(np.clip(np.asarray(turned).astype(int) + np.array(tint), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(512, 384), (1024, 768)])
def test_an_edit_that_left_the_rest_alone_did_not_drift(scene: Scene, size: tuple[int, int]) -> None:
    base = scene(3)
    found = drift(base, edited(base).resize(size))
    assert found is not None and found.shift < 0.002 and found.zoom < 0.003 and found.tint < 0.6


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize(("shift", "zoom"), [(0.01, 1.0), (0.04, 1.0), (0.0, 1.03), (0.0, 0.96), (0.02, 1.02)])
def test_a_shift_and_a_zoom_are_measured_whatever_was_edited(
    scene: Scene, seed: int, shift: float, zoom: float
) -> None:
    base = scene(seed)
    found = drift(base, moved(edited(base), shift, zoom))
    assert found is not None
    assert found.shift == pytest.approx(shift, abs=0.003) and found.zoom == pytest.approx(abs(zoom - 1), abs=0.006)


def test_a_tint_is_measured_and_the_edit_is_no_part_of_it(scene: Scene) -> None:
    base = scene(5)
    plain, warm = drift(base, edited(base)), drift(base, moved(edited(base), tint=(14, 0, -14)))
    assert plain is not None and warm is not None and plain.tint < 1 < 5 < warm.tint and warm.shift < 0.002


def test_a_thing_that_moved_across_a_plain_background_is_an_edit_and_no_drift() -> None:
    pictures = []
    for x in (60, 300):
        picture = Image.new("RGB", (512, 384), (180, 170, 160))
        ImageDraw.Draw(picture).rectangle((x, 120, x + 120, 260), fill=(150, 40, 40))
        pictures.append(picture)
    assert drift(*pictures) == Drift(0.0, 0.0, 0.0)


def test_another_picture_has_no_score(scene: Scene) -> None:
    assert drift(scene(6), scene(7)) is None


def test_limits_reject_by_their_own_reasons_and_look_at_edits_alone(desk: object, scene: Scene) -> None:
    base = scene(3)
    built = build(FiltersConfig.model_validate({"drift": {}}))
    targets = [
        edited(base),
        moved(edited(base), 0.05),
        moved(edited(base), 0, 1.08),
        moved(edited(base), tint=(40, 0, -40)),
    ]
    found = built.run([desk.draft(target, [(Role.BASE, base)]) for target in targets])  # type: ignore[attr-defined]
    assert [getattr(one, "reason", "") for one in found] == ["", "drift_shift", "drift_zoom", "drift_tint"]
    assert all(set(one.scores) == {"drift_shift", "drift_zoom", "drift_tint"} for one in found)
    toned = desk.draft(targets[3], [(Role.BASE, base)])  # type: ignore[attr-defined]
    toned = toned.model_copy(update={"plan": toned.plan.model_copy(update={"subtype": "tone"})})
    made = desk.draft(targets[1], [(Role.SUBJECT, base)])  # type: ignore[attr-defined]
    kept = built.run([toned, made])
    assert all(isinstance(one, Draft) for one in kept) and kept[0].scores["drift_tint"] > 8 and not kept[1].scores


def test_a_task_may_have_limits_of_its_own(desk: object, scene: Scene) -> None:
    base = scene(3)
    config = {"drift": {"max_shift": 0.1}, "quality": {}, "tasks": {"add": {"drift": {"max_shift": 0.01}}}}
    built = build(FiltersConfig.model_validate(config))
    drafts = [desk.draft(moved(edited(base), 0.05), [(Role.BASE, base)]) for _ in range(3)]  # type: ignore[attr-defined]
    drafts[1] = drafts[1].model_copy(update={"plan": drafts[1].plan.model_copy(update={"task": "replace"})})
    found = built.run(drafts)
    assert [type(one) for one in found] == [Rejection, Draft, Rejection]
    assert [one.id for one in found] == [draft.id for draft in drafts]
    assert built.digest != build(FiltersConfig.model_validate({**config, "tasks": {}})).digest
