"""Outputs without planted defects, made by the pipelines themselves, and their samples as checks see them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from filters.base import Candidate, Filter
from filters.config import FiltersConfig, FilterSet, build
from pipelines import config as configs
from schemas.draft import Draft, Reasoning
from schemas.iccot import ICCoT, ICCoTError
from schemas.plan import Plan
from schemas.references import ImageRef

ROOT = Path(__file__).resolve().parent.parent.parent
TOY, PHOTOS = "toy", "photos"
GRAMMAR, MENTIONS = "grammar", "mentions"
_AT_ONCE = 16
_OF_PIXELS = ("quality", "similarity", "drift")


@dataclass(frozen=True)
class Sample:
    """A sample as answers of models would give it: its texts are not parsed yet, so they can be wrong in any way."""

    plan: Plan
    instruction: str
    prompt: str
    reasoning: str
    target: ImageRef

    def changed(self, **changes: Any) -> Sample:
        return replace(self, **changes)

    def draft(self) -> Draft:
        """Read strictly.

        Raises:
            ICCoTError: by the grammar of the reasoning.
            pydantic.ValidationError: an image is named that the sample does not have.
        """
        iccot = ICCoT.parse(self.reasoning, len(self.plan.references))
        return Draft(
            plan=self.plan,
            instruction=self.instruction,
            prompt=self.prompt,
            reasonings=(Reasoning(iccot=iccot),),
            target=self.target,
        )


@dataclass(frozen=True)
class World:
    """A clean output, its samples (the first reasoning of each), and the filters of its shipped configuration.

    Attributes:
        images: a folder for pictures of planted defects.
        weights: of its CLIP; empty where they are not on this machine.
    """

    name: str
    out: Path
    samples: list[Sample]
    filters: FilterSet
    images: Path
    weights: str = ""
    _seen: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def reasons(self, samples: Sequence[Sample]) -> list[frozenset[str]]:
        """For each sample every reason to reject it: `grammar`, `mentions`, or what filters say, each asked alone."""
        found: list[frozenset[str]] = []
        for start in range(0, len(samples), _AT_ONCE):
            found += self._reasons(samples[start : start + _AT_ONCE])
        return found

    def _reasons(self, samples: Sequence[Sample]) -> list[frozenset[str]]:
        read = [_read(sample) for sample in samples]
        candidates = [Candidate.of(draft) for draft in read if isinstance(draft, Draft)]
        said = [set[str]() for _ in candidates]
        for one in self.filters.filters if candidates else ():
            for reasons, reason in zip(said, self._said(one, candidates), strict=True):
                reasons |= {reason} - {""}
        of_drafts = iter(said)
        return [frozenset(next(of_drafts) if isinstance(r, Draft) else {r}) for r in read]

    def _said(self, one: Filter, candidates: Sequence[Candidate]) -> list[str]:
        """Its reasons; what a filter of pixels alone has said of a target is not asked again for another text."""
        if one.name not in _OF_PIXELS:
            return [verdict.reason for verdict in one(candidates)]
        keys = [(one.name, c.draft.id, c.draft.target.sha256) for c in candidates]
        new = [(key, c) for key, c in zip(keys, candidates, strict=True) if key not in self._seen]
        for (key, _), verdict in zip(new, one([c for _, c in new]) if new else [], strict=True):
            self._seen[key] = verdict.reason
        return [self._seen[key] for key in keys]


def refused(sample: Sample) -> str:
    """`grammar` or `mentions` where a parser refuses the sample; empty where none does."""
    read = _read(sample)
    return read if isinstance(read, str) else ""


def _read(sample: Sample) -> Draft | str:
    """The draft, or what refused it."""
    try:
        return sample.draft()
    except ICCoTError:
        return GRAMMAR
    except ValueError:
        return MENTIONS


def toy_world(folder: Path, samples: int) -> World:
    """The drawn world, its painter and reasoner kept from erring as they otherwise do on purpose."""
    with faultless():
        return _world(TOY, "toy.yaml", folder, {"samples": samples, "splits": {"train": 0.8, "test": 0.2}})


def photo_world(folder: Path, samples: int) -> World | str:
    """Photos put together by rule, or why there are none."""
    pool = Path(os.environ.get("PLUMBLINE_TEST_DATA", ROOT.parent / "shared" / "data")) / "pool" / "pool.jsonl"
    if not pool.is_file():
        return f"no photos at {pool}: set PLUMBLINE_TEST_DATA"
    return _world(PHOTOS, "realign-local.yaml", folder, {"samples": samples, "pool": str(pool), "reasonings": 1})


@contextmanager
def faultless() -> Iterator[None]:
    """The offline painter and reasoner of the drawn world without the errors that they make on purpose."""
    from annotators.offline import toy

    with mock.patch.multiple(toy, PAINTER_ERROR_SHARE=0.0, REASONER_ERROR_SHARE=0.0):
        yield


def _world(name: str, config: str, folder: Path, changes: dict[str, Any]) -> World:
    tree = yaml.safe_load((ROOT / "configs" / config).read_text(encoding="utf-8")) | changes
    # Everything is kept: what the filters reject of it are their false alarms. Drift is in neither configuration.
    filters = FiltersConfig.model_validate({**tree.pop("filters"), "drift": {}})
    tree |= {"ledger": str(folder / "ledger"), "output": {"shard_samples": 50, **_image(tree)}}
    out = folder / name
    made(tree, f"configs/{config}", out)
    images = folder / f"{name}-images"
    images.mkdir()
    built = build(filters)
    assert filters.clip is not None
    weights = "" if "clip_text" in built.notes else filters.clip.weights
    return World(name, out, samples_of(tree, config, out, images), built, images, weights)


def _image(tree: dict[str, Any]) -> dict[str, Any]:
    return {"image": tree["output"]["image"]} if "image" in tree["output"] else {}


def made(tree: dict[str, Any], where: str, out: Path) -> None:
    """Run a configuration to its end, in this process."""
    from cli.making import make
    from pipelines.shares import Share

    make(configs.validate(configs.DATASETS[tree["dataset"]], tree, where), where, str(out), Share(), 1, None, [], [])


def samples_of(tree: dict[str, Any], where: str, out: Path, images: Path) -> list[Sample]:
    """The samples of a Re-Align output; its plans are made again, and its targets are written to `images`."""
    from pipelines.realign_work import RealignWork
    from shards.reader import read_samples

    config = configs.validate(configs.DATASETS["realign"], tree, where)
    assert isinstance(config, configs.RealignConfig)
    work = RealignWork(config, where)
    found = []
    for split, planned in work.planned.items():
        plans = {plan.id: plan for plan in work.plans(split, range(planned))}
        for sample in read_samples(str(out), split):
            view = sample.json
            target = stored(sample.images["target"], images)
            texts = view["instruction"], view["prompt"], view["reasonings"][0]["text"]
            found.append(Sample(plans[sample.id], *texts, target))
    return found


def stored(data: bytes, folder: Path) -> ImageRef:
    """An image's bytes as a file of `folder`."""
    from storage.images import probe

    digest, seen = hashlib.sha256(data).hexdigest(), probe(data)
    path = folder / f"{digest}.jpg"
    path.write_bytes(data)
    return ImageRef(uri=str(path), sha256=digest, width=seen.width, height=seen.height, media_type=seen.media_type)
