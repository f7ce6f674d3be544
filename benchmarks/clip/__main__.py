"""`make bench-clip`: images to CLIP embeddings, end to end, beside the bare forward pass and beside peers.

python -m benchmarks.clip [--model ViT-B-32] [--images N] [--parts preparing,speed] [--no-peers]

The weights are random and made here: speed does not depend on them. Photographs come from PLUMBLINE_TEST_DATA (default
../shared/data), saved at 512 and 768 pixels; without them noise is drawn.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.annotate.running import ROOT, peer_python
from benchmarks.results import Row, record
from storage.images import decode, encode_jpeg
from toyworld.torchvision_shim import ensure_torchvision

SIDES = (512, 768)
BENCH = ROOT / ".bench"
_MADE = BENCH / "clip_weights"
# clip-retrieval's all_clip imports pkg_resources.packaging, which setuptools dropped in 70.
_PEER = ("clip-retrieval", "torch<2.14", "torchvision", "setuptools<70")
CONTESTANTS = {
    "plumbline": ("ours", ()),
    "open_clip's transform, DataLoader": ("dataloader", ()),
    "clip-retrieval": ("clip_retrieval_run", _PEER),
}


def photographs(count: int, side: int) -> list[bytes]:
    """`count` different JPEGs of quality 90 with a longest side of `side`."""
    folder = Path(os.environ.get("PLUMBLINE_TEST_DATA", ROOT / ".." / "shared" / "data")) / "pool"
    files = sorted(p for p in folder.rglob("*.jpg") if max(Image.open(p).size) >= side)
    if files:
        pictures = [decode(files[i % len(files)].read_bytes(), max_side=side) for i in range(count)]
    else:
        rng = np.random.default_rng(0)
        small = [Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8)) for _ in range(count)]
        pictures = [one.resize((side, side * 3 // 4)) for one in small]
    return [encode_jpeg(picture, 90, full_colour=False) for picture in pictures]


def weights(model: str) -> Path:
    """A folder with random weights of `model`, made on first use."""
    folder = _MADE / model
    if (folder / "open_clip_model.safetensors").is_file():
        return folder
    ensure_torchvision()
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    made = open_clip.create_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    shown = {key: list(value) if isinstance(value, tuple) else value for key, value in _shown(made).items()}
    config = {"model_cfg": open_clip.get_model_config(model), "preprocess_cfg": shown}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    tensors = {name: t.contiguous() for name, t in made.state_dict().items() if name != "attn_mask"}
    save_file(tensors, folder / "open_clip_model.safetensors")
    return folder


def _shown(model: Any) -> dict[str, Any]:
    known = ("size", "mean", "std", "interpolation", "resize_mode")
    return {key: value for key, value in model.visual.preprocess_cfg.items() if key in known}


def preparing() -> None:
    """CPU milliseconds from a JPEG to the tensor, on one thread, ours and open_clip's transform in turn."""
    ensure_torchvision()
    import open_clip
    import torch

    from filters.pixels import prepared

    settings = {
        "size": 224, "mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD,
        "interpolation": "bicubic", "resize_mode": "shortest",
    }  # fmt: skip
    transform: Any = open_clip.image_transform(224, is_train=False)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for side in SIDES:
        images = photographs(60, side)
        ways: tuple[Callable[[bytes], Any], ...] = (
            lambda data: prepared(data, settings),
            lambda data: transform(Image.open(io.BytesIO(data))),
        )
        times = [[_milliseconds(way, images) for way in ways] for _ in range(5)]
        ours, theirs = (min(column) for column in zip(*times, strict=True))
        kilobytes = round(sum(map(len, images)) / len(images) / 1000)
        rows.append(
            {"longest side": side, "kB": kilobytes, "plumbline, ms": ours, "open_clip's transform, ms": theirs,
             "times as fast": theirs / ours}
        )  # fmt: skip
    most = max(float(row["plumbline, ms"]) for row in rows)
    notes = [
        "CPU time of one thread per JPEG (quality 90, 4:2:0) to 224 pixels, best of 5 rounds",
        f"goal 2 ms: {'met' if most <= 2 else 'missed'} ({most:.2f} ms at most)",
    ]
    print(record("CLIP: preparing images", "python -m benchmarks.clip --parts preparing", rows, notes), flush=True)


def _milliseconds(way: Callable[[bytes], Any], images: Sequence[bytes]) -> float:
    began = time.process_time()
    for data in images:
        way(data)
    return (time.process_time() - began) / len(images) * 1e3


def speed(model: str, count: int, peers: bool) -> None:
    """Images per second from files to embeddings, beside the bare forward pass of the same process."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    rows: list[Row] = []
    notes = [f"{model} with random weights; {count} JPEGs of {SIDES[0]} and {SIDES[1]} pixels; medians of 7 rounds"]
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder)
        for i, data in enumerate(photographs(count // 2, SIDES[0]) + photographs(count - count // 2, SIDES[1])):
            (images / f"{i:05}.jpg").write_bytes(data)
        for name, (module, packages) in CONTESTANTS.items():
            if packages and not peers:
                continue
            python = sys.executable if not packages else peer_python("clip_retrieval", packages, BENCH)
            found = None if python is None else _run(python, module, model, images)
            if found is None:
                notes.append(f"{name}: does not run here")
            else:
                rows.append(
                    {"what": name, "device": device, "images/s": found["own"], "bare forward": found["bare"],
                     "of bare": found["of bare"]}
                )  # fmt: skip
    share = next(float(row["of bare"]) for row in rows if row["what"] == "plumbline")
    notes.append(f"goal >= 0.9 of the bare forward pass: {'met' if share >= 0.9 else 'missed'} ({share:.2f}, {device})")
    notes.append("each contestant is set beside the bare pass of its own process, which takes turns with it")
    if not torch.cuda.is_available():
        notes.append("on a GPU: not measured")
    command = f"python -m benchmarks.clip --parts speed --model {model} --images {count}"
    print(record(f"CLIP: images to embeddings, {model}", command, rows, notes), flush=True)


def _run(python: str, module: str, model: str, images: Path) -> dict[str, float] | None:
    words = ["--weights", str(weights(model)), "--model", model, "--images", str(images)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [python, "-m", f"benchmarks.clip.contestants.{module}", *words],
        cwd=ROOT, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    found = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        print(f"{module}: {ran.stderr[-1500:]}", flush=True)
        return None
    result: dict[str, float] = json.loads(found[-1].removeprefix("RESULT "))
    print(module, result, flush=True)
    return result


def main() -> None:
    """Run the parts named, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clip")
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--parts", default="preparing,speed")
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    for part in given.parts.split(","):
        if part == "preparing":
            preparing()
        else:
            speed(given.model, given.images, not given.no_peers)


if __name__ == "__main__":
    main()
