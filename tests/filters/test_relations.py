"""A relation that fits another reference better costs its reasoning, not the sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import toyworld
from filters.base import Candidate
from filters.clip import ClipConfig
from filters.clip_model import ClipModel
from filters.config import FiltersConfig, build
from filters.relations import RelationsConfig, RelationsFilter
from filters.score import run
from schemas.draft import Draft, Rejection
from schemas.tasks import Role

WORDS = (
    "owl",
    "office",
    "jacket",
    "car",
    "sofa",
    "garden",
    "night",
    "snow",
    "star",
    "tree",
    "house",
    "river",
    "lamp",
    "bread",
    "bottle",
    "king",
)


def toy_or_skip() -> None:
    if not Path(toyworld.clip_model_dir(), "open_clip_model.safetensors").is_file():
        pytest.skip("the toy world's CLIP is not in this checkout: python -m toyworld.clip.train makes it")


def phrases(weights: str, first: Any, second: Any) -> tuple[str, str]:
    """Two phrases that this model finds nearer to the first picture, and to the second."""
    model = ClipModel.load(weights, "cpu")
    one, two = model.image_embeddings([("first", lambda: first), ("second", lambda: second)])
    texts = [f"The {word}" for word in WORDS]
    leans = {t: float(v @ (one - two)) for t, v in zip(texts, model.text_embeddings(texts), strict=True)}
    nearest = sorted(leans, key=lambda t: leans[t])
    assert leans[nearest[0]] < -1e-3 and leans[nearest[-1]] > 1e-3
    return nearest[-1], nearest[0]


def judged(weights: str, draft: Draft, limit: float | None = 0.0) -> Draft | Rejection:
    model = ClipModel.load(weights, "cpu")
    return run([RelationsFilter(RelationsConfig(min_margin=limit), model)], [Candidate.of(draft)])[0]


def test_a_swapped_reasoning_is_dropped_and_its_sibling_stays(tiny_clip: str, desk: Any, scene: Any) -> None:
    first, second = scene(1), scene(8)
    a, b = phrases(tiny_clip, first, second)
    right = ("a picture", [f"{a} is from image_1.", f"{b} is consistent with image_2."])
    wrong = ("another picture", [f"{b} is from image_1.", f"{a} is consistent with image_2."])
    references = [(Role.SUBJECT, first), (Role.SUBJECT, second)]
    out = judged(tiny_clip, desk.draft(scene(3), references, [wrong, right]))
    assert isinstance(out, Draft) and [r.iccot.out_caption for r in out.reasonings] == ["a picture"]
    margin = out.reasonings[0].relation_margin
    assert margin is not None and margin > 0 and out.scores == {"relation_margin": margin}
    lost = judged(tiny_clip, desk.draft(scene(3), references, [wrong]))
    assert isinstance(lost, Rejection) and lost.reason == "relations" and lost.draft is not None
    assert (lost.draft.reasonings[0].relation_margin or 0) < 0
    kept = judged(tiny_clip, desk.draft(scene(3), references, [wrong, right]), None)
    assert isinstance(kept, Draft) and len(kept.reasonings) == 2


def test_a_single_reference_has_no_margin(tiny_clip: str, desk: Any, scene: Any) -> None:
    out = judged(tiny_clip, desk.draft(scene(3), [(Role.SUBJECT, scene(1))]))
    assert isinstance(out, Draft) and out.reasonings[0].relation_margin is None and out.scores == {}


def test_photos_of_one_subject_are_not_told_apart(tiny_clip: str, desk: Any, scene: Any) -> None:
    first, second = scene(1), scene(8)
    a, b = phrases(tiny_clip, first, second)
    references = [(Role.SUBJECT, first), (Role.SUBJECT, second)]
    wrong = [("a picture", [f"{b} is from image_1.", f"{a} is from image_2."])]
    out = judged(tiny_clip, desk.draft(scene(3), references, wrong, subjects=["dog", "dog"]))
    assert isinstance(out, Draft) and out.reasonings[0].relation_margin is None
    same = [("a picture", [f"{a} is from image_1.", f"{a} is from image_2."])]
    out = judged(tiny_clip, desk.draft(scene(3), references, same))
    assert isinstance(out, Draft) and out.reasonings[0].relation_margin is None


def test_toy_relations_that_were_swapped_are_found(desk: Any) -> None:
    toy_or_skip()
    from toyworld.render import render
    from toyworld.world import Picture, Thing

    def one(shape: str, colour: str, scene: str) -> Any:
        return render(Picture((Thing(shape, colour, "big", "middle"),), scene, "clear")).convert("RGB")

    references = [(Role.SUBJECT, one("star", "red", "snow")), (Role.SUBJECT, one("tree", "blue", "night"))]
    right = ("a red star and a blue tree", ["the red star is from image_1", "the blue tree is from image_2"])
    wrong = ("a blue tree and a red star", ["the blue tree is from image_1", "the red star is from image_2"])
    out = judged("toy", desk.draft(one("star", "red", "sky"), references, [wrong, right]))
    assert isinstance(out, Draft) and [r.iccot.out_caption for r in out.reasonings] == [right[0]]


def test_a_relation_that_says_nothing_of_its_image_has_no_say(tiny_clip: str, desk: Any, scene: Any) -> None:
    first, second = scene(1), scene(8)
    a, _ = phrases(tiny_clip, first, second)
    references = [(Role.SUBJECT, first), (Role.SUBJECT, second)]
    said = [("a picture", [f"{a} is from image_1.", "Nothing is from image_2."])]
    out = judged(tiny_clip, desk.draft(scene(3), references, said))
    assert isinstance(out, Draft) and out.reasonings[0].relation_margin is None


def test_relations_need_the_model_of_clip_and_share_it(tiny_clip: str) -> None:
    with pytest.raises(ValidationError, match="add clip"):
        FiltersConfig.model_validate({"relations": {}})
    config = {"clip": {"weights": tiny_clip, "device": "cpu"}, "relations": {}, "quality": {}, "similarity": {}}
    filters = build(FiltersConfig.model_validate(config))
    assert [f.name for f in filters.filters] == ["quality", "similarity", "clip", "relations"]
    clip, relations = filters.filters[2], filters.filters[3]
    assert isinstance(relations, RelationsFilter) and relations.model is getattr(clip, "model", None)
    assert list(filters.score_names) == [name for f in filters.filters for name in f.scores]
    assert ClipConfig(weights=tiny_clip).min_text is None


def test_an_unknown_filter_is_refused() -> None:
    with pytest.raises(ValidationError, match="aesthetic"):
        FiltersConfig.model_validate({"aesthetic": {}})
