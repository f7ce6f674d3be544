"""Holding an exam: draw the cases, let each teacher sit it in turn, keep one budget over all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from annotators import registry
from annotators.budget import allowance
from annotators.config import ModelsConfig
from annotators.engine import EngineSpec
from annotators.prices import PriceList, price_notes
from annotators.spending import spent
from evaluation.exam.cases import cases_of
from evaluation.exam.config import ROLES, ExamConfig
from evaluation.exam.pictures import Drawn, drawn
from evaluation.exam.sitting import Make, Sat, Sitting, questions
from prompts.catalogue import Catalogue
from schemas.errors import InputError

FAMILY = "firm"
Watched = Callable[[str, Sitting], list[Sat]]


@dataclass(frozen=True)
class Exam:
    """A finished exam: its cases, and all answers by teacher."""

    config: ExamConfig
    cases: Sequence[Drawn]
    sheets: dict[str, list[Sat]]


def checked(config: ExamConfig, path: str) -> list[str]:
    """One line for each model whose dollars are not counted, once all that can be is known to be sound.

    Raises:
        InputError: names `path`: a model that cannot be set up, a prompt that is none, or a budget in dollars and a
            model without a price.
    """
    try:
        Catalogue(config.prompts, FAMILY)
        found = []
        for models in config.entrants.values():
            _require(models)
            found += price_notes(models, ROLES, PriceList(config.prices), config.budget.usd)
        return list(dict.fromkeys(found))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def hold(
    config: ExamConfig,
    out: str,
    make: Make = registry.make,
    watched: Watched = lambda teacher, sitting: sitting.run(),
) -> Exam:
    """Hold the exam, its pictures and payments under `out`.

    Args:
        make: builds the provider of a model; a test gives its own.
        watched: runs one teacher's sitting; by default without showing anything.

    Raises:
        InputError: a model that cannot be set up, a prompt or ledger that is none, an output that cannot be written.
        PlumblineError: the exam was stopped before its end; the same command goes on.
    """
    catalogue = Catalogue(config.prompts, FAMILY)
    cases = [drawn(case, out, config.side) for case in cases_of(config.seed, config.cases)]
    asked = list(questions(cases, config.retest, config.exchange))
    sheets = {}
    for teacher, models in config.entrants.items():
        with Sitting(_spec(config, models, out), asked, catalogue, make) as sitting:
            sheets[teacher] = watched(teacher, sitting)
    return Exam(config, cases, sheets)


def _spec(config: ExamConfig, models: ModelsConfig, out: str) -> EngineSpec:
    return EngineSpec(
        models=models,
        roles=ROLES,
        ledger=config.ledger,
        budget=config.budget,
        allowance=allowance(config.budget, spent(out)),  # what teachers before, and earlier attempts, left
        account=(out, (0, 1)),
        prices=config.prices,
        world="toyworld",
    )


def _require(models: ModelsConfig) -> None:
    for role in ROLES:
        for model in models.of(role):
            registry.require(model, f"models.{role}")
