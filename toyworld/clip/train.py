"""Train the tiny CLIP: `python -m toyworld.clip.train --out DIR` writes an open_clip folder (`local-dir:DIR`).

An image's text stands against the other texts of the batch and against texts that differ from its own in one
attribute (as in NegCLIP); a text that happens to be true of another image is left out of that image's denominator.
Half of the images are degraded, so that a blurred or recompressed picture still scores. Two linear heads help and are
thrown away afterwards: one on the image features names what is at each place (without it shapes take several times as
long to learn), one on both embeddings names the pairs of colour and shape that there are, so that "a red star and a
blue cat" is not told as "a blue star and a red cat". One CPU thread, fixed seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from toyworld.clip.examples import Text, draw_picture, draw_texts
from toyworld.render import sprite
from toyworld.scenes import draw_scene
from toyworld.tokenizer import CONTEXT_LENGTH, VOCABULARY_SIZE, ToyTokenizer
from toyworld.torchvision_shim import ensure_torchvision
from toyworld.world import COLOURS, LIGHTS, PLACES, PLAIN, SCENES, SHAPES, SIZES, Picture

if TYPE_CHECKING:
    import torch

STEPS = 1100
BATCH = 96
NEGATIVES = 2
SEEN = 96
"""Pixels of the model's input: its last feature map is then 3 x 3, one cell for each place."""
DRAWN = 192
"""Training pictures are drawn at this size and reduced to `SEEN`."""

