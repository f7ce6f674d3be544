"""Ours: files to embeddings by `ClipModel`, with an empty cache in every round."""

from __future__ import annotations

from benchmarks.clip.contestants.pacing import arguments, bare_pass, told
from filters.base import TOGETHER
from filters.clip_model import ClipModel
from filters.devices import device_of
from filters.weights import load


def main() -> None:
    import torch

    given, device = arguments(), device_of("auto")
    weights = f"local-dir:{given.weights}"
    loaded = load(weights, device, "fp32" if device == "cpu" else "fp16")
    side = loaded.preprocess["size"]
    side = side if isinstance(side, int) else side[0]

    def own() -> None:
        model = ClipModel(weights, loaded, device)
        for start in range(0, len(given.files), TOGETHER):
            model.image_embeddings([(f.name, f.read_bytes) for f in given.files[start : start + TOGETHER]])

    size = 8 if device == "cpu" else 64
    batch = torch.rand((size, 3, side, side)).to(device, torch.float32 if device == "cpu" else torch.float16)
    told(len(given.files), bare_pass(loaded.model.encode_image, batch, len(given.files)), own, given.rounds)


if __name__ == "__main__":
    main()
