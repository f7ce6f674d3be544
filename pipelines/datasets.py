"""Which file makes which dataset. Everything else asks here, so a new dataset is one file and one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipelines.spec import RunSpec, Session


def open_session(spec: RunSpec) -> Session:
    """The dataset's session in this process."""
    from pipelines import realign_session

    return {"realign": realign_session.RealignSession}[spec.config.dataset](spec)


def graph_of(dataset: str) -> Callable[..., Any]:
    """The dataset's Beam graph: (pipeline, spec, shards) -> committed shards."""
    from pipelines import realign

    return {"realign": realign.graph}[dataset]
