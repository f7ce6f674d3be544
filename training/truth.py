"""The truth beside the reward: what held-out pictures of the drawn world show, and what captions say of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from schemas.iccot import ICCoT, ICCoTError
from toyworld import oracle, small_oracle
from toyworld.captions import CaptionError, parse
from toyworld.world import Picture, Thing


def shown(target: Tensor) -> Picture | None:
    """What a target (uint8 [3, H, W], 96 pixels a side at least) shows; None where it is none of the drawn world's."""
    image = Image.fromarray(np.ascontiguousarray(target.permute(1, 2, 0).numpy()))
    return oracle.read(image) if oracle.is_drawn(image) else None


@lru_cache(maxsize=4096)
def out_caption(reasoning: str, references: int, *, free: bool = False) -> str | None:
    """The caption of a reasoning; None where its tags are not in order.

    Args:
        free: it has none, and its first sentence is the caption (`form: free` of SFT).
    """
    if free:
        return reasoning.partition(".")[0].strip() or None
    try:
        return ICCoT.parse(reasoning, references).out_caption
    except ICCoTError:
        return None


def is_true(caption: str | None, picture: Picture) -> bool:
    """Whether a caption parses and all it tells is true of the picture; what it leaves out does not count."""
    if caption is None:
        return False
    try:
        said = parse(caption)
    except CaptionError:
        return False
    if said.scene not in ("", picture.scene) or said.light not in ("", picture.light):
        return False
    if len(said.things) > len(picture.things):
        return False
    return any(
        all(_fits(one, other) for one, other in zip(said.things, order, strict=True))
        for order in permutations(picture.things, len(said.things))
    )


def truths(images: Tensor, pictures: Sequence[Picture]) -> list[dict[str, float]]:
    """Per generated image (float [B, 3, H, W], 0 to 1), shares of colours, shapes, places and scene that are as meant.

    `truth` is their mean; see `toyworld.small_oracle.attributes`.
    """
    return small_oracle.attributes(list(as_bytes(images)), pictures)


def as_bytes(images: Tensor) -> NDArray[np.uint8]:
    """float [B, 3, H, W], 0 to 1, as uint8 [B, H, W, 3]."""
    return np.ascontiguousarray((images.detach().float().cpu() * 255).round().byte().permute(0, 2, 3, 1).numpy())


def _fits(said: Thing, seen: Thing) -> bool:
    return all(getattr(said, name) in ("", getattr(seen, name)) for name in ("shape", "colour", "size", "place"))
