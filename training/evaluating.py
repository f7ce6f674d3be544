"""What held-out samples say of a backbone: its captions, its images, the reward and the truth beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from schemas.errors import InputError
from shards.reader import Reader
from storage import paths
from toyworld.captions import caption as caption_of
from toyworld.world import Picture
from training import flow
from training.backbone import Backbone
from training.config import Run
from training.data import reader_of
from training.examples import Example, example, targets_of
from training.rewarding import Rewarding, Rollouts, Surrogate
from training.truth import as_bytes, is_true, out_caption, shown, truths

_AT_ONCE = 48
_CELLS = 12


@dataclass(frozen=True)
class HeldOutSet:
    """Samples that no stage trains on.

    Attributes:
        shown: what each target shows, read at its full size; None outside the drawn world, where there is no target,
            and where it is not what the sample's own reasonings tell (the drawn world's painter errs in a share of its
            targets).
        of_drawn_world: whether any target is.
    """

    examples: tuple[Example, ...]
    shown: tuple[Picture | None, ...]
    of_drawn_world: bool

    @property
    def drawn(self) -> list[int]:
        """Numbers of the samples whose truth is known."""
        return [number for number, picture in enumerate(self.shown) if picture is not None and picture.things]


def held_out_set(config: Run, side: int) -> HeldOutSet:
    """The first `eval_samples` of the test part.

    Raises:
        InputError: there is none.
    """
    reader = reader_of(config, "test", side=side, seed=None)
    numbers = reader.rest[: config.eval_samples]
    found = [example(one.sample) for one in reader.fetched(numbers) if reader.accepted(one)]
    if not found:
        raise InputError(f"{config.data}: no sample to evaluate")
    if any(one.target is None for one in found):
        return HeldOutSet(tuple(found), (None,) * len(found), False)
    split = reader.split
    whole = Reader(config.data, split, form="numpy", images=["target"], ids=[one.prompt.id for one in found])
    targets = {one.id: torch.from_numpy(one.images["target"]).permute(2, 0, 1) for one in whole}
    read = [shown(targets[one.prompt.id]) for one in found]
    told = tuple(_as_told(one, picture) for one, picture in zip(found, read, strict=True))
    return HeldOutSet(tuple(found), told, any(picture is not None for picture in read))


def _as_told(one: Example, picture: Picture | None) -> Picture | None:
    """The picture if all reasonings of the sample are true of it: no caption can be held to a painter's mistake."""
    told = (out_caption(text, len(one.prompt.images)) for text in one.reasonings)
    return picture if picture is not None and all(is_true(caption, picture) for caption in told) else None


@dataclass(frozen=True)
class Evaluated:
    """Figures over held-out samples, and what was drawn.

    Attributes:
        figures: means by name.
        each: the same of each sample, for intervals; all but reward and pixel_mse of the drawn ones alone.
    """

    figures: dict[str, float]
    each: dict[str, list[float]]
    reasonings: list[str]
    images: Tensor


def evaluate(
    backbone: Backbone,
    held: HeldOutSet,
    config: Run,
    *,
    reward: Rewarding | None = None,
    clip: Surrogate | None = None,
    reasons: bool = True,
) -> Evaluated:
    """Greedy reasonings, images by the ODE from one fixed noise per sample, and what they are worth."""
    reasonings, images = drawn(backbone, held.examples, steps=config.eval_steps, shift=config.shift, reasons=reasons)
    figures: dict[str, float] = {}
    each: dict[str, list[float]] = {}
    known = held.drawn
    if known:
        pictures = [held.shown[number] for number in known]
        sound = [out_caption(reasonings[n], len(held.examples[n].prompt.images), free=config.free) for n in known]
        right = [is_true(one, picture) for one, picture in zip(sound, pictures, strict=True) if picture is not None]
        figures["out_caption_accuracy"] = float(np.mean(right))
        each["out_caption"] = [float(one) for one in right]
        seen = truths(images[known], [picture for picture in pictures if picture is not None])
        for name in seen[0]:
            figures[f"eval_{name}"] = float(np.nanmean([one[name] for one in seen]))
        each["truth"] = [one["truth"] for one in seen]
        if clip is not None:
            whole = [caption_of(picture) for picture in pictures if picture is not None]
            each["clip_out"] = clip.cosines(images[known], whole).tolist()
            figures["clip_out"] = float(np.mean(each["clip_out"]))
    if reward is not None:
        found = reward(Rollouts(held.examples, reasonings, images, config.free))
        figures["eval_reward"] = float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")
        figures["eval_unrewarded"] = float(np.isnan(found).mean())
        each["reward"] = found.tolist()
    if all(one.target is not None for one in held.examples):
        targets = backbone.decode(backbone.latents(targets_of(held.examples))).cpu()
        each["pixel_mse"] = (images - targets).square().mean((1, 2, 3)).tolist()
        figures["pixel_mse"] = float(np.mean(each["pixel_mse"]))
    return Evaluated(figures, each, reasonings, images)


@torch.no_grad()
def drawn(
    backbone: Backbone, examples: Sequence[Example], *, steps: int, shift: float, reasons: bool = True
) -> tuple[list[str], Tensor]:
    """(greedy reasonings, images [B, 3, H, W] on the CPU), the same for the same weights.

    Args:
        reasons: else nothing is said, and the prompt alone is drawn from.
    """
    generator = torch.Generator().manual_seed(1)
    device = next(one.device for _, one in backbone.trained("image"))
    reasonings: list[str] = []
    images: list[Tensor] = []
    for at in range(0, len(examples), _AT_ONCE):
        part = [one.prompt for one in examples[at : at + _AT_ONCE]]
        said = backbone.reason(part, temperature=0.0, generator=generator) if reasons else [""] * len(part)
        context = backbone.encode(part, said)
        noise = torch.randn(len(part), *backbone.latent_shape, generator=generator).to(device)
        x = flow.ode_sample(lambda x, t, c=context: backbone.velocity(x, t, c), noise, flow.schedule(steps, shift))  # type: ignore[misc]
        reasonings += said
        images.append(backbone.decode(x).float().cpu())
    return reasonings, torch.cat(images)


def write_grid(address: str, held: HeldOutSet, images: Tensor, scale: int = 2) -> None:
    """A PNG of the first samples, one a column: the references, the target where there is one, and what was drawn."""
    examples = held.examples[:_CELLS]
    side = images.shape[-1]
    rows = max(len(one.prompt.images) for one in examples) + 2
    sheet = np.full((rows * (side + 2), len(examples) * (side + 2), 3), 255, dtype=np.uint8)
    for column, one in enumerate(examples):
        given = [_cell(image, side) for image in one.prompt.images]
        below = [_cell(image, side) for image in (one.target,) if image is not None]
        below.append(as_bytes(images[column : column + 1])[0])
        cells = [*given, *[np.full((side, side, 3), 235, np.uint8)] * (rows - len(given) - len(below)), *below]
        for row, cell in enumerate(cells):
            sheet[row * (side + 2) : row * (side + 2) + side, column * (side + 2) : column * (side + 2) + side] = cell
    image = Image.fromarray(sheet)
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    with paths.open_atomic(address) as file:
        image.save(file, format="PNG")


def _cell(image: Tensor, side: int) -> Any:
    pixels = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    return np.asarray(pixels.resize((side, side), Image.Resampling.BOX))
