"""Where CLIP weights come from: the embedded ones, a folder, or open_clip's list; never random ones."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from schemas.errors import InputError
from storage.paths import sha256_file

TOY = "toy"
KEY = "filters.clip.weights"
"""What messages name; who is told of weights by another key puts that in its place."""
_FOLDER = "local-dir:"
_PATIENCE = 5.0
"""Seconds in which the server of the weights must answer at all; downloading then takes what it takes."""
_WEIGHTS = (".safetensors", ".bin", ".pth")
_DEFAULT_FILE = "open_clip_pytorch_model.bin"


class WeightsUnavailable(Exception):
    """Weights that exist but cannot be had here. `reason` is for the manifest: no score is made up instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Loaded:
    """An open_clip model in eval mode, with what goes before it.

    Attributes:
        tokenize: texts to a LongTensor [texts, context_length].
        count: tokens of a text, special ones included, uncut.
        preprocess: open_clip's settings: size, mean, std, interpolation, resize_mode, fill_color.
        digest: sha256 over the weights and all that shapes a score, but for the device's kind and the precision.
        precision: `fp32`, `fp16` or `bf16`: of the image tower's input, and of all but a few weights.
    """

    model: Any
    tokenize: Callable[[list[str]], Any]
    count: Callable[[str], int]
    context_length: int
    preprocess: dict[str, Any]
    digest: str
    precision: str = "fp32"


def defect_of(weights: str) -> str:
    """What is wrong with the string itself; empty where nothing is."""
    forms = "use toy, NAME/PRETRAINED (such as ViT-L-14/openai) or local-dir:PATH"
    name, slash, pretrained = weights.partition("/")
    if weights == TOY or (weights.startswith(_FOLDER) and len(weights) > len(_FOLDER)):
        return ""
    if weights.startswith(_FOLDER) or ":" in name:
        return f"{weights!r} names no weights: {forms}"
    if not name or not slash or not pretrained:
        return f"{weights!r} names a model without its weights, and random ones never filter: {forms}"
    return ""


def load(weights: str, device: str, precision: str = "fp32") -> Loaded:
    """Load what `weights` names: `toy`, `NAME/PRETRAINED` (a tag of open_clip's list or a file) or `local-dir:PATH`.

    Raises:
        InputError: no such model, tag or folder; a folder without weights or without its tokenizer.
        WeightsUnavailable: a known tag whose file is not on this machine and cannot be fetched. Said within seconds.
    """
    defect = defect_of(weights)
    if defect:
        raise InputError(f"{KEY}: {defect}")
    # torchvision, which open_clip imports, needs this first beside a torch without CUDA.
    from toyworld.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    if weights == TOY:
        return _toy(device)
    if weights.startswith(_FOLDER):
        return _from_folder(weights.removeprefix(_FOLDER), device, precision)
    name, _, pretrained = weights.partition("/")
    return _from_list(name, pretrained, device, precision)


def _toy(device: str) -> Loaded:
    from toyworld import clip_model_dir
    from toyworld.captions import words
    from toyworld.tokenizer import CONTEXT_LENGTH, ToyTokenizer

    tokenizer, folder = ToyTokenizer(), clip_model_dir()
    files = _weights_in(folder, TOY)
    model = _created(f"{_FOLDER}{folder}", TOY, device, "fp32")
    settings = {"words": words(), "config": _config_in(folder)}
    return Loaded(
        model, tokenizer, lambda text: len(tokenizer.ids(text)), CONTEXT_LENGTH, _preprocess(model),
        _digest(files, settings),
    )  # fmt: skip


def _from_folder(folder: str, device: str, precision: str) -> Loaded:
    key = f"{_FOLDER}{folder}"
    files = _weights_in(folder, key)
    model = _created(key, key, device, precision)
    tokenize, count, length = _tokenizer(key, key)
    _check_vocabulary_size(model, tokenize, key)
    digest = _digest(files, {"config": _config_in(folder)})
    return Loaded(model, tokenize, count, length, _preprocess(model), digest, precision)


def _from_list(name: str, pretrained: str, device: str, precision: str) -> Loaded:
    import open_clip

    key = f"{name}/{pretrained}"
    architecture = open_clip.get_model_config(name)
    if architecture is None:
        raise InputError(f"{KEY}: open_clip has no model {name!r}; see open_clip.list_models()")
    entry = dict(open_clip.get_pretrained_cfg(name, pretrained) or {})
    file = _file_of(name, pretrained, entry)
    settings = {k: entry[k] for k in ("mean", "std", "interpolation", "resize_mode") if k in entry}
    # A tag trained with QuickGELU under a name without it (ViT-L-14/openai) scores wrongly unless it is switched on;
    # open_clip only warns.
    gelu = {"quick_gelu": bool(entry["quick_gelu"])} if "quick_gelu" in entry else {}
    model = _created(name, key, device, precision, pretrained=file, force_preprocess_cfg=settings, **gelu)
    tokenize, count, length = _tokenizer(name, key)
    preprocess = _preprocess(model)
    return Loaded(
        model, tokenize, count, length, preprocess,
        _digest([file], {"model": name, "gelu": gelu, "preprocess": preprocess}), precision,
    )  # fmt: skip


