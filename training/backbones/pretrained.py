"""Opening a diffusers pipeline by name or folder, and the ways of pixels in and out of it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from filters.devices import device_of
from schemas.errors import InputError
from toyworld.torchvision_shim import ensure_torchvision

if TYPE_CHECKING:
    from PIL import Image

Precision = Literal["auto", "bf16", "fp32"]


def pipeline_of(weights: str, kinds: tuple[str, ...], device: str, precision: Precision) -> Any:
    """A diffusers pipeline on its device, frozen, in evaluation mode.

    Args:
        weights: a name on the Hugging Face Hub, or a folder that holds a `model_index.json`.
        kinds: the pipeline classes that will do, by name.
        device: see `filters.devices.device_of`.
        precision: of the frozen weights; `auto` is bf16 on CUDA, fp32 elsewhere.

    Raises:
        InputError: nothing there, not reachable, damaged, or another kind of pipeline.
    """
    ensure_torchvision()
    try:
        import diffusers
    except ImportError as error:
        raise InputError(f"a real backbone needs diffusers ({error}): pip install 'plumbline[diffusion]'") from None
    import transformers

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.set_verbosity_error()  # a cut prompt is said at every step otherwise
    found = device_of(device)
    bf16 = precision == "bf16" or (precision == "auto" and found.startswith("cuda"))
    try:
        kind = diffusers.DiffusionPipeline.load_config(weights).get("_class_name", "no pipeline")
        if kind not in kinds:
            raise InputError(f"backbone.weights {weights}: it is a {kind}; wanted {' or '.join(kinds)}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of `dtype`, which older releases do not know
            pipeline = diffusers.DiffusionPipeline.from_pretrained(  # type: ignore[no-untyped-call]
                weights, torch_dtype=torch.bfloat16 if bf16 else torch.float32
            )
    except (OSError, ValueError, ImportError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"backbone.weights {weights}: no pipeline could be opened there: {line}") from None
    pipeline.to(found)
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
            part.eval()
    return pipeline


def pictures(images: Sequence[Tensor]) -> list[Image.Image]:
    """Pillow images of uint8 [3, H, W]: what a pipeline's own preprocessing takes."""
    from PIL import Image

    return [Image.fromarray(image.permute(1, 2, 0).cpu().numpy()) for image in images]


def check_size(width: int, height: int, multiple: int) -> None:
    """Refuse a size that the VAE and its patches do not divide.

    Raises:
        InputError: with the sizes nearest.
    """
    for name, value in (("width", width), ("height", height)):
        if value % multiple:
            raise InputError(
                f"backbone.{name} {value} is no multiple of {multiple}: take {value // multiple * multiple}"
            )
