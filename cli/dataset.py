"""`plumbline realign`, `firm-edit`, `firm-gen`: from a configuration to committed shards."""

from __future__ import annotations

from annotators.budget import Allowance
from cli.watching import UNWATCHED, Watching
from pipelines import config as configs
from pipelines.processes import end_with_parent
from pipelines.shares import Share


def run(
    dataset: str,
    config: str,
    out: str,
    settings: list[str],
    workers: int,
    slice_text: str,
    worker_text: str,
    beam_options: list[str],
    watching: Watching = UNWATCHED,
    allowance: str = "",
) -> None:
    """Make the dataset that the command is named after, or this process's share of it."""
    from cli.making import make

    if worker_text:
        end_with_parent()
    loaded = configs.load(config, settings, dataset=dataset)
    share = Share.parse(slice_text, "--slice")
    command = [dataset, config, "--out", out, "--slice", slice_text]
    command += [part for setting in settings for part in ("--set", setting)]
    worker = Share.parse(worker_text, "--worker") if worker_text else None
    allowed = Allowance.parse(allowance) if allowance else None
    make(loaded, config, out, share, workers, worker, command, beam_options, watching, allowed)
