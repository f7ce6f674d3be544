"""A server on loopback for the openai provider, a config that leads there, and what the provider says to a request."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from annotators.config import ModelConfig
from annotators.errors import ProviderError
from annotators.interface import RawAnswer, Request
from annotators.network.openai import make
from schemas.messages import ImagePart, Message, TextPart
from schemas.references import ImageRef
from tests.servers.scripted import Got, Says, Scripted

KEY = "sk-secret-of-this-test"

QUESTION = (
    Message(speaker="system", parts=(TextPart(text="You write."),)),
    Message(speaker="user", parts=(TextPart(text="Write one."),)),
)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def setup(server: Scripted, **given: Any) -> ModelConfig:
    base = {"provider": "openai", "model": "m-1", "base_url": f"{server.home}/v1", "api_key_env": "A_KEY"}
    return ModelConfig.model_validate({**base, **given})


def request(config: ModelConfig, messages: tuple[Message, ...] = QUESTION, **given: Any) -> Request:
    return Request("writer", config.model, messages, sampling=config.sampling, **given)


def ask(config: ModelConfig, *requests: Request, where: str = "models.writer") -> list[RawAnswer | ProviderError]:
    """What one provider says to the requests, one after the other; errors are returned, not raised."""

    async def run() -> list[RawAnswer | ProviderError]:
        provider = make(config, where)
        found: list[RawAnswer | ProviderError] = []
        try:
            for one in requests or (request(config),):
                try:
                    found.append(await asyncio.wait_for(provider.answer(one), 20))
                except ProviderError as error:
                    found.append(error)
        finally:
            await provider.close()
        return found

    return asyncio.run(run())


def only(config: ModelConfig, one: Request | None = None, **more: Any) -> Any:
    return ask(config, *([one] if one else []), **more)[0]


def completion(content: Any = "Add an apple.", finish: str = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **message}
    return {
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 5},
    }


def always(body: Any, status: int = 200, **more: Any) -> Callable[[Got], Says]:
    return lambda got: Says(status, body, **more)


def image(folder: Path, name: str, kind: str = "JPEG", size: tuple[int, int] = (32, 24)) -> tuple[ImageRef, bytes]:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 10 * len(name), 30)).save(out, kind)
    data = out.getvalue()
    path = folder / name
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    media = f"image/{kind.lower()}"
    return ImageRef(uri=str(path), sha256=digest, width=size[0], height=size[1], media_type=media), data


def showing(*images: tuple[str, ImageRef], text: str = "Make it night.") -> tuple[Message, ...]:
    parts = [ImagePart(label=label, image=ref) for label, ref in images]
    return (QUESTION[0], Message(speaker="user", parts=(*parts, TextPart(text=text))))
