"""Before a run: resolve what the configuration names, refuse what cannot work, and write run.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from annotators import registry
from annotators.budget import Allowance, allowance
from annotators.prices import PriceList, price_notes
from annotators.spending import spent
from pipelines.config import RunConfig
from pipelines.datasets import open_work
from pipelines.shares import Share
from pipelines.spec import RunSpec, ShardRange, ranges
from pipelines.work import Work, doubts
from schemas.errors import InputError
from schemas.version import VERSION
from shards.commit import finished
from shards.manifest import write_run
from shards.names import MANIFEST
from storage import paths


@dataclass(frozen=True)
class Prepared:
    """A run that may begin.

    Attributes:
        shards: this process's share of all shards.
        left: those of them that are not finished yet.
        indexed: what indexing raw input found and left out; None where it was an index.
        notes: what is not computed and why, by score.
        prices: one line for each model whose dollars are not counted, and for each prompt that says less than it might.
        doubts: what of the input and the splits may not be meant.
    """

    spec: RunSpec
    shards: list[ShardRange]
    left: list[ShardRange]
    indexed: Any
    notes: dict[str, str]
    prices: list[str]
    doubts: list[str]

    @property
    def planned(self) -> int:
        """How many samples are still to be made here."""
        return sum(shard.last - shard.first for shard in self.left)


def prepare(
    config: RunConfig,
    path: str,
    out: str,
    share: Share,
    slice: Share = Share(),  # noqa: B008
    allowed: Allowance | None = None,
    *,
    asks: bool = True,
) -> Prepared:
    """Resolve, check and begin a run; nothing is asked of a model.

    Args:
        slice: the slice of the dataset that `share` is a part of.
        allowed: what a worker process may pay, as its parent told it; by default what is left of the slice's budget.
        asks: whether models are asked, and samples scored, from this machine; where others do, it needs neither the
            models' keys nor the workers' GPU.

    Raises:
        InputError: whatever the user must mend, as one line.
    """
    work = _opened(config if asks else _without_gpu(config), path, asks)
    run = _shaping(work)
    prices = _unpriced(work, path)
    shards = ranges(work.planned, config.output.shard_samples)
    counts = {split: sum(1 for s in shards if s.name.split == split) for split in config.splits}
    run_hash = write_run(out, {**run, "shards": counts})
    if allowed is None:
        allowed = allowance(config.budget, spent(out), (slice.index, slice.of))
    spec = RunSpec(config, out, work.input.path, run_hash, work.filters_digest, share, slice, allowed)
    own = share.of_items(shards)
    try:
        paths.sweep_temporaries(out)
        done = paths.side_by_side(lambda shard: finished(out, shard.name, run_hash) is not None, own, out)
        left = [shard for shard, there in zip(own, done, strict=True) if not there]
        if left:
            paths.remove(paths.join(out, MANIFEST))  # it would vouch for shards that are about to be made anew
    except OSError as error:
        raise InputError(f"{error.filename or out}: {error.strerror or error}; choose another --out") from error
    return Prepared(spec, own, left, work.input.report, work.notes, [*_prompt_notes(work), *prices], doubts(work))


def _opened(config: RunConfig, path: str, asks: bool) -> Work:
    """The work, once every model of its roles can be set up."""
    work = open_work(config, path)
    for role in work.roles:
        for model in config.models.of(role):
            registry.require(model, f"{path}: models.{role}", here=asks)
    unasked = [name for name in work.catalogue.overridden if name not in work.prompts()]
    if unasked:
        raise InputError(f"{path}: prompts: {unasked[0]} is asked by nobody in this run; take it out")
    return work


def _without_gpu(config: RunConfig) -> RunConfig:
    """The same, for a machine that only looks at the weights; no digest knows the device."""
    filters = getattr(config, "filters", None)
    if filters is None or filters.clip is None:
        return config
    clip = filters.clip.model_copy(update={"device": "cpu"})
    return config.model_copy(update={"filters": filters.model_copy(update={"clip": clip})})


def _prompt_notes(work: Work) -> list[str]:
    """What a user's prompts never say to the model although the shipped ones do."""
    return [
        f"prompts: your {name} never uses {', '.join(missing)}, which the shipped one shows the model"
        for name, missing in work.catalogue.unused().items()
    ]


def _unpriced(work: Work, path: str) -> list[str]:
    config = work.config
    try:
        return price_notes(config.models, work.roles, PriceList(config.prices), config.budget.usd)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _shaping(work: Work) -> dict[str, Any]:
    """What shapes the bytes."""
    config = work.config
    return {
        "dataset": config.dataset,
        "models": config.models.shaping(work.roles),
        "prompts": work.prompts(),
        "output": config.output.model_dump(mode="json"),
        # A patch release makes the same bytes; any other may not.
        "versions": {"plumbline": VERSION.rpartition(".")[0]},
        # Without the reason, which may differ between machines; the command prints it.
        "notes": {score: note.partition(":")[0] for score, note in work.notes.items()},
        **work.shaping(),
    }
