"""Which file makes which dataset. Everything else asks here, so a new dataset is its files and a line in each table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from pipelines.config import RunConfig
from pipelines.spec import RunSpec, Session
from pipelines.work import Work


def open_work(config: RunConfig, where: str = "", input: str = "") -> Work:
    """The dataset's configuration with its input opened.

    Raises:
        InputError: whatever of it cannot be planned.
    """
    from pipelines.firm_work import FirmEditWork, FirmGenWork
    from pipelines.realign_work import RealignWork

    works: dict[str, Callable[..., Any]] = {
        "realign": RealignWork,
        "firm-edit": FirmEditWork,
        "firm-gen": FirmGenWork,
    }
    return cast(Work, works[config.dataset](config, where, input))


def open_session(spec: RunSpec) -> Session:
    """The dataset's session in this process."""
    from pipelines.firm_session import FirmSession
    from pipelines.realign_session import RealignSession

    sessions: dict[str, Callable[..., Any]] = {
        "realign": RealignSession,
        "firm-edit": FirmSession,
        "firm-gen": FirmSession,
    }
    return cast(Session, sessions[spec.config.dataset](spec))


def graph_of(dataset: str) -> Callable[..., Any]:
    """The dataset's Beam graph: (pipeline, spec, shards) -> committed shards."""
    from pipelines import firm_edit, firm_gen, realign

    return {"realign": realign.graph, "firm-edit": firm_edit.graph, "firm-gen": firm_gen.graph}[dataset]


def steps_of(spec: RunSpec) -> list[Any]:
    """The steps of the dataset's figure from plan to outcome (`pipelines.transforms.Step`)."""
    from pipelines import firm_edit, firm_gen, realign

    return {"realign": realign.steps, "firm-edit": firm_edit.steps, "firm-gen": firm_gen.steps}[spec.config.dataset](
        spec
    )
