"""A pool of small stored images, so that painting costs little and what is left is the pipeline's own work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
REFERENCES = 120
SHARD = 250

_KINDS = ("characters", "objects", "scenes")
_THINGS = {
    "characters": ("woman", "man", "girl", "boy"),
    "objects": ("cup", "box", "lamp", "chair"),
    "scenes": ("park", "street", "kitchen", "beach"),
}

_CONFIG = f"""\
dataset: realign
seed: 7
samples: 1000
pool: {{folder}}/pool.parquet
# An edit is as large as its base, so these targets have {SIDE} pixels; tone and light need no subject cut out.
tasks: {{attribute: 1}}
subtypes: {{light: 1, tone: 1, style: 0, pose: 0, design: 0, material: 0, pattern: 0, texture: 0,
            font: 0, hair: 0, makeup: 0, expression: 0}}
reasonings: 2
models: {{writer: {{provider: offline}}, reasoner: {{provider: offline}}, painter: {{provider: offline}}}}
filters: {{quality: {{min_side: 32}}}}
output: {{shard_samples: {SHARD}, image: {{format: jpeg, quality: 95, max_side: 1024}}}}
ledger: {{folder}}/ledger
"""


def write_pool(folder: Path, references: int = REFERENCES) -> Path:
    """Write `references` JPEGs of 64 x 64 pixels, index them, and write the run's configuration beside the index.

    Returns:
        The configuration, `folder/scale.yaml`.
    """
    rng = np.random.default_rng(7)
    for number in range(references):
        kind = _KINDS[number % len(_KINDS)]
        thing = _THINGS[kind][number // len(_KINDS) % len(_THINGS[kind])]
        into = folder / "photos" / kind
        into.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_picture(rng)).save(into / f"a {thing} number {number}.jpg", quality=90)
    indexing = ["pool", "index", str(folder / "photos"), "--out", str(folder / "pool.parquet")]
    subprocess.run([sys.executable, "-m", "cli.main", *indexing], check=True, stdout=subprocess.DEVNULL)
    config = folder / "scale.yaml"
    config.write_text(_CONFIG.replace("{folder}", str(folder)), encoding="utf-8")
    return config


def _picture(rng: np.random.Generator) -> np.ndarray:
    """Two colours, one above the other, with a disc of a third and some grain: uint8, (64, 64, 3)."""
    upper, lower, disc = (rng.integers(20, 236, 3) for _ in range(3))
    y, x = np.mgrid[:SIDE, :SIDE]
    picture = np.where((y < rng.integers(24, 44))[..., None], upper, lower)
    within = (x - 32) ** 2 + (y - rng.integers(28, 40)) ** 2 < rng.integers(10, 20) ** 2
    picture = np.where(within[..., None], disc, picture) + rng.integers(-8, 9, (SIDE, SIDE, 1))
    return picture.clip(0, 255).astype(np.uint8)