def _file_of(name: str, pretrained: str, entry: dict[str, Any]) -> str:
    """The weights' file on this machine, fetched if it has to be."""
    if not entry:
        if os.path.isfile(pretrained):
            return pretrained
        from open_clip import list_pretrained_tags_by_model

        known = ", ".join(list_pretrained_tags_by_model(name)) or "none"
        raise InputError(f"{KEY}: {name} has no weights {pretrained!r}, and no such file; known: {known}")
    if entry.get("file"):
        return str(entry["file"])
    if entry.get("hf_hub"):
        return _from_hub(f"{name}/{pretrained}", entry["hf_hub"])
    from open_clip import download_pretrained_from_url

    url = str(entry.get("url", ""))
    cached = os.path.join(os.path.expanduser("~/.cache/clip"), os.path.basename(url))
    if not os.path.isfile(cached):
        _answers(f"{name}/{pretrained}", url)
    try:
        return str(download_pretrained_from_url(url))
    except (OSError, RuntimeError) as error:
        raise WeightsUnavailable(f"{name}/{pretrained} could not be fetched whole") from error


def _from_hub(key: str, address: str) -> str:
    import huggingface_hub as hub
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError

    repository, _, name = address.rpartition("/")
    files = list(_alternatives(name or _DEFAULT_FILE))
    for file in files:
        cached = hub.try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return cached
    if is_offline_mode():
        raise WeightsUnavailable(f"{key} is not on this machine, and HF_HUB_OFFLINE is set")
    # The library's HTTP errors have a root of their own, which differs from version to version.
    broken = tuple(c for c in HfHubHTTPError.__mro__ if issubclass(c, Exception) and c is not Exception)
    for file in files:
        # Asked first with short patience: the library itself retries for 47 s where there is no network.
        if not _answers(key, hub.hf_hub_url(repository, file)):
            continue
        try:
            return str(hub.hf_hub_download(repository, file))
        except broken as error:
            raise WeightsUnavailable(f"{key} could not be fetched whole") from error
    raise WeightsUnavailable(f"{key} is not at {repository} on the hub")


def _alternatives(name: str) -> Iterator[str]:
    if name == _DEFAULT_FILE:
        yield "open_clip_model.safetensors"
    elif name.endswith((".bin", ".pth")):
        yield name[:-4] + ".safetensors"
    yield name


def _answers(key: str, url: str) -> bool:
    """Whether the server has the file.

    Raises:
        WeightsUnavailable: it does not answer, or refuses.
    """
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "plumbline"})
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE):
            return True
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False
        cause: Exception = error
        said = "does not answer" if error.code >= 500 else f"refuses it (HTTP {error.code})"
    except (OSError, ValueError) as error:
        # What the network says differs from try to try; the reason is recorded and should not.
        cause, said = error, "cannot be reached"
    raise WeightsUnavailable(f"{key} is not on this machine and {urlsplit(url).hostname} {said}") from cause


def _created(model_name: str, key: str, device: str, precision: str, **options: Any) -> Any:
    import pickle

    import open_clip
    from safetensors import SafetensorError

    unusable = (
        OSError,
        ValueError,
        AssertionError,
        TypeError,
        KeyError,
        RuntimeError,
        SafetensorError,
        pickle.UnpicklingError,
    )
    try:
        # require_pretrained: open_clip would otherwise log a warning and hand out random weights.
        model = open_clip.create_model(
            model_name, precision=precision, device=device, require_pretrained=True, **options
        )
    except ImportError as error:
        raise InputError(f"{KEY}: {key} needs a package that is not installed: {error}") from error
    except unusable as error:
        raise InputError(f"{KEY}: {key} cannot be loaded: {_line(error)}") from error
    return model.eval()


def _tokenizer(model_name: str, key: str) -> tuple[Callable[[list[str]], Any], Callable[[str], int], int]:
    import open_clip

    try:
        tokenizer: Any = open_clip.get_tokenizer(model_name)
    except ImportError as error:
        raise InputError(f"{KEY}: {key} needs transformers: pip install transformers") from error
    except (OSError, ValueError) as error:
        if key.startswith(_FOLDER):
            raise InputError(f"{KEY}: {key} holds no usable tokenizer: {_line(error)}") from error
        raise WeightsUnavailable(f"the tokenizer of {key} is not on this machine and could not be fetched") from error
    length = int(tokenizer.context_length)
    if hasattr(tokenizer, "encode"):
        return tokenizer, lambda text: len(tokenizer.encode(text)) + 2, length
    return tokenizer, lambda text: len(tokenizer.tokenizer(tokenizer.clean_fn(text)).input_ids), length


def _check_vocabulary_size(model: Any, tokenize: Callable[[list[str]], Any], key: str) -> None:
    """A folder does not always say which tokenizer it was trained with; one with more words cannot be the one."""
    embedding = getattr(model, "token_embedding", None)
    size = getattr(embedding, "num_embeddings", None)
    highest = int(tokenize(["a photo of a cat"]).max())
    if size is not None and highest >= size:
        raise InputError(
            f"{KEY}: {key} has a vocabulary of {size}, which is not its tokenizer's; "
            "put the tokenizer's files beside it, or for the toy world write: toy"
        )


def _preprocess(model: Any) -> dict[str, Any]:
    return dict(model.visual.preprocess_cfg)


def _weights_in(folder: str, key: str) -> list[str]:
    """Every weights file of an open_clip folder."""
    if not os.path.isfile(os.path.join(folder, "open_clip_config.json")):
        raise InputError(f"{KEY}: {key}: there is no open_clip_config.json in {folder}")
    files = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(_WEIGHTS)]
    if not files:
        raise InputError(f"{KEY}: {key}: there are no weights in {folder} (open_clip_model.safetensors)")
    return files


def _config_in(folder: str) -> object:
    with open(os.path.join(folder, "open_clip_config.json"), encoding="utf-8") as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise InputError(f"{KEY}: {file.name} is not JSON: {error}") from error


def _digest(files: list[str], settings: dict[str, Any]) -> str:
    parts = [[sha256_file(file) for file in files], settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=list).encode()).hexdigest()


def _line(error: object) -> str:
    """The first line of what a library said."""
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
