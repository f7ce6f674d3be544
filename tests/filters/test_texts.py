"""Long texts lose nothing but white space; a relation is scored without the image it names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.texts import chunks, scorable

LETTERS = st.text(alphabet="ab c,.;!\n猫。，é", max_size=200)


@given(LETTERS, st.integers(1, 30))
def test_chunks_fit_and_keep_every_character(text: str, limit: int) -> None:
    found = chunks(text, lambda part: len(part) <= limit)
    assert all(len(part) <= limit for part in found)
    assert "".join("".join(found).split()) == "".join(text.split())


def test_a_text_is_cut_at_sentences_before_words() -> None:
    text = "A red star. A blue moon, and a tree. A very long sentence without any end in sight"
    assert chunks(text, lambda part: len(part.split()) <= 6) == [
        "A red star.",
        "A blue moon, and a tree.",
        "A very long sentence without any",
        "end in sight",
    ]


def test_a_text_that_fits_stays_whole() -> None:
    assert chunks("A red star. A blue moon.", lambda part: True) == ["A red star. A blue moon."]


@pytest.mark.parametrize(
    ("relation", "said"),
    [
        # The paper's own examples (arXiv 2601.05124, pipeline and README figures).
        (
            "The woman's face, hair, pose, the bouquet of flowers, and the background are consistent with image_1.",
            "The woman's face, hair, pose, the bouquet of flowers, and the background",
        ),
        (
            "The brown leather jacket and blue checked shirt are from image_2.",
            "The brown leather jacket and blue checked shirt",
        ),
        ("The man is from image_1.", "The man"),
        (
            "The black and white sketch style of the image is consistent with image_4.",
            "The black and white sketch style of the image",
        ),
        ("the red star is from image_2", "the red star"),
        ("image_1's sofa is kept", "the sofa is kept"),
        ("The pose in image_2 is taken over by the man from image_1", "The pose is taken over by the man"),
        ("The colours stay the same as those in image 1", "The colours"),
        ("nothing is from image_3", ""),
        ("image_1", ""),
    ],
)
def test_a_relation_is_scored_without_its_image(relation: str, said: str) -> None:
    assert scorable(relation) == said
