"""The engine as pipelines use it: unordered windows, every item accounted for, stops that drain."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotators.budget import Allowance
from annotators.config import BudgetConfig
from annotators.engine import Engine, EngineSpec
from annotators.errors import Failure, FinalError, RetryableError, Stop, StopRun
from annotators.interface import Capabilities, Models
from annotators.models import side_by_side
from schemas.errors import InputError
from schemas.messages import ImagePart, Message
from schemas.references import ImageRef


@pytest.fixture
def engine_of(fakes: Any) -> Any:
    """Builds engines on fake providers, and closes them."""
    made: list[Engine] = []

    def build(provider: Any, roles: Any = None, ledger: Any = None, **spec: Any) -> Engine:
        given_roles = roles or {"writer": {}}
        make = provider if callable(provider) else lambda config, where, world: provider
        whole = EngineSpec(models=fakes.models(**given_roles), roles=tuple(given_roles), **spec)
        engine = Engine(whole, make=make, ledger=ledger or fakes.Ledger())
        made.append(engine)
        return engine

    yield build
    for engine in made:
        engine.close()


def run(engine: Engine, recipe: Any, items: list[Any], limit: int | None = None) -> list[Any]:
    finished = []
    with engine.window(recipe, limit) as window:
        for item in items:
            finished += window.put(item)
        finished += window.drain()
    return finished


def asking(fakes: Any, role: str = "writer", **how: Any) -> Any:
    async def recipe(item: Any, models: Models) -> str:
        answer: Any = await models.ask(role, fakes.prompt(f"question of {item.id}"), **how)
        return str(answer.text)

    return recipe


def items_of(fakes: Any, count: int) -> list[Any]:
    return [fakes.Item(f"{i:03d}", i) for i in range(count)]


def test_every_item_comes_out_once_with_its_own_answer(fakes: Any, engine_of: Any) -> None:
    engine = engine_of(fakes.Provider(lambda request, n: fakes.text_of(request)[0].upper()))
    finished = run(engine, asking(fakes), items_of(fakes, 300), limit=20)
    assert sorted(f.item.id for f in finished) == [f"{i:03d}" for i in range(300)]
    assert all(f.result == f"QUESTION OF {f.item.id}" and f.usage["m-writer"].calls == 1 for f in finished)
    assert engine.progress().done == 300 and engine.usage["m-writer"].calls == 300


def test_slow_answers_hold_up_nobody_but_themselves(fakes: Any, engine_of: Any) -> None:
    """With a window in order, item 0 would come first; unordered, all the quick ones pass it."""
    gate = threading.Event()

    async def recipe(item: Any, models: Models) -> str:
        if item.seed in (0, 10, 20):
            import asyncio

            await asyncio.to_thread(gate.wait, 20)
        return str(item.id)

    engine = engine_of(fakes.Provider(), threads=4)
    finished = []
    with engine.window(recipe, limit=8) as window:
        for item in items_of(fakes, 100):
            finished += window.put(item)
        gate.set()
        finished += window.drain()
    order = [f.item.seed for f in finished]
    assert set(order[-11:]) >= {0, 10, 20} and len(order) == 100


def test_the_window_bounds_what_is_under_way_and_what_nobody_took(fakes: Any, engine_of: Any) -> None:
    most, lock, now = [0], threading.Lock(), [0]

    async def recipe(item: Any, models: Models) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        await models.ask("writer", fakes.prompt(item.id))
        with lock:
            now[0] -= 1

    engine = engine_of(fakes.Provider(delay=lambda request, n: 0.002))
    assert len(run(engine, recipe, items_of(fakes, 200), limit=7)) == 200
    assert 1 <= most[0] <= 7


def test_calls_at_once_stay_bounded_over_two_pipelines(fakes: Any, engine_of: Any) -> None:
    provider = fakes.Provider(delay=lambda request, n: 0.002)
    engine = engine_of(provider, {"writer": {"in_flight": 4}})
    halves = [items_of(fakes, 80)[::2], items_of(fakes, 80)[1::2]]
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda half: run(engine, asking(fakes), half), halves))
    assert [len(end) for end in ends] == [40, 40] and provider.most_in_flight <= 4


def test_roles_on_one_model_share_its_limits(fakes: Any, engine_of: Any) -> None:
    provider = fakes.Provider(delay=lambda request, n: 0.002)
    same = {"model": "one"}
    engine = engine_of(provider, {"writer": {**same, "in_flight": 3}, "reasoner": same})

    async def recipe(item: Any, models: Models) -> None:
        await side_by_side(*(models.ask(r, fakes.prompt(item.id + r)) for r in ("writer", "reasoner")))

    run(engine, recipe, items_of(fakes, 40))
    assert provider.most_in_flight == 3
    with pytest.raises(InputError, match=r"models\.reasoner\.rpm.*models\.writer\.rpm"):
        engine_of(provider, {"writer": {**same, "rpm": 5}, "reasoner": {**same, "rpm": 6}})


REPLIES = st.sampled_from(["good", "bad", "final", "server", "throttled", "bug", "paid_refusal"])


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=st.lists(REPLIES, min_size=1, max_size=120),
    in_flight=st.integers(1, 9),
    stop_at=st.none() | st.integers(0, 40),
)
def test_planned_is_kept_and_rejected_under_every_mixture(
    fakes: Any, script: list[str], in_flight: int, stop_at: int | None
) -> None:
    def reply(request: Any, n: int) -> Any:
        if stop_at is not None and n == stop_at:
            return StopRun(3, "the day's quota is spent")
        return {
            "good": "7",
            "bad": "seven",
            "final": FinalError("safety"),
            "server": RetryableError("server", retry_after=0.0),
            "throttled": RetryableError("throttled", retry_after=0.0, throttled=True),
            "bug": ValueError("unforeseen"),
            "paid_refusal": FinalError("safety", raw=None),
        }[script[n % len(script)]]

    provider = fakes.Provider(reply)
    spec = EngineSpec(
        models=fakes.models(writer={"in_flight": in_flight, "max_attempts": 2, "total_time": 0.1}), roles=("writer",)
    )
    engine = Engine(spec, make=lambda config, where, world: provider, ledger=fakes.Ledger())
    with pytest.MonkeyPatch.context() as patch, engine:
        patch.setattr("annotators.limits.FIRST_PAUSE", 0.01)
        patch.setattr("annotators.limits.LONGEST_PAUSE", 0.02)
        finished = run(engine, asking(fakes, answer=int), items_of(fakes, 30))
        kinds = Counter("kept" if f.result else "rejected" if f.failure else "stopped" for f in finished)
        assert sum(kinds.values()) == 30 and {f.item.id for f in finished} == {i.id for i in items_of(fakes, 30)}
        assert bool(kinds["stopped"]) <= (engine.stopped is not None)
        if engine.stopped is None:
            assert kinds["kept"] + kinds["rejected"] == 30
        assert provider.most_in_flight <= in_flight
        assert engine.progress().in_flight == 0 and not engine.ledger.claims  # type: ignore[attr-defined]


def test_a_stop_drains_the_rest_unasked(fakes: Any, engine_of: Any) -> None:
    provider = fakes.Provider(lambda request, n: StopRun(2, "401: key wrong; set KEY") if n == 10 else "yes")
    engine = engine_of(provider, {"writer": {"in_flight": 1}})
    finished = run(engine, asking(fakes), items_of(fakes, 5000))
    assert engine.stopped == Stop(2, "401: key wrong; set KEY")
    assert sum(f.result is not None for f in finished) == 10 and len(provider.requests) == 11
    assert sum(f.stopped == engine.stopped for f in finished) == 4990


def test_a_stop_from_outside_lets_calls_under_way_end(fakes: Any, engine_of: Any) -> None:
    provider = fakes.Provider(delay=lambda request, n: 0.3)
    engine = engine_of(provider, {"writer": {"in_flight": 2}})
    with engine.window(asking(fakes)) as window:
        for item in items_of(fakes, 10):
            window.put(item)
        while provider.in_flight < 2:
            time.sleep(0.005)
        engine.stop(Stop(130, "interrupted"))
        engine.stop(Stop(3, "too late"))
        finished = list(window.drain())
    assert sum(f.result is not None for f in finished) == 2 and engine.stopped.exit_code == 130


def test_a_mistake_in_a_recipe_stops_the_run_and_is_no_exception_of_the_caller(fakes: Any, engine_of: Any) -> None:
    async def recipe(item: Any, models: Models) -> int:
        return 1 // (item.seed - 3)

    engine = engine_of(fakes.Provider())
    finished = run(engine, recipe, items_of(fakes, 10))
    assert engine.stopped.exit_code == 1 and "003" in engine.stopped.line and "ZeroDivisionError" in engine.stopped.line
    assert len(finished) == 10


def test_a_recipes_own_failure_carries_what_the_item_cost(fakes: Any, engine_of: Any) -> None:
    async def recipe(item: Any, models: Models) -> None:
        await models.ask("writer", fakes.prompt(item.id))
        raise Failure("writer", "infeasible", detail="no place for it")

    (finished,) = run(engine_of(fakes.Provider()), recipe, items_of(fakes, 1))
    assert finished.failure.reason == "infeasible" and finished.failure.usage["m-writer"].usd == 0.01


def test_the_failure_of_answers_asked_side_by_side_is_the_first_in_order(fakes: Any, engine_of: Any) -> None:
    def reply(request: Any, n: int) -> Any:
        return FinalError(fakes.text_of(request)[0])

    def delay(request: Any, n: int) -> float:
        return 0.05 if fakes.text_of(request)[0] == "slow" else 0.0

    async def recipe(item: Any, models: Models) -> None:
        await side_by_side(models.ask("writer", fakes.prompt("slow")), models.ask("writer", fakes.prompt("quick")))

    (finished,) = run(engine_of(fakes.Provider(reply, delay)), recipe, items_of(fakes, 1))
    assert finished.failure.reason == "slow" and finished.usage["m-writer"].calls == 2


def test_a_weighted_mix_falls_to_the_plans_seed(fakes: Any) -> None:
    pair = fakes.models(writer={"weight": 3.0}).of("writer") + fakes.models(reasoner={}).of("reasoner")
    config = fakes.models(writer={}).model_copy(update={"writer": pair})
    used: list[dict[str, int]] = []
    for _ in range(2):
        with Engine(
            EngineSpec(models=config, roles=("writer",)),
            make=lambda config, where, world: fakes.Provider(),
            ledger=fakes.Ledger(),
        ) as engine:
            finished = run(engine, asking(fakes), items_of(fakes, 400))
            used.append({f.item.id: next(iter(f.usage)) for f in finished})
    assert used[0] == used[1]
    assert 260 <= list(used[0].values()).count("m-writer") <= 340


def test_a_plan_that_one_painter_cannot_take_goes_to_one_that_can(fakes: Any) -> None:
    small = fakes.Provider(capabilities=Capabilities(images_out=True, max_images=1))
    large = fakes.Provider(capabilities=Capabilities(images_out=True, max_images=3))
    pair = fakes.models(writer={"weight": 1000.0}).of("writer") + fakes.models(reasoner={}).of("reasoner")
    config = fakes.models(writer={}).model_copy(update={"writer": pair})
    image = ImageRef(uri="x", sha256="0" * 64, width=1, height=1, media_type="image/png")

    def showing(count: int) -> Any:
        shown = fakes.prompt("q")
        parts = tuple(ImagePart(label=f"Image {i}:", image=image) for i in range(count))
        shown.messages += (Message(speaker="user", parts=parts),)
        return shown

    async def recipe(item: Any, models: Models) -> str:
        return (await models.ask("writer", showing(item.seed))).model

    def make(config: Any, where: str, world: str) -> Any:
        return small if config.model == "m-writer" else large

    with Engine(EngineSpec(models=config, roles=("writer",)), make=make, ledger=fakes.Ledger()) as engine:
        by_images = {f.item.seed: f for f in run(engine, recipe, items_of(fakes, 5))}
    assert [by_images[n].result for n in (1, 2, 3)] == ["m-writer", "m-reasoner", "m-reasoner"]
    assert by_images[4].failure.reason == "max_images" and str(by_images[4].failure.error_class) == "planned"


@pytest.mark.parametrize(
    ("size", "reason"), [((640, 480), ""), ((1000, 800), ""), ((512, 512), "size"), ((480, 640), "size")]
)
def test_a_plan_that_no_painter_can_paint_fails_before_anything_is_asked(
    engine_of: Any, fakes: Any, size: tuple[int, int], reason: str
) -> None:
    painter = fakes.Provider(capabilities=Capabilities(images_out=True, max_images=2, sizes=((1024, 768),)))
    engine = engine_of(painter, {"painter": {}})

    async def recipe(item: Any, models: Any) -> str:
        models.check("painter", images=item.seed, size=size)
        return "painted"

    (few, many) = run(engine, recipe, [fakes.Item("few", 2), fakes.Item("many", 3)])
    assert (few.failure.reason if few.failure else "") == reason
    assert many.failure.stage == "plan" and many.failure.reason == "max_images"
    assert str(many.failure.error_class) == "planned" and "m-painter" in many.failure.detail
    assert not painter.requests


def test_a_model_that_cannot_see_is_named(fakes: Any, engine_of: Any) -> None:
    engine = engine_of(fakes.Provider(capabilities=Capabilities(images_in=False)))
    image = ImageRef(uri="x", sha256="0" * 64, width=1, height=1, media_type="image/png")
    shown = fakes.prompt()
    shown.messages = (Message(speaker="user", parts=(ImagePart(label="Image 1:", image=image),)),)

    async def recipe(item: Any, models: Models) -> None:
        await models.ask("writer", shown)

    run(engine, recipe, items_of(fakes, 2))
    assert engine.stopped.exit_code == 2 and "models.writer: m-writer cannot see images" in engine.stopped.line


def test_a_role_without_a_model_is_named(fakes: Any, engine_of: Any) -> None:
    with pytest.raises(InputError, match=r"models\.painter"):
        engine_of(fakes.Provider(), {"writer": {}}).spec.models.of("painter")
    engine = engine_of(fakes.Provider())
    run(engine, asking(fakes, role="judge"), items_of(fakes, 1))
    assert engine.stopped.exit_code == 2 and "models.judge" in engine.stopped.line


def test_a_painter_that_gives_no_images_is_refused_at_once(fakes: Any, engine_of: Any) -> None:
    with pytest.raises(InputError, match=r"models\.painter: m-painter gives no images"):
        engine_of(fakes.Provider(capabilities=Capabilities()), {"painter": {}})


def test_a_budget_spent_by_earlier_attempts_asks_nothing(fakes: Any, engine_of: Any) -> None:
    provider = fakes.Provider()
    engine = engine_of(provider, budget=BudgetConfig(calls=5), allowance=Allowance(calls=0))
    run(engine, asking(fakes), items_of(fakes, 3))
    assert engine.stopped.exit_code == 3 and not provider.requests


def test_network_providers_never_see_the_facts(fakes: Any, engine_of: Any) -> None:
    from annotators.interface import Facts

    provider = fakes.Provider()
    run(engine_of(provider), asking(fakes, facts=Facts(instruction="hidden")), items_of(fakes, 1))
    assert provider.requests[0].facts == Facts()


def test_an_engine_is_of_no_use_after_a_fork_or_its_end(fakes: Any, engine_of: Any) -> None:
    engine = engine_of(fakes.Provider())
    engine._pid = os.getpid() + 1
    with pytest.raises(RuntimeError, match="another process"):
        engine.submit(asking(fakes), fakes.Item("1"))
    engine._pid = os.getpid()
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(asking(fakes), fakes.Item("1"))
    assert not [t for t in threading.enumerate() if t.name == "plumbline-engine"]
