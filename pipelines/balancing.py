"""Balanced shards of a finished run of critic labels: chosen by stored scores, copied, nothing asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from filters.balance import BalanceConfig, balanced
from shards.copying import copy_samples
from shards.names import BALANCED
from shards.scores import balance_of, histograms, read_scores
from storage import paths


def write_balanced(out: str, config: BalanceConfig, seed: int) -> dict[str, Any]:
    """Write `OUT/balanced/`, an output folder of its own, and return its histograms for the manifest of `out`.

    The run keeps all its rows. Called again it does nothing; other weights, another seed or other rows replace what
    was there. Without a target nothing is written.

    Returns:
        `{dimension: {before: {score: rows}, after: {...}}}`, to be given to `shards.manifest.write_manifest`.

    Raises:
        InputError: a shard of `out` is not finished, its rows have no scores, or `balanced/` holds no selection.
        DamageError: a shard of `out` is damaged.
    """
    targets = config.targets
    if not targets:
        return {}
    chosen = balanced(read_scores(out), targets, seed)
    ids = [key for keys in chosen.ids.values() for key in keys]
    note = {
        "balance": config.model_dump(mode="json", exclude_none=True),
        "seed": seed,
        "left_out": {dimension: list(scores) for dimension, scores in chosen.left_out.items()},
    }
    copy_samples(out, paths.join(out, BALANCED), ids, note=note, replace=True)
    return balance_of(out) or {}


def score_lines(out: str, balance: Mapping[str, Any]) -> list[str]:
    """What a run of critic labels prints of its scores: a histogram per dimension, and what became of it in `balanced`.

    Args:
        balance: the manifest's section; empty where nothing was balanced. Dimensions without a shape are kept whole
            and left out here.
    """
    lines = []
    for dimension, found in sorted(histograms(out).items()):
        told = ", ".join(f"{score}: {count:,}" for score, count in sorted(found.items(), key=lambda one: float(one[0])))
        lines.append(f"scores of {dimension}: {told}")
    for dimension, shape in sorted(balance.items()):
        after = shape["after"]
        if after == shape["before"]:
            continue
        told = ", ".join(f"{score}: {after[score]:,}" for score in sorted(after, key=float))
        of = f"{sum(after.values()):,} of {sum(shape['before'].values()):,} rows"
        lines.append(f"balanced {dimension}, in {paths.join(out, BALANCED)}: {of}; {told}")
    return lines
