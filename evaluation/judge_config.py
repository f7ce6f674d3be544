"""The configuration of a benchmark's judge: which models answer, in which way, and what they may cost."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from annotators.config import BudgetConfig, ModelsConfig
from schemas.errors import InputError
from storage import configs


class JudgeConfig(BaseModel):
    """What `--judge` names.

    Attributes:
        models: `judge`; with `way: aided` also `describer` (edits) or `planner` (generated images).
        way: FIRM-Bench only. `direct` asks with the student's prompts, which drop report and plan, as FIRM-Bench does;
            `aided` describes the differences, or plans the checks, first.
        prompts: id or role -> path of a prompt that takes the catalogue's place.
        ledger: a folder or bucket address for paid answers; by default in the user's data directory.
        budget: over all attempts at one file of scores.
        prices: a price list of your own.
        seed: chooses among the models of a mix.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: ModelsConfig
    way: Literal["direct", "aided"] = "direct"
    prompts: dict[str, str] = {}
    ledger: str | None = None
    budget: BudgetConfig = BudgetConfig()
    prices: str | None = None
    seed: int = Field(default=0, ge=0)


def judge_config(path: str, roles: tuple[str, ...] = (), settings: list[str] | None = None) -> JudgeConfig:
    """Read a judge's configuration.

    Args:
        roles: those that must have a model.

    Raises:
        InputError: one line naming the file, the key or line, and the mend.
    """
    config = configs.load(JudgeConfig, path, settings)
    for role in roles:
        try:
            config.models.of(role)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return config


def network_only(config: JudgeConfig, path: str, benchmark: str) -> None:
    """Nothing, where no model of the judge is the offline provider, which has no rules for this benchmark.

    Raises:
        InputError: one is; or the configuration asks for a way that is FIRM-Bench's.
    """
    if any(model.provider == "offline" for model in config.models.judge):
        raise InputError(
            f"{path}: models.judge.provider: offline has no rules to judge {benchmark}; name gemini or openai"
        )
    if config.way != "direct":
        raise InputError(f"{path}: way: {config.way} is for FIRM-Bench; {benchmark} has one way, so leave it out")
