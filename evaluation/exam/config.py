"""The configuration of an exam: who sits it, and how large it is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from annotators.config import BudgetConfig, ModelsConfig
from schemas.errors import InputError

ROLES = ("describer", "planner", "judge")
BASELINE = "offline (baseline)"
_OFFLINE = ModelsConfig.model_validate({role: {"provider": "offline"} for role in ROLES})


class ExamConfig(BaseModel):
    """An exam.

    Attributes:
        seed: chooses the cases.
        cases: how many, half of them edits and half prompts; balanced over the failures from 10 on.
        side: of the drawn pictures, in pixels.
        models: the teacher: a describer, a planner and a judge, one model each.
        teachers: several of them, by names of your own.
        baseline: whether the offline teacher sits the exam too, for comparison.
        retest: whether each case is judged twice.
        exchange: whether pairs whose truth allows it are judged with the images exchanged, too.
        prompts: as in a dataset's configuration: path of a prompt that takes the catalogue's place, by role or id.
        ledger, budget, prices: as in a dataset's configuration; the budget is that of the whole exam.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0)
    cases: int = Field(default=200, ge=2, le=10_000)
    side: int = Field(default=384, ge=128, le=2048)
    models: ModelsConfig | None = None
    teachers: dict[str, ModelsConfig] = {}
    baseline: bool = True
    retest: bool = True
    exchange: bool = True
    prompts: dict[str, str] = {}
    ledger: str | None = None
    budget: BudgetConfig = BudgetConfig()
    prices: str | None = None

    @field_validator("models")
    @classmethod
    def _whole(cls, models: ModelsConfig | None) -> ModelsConfig | None:
        if models is not None:
            _one_each(models)
        return models

    @field_validator("teachers")
    @classmethod
    def _all_whole(cls, teachers: dict[str, ModelsConfig]) -> dict[str, ModelsConfig]:
        for name, models in teachers.items():
            if name == BASELINE or not name.strip():
                raise ValueError(f"{name!r} cannot be a teacher's name; choose another")
            _one_each(models, f"{name}: ")
        return teachers

    @model_validator(mode="before")
    @classmethod
    def _somebody_sits_it(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("models") and not data.get("teachers"):
            raise ValueError("models: is missing; name a describer, a planner and a judge (or several teachers)")
        return data

    @property
    def entrants(self) -> dict[str, ModelsConfig]:
        """All who sit the exam by the names of their rows, the baseline last."""
        found = dict(self.teachers)
        if self.models is not None:
            (judge,) = self.models.judge
            name = BASELINE if _is_offline(self.models) else judge.model
            while name in found:
                name += " (models)"
            found[name] = self.models
        if self.baseline and not any(_is_offline(models) for models in found.values()):
            found[BASELINE] = _OFFLINE
        return found


def _one_each(models: ModelsConfig, whose: str = "") -> None:
    for role in ROLES:
        try:
            count = len(models.of(role))
        except InputError as error:
            raise ValueError(whose + str(error).removeprefix("models.")) from error
        if count > 1:
            raise ValueError(f"{whose}{role}: a mix of {count} cannot be examined; name one model, or several teachers")


def _is_offline(models: ModelsConfig) -> bool:
    return all(model.provider == "offline" for role in ROLES for model in models.of(role))
