"""A tokenizer and an image transform with the attributes that BAGEL's loaders use."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image


class ByteTokenizer:
    def encode(self, text: str) -> list[int]:
        return list(text.encode())


class Transform:
    """To a tensor of 3 x H x W whose sides are multiples of the stride."""

    def __init__(self, stride: int) -> None:
        self.stride = stride

    def __call__(self, image: Image.Image) -> torch.Tensor:
        side = max(self.stride, image.width // self.stride * self.stride)
        return torch.from_numpy(np.asarray(image.resize((side, side))).copy()).permute(2, 0, 1) / 255
