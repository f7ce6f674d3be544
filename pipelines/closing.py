"""The end of a run whose shards are all there: balanced shards where they are wanted, then the manifest."""

from __future__ import annotations

from typing import Any

from pipelines.balancing import score_lines, write_balanced
from pipelines.config import FirmEditConfig, FirmGenConfig, RunConfig
from pipelines.judge_error import judge_error_lines
from shards.manifest import finished_run, write_manifest


def closed(config: RunConfig, out: str, run_hash: str, *, changed: bool) -> dict[str, Any]:
    """The manifest of the run in `out`, written unless it is there and nothing has changed.

    Args:
        changed: shards were made since it was written.

    Raises:
        StoppedError: names the shards that are not finished.
    """
    known = None if changed else finished_run(out, run_hash)
    balance = config.balance if isinstance(config, FirmEditConfig | FirmGenConfig) else None
    if balance is None or not balance.targets:
        return known if known is not None and "balance" not in known else write_manifest(out)
    found = write_balanced(out, balance, config.seed)  # nothing is copied where the same selection is there already
    return known if known is not None and known.get("balance") == found else write_manifest(out, found)


def told_of_labels(out: str, manifest: dict[str, Any]) -> list[str]:
    """What a finished run of critic labels says beside its counts: scores, balance, the judge's error."""
    if manifest["dataset"] not in ("firm-edit", "firm-gen") or not manifest["counts"]["kept"]:
        return []
    return [*score_lines(out, manifest.get("balance", {})), *judge_error_lines(out, manifest)]
