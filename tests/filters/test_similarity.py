"""An unedited base and a pasted reference are found; small edits, tone edits and cut-outs are not mistaken for them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from filters.base import Candidate
from filters.change import edit_change
from filters.paste import pasted, same_picture
from filters.similarity import SimilarityConfig, SimilarityFilter
from schemas.tasks import Role
from storage.images import decode

LIMIT = SimilarityConfig().min_edit_change or 0.0
PASTE = SimilarityConfig().max_copy_paste or 1.0


def saved(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def shifted(image: Image.Image, dx: int, dy: int) -> Image.Image:
    out = image.copy()
    out.paste(image, (dx, dy))
    return out


def cut_out(image: Image.Image) -> Image.Image:
    mask = Image.new("L", image.size, 0)
    w, h = image.size
    ImageDraw.Draw(mask).ellipse((w * 0.08, h * 0.08, w * 0.92, h * 0.92), fill=255)
    out = image.convert("RGBA")
    out.putalpha(mask.filter(ImageFilter.GaussianBlur(2)))
    return out


@pytest.mark.parametrize(
    "again",
    [
        lambda i: i,
        lambda i: saved(i, 30),
        lambda i: saved(i.resize((i.width // 2, i.height // 2)), 70),
        lambda i: i.resize((544, 384)),
        lambda i: saved(shifted(i, 4, 3), 85),
    ],
    ids=["itself", "saved at 30", "half the size", "stretched", "moved by 4"],
)
def test_a_base_given_back_is_no_edit(scene: Any, again: Any) -> None:
    for seed in range(3):
        assert edit_change(scene(seed), again(scene(seed))) <= LIMIT


@pytest.mark.parametrize(
    "edit",
    [
        lambda i: ImageEnhance.Brightness(i).enhance(1.06),
        lambda i: ImageEnhance.Color(i).enhance(0.6),
        lambda i: ImageEnhance.Contrast(i).enhance(1.15),
        lambda i: Image.fromarray(np.clip(np.asarray(i) * [1.05, 1, 0.93], 0, 255).astype(np.uint8)),
        lambda i: i.convert("L").convert("RGB"),
        lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    ],
    ids=["brighter", "paler", "harder", "warmer", "grey", "mirrored"],
)
def test_a_change_of_tone_is_an_edit(scene: Any, edit: Any) -> None:
    for seed in range(3):
        assert edit_change(scene(seed), saved(edit(scene(seed)), 85)) > LIMIT


def test_a_tiny_added_object_is_an_edit(scene: Any) -> None:
    for seed in range(6):
        image = scene(seed)
        x, y = np.random.default_rng(seed).integers(30, 340, 2)
        before = image.getpixel((int(x) + 10, int(y) + 10))
        ImageDraw.Draw(image).ellipse((x, y, x + 20, y + 20), fill=tuple((c + 110) % 256 for c in before))
        assert edit_change(scene(seed), saved(image, 80)) > LIMIT


def test_a_reference_pasted_as_a_rectangle_is_found_wherever_it_lies(scene: Any) -> None:
    target, reference = scene(1), scene(2, (300, 240))
    for size, place in (((200, 160), (40, 150)), ((300, 240), (200, 90)), ((450, 360), (30, 10))):
        with_it = target.copy()
        with_it.paste(reference.resize(size), place)
        assert pasted(reference, saved(with_it, 80)) > PASTE
        warm = Image.fromarray(np.clip(np.asarray(with_it) * [0.9, 0.8, 0.7], 0, 255).astype(np.uint8))
        assert pasted(reference, warm) > PASTE


def test_a_cut_out_set_into_the_scene_is_no_paste(scene: Any) -> None:
    for seed in range(4):
        target, reference = scene(seed), scene(seed + 20, (300, 240))
        small = cut_out(reference).resize((230, 184))
        target.paste(small, (100, 120), small)
        assert pasted(reference, saved(target, 85)) < PASTE
        assert same_picture(reference, target) < 0.5


def test_what_is_not_there_is_not_found(scene: Any) -> None:
    assert pasted(scene(3, (300, 240)), scene(4)) < 0.6
    assert same_picture(scene(3), scene(4)) < 0.3
    assert same_picture(scene(3), saved(scene(3).resize((400, 400)), 60)) > 0.95


def judged(desk: Any, target: Image.Image, *references: Any) -> Any:
    return SimilarityFilter(SimilarityConfig())([Candidate.of(desk.draft(target, references))])[0]


def test_an_unedited_base_is_no_op_and_an_edited_one_is_kept(desk: Any, scene: Any) -> None:
    base, donor = scene(1), scene(2)
    found = judged(desk, base, (Role.BASE, base), (Role.DONOR, donor))
    assert (found.reason, found.scores["edit_change"]) == ("no_op", 0.0)
    edited = ImageEnhance.Brightness(base).enhance(0.8)
    found = judged(desk, edited, (Role.BASE, base), (Role.DONOR, donor))
    assert found.reason == "" and found.scores["edit_change"] > 0.1 and found.scores["copy_paste"] < 0.5


def test_a_target_that_is_its_subject_or_donor_is_copy_paste(desk: Any, scene: Any) -> None:
    found = judged(desk, scene(2), (Role.BASE, scene(1)), (Role.DONOR, scene(2)))
    assert found.reason == "copy_paste" and "image_2" in found.detail
    assert judged(desk, scene(3), (Role.SUBJECT, scene(3))).reason == "copy_paste"


def test_the_scene_may_be_seen_as_it_is(desk: Any, scene: Any) -> None:
    target = scene(1)
    cut = cut_out(scene(2, (160, 160)))
    target.paste(cut, (200, 150), cut)
    found = judged(desk, target, (Role.SUBJECT, cut), (Role.SCENE, scene(1)))
    assert found.reason == "" and "edit_change" not in found.scores


def test_a_cut_out_reference_may_be_pasted_by_its_outline(desk: Any, scene: Any) -> None:
    target = scene(1)
    cut = cut_out(scene(2, (200, 200)))
    target.paste(cut, (60, 60), cut)
    assert judged(desk, target, (Role.BASE, scene(1)), (Role.DONOR, cut)).reason == ""


def test_one_cut_out_may_replace_another(desk: Any, scene: Any) -> None:
    old, new = cut_out(scene(1, (300, 300))), cut_out(scene(2, (300, 300)))
    target = Image.new("RGB", new.size, (255, 255, 255))
    target.paste(new, (0, 0), new)
    assert judged(desk, target, (Role.BASE, old), (Role.DONOR, new)).reason == ""
    assert judged(desk, target, (Role.SUBJECT, new)).reason == "copy_paste"


def test_limits_of_null_only_score(desk: Any, scene: Any) -> None:
    config = SimilarityConfig(min_edit_change=None, max_copy_paste=None)
    draft = desk.draft(scene(1), [(Role.BASE, scene(1)), (Role.DONOR, scene(1))])
    found = SimilarityFilter(config)([Candidate.of(draft)])[0]
    assert found.reason == "" and found.scores == {"edit_change": 0.0, "copy_paste": 1.0}


def test_on_real_photographs(test_data: Path) -> None:
    rows = [json.loads(line) for line in (test_data / "pool" / "pool.jsonl").read_text().splitlines()]

    def load(row: dict[str, Any]) -> Image.Image:
        return decode((test_data / "pool" / row["path"]).read_bytes(), max_side=384)

    things = [load(r) for r in rows if r["kind"] != "scene" and r["style"] == "photo" and not r["alpha"]][::60]
    places = [load(r) for r in rows if r["kind"] == "scene" and min(r["width"], r["height"]) >= 300][: len(things)]
    found = []
    for thing, place in zip(things, places, strict=False):
        assert edit_change(place, saved(place, 60)) <= LIMIT
        scale = 0.6 * min(place.width / thing.width, place.height / thing.height)
        small = thing.resize((round(thing.width * scale), round(thing.height * scale)))
        with_it, with_cut = place.copy(), place.copy()
        with_it.paste(small, (10, 10))
        cut = cut_out(small)
        with_cut.paste(cut, (10, 10), cut)
        assert edit_change(place, with_cut) > LIMIT
        assert pasted(thing, saved(with_cut, 88)) < PASTE
        found.append(pasted(thing, saved(with_it, 88)) > PASTE)
    assert sum(found) >= len(found) - 1
