"""What a backbone is worth on held-out samples, sample by sample, against the truth read from the whole targets."""

from __future__ import annotations

import numpy as np
import torch

from shards.reader import Reader
from toyworld import small_edits, small_oracle
from toyworld.world import Picture
from training import running
from training.backbone import Backbone
from training.config import Run
from training.critics import drawn_generation_scores
from training.data import reader_of, texts_of
from training.evaluating import HeldOutSet, drawn, evaluate, held_out_set
from training.examples import targets_of
from training.rewarding import Surrogate
from training.truth import as_bytes, is_true, out_caption, shown

Each = dict[str, list[float]]
SAMPLES = 320
"""Held-out samples that are measured, where there are as many."""


def begun(config: Run) -> Backbone:
    """The weights that a run begins with."""
    return running.open_backbone(config, lambda: texts_of(config))


def finished(config: Run) -> Backbone:
    """The weights that a run left."""
    return begun(config.model_copy(update={"init": config.out}))


def held_out(backbone: Backbone, config: Run, *, reasons: bool) -> Each:
    """Truth, out_caption, CLIP_out, reward (the surrogate of the own out_caption) and pixel MSE of each sample."""
    clip = Surrogate("toy")
    held = held_out_set(config, config.backbone.side)
    return evaluate(backbone, held, config, clip=clip, reward=clip, reasons=reasons).each


def edits(backbone: Backbone, config: Run) -> Each:
    """True Execution and Consistency (1 to 5) of each held-out edit, and whether it is its input again.

    Source and target are read at their full size, where the reward's critics read them as small as the drawing is.
    Samples whose source cannot be read so have no figure.
    """
    held = held_out_set(config, config.backbone.side)
    sources = _first_references(config, held)
    known = [n for n in held.drawn if sources[n] is not None]
    examples = [held.examples[n] for n in known]
    _, images = drawn(backbone, examples, steps=config.eval_steps, shift=config.shift)
    found: Each = {"execution": [], "consistency": [], "copied": [], "changed": []}
    for number, one, image in zip(known, examples, as_bytes(images), strict=True):
        source = _small(one.prompt.images[0], image.shape[0])
        meant, was = held.shown[number], sources[number]
        assert meant is not None and was is not None
        execution, consistency = small_edits.edit_scores(source, image, was, meant)
        found["execution"].append(execution)
        found["consistency"].append(consistency)
        found["copied"].append(float(small_edits.copied(source, image)))
        # How far the drawing is from its input, of 0 to 1: a weak drawer comes near without a copy.
        found["changed"].append(float(np.abs(source.astype(np.float32) - image).mean() / 255))
    return found


def generation(backbone: Backbone, config: Run) -> Each:
    """True following (1 to 5, against the whole target), quality (1 to 5) and pixel MSE of each held-out picture."""
    held = held_out_set(config, config.backbone.side)
    examples = [held.examples[n] for n in held.drawn]
    pictures = [picture for picture in (held.shown[n] for n in held.drawn) if picture is not None]
    _, images = drawn(backbone, examples, steps=config.eval_steps, shift=config.shift)
    pixels = as_bytes(images)
    truths = [one["truth"] for one in small_oracle.attributes(list(pixels), pictures)]
    targets = backbone.decode(backbone.latents(targets_of(examples))).cpu()
    return {
        "following": [1 + 4 * one for one in truths],
        "quality": drawn_generation_scores(examples, pixels)[1].tolist(),
        "pixel_mse": (images - targets).square().mean((1, 2, 3)).tolist(),
    }


@torch.no_grad()
def diversity(backbone: Backbone, config: Run, temperature: float, draws: int, prompts: int) -> dict[str, float]:
    """Of `draws` reasonings for each of `prompts` held-out prompts: the share that differ, and that are true."""
    held = held_out_set(config, config.backbone.side)
    known = held.drawn[:prompts]
    generator = torch.Generator().manual_seed(1)
    asked = [held.examples[n].prompt for n in known for _ in range(draws)]
    said = backbone.reason(asked, temperature=temperature, generator=generator)
    distinct = [len(set(said[at : at + draws])) / draws for at in range(0, len(said), draws)]
    true = []
    for at, text in enumerate(said):
        picture = held.shown[known[at // draws]]
        true.append(picture is not None and is_true(out_caption(text, len(asked[at].images)), picture))
    return {"distinct": float(np.mean(distinct)), "true": float(np.mean(true))}


def _first_references(config: Run, held: HeldOutSet) -> list[Picture | None]:
    """What the first reference of each sample shows, read at its full size."""
    ids = [one.prompt.id for one in held.examples]
    split = reader_of(config, "test", side=None, seed=None).split
    reader = Reader(config.data, split, form="numpy", images=["image_1"], ids=ids)
    found = {one.id: shown(torch.from_numpy(one.images["image_1"]).permute(2, 0, 1)) for one in reader}
    return [picture if picture is not None and picture.things else None for picture in (found[one] for one in ids)]


def _small(image: torch.Tensor, side: int) -> np.ndarray:
    import cv2

    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    if pixels.shape[:2] == (side, side):
        return pixels
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)
