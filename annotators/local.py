"""The provider `transformers`: a vision-language model in this process, such as a critic that `train critic` wrote.

`model` is a transformers folder, or a name on the Hugging Face hub. One question is answered at a time, so an answer
depends on nothing but the question; a server (vLLM, `provider: openai`) answers many at once and is the way for more
than a few hundred. What is asked is the prompt alone: no schema is told, since a critic was trained without one.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

from annotators.config import ModelConfig
from annotators.errors import RepairableError, StopRun
from annotators.interface import Capabilities, RawAnswer, Request
from annotators.network.reading import CUT_OFF, EMPTY
from annotators.network.showing import Showing, Shown, ShownMessage
from schemas.errors import InputError

MAX_SIDE = 2048
MAX_TOKENS = 1024
_CAPABILITIES = Capabilities(remote=False, in_flight=1)


def make(config: ModelConfig, where: str, world: object = None) -> LocalProvider:
    """The provider of one model; its weights are read when it is first asked.

    Raises:
        InputError: `model` names a folder that holds none, or keys are given that only servers know.
    """
    for key in ("base_url", "api_key_env", "structured", "thinking_budget"):
        if getattr(config, key) is not None:
            raise InputError(f"{where}.{key}: is for servers; a model in this process has no use for it: leave it out")
    if config.mode == "batch":
        raise InputError(f"{where}.mode: batch is for servers; leave it out")
    folder = os.path.expanduser(config.model)
    if (os.path.isdir(folder) or folder.startswith((".", "/"))) and not Path(folder, "config.json").is_file():
        raise InputError(f"{where}.model: {config.model} has no config.json; name a transformers folder")
    return LocalProvider(config, where, folder)


class LocalProvider:
    """See the module, and `annotators.interface.Provider`. Computes on CUDA in bfloat16 where there is one."""

    name = "transformers"
    secrets: tuple[str, ...] = ()
    capabilities = _CAPABILITIES

    def __init__(self, config: ModelConfig, where: str, folder: str) -> None:
        self._where, self._folder = where, folder
        self._showing = Showing(MAX_SIDE)
        self._lock = threading.Lock()

    @cached_property
    def version(self) -> str:
        """16 hex digits of the folder's files, so that a model trained on answers anew; empty for a hub's name."""
        if not os.path.isdir(self._folder):
            return ""
        digest = hashlib.sha256()
        for file in sorted(Path(self._folder).iterdir()):
            if file.suffix in (".json", ".jinja", ".safetensors", ".bin", ".model", ".txt") and file.is_file():
                digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
                with open(file, "rb") as data:
                    while block := data.read(1 << 22):
                        digest.update(block)
        return digest.hexdigest()[:16]

    async def answer(self, request: Request) -> RawAnswer:
        shown = await self._showing.messages(request)
        return await asyncio.to_thread(self._answered, request, shown)

    async def close(self) -> None: ...

    def _answered(self, request: Request, shown: list[ShownMessage]) -> RawAnswer:
        """The model's answer, made on the calling thread.

        Raises:
            RepairableError: `truncated`, `empty`.
            StopRun: the model cannot be loaded, or memory does not suffice.
        """
        import torch

        with self._lock:
            model, processor = self._loaded
            inputs = processor.apply_chat_template(
                [{"role": message.speaker, "content": blocks_of(message)} for message in shown],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            ).to(model.device)
            most = int(request.sampling.get("max_tokens") or MAX_TOKENS)
            torch.manual_seed(request.seed)
            try:
                with torch.inference_mode():
                    found = model.generate(**inputs, max_new_tokens=most, **_sampling(request))
            except torch.OutOfMemoryError as error:
                raise StopRun(3, f"{self._where}: out of memory; set max_side, or serve the model with vLLM") from error
        asked = inputs["input_ids"].shape[1]
        tokens = found[0, asked:]
        text = processor.decode(tokens, skip_special_tokens=True).strip()
        raw = RawAnswer(text=text, tokens_in=asked, tokens_out=len(tokens))
        if len(tokens) == most and int(tokens[-1]) not in _ends(model):
            raise RepairableError([CUT_OFF], "truncated", raw=raw)
        if not text:
            raise RepairableError([EMPTY], "empty", raw=raw)
        return raw

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from toyworld.torchvision_shim import ensure_torchvision

        ensure_torchvision()
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]

        cuda = torch.cuda.is_available()
        dtype = torch.bfloat16 if cuda else torch.float32
        try:
            processor: Any = AutoProcessor.from_pretrained(self._folder)  # type: ignore[no-untyped-call]
            model: Any = AutoModelForImageTextToText.from_pretrained(self._folder, dtype=dtype)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            said = " ".join(str(error).split())[:200]
            raise StopRun(2, f"{self._where}.model: {self._folder} cannot be loaded: {said}") from error
        return model.to("cuda" if cuda else "cpu").eval(), processor


def blocks_of(message: ShownMessage) -> list[dict[str, Any]]:
    from PIL import Image

    found: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Shown):
            if part.label:
                found.append({"type": "text", "text": part.label})
            found.append({"type": "image", "image": Image.open(io.BytesIO(part.data)).convert("RGB")})
        else:
            found.append({"type": "text", "text": part})
    return found


def _sampling(request: Request) -> dict[str, Any]:
    """Greedy unless a temperature is asked for; the folder's own generation settings do not count."""
    temperature = float(request.sampling.get("temperature") or 0)
    if not temperature:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {"do_sample": True, "temperature": temperature, "top_p": request.sampling.get("top_p", 1.0), "top_k": 0}


def _ends(model: Any) -> list[int]:
    end = model.generation_config.eos_token_id
    return end if isinstance(end, list) else [end]
