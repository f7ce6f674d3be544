"""The server's endpoints: what is let in, how long it is waited for, and what is answered.

POST /v1/rewards, GET /healthz, GET /metrics. Bodies are JSON; nothing is ever unpickled.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from aiohttp import web

from evaluation.reward_server.config import RewardServerConfig
from evaluation.reward_server.metrics import Metrics
from evaluation.reward_server.samples import Refused, Sample, checked_samples, raw_samples
from evaluation.reward_server.scoring import Halt, Scored, Scorer
from schemas.version import VERSION

log = logging.getLogger(__name__)

REWARDS = "/v1/rewards"
_OPEN = ("/healthz", "/metrics")
"""What is told without a token: states and counts, nothing that anybody sent."""
_CHECKERS = 4  # threads that parse and decode
_STOPPING = Halt("the server is stopping", 5.0)


class RewardServer:
    """One reward behind HTTP.

    Args:
        token: what a client must send as `Authorization: Bearer TOKEN`; None asks for none.
    """

    def __init__(self, config: RewardServerConfig, scorer: Scorer, token: str | None = None) -> None:
        self._limits, self._kind = config.limits, config.reward.kind
        self._shown, self._scorer, self._token = config.shown(), scorer, token
        self._checkers = ThreadPoolExecutor(_CHECKERS, "plumbline-rewards")
        self._samples = 0
        self._bytes = 0
        self._requests = 0
        self._seconds = 1.0
        self._idle = asyncio.Event()
        self._idle.set()
        self.stopping = False
        self.metrics = Metrics(lambda: self._samples, lambda: self._scorer.spent())
        self.app = web.Application(middlewares=[self._answered], client_max_size=self._limits.max_body_bytes)
        self.app.router.add_post(REWARDS, self._rewards, expect_handler=self._expected)
        self.app.router.add_get("/healthz", self._healthz)
        self.app.router.add_get("/metrics", self._metrics)

    @property
    def requests(self) -> int:
        """Requests for rewards that are being read or answered."""
        return self._requests

    async def drain(self, seconds: float) -> None:
        """Let nothing new in, and wait for what runs, for so long at most."""
        self.stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except asyncio.TimeoutError:
            log.warning("%d requests were not answered in %g s", self._requests, seconds)

    async def close(self) -> None:
        """End the threads and the scorer."""
        self._checkers.shutdown(wait=False, cancel_futures=True)
        await self._scorer.close()

    # -- what every request passes ----------------------------------------------------------------------------------

    @web.middleware
    async def _answered(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            self._check_token(request)
            return await handler(request)
        except Refused as refused:
            return self._refusal(request, refused)
        except web.HTTPException as error:
            known = f"POST {REWARDS}, GET {', GET '.join(_OPEN)}"
            lines = {
                404: f"there is no {request.path} here: {known}",
                405: f"{request.method} is not for {request.path}",
            }
            return _refusal(Refused(error.status, lines.get(error.status, error.reason)), error.headers.get("Allow"))

    def _refusal(self, request: web.Request, refused: Refused) -> web.Response:
        if request.path == REWARDS:
            self.metrics.refused(refused.status)
        return _refusal(refused)

    def _check_token(self, request: web.Request) -> None:
        if self._token is None or request.path in _OPEN:
            return
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(sent.encode("utf-8", "surrogateescape"), self._token.encode()):
            raise Refused(401, "Authorization: Bearer TOKEN is missing or is not this server's")

    async def _expected(self, request: web.Request) -> web.Response | None:
        """To a client that asks before it sends: refuse what will not be taken, else let it come."""
        try:
            self._check_token(request)
            self._check_head(request)
        except Refused as refused:
            return self._refusal(request, refused)
        if request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None

    # -- rewards ----------------------------------------------------------------------------------------------------

    async def _rewards(self, request: web.Request) -> web.Response:
        started = time.monotonic()
        size = self._check_head(request)
        self._requests, self._bytes = self._requests + 1, self._bytes + size
        self._idle.clear()
        try:
            samples = await self._admitted(request)
            futures = self._started(samples)
            scored = await self._awaited(futures, started)
        finally:
            self._requests, self._bytes = self._requests - 1, self._bytes - size
            if not self._requests:
                self._idle.set()
        return self._response(samples, scored, time.monotonic() - started)

    def _check_head(self, request: web.Request) -> int:
        """What of a request can be judged before its body is read; returns the bytes to set aside for it."""
        kind = request.content_type
        if kind != "application/json":
            raise Refused(415, f"Content-Type is {kind}: application/json is wanted (and never pickle)")
        if coding := request.headers.get("Content-Encoding"):
            raise Refused(415, f"Content-Encoding is {coding}: send the JSON as it is")
        most = self._limits.max_body_bytes
        size = request.content_length
        if size is not None and size > most:
            raise Refused(413, f"the body has {size:,} bytes: {most:,} are the most; send fewer samples at once")
        self._check_open()
        size = most if size is None else size
        if self._bytes + size > self._limits.held_bytes:
            raise Refused(429, f"the requests under way hold {self._bytes:,} bytes; try again later", self._patience())
        return size

    def _check_open(self) -> None:
        halt = _STOPPING if self.stopping else self._scorer.halted
        if halt is not None:
            raise Refused(503, halt.line, halt.retry_after)

    async def _admitted(self, request: web.Request) -> list[Sample]:
        """The samples, checked and counted in."""
        limits, in_thread = self._limits, asyncio.get_running_loop().run_in_executor
        try:
            body = await asyncio.wait_for(request.read(), limits.timeout)
        except web.HTTPRequestEntityTooLarge:
            line = f"the body has more than {limits.max_body_bytes:,} bytes; send fewer samples at once"
            raise Refused(413, line) from None
        except asyncio.TimeoutError:
            raise Refused(408, f"the body did not arrive within {limits.timeout:g} s") from None
        raw = await in_thread(self._checkers, raw_samples, body, self._kind, limits)
        del body
        if self._samples + len(raw) > limits.queue:
            line = f"{self._samples:,} samples are waiting, and {limits.queue:,} are the most; try again later"
            raise Refused(429, line, self._patience())
        self._samples += len(raw)
        try:
            samples = await in_thread(self._checkers, checked_samples, raw, self._kind, limits, self._scorer.side)
            if (halt := self._scorer.halted) is not None:
                raise Refused(503, halt.line, halt.retry_after)
        except BaseException:
            self._samples -= len(raw)
            raise
        return samples

    def _started(self, samples: Sequence[Sample]) -> list[asyncio.Future[Scored]]:
        """All under way; each is counted out when it is done, whoever still waits for it."""
        futures = self._scorer.start(samples)
        for one in futures:
            one.add_done_callback(self._counted_out)
        return futures

    def _counted_out(self, future: asyncio.Future[Scored]) -> None:
        self._samples -= 1

    async def _awaited(self, futures: Sequence[asyncio.Future[Scored]], started: float) -> list[Scored]:
        limits = self._limits
        await asyncio.wait(futures, timeout=max(0.0, started + limits.timeout - time.monotonic()))
        late = Scored(error=f"timeout: not answered within {limits.timeout:g} s; ask again for what comes of it")
        scored = [one.result() if one.done() else late for one in futures]
        if line := next((one.stopped for one in scored if one.stopped), ""):
            halt = self._scorer.halted or Halt(line, 1.0)
            raise Refused(503, halt.line, halt.retry_after)
        return scored

    def _response(self, samples: Sequence[Sample], scored: Sequence[Scored], seconds: float) -> web.Response:
        rewards = list(self._scorer.rewards(scored))
        self._seconds += 0.2 * (seconds - self._seconds)
        self.metrics.answered(seconds, rewards)
        body = {
            "reward": self._kind,
            "ids": [one.id for one in samples],
            "rewards": [None if math.isnan(reward) else reward for reward in rewards],
            "scores": [{name: one.scores.get(name) for name in self._scorer.dimensions} for one in scored],
            "reasonings": [dict(one.reasonings) for one in scored],
            "errors": [one.error or None for one in scored],
        }
        return _json(200, body)

    def _patience(self) -> float:
        """Seconds after which there may be room: about as long as a request takes these days."""
        return min(60.0, max(1.0, self._seconds))

    # -- its state --------------------------------------------------------------------------------------------------

    async def _healthz(self, request: web.Request) -> web.Response:
        halt = _STOPPING if self.stopping else self._scorer.halted
        state = "ready" if halt is None else "stopping" if self.stopping else "stopped"
        body = {
            "status": state,
            **({} if halt is None else {"line": halt.line}),
            "reward": self._shown,
            "models": self._scorer.about(),
            "queue": {"samples": self._samples, "most": self._limits.queue, "requests": self._requests},
            "version": VERSION,
        }
        return _json(200 if halt is None else 503, body)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self.metrics.text(), headers={"Content-Type": self.metrics.content_type})


def _json(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json", headers=headers)


def _refusal(refused: Refused, allow: str | None = None) -> web.Response:
    headers = {} if refused.retry_after is None else {"Retry-After": str(math.ceil(refused.retry_after))}
    if allow:
        headers["Allow"] = allow
    return _json(refused.status, {"error": refused.line}, headers)
