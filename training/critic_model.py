"""A critic's weights and processor: out of a transformers folder or the hub, and back into a folder."""

from __future__ import annotations

import os
from typing import Any

from schemas.errors import InputError
from toyworld.torchvision_shim import ensure_torchvision
from training.critic_config import CriticConfig


def load_processor(config: CriticConfig) -> Any:
    """The processor, with the bound of `image_side` in it.

    Raises:
        InputError: `init` has no processor of images and chats, or one without such a bound.
    """
    _checked(config.init)
    from transformers import AutoProcessor
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]

    try:
        processor: Any = AutoProcessor.from_pretrained(config.init)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, KeyError) as error:
        raise _no_model(config.init, error) from error
    images = getattr(processor, "image_processor", None)
    if images is None or not getattr(processor, "chat_template", None):
        raise InputError(f"init: {config.init} has no processor of images and chats; name a vision-language model")
    if config.image_side is not None:
        size = dict(images.size)
        if not size.get("longest_edge") or not size.get("shortest_edge"):
            raise InputError(f"image_side: {config.init}'s processor is not bounded in pixels; leave it out")
        # Qwen's processors count these in pixels of the whole image, not of an edge.
        most = min(size["longest_edge"], config.image_side**2)
        images.size = {"longest_edge": most, "shortest_edge": min(size["shortest_edge"], most)}
    return processor


def load_model(config: CriticConfig) -> Any:
    """The model, its vision tower frozen where the configuration says so.

    Raises:
        InputError: `init` is no vision-language model.
    """
    _checked(config.init)
    import torch
    from transformers import AutoModelForImageTextToText

    # Mixed precision trains float32 weights; those that adapters leave alone need no more than bf16.
    dtype = torch.bfloat16 if config.bf16 and config.lora else torch.float32
    try:
        model = AutoModelForImageTextToText.from_pretrained(config.init, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _no_model(config.init, error) from error
    if config.freeze_vision and config.lora is None:
        tower = [weight for name, weight in model.named_parameters() if "visual." in name]
        if not tower:
            raise InputError(f"freeze_vision: {config.init} has no module `visual`; leave it out")
        for weight in tower:
            weight.requires_grad_(False)
    return model


def save(trainer: Any, processor: Any, out: str) -> None:
    """Write weights and processor as a transformers folder; adapters are merged into the weights."""
    import torch

    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        trainer.save_model(out)
    elif trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        if hasattr(model, "merge_and_unload"):
            model = model.merge_and_unload()
        # Servers take float32 weights for float16, whose range bf16 training did not keep to.
        (model.to(torch.bfloat16) if trainer.args.bf16 else model).save_pretrained(out)
    if trainer.is_world_process_zero():
        processor.save_pretrained(out)
        # transformers 4, and servers built on it, look for the image processor's settings in a file of their own.
        processor.image_processor.save_pretrained(out)


def _checked(init: str) -> None:
    ensure_torchvision()
    local = os.path.isdir(init) or init.startswith((".", "/", "~"))
    if local and not os.path.isfile(os.path.join(init, "config.json")):
        raise InputError(f"init: {init} is no model: it has no config.json; name a transformers folder or a hub's name")


def _no_model(init: str, error: Exception) -> InputError:
    said = " ".join(str(error).split())[:200]
    return InputError(f"init: {init} cannot be loaded as a vision-language model: {said}")
