"""The shipped CLIP tells true from false captions of drawn pictures; its trainer's pieces do what they say."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from toyworld import clip_model_dir
from toyworld.clip import examine, train
from toyworld.clip.examples import ATTRIBUTES, Text, applies_to, draw_picture, draw_texts, swapped
from toyworld.tokenizer import OutOfVocabulary
from toyworld.world import CLEAR, PLAIN, Picture, Thing

RED_STAR = Thing("star", "red", "big", "left")
BLUE_CAT = Thing("cat", "blue", "small", "right")


@pytest.fixture(scope="module")
def scorer() -> examine.Scorer:
    return examine.Scorer(clip_model_dir())


def test_true_captions_score_above_swapped_ones(scorer: examine.Scorer) -> None:
    measured = {name: (true, false) for name, true, false in examine.swaps(scorer, 60)}
    assert examine.auc(*measured["random"]) > 0.99
    above = {name: float((true > false).mean()) for name, (true, false) in measured.items()}
    assert above["colour"] > 0.88 and above["scene"] > 0.97 and above["shape"] > 0.65, above


def test_a_phrase_fits_its_own_reference_better(scorer: examine.Scorer) -> None:
    for name, margins in examine.relations(scorer, 20):
        assert (margins > 0).mean() > 0.9, name


def test_words_of_another_world_are_refused_not_scored(scorer: examine.Scorer) -> None:
    with pytest.raises(OutOfVocabulary):
        scorer.texts(["a photo of a dog"])


def test_the_shipped_folder_is_small_and_complete() -> None:
    folder = Path(clip_model_dir())
    assert (folder / "open_clip_config.json").is_file() and (folder / "README.md").is_file()
    assert 2e6 < (folder / "open_clip_model.safetensors").stat().st_size < 4.5e6


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_swapped_picture_differs_and_can_be_captioned(attribute: str) -> None:
    rng = random.Random(3)
    pictures = [p for p in (draw_picture(rng) for _ in range(80)) if applies_to(attribute, p)]
    assert len(pictures) > 10
    assert all(swapped(p, attribute, rng) != p for p in pictures)


def test_negative_texts_are_untrue_of_their_own_picture() -> None:
    rng = random.Random(4)
    pictures = [draw_picture(rng) for _ in range(150)]
    told = [draw_texts(p, rng, 2) for p in pictures]
    truth = train.truth_of([t[0] for t in told], pictures)
    assert truth.diagonal().all()
    for k in (1, 2):
        # A swapped colour may be that of the picture's other thing of the same shape.
        assert train.truth_of([t[k] for t in told], pictures).diagonal().mean() < 0.03


def test_truth_is_judged_by_what_a_text_says() -> None:
    both = Picture((RED_STAR, BLUE_CAT), "snow", CLEAR)
    one = Picture((RED_STAR,), PLAIN, "warm")
    texts = [
        Text("", Picture((Thing("star", "red"),)), False),
        Text("", Picture((Thing("star", "red"),)), True),
        Text("", Picture((Thing("", "blue"),), "snow"), False),
        Text("", Picture((), "", "warm"), False),
    ]
    assert train.truth_of(texts, [both, one]).tolist() == [[True, True], [False, True], [True, False], [False, True]]


def test_training_writes_a_folder_that_open_clip_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "BATCH", 8)
    for name in ("a", "b"):
        train.train(tmp_path / name, steps=1, seed=5)
    first, second = ((tmp_path / n / "open_clip_model.safetensors").read_bytes() for n in ("a", "b"))
    assert first == second
    told = examine.Scorer(str(tmp_path / "a")).texts(["a red star"])
    assert np.allclose(np.linalg.norm(told, axis=1), 1, atol=1e-3)
