"""What every contestant does alike: the bare forward pass and its own way take turns, and medians are told."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def arguments() -> Any:
    """What the benchmark tells a contestant; `files` are the images, in order."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path, required=True, help="an open_clip folder")
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    given.files = sorted(given.images.iterdir())
    return given


def bare_pass(encode: Callable[[Any], Any], batch: Any, count: int) -> Callable[[], None]:
    """The model's image tower alone over a batch that lies on its device, as often as `count` images need."""
    import torch

    def go() -> None:
        with torch.inference_mode():
            for _ in range(-(-count // len(batch))):
                out = encode(batch)
            out.cpu()

    return go


def told(count: int, bare: Callable[[], None], own: Callable[[], None], rounds: int) -> None:
    """Run both once to warm up, then in turn; print the medians of images per second and of their ratio."""
    bare()
    own()
    speeds = [(count / _seconds(bare), count / _seconds(own)) for _ in range(rounds)]
    found = {
        "bare": statistics.median(b for b, _ in speeds),
        "own": statistics.median(o for _, o in speeds),
        "of bare": statistics.median(o / b for b, o in speeds),
    }
    print("RESULT " + json.dumps(found), flush=True)


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
