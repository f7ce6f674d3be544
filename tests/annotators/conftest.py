"""A provider inside the process that fails on request, a ledger in memory, and a loop whose time is virtual."""

from __future__ import annotations

import asyncio
import itertools
import random
import selectors
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from annotators.asking import Asker
from annotators.blobs import Blobs
from annotators.budget import Budget
from annotators.calling import Caller
from annotators.config import BudgetConfig, ModelConfig, ModelsConfig
from annotators.errors import ProviderError, Stop
from annotators.interface import Capabilities, RawAnswer, Request
from annotators.lanes import Lane
from annotators.ledger import Claim, Entry, LedgerStats
from annotators.limits import Limits
from annotators.tally import Tally
from schemas.messages import Message, TextPart


class VirtualSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Never waits: where nothing is ready, time jumps to the next timer."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop for tests of one thread: an hour of pauses takes no time, and takes exactly an hour."""

    def __init__(self) -> None:
        self.clock = VirtualSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


class MemoryLedger:
    """A ledger without threads. `order` lists what happened, for tests of the order of things."""

    location = "memory"

    def __init__(self, folder: str = "/nowhere") -> None:
        self.blobs = Blobs(folder)
        self.answers: dict[str, Entry] = {}
        self.claims: set[str] = set()
        self.order: list[tuple[str, str]] = []

    async def get(self, key: str) -> Entry | None:
        return self.answers.get(key)

    async def put(self, key: str, entry: Entry) -> None:
        await asyncio.sleep(0)
        self.order.append(("put", entry.text))
        self.answers.setdefault(key, entry)
        self.claims.discard(key)

    async def put_blob(self, data: bytes, media_type: str) -> str:
        return self.blobs.put(data, media_type)

    async def claim(self, key: str) -> Claim:
        self.claims.add(key)
        return Claim.ANSWERED if key in self.answers else Claim.OURS

    async def release(self, key: str) -> None:
        self.claims.discard(key)

    def forget(self, keys: Iterable[str]) -> int:
        return sum(self.answers.pop(key, None) is not None for key in keys)

    def stats(self) -> LedgerStats:
        return LedgerStats(answers=len(self.answers))

    def close(self) -> None: ...


Reply = RawAnswer | ProviderError | Exception | str


class FakeProvider:
    """Answers with what `reply(request, n)` gives (n: the number of the call, from 0) after `delay(request, n)`."""

    name = "fake"
    version = ""

    def __init__(
        self,
        reply: Callable[[Request, int], Reply] = lambda request, n: "yes",
        delay: Callable[[Request, int], float] = lambda request, n: 0.0,
        capabilities: Capabilities | None = None,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.reply, self.delay, self.secrets = reply, delay, secrets
        self.capabilities = capabilities or Capabilities(images_out=True)
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.in_flight = self.most_in_flight = 0
        self.closed = False

    async def answer(self, request: Request) -> RawAnswer:
        n = len(self.requests)
        self.requests.append(request)
        self.times.append(asyncio.get_running_loop().time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay(request, n))
            reply = self.reply(request, n)
        finally:
            self.in_flight -= 1
        if isinstance(reply, Exception):
            raise reply
        return RawAnswer(text=reply, tokens_in=10, tokens_out=5, usd=0.01) if isinstance(reply, str) else reply

    async def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class Item:
    """A stand-in for a plan: an id and a seed."""

    id: str
    seed: int = 0


def prompt(*texts: str) -> Any:
    """What the catalogue would render."""
    messages = tuple(Message(speaker="user", parts=(TextPart(text=text),)) for text in texts)
    return SimpleNamespace(id="test", hash="h", messages=messages)


def text_of(request: Request) -> list[str]:
    return [part.text for message in request.messages for part in message.parts if isinstance(part, TextPart)]


def models(**roles: Any) -> ModelsConfig:
    """A models section; every model is `openai`, which the tests' own factory replaces by a fake."""
    given = {role: {"provider": "openai", "model": f"m-{role}", **extra} for role, extra in roles.items()}
    return ModelsConfig.model_validate(given)


class Bench:
    """One lane with everything around it, on a virtual loop, without threads."""

    def __init__(self, provider: FakeProvider, *, folder: str = "/nowhere", budget: Any = None, **config: Any) -> None:
        self.loop = VirtualLoop()
        self.provider = provider
        self.ledger = MemoryLedger(folder)
        self.config = ModelConfig(provider="openai", model="m", **config)
        limits = Limits(self.config.in_flight, self.config.rpm, self.config.tpm)
        self.lane = Lane("models.writer (m)", self.config, provider, limits, self.loop)  # type: ignore[arg-type]
        self.stopping: asyncio.Future[Stop] = self.loop.create_future()
        self.budget = Budget(BudgetConfig(**(budget or {})))
        self.caller = Caller(self.budget, self.stopping, self.stop, random.Random(1))
        self.asker = Asker(self.ledger, self.caller, self.stopping)  # type: ignore[arg-type]
        self.spent = Tally()
        self._numbers = itertools.count()

    @property
    def stopped(self) -> Stop | None:
        return self.stopping.result() if self.stopping.done() else None

    def stop(self, stop: Stop) -> None:
        if not self.stopping.done():
            self.stopping.set_result(stop)
            self.lane.gate.close()

    def request(self, text: str | None = None, **parts: Any) -> Request:
        message = prompt(text if text is not None else f"question {next(self._numbers)}").messages
        return Request("writer", "m", message, sampling=self.config.sampling, **parts)

    async def ask(self, text: str | None = None, parser: Any = None, **parts: Any) -> Any:
        request = self.request(text, **parts)
        return await self.asker.ask(self.lane, request, parser, lambda model: self.spent, "h")

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def ask_all(self, count: int, **parts: Any) -> list[Any]:
        """Ask `count` different questions at once; failures are returned, not raised."""

        async def everything() -> list[Any]:
            return await asyncio.gather(*[self.ask(**parts) for _ in range(count)], return_exceptions=True)

        return list(self.run(everything()))


@pytest.fixture
def fakes() -> SimpleNamespace:
    return SimpleNamespace(
        Provider=FakeProvider,
        Bench=Bench,
        Item=Item,
        prompt=prompt,
        text_of=text_of,
        models=models,
        Ledger=MemoryLedger,
    )


@pytest.fixture
def virtual_loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()
