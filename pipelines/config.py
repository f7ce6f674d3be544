"""Run configurations: YAML read into models that forbid unknown keys, and errors of one line."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from annotators.config import BudgetConfig, ModelsConfig
from filters.balance import BalanceConfig
from filters.config import FiltersConfig
from pools.options import PlanOptions, StressOptions, WordingShares
from pools.pairs import RewriteShares
from schemas.errors import InputError
from schemas.references import Person
from storage.configs import apply_setting, first_error, read_yaml, validate

__all__ = ["DATASETS", "RealignConfig", "RunConfig", "apply_setting", "first_error", "load", "read_yaml", "validate"]


class ImageOutput(BaseModel):
    """How images are written: JPEG within `max_side`; coded bytes that already fit are kept."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["jpeg"] = "jpeg"
    quality: int = Field(default=95, ge=1, le=100)
    max_side: int = Field(default=1024, ge=64, le=8192)


class OutputConfig(BaseModel):
    """The shape of the shards: how many planned samples one covers, and how its images are written."""

    model_config = ConfigDict(extra="forbid")

    shard_samples: int = Field(default=1000, ge=1)
    image: ImageOutput = ImageOutput()


class RunConfig(BaseModel):
    """What every dataset's configuration holds.

    Attributes:
        models: per role one model, or a weighted mix; a role is called only by what names it.
        prompts: role -> path of a prompt that takes the catalogue's place.
        ledger: a folder or bucket address for paid answers; by default in the user's data directory.
        prices: a price list of your own, which goes before the shipped one (`configs/prices.yaml`).
    """

    model_config = ConfigDict(extra="forbid")

    dataset: str
    seed: int = Field(default=0, ge=0)
    models: ModelsConfig
    prompts: dict[str, str] = {}
    output: OutputConfig = OutputConfig()
    splits: dict[str, float] = {"train": 1.0}
    ledger: str | None = None
    budget: BudgetConfig = BudgetConfig()
    prices: str | None = None


class RealignConfig(RunConfig):
    """The configuration of a Re-Align dataset; what shapes its plans is explained at `pools.options.PlanOptions`.

    Attributes:
        samples: how many samples are planned, over all splits, before the filters.
        pool: an index made by `pool index`, anything `pool index` takes, or `toyworld`.
        tasks: weights by task name, normalised; a task left out is not made. None: the paper's measured shares.
        tasks_file: a YAML file with further tasks.
        subtypes: weights by sub-type name.
        reasonings: N, how many IC-CoTs are drawn per sample.
        paintings: K, how many targets are painted per sample; the filters' scores choose one, the rest are stored.
    """

    dataset: Literal["realign"]
    samples: int = Field(ge=1)
    pool: str
    tasks: dict[str, float] | None = None
    tasks_file: str | None = None
    subtypes: dict[str, float] = {}
    reasonings: int = Field(default=1, ge=1, le=64)
    paintings: int = Field(default=1, ge=1, le=16)
    max_references: int = Field(default=4, ge=1, le=10)
    filters: FiltersConfig = FiltersConfig()
    wording: WordingShares = WordingShares()
    stress: StressOptions = StressOptions()
    licenses: list[str] | None = None
    persons: list[Person] | None = None

    @model_validator(mode="after")
    def _plannable(self) -> RealignConfig:
        _ = self.planning
        return self

    @property
    def planning(self) -> PlanOptions:
        """The part that shapes plans."""
        names = PlanOptions.model_fields
        return PlanOptions(**{name: getattr(self, name) for name in names if name in type(self).model_fields})


def _balanced_by(balance: BalanceConfig | None, dimensions: tuple[str, ...]) -> BalanceConfig | None:
    others = sorted(set(balance.targets) - set(dimensions)) if balance is not None else []
    if others:
        raise ValueError(f"this dataset has no dimension {others[0]}; it has {' and '.join(dimensions)}")
    return balance


class FirmEditConfig(RunConfig):
    """The configuration of FIRM-Edit data.

    Attributes:
        pairs: a JSONL or Parquet file of edit pairs (`docs/inputs.md`), or `toyworld`.
        samples: how many of the pairs are taken; None: all. Each pair gives two rows, and two more if rewritten.
        rewrites: the share of pairs that are judged by a rewritten instruction too, and the kinds of rewriting.
        balance: the histograms that `OUT/balanced` is to have; None: it is not written.
    """

    dataset: Literal["firm-edit"]
    pairs: str
    samples: int | None = Field(default=None, ge=1)
    rewrites: RewriteShares = RewriteShares()
    balance: BalanceConfig | None = None

    @field_validator("balance")
    @classmethod
    def _own_dimensions(cls, balance: BalanceConfig | None) -> BalanceConfig | None:
        return _balanced_by(balance, ("execution", "consistency"))


class FirmGenConfig(RunConfig):
    """The configuration of FIRM-Gen data.

    Attributes:
        prompts_file: a JSONL or Parquet file of prompts (`docs/inputs.md`), or `toyworld`.
        samples: how many of the prompts are taken; None: all.
        paintings: images painted of a prompt that comes without one, each by a painter of the mix.
        size: WIDTHxHEIGHT of what is painted; None where the painter chooses.
        quality: whether Quality is judged too, in a second call that does not see the prompt.
        balance: the histograms that `OUT/balanced` is to have; None: it is not written.
    """

    dataset: Literal["firm-gen"]
    prompts_file: str
    samples: int | None = Field(default=None, ge=1)
    paintings: int = Field(default=1, ge=1, le=64)
    size: str | None = None
    quality: bool = False
    balance: BalanceConfig | None = None

    @field_validator("balance")
    @classmethod
    def _own_dimensions(cls, balance: BalanceConfig | None) -> BalanceConfig | None:
        return _balanced_by(balance, ("instruction_following", "quality"))

    @field_validator("size")
    @classmethod
    def _readable_size(cls, size: str | None) -> str | None:
        if size is not None and not re.fullmatch(r"[1-9]\d{1,4}x[1-9]\d{1,4}", size):
            raise ValueError(f"{size!r} is no size; write WIDTHxHEIGHT, as in 1024x1024")
        return size

    @property
    def size_pair(self) -> tuple[int, int] | None:
        """(width, height) in pixels."""
        if self.size is None:
            return None
        width, height = self.size.split("x")
        return int(width), int(height)


DATASETS: dict[str, type[RunConfig]] = {
    "realign": RealignConfig,
    "firm-edit": FirmEditConfig,
    "firm-gen": FirmGenConfig,
}


def load(path: str, settings: list[str] | None = None, dataset: str | None = None) -> RunConfig:
    """Read a configuration file and apply `--set KEY=VALUE` settings to it.

    Args:
        path: a YAML file.
        settings: dotted keys with values read as YAML, applied in order.
        dataset: the dataset that the command makes; another one in the file is an error.

    Raises:
        InputError: one line naming the file, the key or line, and the mend.
    """
    tree = read_yaml(path)
    for setting in settings or []:
        apply_setting(tree, setting)
    name = tree.get("dataset")
    if name not in DATASETS:
        found = f"{name!r} is not one of" if "dataset" in tree else "is missing; write one of"
        raise InputError(f"{path}: dataset: {found} {', '.join(DATASETS)}")
    if dataset is not None and name != dataset:
        raise InputError(f"{path}: dataset: is {name}, but this command makes {dataset}; use `plumbline {name}`")
    return validate(DATASETS[name], tree, path, settings or ())
