"""clip-retrieval's inference: its FilesReader and ClipMapper, without its writer; in an environment of its own."""

from __future__ import annotations

import os

from benchmarks.clip.contestants.pacing import arguments, bare_pass, told
from toyworld.torchvision_shim import ensure_torchvision


def main() -> None:
    ensure_torchvision()
    import torch
    from all_clip import load_clip
    from clip_retrieval.clip_inference.mapper import ClipMapper
    from clip_retrieval.clip_inference.reader import FilesReader
    from clip_retrieval.clip_inference.runner import Sampler

    given = arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = f"open_clip:{given.model}/{given.weights}/open_clip_model.safetensors"
    size = 8 if device == "cpu" else 64
    model, preprocess, tokenizer = load_clip(clip_model=name, use_jit=False, warmup_batch_size=size)
    mapper = ClipMapper(True, False, False, False, name, False, "", size)

    def own() -> None:
        reader = FilesReader(
            Sampler(0, 1), preprocess, tokenizer, str(given.images), size, os.cpu_count() or 1, enable_text=False
        )
        for batch in reader:
            mapper(batch)

    side = model.inner_model.visual.image_size
    side = side if isinstance(side, int) else side[0]
    bare = bare_pass(model.encode_image, torch.rand((size, 3, side, side)).to(device), len(given.files))
    told(len(given.files), bare, own, given.rounds)


if __name__ == "__main__":
    main()
