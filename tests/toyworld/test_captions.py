"""Captions and relations are read back as they were said, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.mentions import image_mentions
from toyworld.captions import (
    MAX_IMAGES,
    CaptionError,
    Relation,
    Wording,
    caption,
    listed,
    parse,
    parse_relation,
    said,
    the_colour,
    the_light,
    the_scene,
    the_thing,
    words,
)
from toyworld.tokenizer import CONTEXT_LENGTH, OutOfVocabulary, ToyTokenizer
from toyworld.world import COLOURS, LIGHTS, PLACES, PLAIN, SCENES, SHAPES, SIZES, Picture, Thing

THINGS = st.builds(
    Thing,
    st.sampled_from(SHAPES),
    st.sampled_from(list(COLOURS)),
    st.sampled_from(["", *SIZES]),
    st.sampled_from(["", *PLACES]),
)
PICTURES = st.builds(
    Picture,
    st.lists(THINGS, min_size=1, max_size=5).map(tuple),
    st.sampled_from(["", PLAIN, *SCENES]),
    st.sampled_from(["", *LIGHTS]),
)
WORDINGS = st.builds(
    Wording, st.booleans(), st.booleans(), st.sampled_from([None, True, False]), st.booleans(), st.booleans()
)
PARTS = st.one_of(
    st.builds(the_thing, THINGS),
    st.builds(lambda t: the_thing(t, size=True), THINGS),
    st.sampled_from(SCENES).map(the_scene),
    st.sampled_from(list(LIGHTS)).map(the_light),
    st.sampled_from(list(COLOURS)).map(the_colour),
)


@given(PICTURES, WORDINGS)
def test_a_caption_is_read_back_as_what_it_says(picture: Picture, wording: Wording) -> None:
    assert parse(caption(picture, wording)) == said(picture, wording)


@given(PICTURES, WORDINGS)
def test_every_caption_is_in_the_vocabulary_and_names_no_image(picture: Picture, wording: Wording) -> None:
    text = caption(picture, wording)
    assert len(ToyTokenizer().ids(text)) >= 3
    assert not image_mentions(text)


@given(st.lists(PARTS, min_size=1, max_size=3).map(listed), st.integers(1, MAX_IMAGES), st.booleans())
def test_a_relation_is_read_back_and_names_its_image(phrase: str, image: int, kept: bool) -> None:
    relation = Relation(phrase, image, kept)
    assert parse_relation(str(relation)) == relation
    assert image_mentions(str(relation)) == {image}
    ToyTokenizer().ids(str(relation))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a photo of a dog",
        "a red",
        "a red star with",
        "a red star with a snow background and a sky background",
    ],
)
def test_text_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(CaptionError):
        parse(text)


@pytest.mark.parametrize(
    "text", ["the red star", "the red star is from image_0", "the dog is from image_1", "it is from image_1"]
)
def test_what_is_no_relation_is_refused(text: str) -> None:
    with pytest.raises(CaptionError):
        parse_relation(text)


def test_a_scene_alone_is_a_caption() -> None:
    assert parse("a snow background in warm light.") == Picture((), "snow", "warm")


def test_the_tokenizer_names_every_unknown_word() -> None:
    with pytest.raises(OutOfVocabulary, match="'photo', 'of', 'dog'") as caught:
        ToyTokenizer()(["a red star", "a photo of a red dog"])
    assert caught.value.words == ("photo", "of", "dog")


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(OutOfVocabulary):
        ToyTokenizer()([" "])


def test_a_text_beyond_the_context_keeps_its_end_mark() -> None:
    tokens = ToyTokenizer()([" and ".join(["a red star"] * 40)])
    assert tokens.shape == (1, CONTEXT_LENGTH)
    assert tokens.argmax() == CONTEXT_LENGTH - 1


def test_every_word_has_an_id_of_its_own() -> None:
    tokenizer = ToyTokenizer()
    ids = [tokenizer.ids(word)[1] for word in words()]
    assert len(set(ids)) == len(ids)
    assert max(ids) < tokenizer.ids("star")[-1]
