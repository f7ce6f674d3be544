"""One sample of an output as an example: what is asked of a model, and, where the output holds them, its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from schemas.errors import InputError
from schemas.mentions import PLACEHOLDER
from shards.fetching import Sample
from training.backbone import Prompt

IMAGES: dict[str, tuple[str, ...] | None] = {"realign": None, "firm-edit": ("image_1",), "firm-gen": ()}
"""The images that an example is made of, by dataset; None: all."""


@dataclass(frozen=True)
class Example:
    """One sample.

    Attributes:
        reasonings: every IC-CoT of the sample, whole; none where the output holds labels.
        target: uint8 [3, H, W]; None where the output holds labels, whose images are worth what a label says.
        record: the sample's JSON; of a label, what Re-Align's samples say of the same: `task`, `instruction` and
            `references`.
    """

    prompt: Prompt
    reasonings: tuple[str, ...]
    target: Tensor | None
    record: dict[str, Any]


def example(sample: Sample) -> Example:
    """A decoded sample as an example: of `plumbline realign` with its answers; of FIRM, its prompt or edit alone.

    Raises:
        InputError: it has neither reasonings nor what a label is of.
    """
    record = sample.json
    if "prompt_id" in record:
        return _asked(sample, record["prompt"], "generation")
    if "pair_id" in record:
        return _asked(sample, record["instruction"], "edit", _tensor(sample.images["image_1"]))
    record = told(sample)
    images = tuple(_tensor(sample.images[f"image_{number + 1}"]) for number in range(len(record["references"])))
    texts = tuple(one["text"] for one in record["reasonings"])
    return Example(Prompt(sample.id, record["prompt"], images), texts, _tensor(sample.images["target"]), record)


def told(sample: Sample) -> dict[str, Any]:
    """The JSON of a sample that holds reasonings.

    Raises:
        InputError: it holds none.
    """
    if not sample.json.get("reasonings"):
        raise InputError(f"sample {sample.id} has no reasonings: give `data` an output of `plumbline realign`")
    return sample.json


def targets_of(examples: Sequence[Example]) -> list[Tensor]:
    """uint8 [3, H, W] each.

    Raises:
        InputError: a sample without a target.
    """
    found = [one.target for one in examples if one.target is not None]
    if len(found) < len(examples):
        bare = next(one.prompt.id for one in examples if one.target is None)
        raise InputError(f"sample {bare} has no target: give `data` an output of `plumbline realign`")
    return found


def _asked(sample: Sample, instruction: str, task: str, *images: Tensor) -> Example:
    """A label's prompt without its answers; the source of an edit is the base. Its text places no images of its own."""
    plain = PLACEHOLDER.sub(r"(image \1)", instruction)
    text = " ".join([*(f"<image_{number}>" for number, _ in enumerate(images, 1)), plain])
    references = [{"role": "base"} for _ in images]
    record = {"task": task, "instruction": instruction, "references": references}
    return Example(Prompt(sample.id, text, images), (), None, record)


def _tensor(image: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
