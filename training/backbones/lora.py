"""LoRA on a pretrained model: what a real backbone trains, and all that its checkpoint keeps (arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from schemas.base import Record
from schemas.errors import InputError

ATTENTION = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
)
"""The projections of a double-stream transformer's attention, which flow_grpo and FIRM adapt."""
LANGUAGE = ("q_proj", "k_proj", "v_proj", "o_proj")
"""The same of a language model; a Qwen2.5-VL's vision tower has none of these names and stays as it is."""


class LoRAConfig(Record):
    """How many directions are trained, and where. The defaults are FIRM's (r 32, alpha 64).

    Attributes:
        rank: of the two matrices.
        alpha: the update is scaled by alpha / rank.
        targets: linear layers by the end of their names; empty takes the adapter's own list.
    """

    rank: Annotated[int, Field(ge=1)] = 32
    alpha: Annotated[int, Field(ge=1)] = 64
    targets: tuple[str, ...] = ()


def add(model: Any, config: LoRAConfig, targets: tuple[str, ...]) -> None:
    """Freeze `model` (of diffusers or transformers) and put LoRA on its `targets`, in float32, off at first (B = 0).

    Raises:
        InputError: no layer has such a name.
    """
    from peft import LoraConfig

    model.requires_grad_(False)
    wanted = list(config.targets or targets)
    try:
        model.add_adapter(
            LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=wanted, init_lora_weights="gaussian")
        )
    except ValueError as error:
        if "target modules" not in str(error).lower():
            raise
        raise InputError(f"lora.targets {wanted}: {type(model).__name__} has no such layers") from None
    for _, parameter in trained(model):
        parameter.data = parameter.data.float()  # bfloat16 would swallow updates of 1e-4


def trained(model: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """LoRA's parameters by name."""
    return ((name, parameter) for name, parameter in model.named_parameters() if ".lora_" in name)


def saved(model: Any, prefix: str) -> dict[str, Tensor]:
    """LoRA's weights under diffusers' names (`PREFIX.LAYER.lora_A.weight`), which its pipelines load as they are."""
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(model, adapter_name="default")
    return {f"{prefix}.{name}": tensor.detach().clone() for name, tensor in found.items()}


def restore(model: Any, weights: Mapping[str, Tensor], prefix: str) -> None:
    """Take what `saved` gave under the same prefix; other prefixes are left alone.

    Raises:
        InputError: layers or ranks are not this model's.
    """
    from peft import set_peft_model_state_dict

    given = {name.removeprefix(f"{prefix}."): w for name, w in weights.items() if name.startswith(f"{prefix}.")}
    own = {name.removeprefix(f"{prefix}."): tensor for name, tensor in saved(model, prefix).items()}
    if given.keys() != own.keys():
        name = min(given.keys() ^ own.keys())
        side = "has no" if name in own else "has a"
        raise InputError(f"these weights are of another configuration: the checkpoint {side} {prefix}.{name}")
    for name, tensor in own.items():
        if given[name].shape != tensor.shape:
            shapes = f"{list(given[name].shape)}, not {list(tensor.shape)}"
            raise InputError(f"these weights are of another configuration: {prefix}.{name} is {shapes}")
    set_peft_model_state_dict(model, given, adapter_name="default")


@contextmanager
def disabled(model: Any) -> Iterator[None]:
    """The pretrained model as it was; what LoRA's parameters require is the same afterwards as before."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]
    flags = [(parameter, parameter.requires_grad) for _, parameter in trained(model)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
