"""Measure the tiny CLIP on held-out pictures: `python -m toyworld.clip.examine [DIR]` prints the README's tables.

Pictures are drawn at 256 pixels by the real renderer, with details that training never saw, and scored by the path
that filters use: open_clip's `local-dir:` loading, its preprocessing, the word tokenizer.
"""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from toyworld import clip_model_dir
from toyworld.captions import Wording, caption, the_scene, the_thing
from toyworld.clip.examples import ATTRIBUTES, applies_to, draw_picture, swapped
from toyworld.render import render
from toyworld.tokenizer import ToyTokenizer
from toyworld.torchvision_shim import ensure_torchvision
from toyworld.world import CLEAR, COLOURS, PLAIN, SCENES, SHAPES, SIZES, Picture, Thing

if TYPE_CHECKING:
    import torch

HELD_OUT = 1_000_000
"""Numbers of free details from here on are never trained on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=clip_model_dir(), help="an open_clip folder")
    parser.add_argument("--pictures", type=int, default=600)
    options = parser.parse_args()
    scorer = Scorer(options.folder)
    print("| swapped | pictures | AUC | true above swapped | mean cosine, true | mean cosine, swapped |")
    print("|---|---|---|---|---|---|")
    for name, true, false in swaps(scorer, options.pictures):
        print(
            f"| {name} | {len(true)} | {auc(true, false):.3f} | {float((true > false).mean()):.3f} "
            f"| {true.mean():.2f} | {false.mean():.2f} |"
        )
    print("\n| relation | pairs | own reference above the other |\n|---|---|---|")
    for name, margins in relations(scorer, options.pictures // 2):
        print(f"| {name} | {len(margins)} | {float((margins > 0).mean()):.3f} |")


class Scorer:
    """The model as filters load it."""

    def __init__(self, folder: str) -> None:
        ensure_torchvision()
        import open_clip
        import torch

        torch.set_num_threads(1)
        self.model, _, self._prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self.model.eval()
        self._tokenizer = ToyTokenizer()

    def images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """Unit embeddings, [N, D]."""
        import torch

        prepare: Any = self._prepare
        batch = torch.stack([prepare(image) for image in images])
        return self._unit(self.model.encode_image, batch)

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit embeddings, [N, D].

        Raises:
            toyworld.tokenizer.OutOfVocabulary: for text of another world.
        """
        return self._unit(self.model.encode_text, self._tokenizer(texts))

    def _unit(self, encode: Any, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        import torch

        with torch.no_grad():
            parts = [encode(batch[i : i + 64], normalize=True) for i in range(0, len(batch), 64)]
        embedded: npt.NDArray[np.float32] = torch.cat(parts).numpy()
        return embedded


def swaps(scorer: Scorer, count: int) -> list[tuple[str, npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """(attribute, cosines with the true captions, cosines with the captions that have it swapped)."""
    rng = random.Random(99)
    pictures = [draw_picture(rng, HELD_OUT) for _ in range(count)]
    seen = scorer.images([as_jpeg(render(p)) for p in pictures])
    told = scorer.texts([caption(p, _everything(p)) for p in pictures])
    true = (seen * told).sum(axis=1)
    found = [("random", true, (seen * np.roll(told, 1, axis=0)).sum(axis=1))]
    for attribute in ATTRIBUTES:
        rows = [i for i, p in enumerate(pictures) if applies_to(attribute, p)]
        false = [caption(swapped(pictures[i], attribute, rng), _everything(pictures[i])) for i in rows]
        found.append((attribute, true[rows], (seen[rows] * scorer.texts(false)).sum(axis=1)))
    return found


def relations(scorer: Scorer, count: int) -> list[tuple[str, npt.NDArray[np.float32]]]:
    """(kind, margin of the reference that a phrase is about over another reference)."""
    rng = random.Random(5)
    things = [[_reference(rng, i) for i in range(2)] for _ in range(count)]
    scenes = [
        [Picture((), s, CLEAR, HELD_OUT + rng.randrange(99)) for s in rng.sample(SCENES, 2)] for _ in range(count)
    ]
    cases = {
        "the red star, against another thing": (things, [the_thing(a.things[0]) for a, _ in things]),
        "the snow background, against another scene": (scenes, [the_scene(a.scene) for a, _ in scenes]),
        "the red star, against a scene": (
            [[t[0], s[0]] for t, s in zip(things, scenes, strict=True)],
            [the_thing(a.things[0]) for a, _ in things],
        ),
    }
    found = []
    for name, (pairs, phrases) in cases.items():
        own, other = (scorer.images([as_jpeg(render(pair[i])) for pair in pairs]) for i in range(2))
        told = scorer.texts(phrases)
        found.append((name, ((own - other) * told).sum(axis=1)))
    return found


def auc(true: npt.NDArray[np.float32], false: npt.NDArray[np.float32]) -> float:
    """The chance that a true pair scores above a false one, over all pairs of both."""
    order = np.argsort(np.concatenate([true, false]), kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    return float((ranks[: len(true)].sum() - len(true) * (len(true) + 1) / 2) / (len(true) * len(false)))


def as_jpeg(image: Image.Image) -> Image.Image:
    """`image` as a shard gives it back."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95, subsampling=0)
    return Image.open(out).convert("RGB")


def _reference(rng: random.Random, i: int) -> Picture:
    thing = Thing(rng.choice(SHAPES), rng.choice(list(COLOURS)), rng.choice(list(SIZES)), "middle", HELD_OUT + i)
    other = replace(thing, place=rng.choice(("left", "right", "top", "bottom")))
    if rng.random() < 0.6:
        return Picture((thing,), PLAIN, CLEAR)
    return Picture((other,), rng.choice(SCENES), CLEAR, HELD_OUT + i)


def _everything(picture: Picture) -> Wording:
    return Wording(light=True)


if __name__ == "__main__":
    main()
