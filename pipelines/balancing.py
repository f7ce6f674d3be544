"""Balanced shards of a finished run of critic labels: chosen by stored scores, copied, nothing asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from filters.balance import BalanceConfig, balanced
from shards.copying import copy_samples
from shards.names import BALANCED
from shards.scores import balance_of, read_scores
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


def balance_lines(balance: Mapping[str, Any]) -> list[str]:
    """The manifest's `balance` as lines to read: `execution: 90 of 200 rows; 1: 60 -> 30, 2: 40 -> 30, ...`."""
    lines = []
    for dimension, found in sorted(balance.items()):
        before, after = found["before"], found["after"]
        steps = ", ".join(f"{s}: {before[s]:,} -> {after.get(s, 0):,}" for s in sorted(before, key=float))
        lines.append(f"{dimension}: {sum(after.values()):,} of {sum(before.values()):,} rows; {steps}")
    return lines
