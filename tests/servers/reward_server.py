"""A reward server on loopback within the test's process, on a loop and a thread of its own."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from evaluation.reward_server.config import RewardServerConfig
from evaluation.reward_server.serving import listening


@dataclass
class Replied:
    """A reply: its status, its JSON, its headers."""

    status: int
    json: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Served:
    """A server that listens. `server` and `scorer` are its insides, `loop` is where they live."""

    port: int
    server: Any
    scorer: Any
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, body: Any, **headers: str) -> Replied:
        """POST to the rewards: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.asked("/v1/rewards", data, {"Content-Type": "application/json", **headers})

    def ask(self, *samples: dict[str, Any]) -> Replied:
        return self.post({"samples": list(samples)})

    def get(self, path: str) -> Replied:
        return self.asked(path, None, {})

    def asked(self, path: str, data: bytes | None, headers: dict[str, str]) -> Replied:
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return Replied(reply.status, _object(reply.read()), dict(reply.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Replied(error.code, _object(error.read()), dict(error.headers))


@contextmanager
def serving(**config: Any) -> Iterator[Served]:
    """A server of this configuration, for as long as the block lasts; raises what its start raises."""
    loop = asyncio.new_event_loop()
    made = RewardServerConfig.model_validate({"port": 0, **config})
    context = listening(made)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        server, scorer, port = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(60)
        try:
            yield Served(port, server, scorer, loop)
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(60)
    finally:
        asyncio.run_coroutine_threadsafe(_cancelled(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


async def _cancelled() -> None:
    """What is left on the loop, as `asyncio.run` ends it."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def coded(image: Image.Image | bytes, form: str = "PNG") -> str:
    """Base64 of an image's file."""
    if isinstance(image, bytes):
        return base64.b64encode(image).decode()
    return base64.b64encode(file_of(image, form)).decode()


def file_of(image: Image.Image, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def _object(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode()
