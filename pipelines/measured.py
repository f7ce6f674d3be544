"""Measured numbers for an estimate: some samples asked for real, or what a finished run came to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from annotators import registry
from annotators.config import ModelConfig, ModelsConfig
from annotators.engine import Engine, EngineSpec, Finished
from annotators.interface import Provider, RawAnswer, Request
from pipelines.assumed import TEXT, Span
from pipelines.config import RunConfig
from pipelines.estimate import Ratios, Sampled, evenly, ratio
from schemas.errors import InputError, error_of
from schemas.plan import Plan, Stress
from schemas.usage import Usage
from shards.copying import selection_of
from shards.manifest import read_manifest

FEW = 0.03
"""The least range of a measured number, to either side: rare things do not show in a few samples."""

_Counted = Mapping[str, Usage]


class Live:
    """Samples asked of the models through the ledger: a run of the same configuration has their answers already.

    Attributes:
        ratios: by model.
        paid: what was paid now; what the ledger had is not in it.
        hits: answers that the ledger had.

    Raises:
        PlumblineError: the models stop it: a wrong key, a spent budget.
    """

    def __init__(self, sampled: Sampled, count: int) -> None:
        config = sampled.config
        online = ModelsConfig.model_validate(
            {
                r: [m.model_copy(update={"mode": "online"}) for m in getattr(config.models, r)]
                for r in sampled.work.roles
            }
        )
        spec = EngineSpec(
            models=online,
            roles=sampled.work.roles,
            ledger=config.ledger,
            budget=config.budget,
            prices=config.prices,
            world=sampled.work.world,
        )
        self._seconds: dict[tuple[str, str], list[float]] = {}
        asking = [i for i, asks in enumerate(sampled.asks) if asks]
        at = [asking[i] for i in evenly(len(asking), min(count, len(asking)))]
        with Engine(spec, make=self._timed) as engine:
            plans = [_as_sent(sampled.plans[i], engine.ledger.blobs) for i in at]
            used = _asked(engine, sampled.recipe, plans)
            self.paid = Usage(calls=engine.budget.calls, usd=engine.budget.usd)
        self.hits = sum(usage.ledger_hits for one in used for usage in one.values())
        self.ratios = _ratios([sampled.by_model(i) for i in at], used, self._means())

    def _timed(self, config: ModelConfig, where: str, world: registry.World) -> Provider:
        provider = registry.make(config, where, world)
        return cast(Provider, _Timed(provider, config.model, self._seconds))

    def _means(self) -> dict[str, dict[str, float]]:
        means: dict[str, dict[str, float]] = {}
        for (model, role), seconds in self._seconds.items():
            means.setdefault(model, {})[role] = sum(seconds) / len(seconds)
        return means


def of_run(out: str, sampled: Sampled, path: str) -> tuple[dict[str, Ratios], list[str]]:
    """(ratios by model, notes) from the manifest of a finished run, which may be of other tasks, sizes and numbers.

    Raises:
        InputError: `out` holds no finished run of the same dataset.
    """
    manifest = read_manifest(out)
    if manifest is None:
        raise InputError(f"--from {out}: holds no finished run; give the folder of one, or leave --from out")
    run, planned = manifest["config"], int(manifest["counts"]["planned"])
    if run.get("dataset") != sampled.config.dataset or not planned:
        raise InputError(f"--from {out}: is no finished {sampled.config.dataset} run")
    if selection_of(run):
        raise InputError(f"--from {out}: is a selection, which cost nothing; give the run that it was chosen from")
    there = Sampled(
        _config_of(run, sampled.config, "max_images" in manifest["rejected_by_reason"], sampled.work.roles), path
    )
    notes = [f"measured by {out}: {planned:,} samples"]
    same_pool = run.get("pool") == sampled.work.input.digest
    if not same_pool:
        notes.append("that run drew from another pool, whose images are not known here: prompts are by the rules")
    sums: dict[str, dict[str, float]] = {}
    for i, weight in enumerate(there.weights):
        for model, counts in there.by_model(i).items():
            mine = sums.setdefault(model, dict.fromkeys(counts, 0.0))
            for name, value in counts.items():
                mine[name] += value * weight
    found = {}
    for model, used in manifest["usage"].items():
        if model in sums:
            counts = {**used, "calls": used["calls"] + used["ledger_hits"]}
            spans = {name: _known(counts[name], sums[model][name]) for name in ("calls", "tokens_in", "tokens_out")}
            if not same_pool:
                spans["tokens_in"] = spans["calls"] * TEXT
            found[model] = Ratios(spans["calls"], spans["tokens_in"], spans["tokens_out"])
    return found, notes


def _config_of(run: Mapping[str, Any], config: RunConfig, limited: bool, roles: Sequence[str]) -> RunConfig:
    """The configuration of a finished run as far as its run.json tells it, and otherwise that of the run to come.

    Args:
        limited: plans of that run were rejected because no painter takes so many references.
    """
    takes = {} if limited else {"max_images": 100}
    mine = {(m.provider, m.model): m.model_copy(update=takes) for role in roles for m in getattr(config.models, role)}
    models = {
        role: [  # run.json names no address and no limit
            mine.get((m["provider"], m["model"]))
            or ModelConfig(provider=m["provider"], model=m["model"], weight=m["weight"], **takes)
            for m in run["models"][role]
        ]
        for role in roles
    }
    fields = type(config).model_fields
    names = {name: run["planning"][name] for name in run["planning"] if name in fields}
    counts = {name: run.get(name, 1) for name in ("samples", "reasonings", "paintings") if name in fields}
    return type(config).model_validate({**config.model_dump(), **names, **counts, "models": models})


def _known(measured: float, ruled: float) -> Span:
    return Span.of(1.0) if ruled <= 0 else Span(1 - FEW, 1.0, 1 + FEW) * (measured / ruled)


def _as_sent(plan: Any, blobs: Any) -> Any:
    """The plan with the pixels that a run would send, so that its questions have the keys of the run's."""
    if not isinstance(plan, Plan) or plan.stress is Stress.NONE:
        return plan
    from pools.stress import blurred

    return plan.model_copy(update={"references": tuple(blurred(r, blobs) for r in plan.references)})


