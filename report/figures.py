"""The numbers of a report, over the whole output: funnel, reasons, tasks, scores, cost and balance."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from report.output import Json, Output
from report.wording import without_paths_in
from schemas.errors import DamageError

BINS = 24
_STAGES = ("plan", "input", "writer", "rewriter", "describer", "planner", "reasoner", "painter", "images", "filter")
_LATE = ("judge", "write")
_LEADING = ("clip_text", "relation_margin")
_NO_SCORES = ("subjects", "references", "reasonings", "painting")


def figures(output: Output) -> Json:
    """All but the diversity, as JSON; counts are of everything in the output, shown or not."""
    manifest = output.manifest or {}
    return {
        "dataset": output.dataset,
        "missing": output.missing,
        "selected": "selection" in output.run,
        "counts": output.counts,
        "splits": _splits(output),
        "tasks": _tasks(output),
        "funnel": _funnel(output),
        "reasons": _reasons(output),
        "scores": score_histograms(output),
        "usage": _usage(output),
        "lost": _lost(output),
        "balance": manifest.get("balance", {}),
        "notes": without_paths_in(manifest.get("notes", output.run.get("notes", {}))),
        "prompts": {name: digest[:12] for name, digest in sorted(output.run.get("prompts", {}).items())},
        "versions": output.run.get("versions", {}),
    }


def _splits(output: Output) -> list[Json]:
    found = {split: {"kept": 0, "rejected": 0, "shards": 0} for split in output.splits}
    for shard in output.shards:
        one = found[shard.name.split]
        one["kept"] += shard.footer.kept
        one["rejected"] += shard.footer.rejected
        one["shards"] += 1
    return [{"name": split, **one} for split, one in found.items()]


def _tasks(output: Output) -> list[Json]:
    kept = Counter(task or "" for task in output.column("task"))
    rejected = Counter(row["task"] or "" for row in output.rejects)
    names = sorted({*kept, *rejected}, key=lambda name: (-(kept[name] + rejected[name]), name))
    return [{"name": name or "(none)", "kept": kept[name], "rejected": rejected[name]} for name in names]


def stage_order(stage: str) -> tuple[int, str]:
    """Stages in the order in which a plan meets them."""
    known = (*_STAGES, *_LATE)
    return (known.index(stage) if stage in known else len(_STAGES), stage)


def _funnel(output: Output) -> list[Json]:
    """What is left after each stage that rejected something."""
    lost = Counter(row["stage"] for row in output.rejects)
    left = output.counts["planned"]
    steps = [{"name": "planned", "left": left, "lost": 0}]
    for stage in sorted(lost, key=stage_order):
        left -= lost[stage]
        steps.append({"name": f"after {stage}", "left": left, "lost": lost[stage]})
    return [*steps, {"name": "kept", "left": output.counts["kept"], "lost": 0}]


def _reasons(output: Output) -> list[Json]:
    found = Counter((row["stage"], row["reason"], row["class"]) for row in output.rejects)
    return [
        {"stage": stage, "reason": reason, "class": kind, "count": count}
        for (stage, reason, kind), count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


def _usage(output: Output) -> list[Json]:
    """By model: what it did, and for which roles it was configured."""
    roles: dict[str, list[str]] = {}
    for role, mix in sorted(output.settings.get("models", {}).items()):
        for one in mix if isinstance(mix, list) else [mix]:
            if isinstance(one, dict):
                roles.setdefault(str(one.get("model") or one.get("provider", "")), []).append(role)
    kept = output.counts["kept"]
    return [
        {"model": model, "roles": roles.get(model, []), **used.model_dump(), "usd_per_kept": used.usd / max(1, kept)}
        for model, used in sorted(output.usage.items())
    ]


def _lost(output: Output) -> list[Json]:
    """What was spent on rejected plans, by the stage that rejected them."""
    found: dict[str, float] = {}
    for row in output.rejects:
        if row["usd"]:
            found[row["stage"]] = found.get(row["stage"], 0.0) + row["usd"]
    return [{"stage": stage, "usd": found[stage]} for stage in sorted(found, key=stage_order)]


def score_histograms(output: Output) -> list[Json]:
    """`{name, edges, kept, rejected, marks}` of every score that was computed, marks being the configured limits.

    A limit may lie beyond the edges: then nothing came near it.
    """
    kept = _kept_scores(output)
    rejected: dict[str, list[float]] = {}
    for row in output.rejects:
        for name, value in _rejected_scores(row).items():
            rejected.setdefault(name, []).append(value)
    marks = thresholds(output.settings.get("filters", {}))
    names = [*(name for name in kept if kept[name]), *sorted(name for name in rejected if not kept.get(name))]
    judged = _is_judged(output)
    found = [_histogram(name, kept.get(name, []), rejected.get(name, []), marks, judged) for name in names]
    return sorted(found, key=lambda one: (not one["leading"], one["name"] not in _LEADING))


def _rejected_scores(row: Json) -> dict[str, float]:
    """Those that are finite.

    Raises:
        DamageError: they are no JSON object.
    """
    try:
        found = json.loads(row["scores"] or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DamageError(f"rejection {row['id']}: its scores are no JSON object; run `verify`")
    return {name: float(v) for name, v in found.items() if isinstance(v, int | float) and math.isfinite(v)}


def _is_judged(output: Output) -> bool:
    """Whether the rows are critic labels, each with a score from 1 to 5."""
    names = output.shards[0].table.schema.names
    return "dimension" in names and "score" in names


def _kept_scores(output: Output) -> dict[str, list[float]]:
    """By name; of critic labels by dimension."""
    import pyarrow as pa

    schema = output.shards[0].table.schema
    names = [f.name for f in schema if pa.types.is_floating(f.type) and f.name not in _NO_SCORES]
    if _is_judged(output):
        found: dict[str, list[float]] = {}
        for dimension, score in zip(output.column("dimension"), output.column("score"), strict=True):
            if score is not None and math.isfinite(score):
                found.setdefault(str(dimension), []).append(score)
        return dict(sorted(found.items()))
    return {name: [v for v in output.column(name) if v is not None and math.isfinite(v)] for name in names}


def _histogram(
    name: str, kept: list[float], rejected: list[float], marks: list[tuple[str, float]], judged: bool
) -> Json:
    """Bins of one point each where `judged` and all values are whole: a measure that is always 1.0 is no judgement."""
    both = [*kept, *rejected]
    low, high = min(both), max(both)
    whole = judged and {*both} <= {1.0, 2.0, 3.0, 4.0, 5.0}
    if whole:
        low, high = 1.0, 5.0
    bins = int(high - low) + 1 if whole else BINS
    edges = [low - 0.5 + i for i in range(bins + 1)] if whole else _edges(low, high, bins)
    limits = [(key, at) for key, at in marks if _concerns(key, name)]
    near = any(edges[0] <= at <= edges[-1] for _, at in limits)
    return {
        "name": name,
        "leading": near or whole or name in _LEADING,
        "whole": whole,
        "edges": [round(edge, 6) for edge in edges],
        "kept": _binned(kept, edges),
        "rejected": _binned(rejected, edges),
        "mean": round(sum(kept) / len(kept), 4) if kept else None,
        "marks": [{"name": key, "at": at} for key, at in limits],
    }


def _edges(low: float, high: float, bins: int) -> list[float]:
    if low == high:
        low, high = low - 0.5, high + 0.5
    span = high - low
    return [low + span * i / bins for i in range(bins + 1)]


def _binned(values: list[float], edges: list[float]) -> list[int]:
    bins, low, span = len(edges) - 1, edges[0], edges[-1] - edges[0]
    found = [0] * bins
    for value in values:
        found[min(bins - 1, max(0, int((value - low) / span * bins)))] += 1
    return found


def thresholds(filters: Any, path: str = "") -> list[tuple[str, float]]:
    """(dotted key, value) of every `min_...` and `max_...` of the filters' configuration."""
    if not isinstance(filters, Mapping):
        return []
    found: list[tuple[str, float]] = []
    for key, value in sorted(filters.items()):
        where = f"{path}.{key}" if path else str(key)
        if str(key).startswith(("min_", "max_")) and isinstance(value, int | float) and not isinstance(value, bool):
            found.append((where.removeprefix("config."), float(value)))
        else:
            found += thresholds(value, where)
    return found


def _concerns(key: str, score: str) -> bool:
    """Whether the threshold `clip.min_text` is one of the score `clip_text`."""
    group, _, last = key.rpartition(".")
    name = last[4:]
    return score in (name, f"{group}_{name}", f"{group.removesuffix('s')}_{name}")
