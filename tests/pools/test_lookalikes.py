"""Columns that seem to be meant: by case and spelling, by a known other name, never twice, never one that is read."""

from __future__ import annotations

import pytest

from pools.inputs import PAIRS, PROMPTS
from pools.lookalikes import lookalikes


@pytest.mark.parametrize("other", ["images", "image_path", "img", "Image", "file", "IMAGE-PATH", "imgae", "file_name"])
def test_other_names_of_a_prompts_image(other: str) -> None:
    assert lookalikes(["image"], ["id", "prompt", other], PROMPTS.columns) == {"image": other}


@pytest.mark.parametrize("other", ["prompt", "Instruction", "edit_instruction", "instructions", "edit prompt"])
def test_other_names_of_a_pairs_instruction(other: str) -> None:
    there = ["id", other, "source_image", "edited_image"]
    assert lookalikes(["instruction"], there, PAIRS.columns) == {"instruction": other}


def test_no_column_is_meant_twice_and_strangers_are_not_meant() -> None:
    assert lookalikes(["source_image", "edited_image"], ["image", "output"], PAIRS.columns) == {
        "source_image": "image",
        "edited_image": "output",
    }
    assert lookalikes(["source_image", "edited_image"], ["image"], PAIRS.columns) == {"source_image": "image"}
    assert lookalikes(["image", "id"], ["prompt", "license", "width", "seed", ""], PROMPTS.columns) == {}
    assert lookalikes(["instruction"], ["source_image", "edited_image"], PAIRS.columns) == {}