def _asked(engine: Engine, recipe: Any, plans: Sequence[Any]) -> list[_Counted]:
    futures = [engine.submit(recipe, plan) for plan in plans]
    finished: list[Finished[Any, Any]] = [future.result() for future in futures]
    stop = engine.stopped
    if stop is not None:
        raise error_of(stop.exit_code, stop.line)
    return [one.usage for one in finished]


def _ratios(
    ruled: Sequence[Mapping[str, Mapping[str, float]]],
    used: Sequence[_Counted],
    seconds: Mapping[str, Mapping[str, float]],
) -> dict[str, Ratios]:
    """By model; only plans that ask it count, so that a mix of painters is measured each by its own plans."""
    found = {}
    for model in sorted({name for one in ruled for name in one}):
        pairs = [(one[model], mine.get(model, Usage())) for one, mine in zip(ruled, used, strict=True) if model in one]
        counted = [
            {"calls": u.calls + u.ledger_hits, "tokens_in": u.tokens_in, "tokens_out": u.tokens_out} for _, u in pairs
        ]
        if not any(one["calls"] for one in counted):
            continue
        spans = {
            name: ratio([float(one[name]) for one in counted], [x[name] for x, _ in pairs], FEW)
            for name in ("calls", "tokens_in", "tokens_out")
        }
        found[model] = Ratios(**spans, seconds=dict(seconds.get(model, {})))
    return found


class _Timed:
    """A provider whose answers are timed, by role."""

    def __init__(self, provider: Provider, model: str, seconds: dict[tuple[str, str], list[float]]) -> None:
        self._provider, self._model, self._seconds = provider, model, seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def answer(self, request: Request) -> RawAnswer:
        began = time.perf_counter()
        raw = await self._provider.answer(request)
        self._seconds.setdefault((self._model, request.role), []).append(time.perf_counter() - began)
        return raw
