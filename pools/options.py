"""What a configuration may say about planning. Light to import: the command line reads configurations through it."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.plan import Length, Naming, Stress, Style
from schemas.references import Person

Name = TypeVar("Name")
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _some(weights: dict[Name, float]) -> dict[Name, float]:
    if not any(weights.values()):
        raise ValueError("at least one weight must be above 0")
    return weights


def _languages(weights: dict[str, float]) -> dict[str, float]:
    for tag in weights:
        if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", tag):
            raise ValueError(f"{tag!r} is no language tag; write one such as en, zh or pt-BR")
    return weights


def _one_line(weights: dict[str, float]) -> dict[str, float]:
    for text in weights:
        if not text.strip() or text != " ".join(text.split()):
            raise ValueError(f"{text!r} is no name of a detail; write one such as material or light")
    return weights


def _split_names(shares: dict[str, float]) -> dict[str, float]:
    for name, share in shares.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{name!r} is no name for a split; use small letters, digits and _, as it names files")
        if share <= 0:
            raise ValueError(f"the share of {name} must be above 0; leave a split out to have none")
    return shares


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WordingShares(_Options):
    """How often the instruction speaks how; each plan draws one of each, and the sample records it.

    Attributes:
        focus: secondary visual details the instruction is steered to, so that instructions are rich and differ.
        language: IETF tags.
    """

    style: Annotated[dict[Style, Weight], AfterValidator(_some)] = {Style.INSTRUCTIVE: 0.6, Style.DESCRIPTIVE: 0.4}
    naming: Annotated[dict[Naming, Weight], AfterValidator(_some)] = {Naming.INDEXED: 0.6, Naming.INDEX_FREE: 0.4}
    length: Annotated[dict[Length, Weight], AfterValidator(_some)] = {
        Length.SHORT: 0.3,
        Length.MEDIUM: 0.5,
        Length.LONG: 0.2,
    }
    focus: Annotated[dict[str, Weight], AfterValidator(_some), AfterValidator(_one_line)] = dict.fromkeys(
        ("material", "texture", "pattern", "color", "light", "shape", "position", "background"), 1.0
    )
    language: Annotated[dict[str, Weight], AfterValidator(_some), AfterValidator(_languages)] = {"en": 1.0}


def _stresses(kinds: tuple[Stress, ...]) -> tuple[Stress, ...]:
    if Stress.NONE in kinds:
        raise ValueError("none is no kind of stress; set share to 0 instead")
    if len(set(kinds)) < len(kinds):
        raise ValueError("a kind of stress is named twice")
    return kinds


class StressOptions(_Options):
    """The share of plans that get one labelled defect, each of `kinds` equally often.

    blurred: a reference that is blurred before it is sent.  mismatched: a reference from a pool its slot does not
    take, never the image to edit.  distractor: one more reference, last, that the task has no use for.
    """

    share: float = Field(default=0.0, ge=0, le=1)
    kinds: Annotated[tuple[Stress, ...], AfterValidator(_stresses)] = Field(
        default=(Stress.BLURRED, Stress.MISMATCHED, Stress.DISTRACTOR), min_length=1
    )


class PlanOptions(_Options):
    """What shapes a plan beside the pool and the tasks.

    Attributes:
        tasks: weight per task, normalised; a task left out is not made. None: every task, with its own share.
        max_references: at most this many images per sample, 10 at most.
        subtypes: weights that take the place of those in the tasks' file, by sub-type name.
        licenses: allow-list (`pools.licenses.AllowList`); None lets every image through.
        persons: allow-list. None: all but `identifiable`, so also `unknown`, which is what an image is whose source
            does not say: most sources do not.
        splits: share of the subjects per split; each split draws from its own subjects only and counts its own
            ordinals. Which split a subject is in depends on its name and these shares, not on the seed, so datasets
            made with different seeds share their test subjects.
    """

    seed: int = Field(default=0, ge=0)
    tasks: Annotated[dict[str, Weight], AfterValidator(_some)] | None = None
    max_references: int = Field(default=4, ge=1, le=10)
    subtypes: dict[str, Weight] = {}
    licenses: tuple[str, ...] | None = None
    persons: tuple[Person, ...] | None = None
    wording: WordingShares = WordingShares()
    stress: StressOptions = StressOptions()
    splits: Annotated[dict[str, Weight], AfterValidator(_split_names)] = Field(default={"train": 1.0}, min_length=1)
