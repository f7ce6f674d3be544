"""From a configuration to a server that listens, and from a signal to its orderly end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from evaluation.reward_server.config import ClipReward, RewardServerConfig
from schemas.errors import InputError, InterruptedRun
from storage import configs

if TYPE_CHECKING:
    from evaluation.reward_server.app import RewardServer
    from evaluation.reward_server.scoring import Scorer

_LINGER = 2.0
"""Seconds in which the rest of a refused body is thrown away, so that its sender can read why."""


def load(path: str, settings: list[str] | None = None) -> RewardServerConfig:
    """Read a reward server's configuration; raises `InputError` of one line."""
    return configs.load(RewardServerConfig, path, settings)


def serve(config: RewardServerConfig, say: Callable[[str], None] = print) -> None:
    """Serve until SIGTERM or Ctrl-C; then running requests are finished. A second signal ends them.

    Raises:
        InputError: models, weights, prompts, ledger or token cannot be had; the address is taken.
        InterruptedRun: Ctrl-C ended it.
    """
    try:
        import aiohttp  # noqa: F401
    except ImportError:
        raise InputError("plumbline serve needs a package: pip install 'plumbline[serve]'") from None
    ended_by = asyncio.run(_served(config, say))
    if ended_by == signal.SIGINT:
        raise InterruptedRun("the reward server was stopped by Ctrl-C")


@asynccontextmanager
async def listening(config: RewardServerConfig) -> AsyncIterator[tuple[RewardServer, Scorer, int]]:
    """The server, what scores for it, and its port, for as long as the block lasts; it begins and ends on this loop.

    Raises:
        InputError: as `serve`.
    """
    from aiohttp import web

    from evaluation.reward_server.app import RewardServer

    token = _token(config)
    scorer = _scorer(config)
    server = RewardServer(config, scorer, token)
    runner = web.AppRunner(
        server.app, access_log=None, lingering_time=_LINGER, auto_decompress=False, shutdown_timeout=1.0
    )
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, config.host, config.port).start()
        except OSError as error:
            where = f"host {config.host}, port {config.port}"
            raise InputError(f"{where}: cannot listen there: {error.strerror or error}") from None
        yield server, scorer, runner.addresses[0][1]
    finally:
        await runner.cleanup()
        await server.close()


async def _served(config: RewardServerConfig, say: Callable[[str], None]) -> signal.Signals:
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    _listen_for_signals(signals)
    async with listening(config) as (server, scorer, port):
        say(_beginning(config, scorer, port))
        ended_by = await signals.get()
        if server.requests:
            say(f"stopping: {server.requests} requests are being finished; once more ends them")
        again = asyncio.ensure_future(signals.get())
        draining = asyncio.ensure_future(server.drain(config.limits.grace))
        await asyncio.wait([again, draining], return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        draining.cancel()
    return ended_by


def _scorer(config: RewardServerConfig) -> Scorer:
    if isinstance(config.reward, ClipReward):
        from evaluation.reward_server.surrogate import Surrogate

        return Surrogate(config)
    from evaluation.reward_server.critics import Critics

    return Critics(config)


def _token(config: RewardServerConfig) -> str | None:
    if config.token_env is None:
        return None
    token = os.environ.get(config.token_env, "").strip()
    if not token:
        raise InputError(f"token_env: {config.token_env} is not set; export the token that clients are to send")
    return token


def _listen_for_signals(signals: asyncio.Queue[signal.Signals]) -> None:
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        # Not in a thread of a test, nor on Windows, where Ctrl-C raises KeyboardInterrupt instead.
        with suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(one, signals.put_nowait, one)


def _beginning(config: RewardServerConfig, scorer: Scorer, port: int) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    models = ", ".join(f"{role} {' + '.join(names)}" for role, names in scorer.about().items())
    way = getattr(config.reward, "way", "")
    return f"serving {config.reward.kind}{f' ({way})' if way else ''} by {models} at http://{host}:{port}"
