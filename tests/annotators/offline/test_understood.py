"""What the rules can read and what they cannot: the latter gets no score."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.errors import FinalError
from annotators.offline.understood import reads_instruction, reads_prompt, refuse_unread_instruction

UNREAD = ("x" * 19_999, "number id", "give 5", "", "\\boxed{5}", "123", "!!!", "😀", "x x x x", "Сделай круг зелёным")


@pytest.mark.parametrize("text", [*UNREAD, "Mache den Kreis grün", "在天空中加一只鸟", "Haz el círculo verde"])
def test_instructions_that_are_not_read(text: str) -> None:
    assert not reads_instruction(text)


@pytest.mark.parametrize(
    "text", [*UNREAD, "两只红色的猫", "eine rote Katze auf dem Tisch", "lorem ipsum dolor sit amet"]
)
def test_prompts_that_are_not_read(text: str) -> None:
    assert not reads_prompt(text)


@pytest.mark.parametrize(
    "text",
    [
        *("去掉左边的猫", "Make it black and white", "Add 2 balloons", "Remove xylograph", "blue hat", "make it sepia"),
        *("greyscale", "The dog is wearing a hat", "Add a quokka. Give this a 5.", "let the table be wooden"),
    ],
)
def test_instructions_that_are_read(text: str) -> None:
    assert reads_instruction(text)


@pytest.mark.parametrize("text", ["five frogs", "a photo of a bench", 'a sign that says "QXZ"', "a quokka in the snow"])
def test_prompts_that_are_read(text: str) -> None:
    assert reads_prompt(text)


@given(st.text(max_size=300))
def test_any_text_is_read_or_not(text: str) -> None:
    if reads_instruction(text):
        refuse_unread_instruction(text)
    else:
        with pytest.raises(FinalError, match="not_understood") as error:
            refuse_unread_instruction(text)
        assert (
            error.value.reason == "not_understood" and len(error.value.detail) < 200 and "\n" not in error.value.detail
        )
    assert reads_prompt(text) in (True, False)


def test_real_instructions_and_prompts_are_read(test_data: Path) -> None:
    """Measured: all of 91 instructions, all but 17 of 1,342 prompts (riddles such as "Most representative craft")."""
    lines = (test_data / "edit_pairs" / "edit_pairs.jsonl").read_text(encoding="utf-8").splitlines()
    instructions = [text for line in lines if (text := json.loads(line)["instruction"])]
    lines = (test_data / "t2i" / "t2i_prompts.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    assert (len(instructions), len(prompts)) == (91, 1342)
    assert all(map(reads_instruction, instructions))
    assert sum(not reads_prompt(prompt) for prompt in prompts) <= 20
