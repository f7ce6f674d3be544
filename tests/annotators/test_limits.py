"""Limits of one model: calls at once, tokens per minute, shared pauses; on a virtual clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.errors import RetryableError
from annotators.interface import RawAnswer
from annotators.limits import Bucket, Gate, GateClosed, Limits


def throttled(retry_after: float | None = 1.0, quota: bool = False) -> RetryableError:
    return RetryableError("throttled", "429", retry_after=retry_after, throttled=True, quota=quota)


def test_there_are_never_more_calls_at_once_than_allowed(fakes: Any) -> None:
    bench = fakes.Bench(fakes.Provider(delay=lambda request, n: 0.1 + n % 7), in_flight=5)
    assert len(bench.ask_all(60)) == 60
    assert bench.provider.most_in_flight == 5 and bench.lane.gate.in_flight == 0


def test_requests_per_minute_are_kept_and_used(fakes: Any) -> None:
    bench = fakes.Bench(fakes.Provider(delay=lambda request, n: 0.2), rpm=600)
    bench.ask_all(1200)
    times = bench.provider.times
    for i, begun in enumerate(times):
        in_a_minute = sum(begun <= t < begun + 60 for t in times[i:])
        assert in_a_minute <= 600 + 10  # one second's worth may come at once
    assert len(times) / (times[-1] - times[0]) >= 0.97 * 10


def test_tokens_per_minute_follow_the_real_usage(fakes: Any) -> None:
    reply = RawAnswer(text="yes", tokens_in=900, tokens_out=100)
    bench = fakes.Bench(fakes.Provider(lambda request, n: reply), tpm=60_000)
    bench.ask_all(200)
    times = bench.provider.times
    used = 1000 * sum(t >= 30 for t in times) / (times[-1] - 30)
    assert used == pytest.approx(1000, rel=0.05)  # tokens a second


@settings(deadline=None, max_examples=50)
@given(
    rate=st.floats(1, 10_000),
    amounts=st.lists(st.floats(0, 500), max_size=60),
    refunds=st.lists(st.floats(0, 1), min_size=60, max_size=60),
)
def test_a_bucket_never_gives_more_than_its_rate(rate: float, amounts: list[float], refunds: list[float]) -> None:
    bucket, now, taken = Bucket(rate, 0.0), 0.0, 0.0
    for amount, refund in zip(amounts, refunds, strict=False):
        while (wait := bucket.wait(amount, now)) > 0:
            now += wait
        bucket.take(amount)
        bucket.take(-amount * refund)
        taken += amount * (1 - refund)
    biggest = max(amounts, default=0.0)
    assert taken <= rate / 60 * now + bucket.size + biggest + 1e-6 * (1 + taken)


def test_older_items_go_first(virtual_loop: Any) -> None:
    gate = Gate(Limits(1), virtual_loop)
    order: list[int] = []

    async def one(priority: int) -> None:
        passed = await gate.enter(priority=priority)
        await asyncio.sleep(1)
        order.append(priority)
        gate.leave(passed)

    async def everyone() -> None:
        await asyncio.gather(*[one(p) for p in (5, 9, 2, 7, 2)])

    virtual_loop.run_until_complete(everyone())
    assert order == [5, 2, 2, 7, 9]


def test_who_gives_up_waiting_takes_nothing(virtual_loop: Any) -> None:
    gate = Gate(Limits(1), virtual_loop)

    async def story() -> None:
        passed = await gate.enter()
        impatient = asyncio.ensure_future(gate.enter())
        await asyncio.sleep(0)
        assert gate.waiting == 1
        impatient.cancel()
        last_moment = asyncio.ensure_future(gate.enter())
        await asyncio.sleep(0)
        gate.leave(passed)
        last_moment.cancel()
        await asyncio.gather(impatient, last_moment, return_exceptions=True)
        assert gate.in_flight == 0 and gate.waiting == 0
        await gate.enter()

    virtual_loop.run_until_complete(story())


def test_a_closed_gate_sends_everyone_away(virtual_loop: Any) -> None:
    gate = Gate(Limits(1), virtual_loop)

    async def story() -> None:
        await gate.enter()
        waiting = asyncio.ensure_future(gate.enter())
        await asyncio.sleep(0)
        gate.close()
        for late in (waiting, gate.enter()):
            with pytest.raises(GateClosed):
                await late

    virtual_loop.run_until_complete(story())


def test_a_single_429_delays_nobody_else(fakes: Any) -> None:
    bench = fakes.Bench(
        fakes.Provider(lambda request, n: throttled(30) if n == 3 else "yes", lambda request, n: 1.0), in_flight=4
    )
    bench.ask_all(40)
    assert bench.lane.gate.pauses == 0 and bench.lane.gate.window == 4
    assert max(bench.provider.times[:-1]) < 15 and bench.provider.times[-1] >= 31


def test_many_429s_pause_everyone_once_and_halve_the_window(fakes: Any) -> None:
    def reply(request: Any, n: int) -> Any:
        return throttled(20) if 30 <= n < 62 else "yes"

    bench = fakes.Bench(fakes.Provider(reply, lambda request, n: 1.0), in_flight=32)
    windows: list[int] = []
    gate = bench.lane.gate
    before = gate.throttled

    def watched(*args: Any, **kwargs: Any) -> bool:
        paused: bool = before(*args, **kwargs)
        windows.append(int(gate.window))
        return paused

    gate.throttled = watched
    assert len(bench.ask_all(100)) == 100
    assert gate.pauses == 1 and windows[-1] == 16
    quiet = [b - a for a, b in zip(bench.provider.times, bench.provider.times[1:], strict=False)]
    assert max(quiet) >= 19, "all callers pause"
    after = [t for t in bench.provider.times if t > 20]
    assert sum(t <= after[0] + 0.9 for t in after) <= 17, "the window is half of what it was"


def test_the_window_grows_back(fakes: Any) -> None:
    bench = fakes.Bench(
        fakes.Provider(lambda request, n: throttled(5, quota=True) if n == 0 else "yes", lambda request, n: 1.0),
        in_flight=32,
    )
    bench.ask_all(2000)
    assert bench.lane.gate.pauses == 1 and bench.lane.gate.window == 32
    assert bench.provider.most_in_flight == 32
    late = [t for t in bench.provider.times if t > 40]
    assert len(late) / (late[-1] - late[0]) > 30


def test_a_429_that_names_a_quota_pauses_at_once(fakes: Any) -> None:
    bench = fakes.Bench(
        fakes.Provider(lambda request, n: throttled(60, quota=True) if n == 5 else "yes", lambda request, n: 1.0),
        in_flight=2,
    )
    bench.ask_all(20)
    assert bench.lane.gate.pauses == 1
    assert not [t for t in bench.provider.times if 4 <= t < 62]


def test_limits_are_divided_over_workers() -> None:
    assert Limits(64, 600, 90_000).share(3) == Limits(21, 200, 30_000)
    assert Limits(2).share(8) == Limits(1)
