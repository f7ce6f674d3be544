"""Plumbline's public API: what a trainer or a notebook imports.

from plumbline import ICCoT, read_samples

for sample in read_samples("out", split="train"):
    cot = ICCoT.parse(sample.json["reasonings"][0]["text"], references=len(sample.json["references"]))
    sample.images["target"], sample.images["image_1"]        # JPEG bytes

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
from shards.reader import Sample, read_samples

__all__ = [
    "GroupStatistics",
    "ICCoT",
    "ICCoTError",
    "ImageRef",
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