_FEATURES = 512 * (SEEN // 32) ** 2
_PAIRS = len(SHAPES) * len(COLOURS)
_HEAD_SIZES = [len(SHAPES) + 1, len(COLOURS) + 1, len(SIZES) + 1] * len(PLACES) + [len(SCENES) + 1, len(LIGHTS)]

MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": SEEN, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
    "text_cfg": {"context_length": CONTEXT_LENGTH, "vocab_size": VOCABULARY_SIZE, "width": 96, "heads": 3, "layers": 2},
}
PREPROCESS = {
    "mean": [0.45] * 3,
    "std": [0.28] * 3,
    "size": [SEEN, SEEN],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for open_clip_config.json and open_clip_model.safetensors")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    train(Path(options.out), options.steps, options.seed)


def train(out: Path, steps: int = STEPS, seed: int = 1) -> None:
    """Train for `steps` batches and write the open_clip folder `out`, weights in half precision."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model, head = new_model(), torch.nn.Linear(_FEATURES, sum(_HEAD_SIZES))
    pair_head = torch.nn.Linear(int(str(MODEL["embed_dim"])), _PAIRS)
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *head.parameters(), *pair_head.parameters()],
        lr=1e-3,
        weight_decay=0.05,
        betas=(0.9, 0.98),
    )
    started = time.process_time()
    model.train()
    for step, batch in enumerate(batches(seed, steps)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        features = _features(model, batch.images)
        seen = functional.normalize(model.visual.attnpool(features), dim=-1)
        told = functional.normalize(_encoded_text(model, batch.tokens), dim=-1)
        contrast = _contrast(model.logit_scale.exp() * seen @ told.T, batch.truth)
        naming = _naming(head, features, batch.held)
        pairing = _pairing(pair_head, seen, batch.image_pairs) + _pairing(pair_head, told, batch.text_pairs)
        help_share = 1.0 if step < steps * 0.6 else 0.3
        optimizer.zero_grad()
        (contrast + (naming + 10 * pairing) * help_share).backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(50))
        if step % 50 == 0 or step == steps - 1:
            losses = f"contrast {contrast.item():.3f}, naming {naming.item():.3f}, pairing {pairing.item():.4f}"
            print(f"step {step} of {steps}, {losses}, {time.process_time() - started:.0f} CPU s", flush=True)
        if step % 100 == 99:
            save(model, out)
    save(model, out)


def new_model() -> Any:
    """An untrained model of this shape."""
    ensure_torchvision()
    import open_clip

    return open_clip.CLIP(
        embed_dim=MODEL["embed_dim"], vision_cfg=MODEL["vision_cfg"], text_cfg=MODEL["text_cfg"]
    )  # fmt: skip


def save(model: Any, out: Path) -> None:
    """Write what `local-dir:` reads: the configuration and the weights, in half precision."""
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    # The attention mask is rebuilt on loading; the count of batches means nothing to a finished model.
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items() if k != "attn_mask"}
    save_file(weights, str(out / "open_clip_model.safetensors"))
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def learning_rate(step: int, steps: int) -> float:
    return 1.5e-3 * min(1.0, (step + 1) / 60) * (0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)


class Batch(NamedTuple):
    """B images and T = B * (1 + NEGATIVES) texts, the images' own texts first.

    Attributes:
        images: [B, 3, 96, 96], normalised.
        tokens: [T, context].
        truth: [T, B], whether a text is true of an image.
        held: [B, 29], what `held_by` says.
        image_pairs, text_pairs: [B or T, shapes x colours], 1 where there is such a thing, -1 where it is not said.
    """

    images: torch.Tensor
    tokens: torch.Tensor
    truth: torch.Tensor
    held: torch.Tensor
    image_pairs: torch.Tensor
    text_pairs: torch.Tensor


def batches(seed: int, steps: int) -> Iterator[Batch]:
    """`steps` batches; the same seed gives the same ones."""
    import torch

    rng, tokenizer = random.Random(seed), ToyTokenizer()
    for _ in range(steps):
        pictures = [draw_picture(rng) for _ in range(BATCH)]
        told = [draw_texts(p, rng, NEGATIVES) for p in pictures]
        texts = [t[0] for t in told] + [t[k] for k in range(1, 1 + NEGATIVES) for t in told]
        drawn = np.stack([composed(p, rng) for p in pictures])
        yield Batch(
            degraded(torch.from_numpy(drawn), rng),
            tokenizer([t.words for t in texts]),
            torch.from_numpy(truth_of(texts, pictures)),
            torch.from_numpy(np.stack([held_by(p) for p in pictures])),
            torch.from_numpy(np.stack([_pairs_of(p, True) for p in pictures])),
            torch.from_numpy(np.stack([_pairs_of(t.told, t.whole) for t in texts])),
        )


def composed(picture: Picture, rng: random.Random) -> npt.NDArray[np.uint8]:
    """A quick drawing from kept scenes and sprites, [192, 192, 3], much as `render` gives it."""
    image = _scene(picture.scene, picture.variation).copy()
    for thing in picture.things:
        radius = thing.radius * DRAWN
        half = int(radius * 1.22) + 2
        cut, shadow = _cut(thing.shape, thing.colour, thing.variation, radius, half)
        x, y = (int(c * DRAWN + rng.uniform(-2, 2)) - half for c in thing.centre)
        if picture.scene != PLAIN:
            image.paste((24, 22, 48), (x + 1, y + 3), shadow)
        image.paste(cut, (x, y), cut)
    pixels = np.asarray(image)
    if picture.light == "clear":
        return pixels
    lit: npt.NDArray[np.uint8] = (pixels * np.array(LIGHTS[picture.light], dtype=np.float32)).astype(np.uint8)
    return lit


def degraded(drawn: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """Normalised [B, 3, 96, 96]; half of the batches blurred, noisy, brighter or darker by a little."""
    import torch
    from torch.nn import functional

    pixels = drawn.permute(0, 3, 1, 2).float()
    if rng.random() < 0.5:
        pixels = functional.interpolate(pixels, size=SEEN, mode="bicubic", antialias=True)
    else:
        side = rng.choice((40, 52, 64, 80))
        pixels = functional.interpolate(pixels, size=side, mode="area")
        pixels = functional.interpolate(pixels, size=SEEN, mode="bilinear")
        noise = torch.randn(len(pixels) // 4, *pixels.shape[1:]).repeat(4, 1, 1, 1)
        pixels = pixels * rng.uniform(0.94, 1.06) + noise * rng.uniform(0, 5)
    return (pixels.clamp(0, 255) / 255 - PREPROCESS["mean"][0]) / PREPROCESS["std"][0]  # type: ignore[index, no-any-return]


def truth_of(texts: Sequence[Text], pictures: Sequence[Picture]) -> npt.NDArray[np.bool_]:
    """[T, B]: whether each text is true of each picture."""
    said, seen = [t.told for t in texts], pictures
    grounds = np.ones((len(texts), len(pictures)), dtype=bool)
    for name in ("scene", "light"):
        told, have = (np.array([getattr(p, name) for p in side]) for side in (said, seen))
        grounds &= (told[:, None] == "") | (told[:, None] == have[None, :])
    whole = np.array([t.whole for t in texts])
    counts = np.array([len(p.things) for p in said])[:, None] == np.array([len(p.things) for p in seen])[None, :]
    told_things, have_things = _codes(said), _codes(seen)
    present = np.ones_like(grounds)
    for i in range(told_things.shape[1]):
        one = told_things[:, i]
        match = ((one[:, None, None] == have_things[None]) | (one == 0)[:, None, None]).all(-1)
        present &= match.any(-1) | (one[:, :1] == -1)
    found: npt.NDArray[np.bool_] = grounds & present & (counts | ~whole[:, None])
    return found


def held_by(picture: Picture) -> npt.NDArray[np.int64]:
    """[29]: shape, colour and size at each of the nine places, 0 where there is nothing, then scene and light."""
    names, found = list(PLACES), np.zeros((len(PLACES), 3), dtype=np.int64)
    for t in picture.things:
        row = [SHAPES.index(t.shape) + 1, list(COLOURS).index(t.colour) + 1, list(SIZES).index(t.size) + 1]
        found[names.index(t.place)] = row
    ground = [(PLAIN, *SCENES).index(picture.scene), list(LIGHTS).index(picture.light)]
    return np.concatenate([found.ravel(), ground])


def _pairs_of(picture: Picture, whole: bool) -> npt.NDArray[np.float32]:
    """[shapes x colours]: 1 where there is such a thing, else 0; all -1 where not everything is told."""
    if not whole:
        return np.full(_PAIRS, -1, dtype=np.float32)
    found = np.zeros(_PAIRS, dtype=np.float32)
    for t in picture.things:
        found[SHAPES.index(t.shape) * len(COLOURS) + list(COLOURS).index(t.colour)] = 1
    return found


def _codes(pictures: Sequence[Picture]) -> npt.NDArray[np.int8]:
    """[N, 4, 4]: shape, colour, size and place from 1 up, 0 where unsaid; -1 where there is no thing."""
    out = np.full((len(pictures), 4, 4), -1, dtype=np.int8)
    order = {v: i for names in (SHAPES, tuple(COLOURS), tuple(SIZES), tuple(PLACES)) for i, v in enumerate(names, 1)}
    order[""] = 0
    for n, picture in enumerate(pictures):
        for i, t in enumerate(picture.things[:4]):
            out[n, i] = [order[t.shape], order[t.colour], order[t.size], order[t.place]]
    return out


def _features(model: Any, images: torch.Tensor) -> Any:
    """[B, 512, 3, 3]: what the image tower pools."""
    tower = model.visual
    return tower.layer4(tower.layer3(tower.layer2(tower.layer1(tower.stem(images)))))


def _contrast(scores: torch.Tensor, truth: torch.Tensor) -> Any:
    """Cross-entropy both ways over scaled cosines [B, T]."""
    import torch
    from torch.nn import functional

    count = len(scores)
    own = torch.eye(*scores.shape, dtype=torch.bool)
    # A true text of another image is no counter-example, and says nothing about which of its images is meant.
    scores = scores.masked_fill(truth.T & ~own, -1e4)
    target = torch.arange(count)
    return (functional.cross_entropy(scores, target) + functional.cross_entropy(scores[:, :count].T, target)) / 2


def _pairing(head: Any, embedded: torch.Tensor, pairs: torch.Tensor) -> Any:
    from torch.nn import functional

    known = pairs[:, 0] >= 0
    # Unit embeddings have small entries: ten times them reaches the logits that rare pairs need.
    return functional.binary_cross_entropy_with_logits(head(embedded[known] * 10), pairs[known])


def _naming(head: Any, features: Any, held: torch.Tensor) -> Any:
    """Mean cross-entropy of shape, colour and size at each place, and of scene and light."""
    from torch.nn import functional

    answers = head(features.flatten(1)).split(_HEAD_SIZES, dim=1)
    # Most places are empty: what is at them says more per answer.
    losses = []
    for i, answer in enumerate(answers):
        weight = answer.new_ones(answer.shape[1])
        if i < 3 * len(PLACES):
            weight[0] = 0.3
        losses.append(functional.cross_entropy(answer, held[:, i], weight))
    return sum(losses) / len(losses)


def _encoded_text(model: Any, tokens: torch.Tensor) -> Any:
    """What `encode_text` gives, in chunks of texts of like length, each cut to its longest: a third of the work."""
    import torch

    lengths = (tokens > 0).sum(dim=1)
    order = lengths.argsort()
    told = [_encoded_chunk(model, tokens[rows, : int(lengths[rows].max())]) for rows in order.chunk(4)]
    return torch.cat(told)[order.argsort()]


def _encoded_chunk(model: Any, tokens: torch.Tensor) -> Any:
    import torch

    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return x[torch.arange(len(x)), tokens.argmax(dim=-1)] @ model.text_projection


@lru_cache(maxsize=len(SCENES) * 100)
def _scene(name: str, variation: int) -> Image.Image:
    return draw_scene(name, variation, DRAWN, DRAWN)


@lru_cache(maxsize=len(SHAPES) * len(COLOURS) * 10)
def _cut(shape: str, colour: str, variation: int, radius: float, half: int) -> tuple[Image.Image, Image.Image]:
    cut = sprite(shape, colour, variation, radius, half, (0, 0))
    shadow = cut.getchannel("A").filter(ImageFilter.GaussianBlur(1.6)).point(lambda a: a * 0.34)
    return cut, shadow


if __name__ == "__main__":
    main()
