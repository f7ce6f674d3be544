"""The end of a run whose shards are all there: balanced shards where they are wanted, then the manifest."""

from __future__ import annotations

from typing import Any

from pipelines.balancing import write_balanced
from pipelines.config import FirmEditConfig, FirmGenConfig, RunConfig
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
    if balance is None:
        return known if known is not None and "balance" not in known else write_manifest(out)
    found = write_balanced(out, balance, config.seed)  # nothing is copied where the same selection is there already
    return known if known is not None and known.get("balance") == found else write_manifest(out, found)
