"""A server on loopback that says to the `gemini` provider what a test wants said, and what the provider makes of it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from annotators.config import ModelConfig
from annotators.errors import FinalError, RepairableError, RetryableError, StopRun
from annotators.interface import Request
from annotators.network.gemini import GeminiProvider
from schemas.messages import ImagePart, Message, TextPart

KEY = "AIzaSyNobodysKey-0123456789"

USAGE = {"promptTokenCount": 11, "candidatesTokenCount": 5, "thoughtsTokenCount": 2}

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Scripted:
    """A server that says, byte for byte, what a test wants said."""

    reply: Reply
    heads: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    address: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = int(
                    next(line for line in head.split("\r\n") if line.lower().startswith("content-length"))[15:]
                )
                self.heads.append(head)
                self.bodies.append(json.loads(await reader.readexactly(length)))
                await self.reply(writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(reply: Reply) -> AsyncIterator[Scripted]:
    script = Scripted(reply)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        server.close()


def says(status: int, body: Any, *headers: str) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def reply(writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status} Word", "Content-Type: application/json", f"Content-Length: {len(data)}", *headers]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
        await writer.drain()

    return reply


def begins(data: bytes = b"", then: str = "hang") -> Reply:
    """A reply that breaks off after `data`: it hangs, closes or resets."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        if data:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + data)
            await writer.drain()
        if then == "hang":
            await asyncio.sleep(30)
        elif then == "reset":
            writer.transport.abort()
        raise ConnectionError

    return reply


def answered(text: str = "Add one apple.", finish: Any = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": finish}
    return {"candidates": [candidate], "usageMetadata": USAGE, **more}


def config(address: str | None = None, **more: Any) -> ModelConfig:
    return ModelConfig(provider="gemini", model=more.pop("model", "gemini-2.5-flash"), base_url=address, **more)


def question(settings: ModelConfig, *parts: TextPart | ImagePart, **more: Any) -> Request:
    message = Message(speaker="user", parts=parts or (TextPart(text="Write an instruction."),))
    return Request("writer", settings.model, (message,), sampling=settings.sampling, **more)


def asked_of(reply: Reply, *, most_bytes: int = 1 << 20, calls: int = 1, **more: Any) -> tuple[Any, Scripted]:
    """What the provider makes of a reply (its answer, or what it raises), and what the server saw."""
    of_request = {name: more.pop(name) for name in ("modality", "size", "answer") if name in more}

    async def run() -> tuple[Any, Scripted]:
        async with scripted(reply) as server:
            settings = config(server.address, **more)
            key = None if settings.api_key_env is None else os.environ[settings.api_key_env]
            provider = GeminiProvider(settings, "models.writer", key, most_bytes)
            found: Any = None
            try:
                for _ in range(calls):
                    found = await provider.answer(question(settings, **of_request))
            except (RetryableError, RepairableError, FinalError, StopRun) as error:
                found = error
            finally:
                await provider.close()
            return found, server

    return asyncio.run(run())
