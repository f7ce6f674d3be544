"""Drafts made of pictures, and tiny CLIPs with the layout of real ones."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from schemas.draft import Draft, Reasoning
from schemas.iccot import ICCoT
from schemas.plan import Plan, PlannedReference
from schemas.references import ImageRef, Kind, Reference
from schemas.tasks import Role

Pixels = Image.Image | bytes


@dataclass
class Desk:
    """Writes pictures into a folder and makes drafts of them."""

    folder: Path
    made: int = field(default=0)

    def ref(self, pixels: Pixels, *, quality: int = 92) -> ImageRef:
        data = pixels if isinstance(pixels, bytes) else encoded(pixels, quality)
        size = (512, 512) if isinstance(pixels, bytes) else pixels.size
        digest = hashlib.sha256(data).hexdigest()
        path = self.folder / digest[:16]
        path.write_bytes(data)
        return ImageRef(uri=str(path), sha256=digest, width=size[0], height=size[1], media_type="image/jpeg")

    def draft(
        self,
        target: Pixels,
        references: Sequence[tuple[Role, Pixels]],
        reasonings: Sequence[tuple[str, Sequence[str]]] = (),
        *,
        quality: int = 92,
        subjects: Sequence[str] = (),
    ) -> Draft:
        """`reasonings`: (out_caption, relations), by default one that says little; `subjects` differ by default."""
        count = len(references)
        planned = []
        for number, (role, pixels) in enumerate(references):
            alpha = isinstance(pixels, Image.Image) and pixels.mode == "RGBA"
            ref = self.ref(pixels)
            reference = Reference(
                **ref.model_dump(),
                id=ref.sha256,
                kind=Kind.OBJECT,
                caption="a thing",
                alpha=alpha,
                subject=subjects[number] if subjects else f"thing {number}",
            )
            planned.append(PlannedReference(reference=reference, role=role))
        said = reasonings or [("a picture", [f"Part {i} is from image_{i}." for i in range(1, count + 1)])]
        self.made += 1
        plan = Plan(id=f"{self.made:032x}", ordinal=self.made, seed=self.made, task="add", references=tuple(planned))
        return Draft(
            plan=plan,
            instruction="Put them together.",
            prompt="Put them together." + "".join(f"<image_{i}>" for i in range(1, count + 1)),
            reasonings=tuple(Reasoning(iccot=ICCoT(out_caption=c, relations=tuple(r))) for c, r in said),
            target=self.ref(target, quality=quality),
        )


def encoded(image: Image.Image, quality: int = 92) -> bytes:
    out = io.BytesIO()
    if image.mode == "RGBA":
        image.save(out, "PNG")
    else:
        image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def drawn(seed: int, size: tuple[int, int] = (512, 384)) -> Image.Image:
    """A busy scene of its own for each seed: a gradient, forty blobs, a little grain."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, size[0])[None, :, None] * rng.uniform(60, 200, 3) + rng.uniform(0, 55, 3)
    image = Image.fromarray(np.broadcast_to(ramp, (size[1], size[0], 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        w, h = rng.integers(8, max(9, size[0] // 4)), rng.integers(8, max(9, size[1] // 4))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x, y, x + w, y + h), fill=colour)
    grain = rng.normal(0, 4, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    folder = tmp_path / "images"
    folder.mkdir()
    return Desk(folder)


@pytest.fixture
def scene() -> Callable[..., Image.Image]:
    return drawn


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An open_clip folder with a small transformer that reads like a real one: 77 tokens of 49,408 words."""
    return _saved(
        tmp_path_factory.mktemp("tiny-vit"),
        {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    )


@pytest.fixture(scope="session")
def tiny_resnet_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same with a ResNet for its image tower, whose sums depend on how threads share them."""
    return _saved(
        tmp_path_factory.mktemp("tiny-rn"), {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    )


def _saved(folder: Path, vision: dict[str, object]) -> str:
    from toyworld.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = CLIP(**config)  # type: ignore[arg-type]
    save_file({k: v.contiguous() for k, v in model.state_dict().items() if k != "attn_mask"}, folder / WEIGHTS)
    preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return f"local-dir:{folder}"


WEIGHTS = "open_clip_model.safetensors"
