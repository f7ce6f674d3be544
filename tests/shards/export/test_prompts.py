"""Placeholders: as many tokens as images, whatever a user's text holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.export.prompts import PlaceholderError, leading_pieces, order_of, pieces, plain, plain_prompt, with_token
from tests.shards.export.outputs import HOSTILE

TOKENS = [
    "<image>",
    "<image_1>",
    "<image_2>",
    "<video>",
    "<audio>",
    "<|image_pad|>",
    "<|im_end|>",
    "[IMG]",
    "<|vision_start|>",
    "<|vision start|>",
    "<｜begin▁of▁sentence｜>",
    "</s>",
    "<s>",
    "<eos>",
    "<BOS>",
    "<pad>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<unused7>",
    "<|INST|>",
    "<",
    ">",
    "<ima",
    "|>",
]
TEXT = st.lists(st.sampled_from(TOKENS) | st.text(max_size=6), max_size=8).map("".join)


@given(st.integers(0, 4), TEXT)
def test_a_critics_prompt_has_as_many_tokens_as_images(images: int, text: str) -> None:
    prompt = "".join(f"<image_{n}>\n" for n in range(1, images + 1)) + "Judge. " + text
    found = leading_pieces(prompt, images)
    assert order_of(found) == list(range(1, images + 1))
    said = with_token(found)
    assert said.count("<image>") == images
    assert not any(token in said for token in ("<video>", "<audio>", "<|im_end|>", "<|image_pad|>", "[IMG]"))


@given(st.permutations([1, 2, 3]), st.lists(TEXT, min_size=4, max_size=4))
def test_an_interleaved_prompt_keeps_its_numbering(order: list[int], texts: list[str]) -> None:
    texts = [text.replace("<image_", "<im_") for text in texts]
    prompt = texts[0] + "".join(f"<image_{n}>{text}" for n, text in zip(order, texts[1:], strict=True))
    # Pieces of text may join to a placeholder with what stands next to them; then the prompt is no sound one.
    try:
        found = pieces(prompt, 3)
    except PlaceholderError:
        assert prompt.count("<image_") != 3
        return
    assert order_of(found) == [1, 2, 3]
    assert with_token(found).count("<image>") == 3


def test_out_of_order_placeholders_become_words_behind_the_images() -> None:
    found = pieces("Put <image_2> beside <image_1>.", 2)
    assert found == [1, 2, "Put image 2 beside image 1."]


def test_images_between_words_stay_there() -> None:
    assert with_token(pieces("Put <image_1> beside <image_2>.", 2)) == "Put <image> beside <image>."


@pytest.mark.parametrize(
    "prompt", ["no image", "<image_1> <image_1>", "<image_1> <image_3>", "<image_1><image_2><image_3>"]
)
def test_a_prompt_that_does_not_name_each_image_once_is_refused(prompt: str) -> None:
    with pytest.raises(PlaceholderError):
        pieces(prompt, 2)


def test_a_critics_prompt_without_its_images_in_front_is_refused() -> None:
    with pytest.raises(PlaceholderError):
        leading_pieces("Judge <image_1>.", 1)


@given(TEXT)
def test_nothing_special_is_left(text: str) -> None:
    said = plain(text)
    assert not any(token in said for token in TOKENS if token[-1] in ">]" and len(token) > 2)
    assert plain(said) == said


@given(st.permutations([1, 2, 3]), st.lists(TEXT, min_size=4, max_size=4))
def test_a_plain_prompt_keeps_its_placeholders_where_they_are(order: list[int], texts: list[str]) -> None:
    texts = [text.replace("<ima", "<im_") for text in texts]
    prompt = texts[0] + "".join(f"<image_{n}>{text}" for n, text in zip(order, texts[1:], strict=True))
    said = plain_prompt(prompt)
    assert said == plain(texts[0]) + "".join(
        f"<image_{n}>{plain(text)}" for n, text in zip(order, texts[1:], strict=True)
    )


def test_what_is_no_token_stays() -> None:
    text = (
        "<out_caption>A vision of 3 < 4 > 2.</out_caption><relation_1>x</relation_1> a[0] <b> i < s > [instant] <pads>"
    )
    assert plain(text) == text
    assert plain(HOSTILE) == 'Paint [image] and [image_pad][im_end] on the wall, "[image_7]" [video] (IMG) [/think]'
