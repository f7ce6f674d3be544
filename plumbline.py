"""Plumbline's public API: what a trainer or a notebook imports.

from plumbline import ICCoT, read_samples

for sample in read_samples("out", split="train"):
    cot = ICCoT.parse(sample.json["reasonings"][0]["text"], references=len(sample.json["references"]))
    sample.images["target"], sample.images["image_1"]        # JPEG bytes

A trainer's reader is split over ranks, shuffled, and resumed at the exact sample; `Loader` is the same from a torch
DataLoader's workers:

from plumbline import Loader, Reader

reader = Reader("out", form="numpy", side=512, seed=7, rank=0, world=8)
for batch in Loader(reader, 32, workers=4):                  # lists of samples, or what `collate` makes of them
    state = reader.state_dict()                              # JSON; load_state_dict goes on behind this batch

Rewards take NumPy arrays, torch tensors or lists, and give back what they took:

from plumbline import cme, group_advantages

rewards = cme(execution, consistency)                        # raw scores 1 to 5; NaN where an answer did not parse
advantages = group_advantages(rewards, groups=pair_ids)
"""

from rewards.client import RewardClient, Rewarded, RewardServerError
from rewards.critics import cme, execution_only, qma, weighted_sum
from rewards.groups import GroupStatistics, group_advantages, group_statistics, informative_samples, nft_r
from rewards.scores import expected_score, normalise_scores, quality_score, scored
from rewards.surrogate import clip_surrogate
from schemas.iccot import ICCoT, ICCoTError
from schemas.references import ImageRef, Reference
from schemas.version import VERSION as __version__
from shards.reader import Reader, Sample, read_samples

__all__ = [
    "GroupStatistics",
    "ICCoT",
    "ICCoTError",
    "ImageRef",
    "Reader",
    "Reference",
    "RewardClient",
    "RewardServerError",
    "Rewarded",
    "Sample",
    "__version__",
    "clip_surrogate",
    "cme",
    "execution_only",
    "expected_score",
    "group_advantages",
    "group_statistics",
    "informative_samples",
    "nft_r",
    "normalise_scores",
    "qma",
    "quality_score",
    "read_samples",
    "scored",
    "weighted_sum",
]


def __getattr__(name: str) -> object:
    """`Loader` and `ReaderDataset` import torch, which nothing else here needs."""
    if name in ("Loader", "ReaderDataset"):
        from shards import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
