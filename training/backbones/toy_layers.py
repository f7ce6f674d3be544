"""What the toy backbone is built of: blocks of two experts with one attention, positions, times and patches."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Expert(nn.Module):
    """Norms, attention's projections and the feed-forward of one expert."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def finished(self, x: Tensor, attended: Tensor) -> Tensor:
        """The rest of the block after attention [B, heads, T, width / heads]."""
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        added: Tensor = self.down(F.gelu(self.up(self.between(x))))
        return x + added


class Block(nn.Module):
    """Two experts and one attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.understand, self.generate = Expert(width), Expert(width)
        self.heads, self.heads_width = heads, width // heads

    def read(
        self, x: Tensor, sees: Tensor, rotations: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """References and text, after the keys and values `before`; also gives all keys and values."""
        q, k, v = self._projected(self.understand, x)
        q, k = _rotated(q, rotations), _rotated(k, rotations)
        if before is not None:
            k, v = torch.cat([before[0], k], 2), torch.cat([before[1], v], 2)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=sees)
        return self.understand.finished(x, attended), (k, v)

    def draw(self, x: Tensor, context: tuple[Tensor, Tensor], sees: Tensor) -> Tensor:
        """Image tokens, which see the context and each other."""
        q, k, v = self._projected(self.generate, x)
        k, v = torch.cat([context[0], k], 2), torch.cat([context[1], v], 2)
        return self.generate.finished(x, F.scaled_dot_product_attention(q, k, v, attn_mask=sees))

    def _projected(self, expert: Expert, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, count, width = x.shape
        q, k, v = (
            expert.qkv(expert.before(x)).view(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )
        return q, k, v


def initialised(module: nn.Module) -> None:
    """Small normal weights, no bias."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def patches(x: Tensor, side: int) -> Tensor:
    """[B, 3, H, W] as [B, tokens, 3 side²]."""
    return F.unfold(x, side, stride=side).transpose(1, 2)


def trust(t: Tensor) -> Tensor:
    """What x_t is multiplied by: the linear estimate of x_0 from it, (1 - t) / ((1 - t)² + t²), for x_0 of variance 1.

    Near t = 1 it is nothing but noise, which a small network does not learn to ignore (arXiv 2206.00364, section 5).
    """
    return (1 - t) / ((1 - t).square() + t.square())


def time_features(t: Tensor) -> Tensor:
    """[B, 64] sines and cosines of a time in [0, 1]."""
    rates = torch.exp(torch.arange(32, device=t.device) * (-math.log(1000) / 32))
    angles = 1000 * t[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


def rotations(at: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions (arXiv 2104.09864), each [B, 1, T, width / 2]."""
    rates = 100 ** (-torch.arange(0, width, 2, device=at.device) / width)
    angles = at[:, None, :, None] * rates
    return angles.cos(), angles.sin()


def _rotated(x: Tensor, rotations: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotations
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
