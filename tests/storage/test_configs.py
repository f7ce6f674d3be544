"""Configurations with parts of several kinds: what is wrong is said by the keys that were written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import InputError
from storage.configs import load


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Circle(Part):
    kind: Literal["circle"] = "circle"
    radius: int = 1


class Square(Part):
    kind: Literal["square"] = "square"
    width: int = 1


class Drawing(Part):
    shape: Annotated[Circle | Square, Field(discriminator="kind")] = Circle()
    more: list[Annotated[Circle | Square, Field(discriminator="kind")]] = []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("shape.kind=star", r"--set shape.kind=star: shape.kind: must be one of 'circle', 'square', not 'star'"),
        ("shape={radius: 2}", r"shape.kind: is missing; add it"),
        ("shape={kind: square, widht: 2}", r"--set .*: shape.widht: unknown key; did you mean width\?"),
        ("shape={kind: square, radius: 2}", r"shape.radius: unknown key; remove it"),
        ("shape={kind: square, width: wide}", r"shape.width: must be a valid integer.*, not 'wide'"),
        ("more=[{kind: circle, radios: 2}]", r"more.0.radios: unknown key; did you mean radius\?"),
        ("shpae=1", r"shpae: unknown key; did you mean shape\?"),
    ],
)
def test_a_part_of_another_kind_is_named_by_its_keys(tmp_path: Path, setting: str, said: str) -> None:
    path = tmp_path / "drawing.yaml"
    path.write_text("{}")
    with pytest.raises(InputError, match=said) as error:
        load(Drawing, str(path), [setting])
    assert "\n" not in str(error.value)
