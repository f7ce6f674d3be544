"""Heads on a CLIP's embeddings: a file of one or several linear layers that makes a number of an image's embedding.

LAION's aesthetic predictors are such files: `sa_0_4_vit_l_14_linear.pth` is one layer; that of
christophschuhmann/improved-aesthetic-predictor is five, without anything between them.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.errors import InputError
from storage.paths import sha256_file

FOLDER = "local-dir:"
Activation = Literal["none", "relu", "gelu"]
_FORMATS = (".safetensors", ".pt", ".pth", ".bin")


def defect_of_head(weights: str) -> str:
    """What is wrong with the string itself; empty where nothing is."""
    if weights.startswith(FOLDER) and len(weights) > len(FOLDER):
        return ""
    return f"{weights!r} names no head: use local-dir:PATH, a {' or '.join(_FORMATS[:2])} file or the folder of one"


@dataclass(frozen=True)
class Head:
    """Linear layers, applied in order to a unit vector.

    Attributes:
        layers: (weight [out, in], bias [out]) of each, float64; the last has one output.
        activation: what stands between two layers.
        digest: sha256 of the file and the activation.
    """

    layers: tuple[tuple[Any, Any], ...]
    activation: Activation
    digest: str

    @property
    def width(self) -> int:
        """Length of the embedding that it takes."""
        return int(self.layers[0][0].shape[1])

    def score(self, embedding: Any) -> float:
        """The number that it makes of a unit vector [width]."""
        for number, (weight, bias) in enumerate(self.layers):
            if number:
                embedding = _activated(embedding, self.activation)
            embedding = weight @ embedding + bias
        return float(embedding[0])


def load_head(weights: str, activation: Activation, where: str) -> Head:
    """Read `local-dir:PATH`; a PyTorch file is read as tensors alone, never as code.

    Raises:
        InputError: there is no such file, or it holds no head; begins with `where`, the key of the configuration.
    """
    file = _file_of(weights.removeprefix(FOLDER), where)
    layers = _layers(_tensors(file, where), f"{where}: {file}")
    return Head(layers, activation, f"{sha256_file(file)} {activation}")


def _file_of(path: str, where: str) -> str:
    if os.path.isfile(path):
        return path
    if not os.path.isdir(path):
        raise InputError(f"{where}: there is no {path}; correct the path")
    files = [name for name in sorted(os.listdir(path)) if name.endswith(_FORMATS)]
    if len(files) != 1:
        found = f"{len(files)} files of weights" if files else "no weights"
        raise InputError(f"{where}: {path} holds {found}; name the file of the head")
    return os.path.join(path, files[0])


def _tensors(file: str, where: str) -> Mapping[str, Any]:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.endswith(".safetensors"):
            found: Any = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, SafetensorError, pickle.UnpicklingError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{where}: {file} cannot be read as weights: {said[0][:200]}") from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise InputError(f"{where}: {file} is no state dict; save the head with torch.save(head.state_dict(), ...)")
    return found


def _layers(tensors: Mapping[str, Any], file: str) -> tuple[tuple[Any, Any], ...]:
    """The linear layers in the order of the numbers in their names."""
    import numpy as np

    names = [name for name in tensors if name == "weight" or name.endswith(".weight")]
    names.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    layers = []
    for name in names:
        weight = tensors[name].double().numpy()
        bias = tensors.get(name.removesuffix("weight") + "bias")
        if weight.ndim != 2:
            raise InputError(f"{file}: {name} is of shape {tuple(weight.shape)}; a head has linear layers alone")
        layers.append((weight, np.zeros(len(weight)) if bias is None else bias.double().numpy()))
    used = {*names, *(name.removesuffix("weight") + "bias" for name in names)}
    if left := sorted(set(tensors) - used):
        raise InputError(f"{file}: {left[0]} belongs to no linear layer; a head has linear layers alone")
    if not layers:
        raise InputError(f"{file}: holds no layer; a head has `weight` and `bias`, or several of them in order")
    for (before, _), (after, _) in itertools.pairwise(layers):
        if len(before) != after.shape[1]:
            raise InputError(f"{file}: a layer of {len(before)} outputs goes before one of {after.shape[1]} inputs")
    if len(layers[-1][0]) != 1:
        raise InputError(f"{file}: its last layer has {len(layers[-1][0])} outputs; a score is one number")
    return tuple(layers)


def _activated(values: Any, activation: Activation) -> Any:
    import math

    import numpy as np

    if activation == "relu":
        return np.maximum(values, 0)
    if activation == "gelu":
        return values * 0.5 * (1 + np.array([math.erf(value / math.sqrt(2)) for value in values]))
    return values
