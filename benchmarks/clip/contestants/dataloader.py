"""open_clip's own transform in a DataLoader with a worker per processor, as its documentation has it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.clip.contestants.pacing import arguments, bare_pass, told
from toyworld.torchvision_shim import ensure_torchvision


class Pictures:
    """A map-style dataset of files, for torch's DataLoader."""

    def __init__(self, files: list[Path], transform: Any) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        from PIL import Image

        return self.transform(Image.open(self.files[i]))


def main() -> None:
    ensure_torchvision()
    import open_clip
    import torch
    from torch.utils.data import DataLoader

    given = arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, _, transform = open_clip.create_model_and_transforms(
        f"local-dir:{given.weights}", device=device, precision="fp32" if device == "cpu" else "fp16"
    )
    size, dtype = (8, torch.float32) if device == "cpu" else (64, torch.float16)
    pictures: Any = Pictures(given.files, transform)
    loader = DataLoader(pictures, size, num_workers=os.cpu_count() or 1, pin_memory=device != "cpu")
    side = model.visual.image_size
    side = side if isinstance(side, int) else side[0]

    def own() -> None:
        with torch.inference_mode():
            for batch in loader:
                model.encode_image(batch.to(device, dtype, non_blocking=True)).cpu()

    bare = bare_pass(model.eval().encode_image, torch.rand((size, 3, side, side)).to(device, dtype), len(given.files))
    told(len(given.files), bare, own, given.rounds)


if __name__ == "__main__":
    main()
