"""What happens while models are asked, as records of Python's own logging that carry an event's name and fields.

A record made here is also whole without whoever reads its fields: its message says everything in words, so that
Dataflow's log viewer shows it. What the process does with the records is not this room's business; a process that
writes an event log (`pipelines.event_log`) adds `bound()` to each, so that records of any library that are made while
a plan is worked on carry its id too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from annotators.interface import Request

item: ContextVar[Any] = ContextVar("item", default=None)
"""The plan that is worked on: set where its recipe starts, inherited by everything the recipe starts."""

asked: ContextVar[Request | None] = ContextVar("asked", default=None)
"""The request that is being made."""

SHORT_KEY = 16
"""Hex digits of a request's key that an event shows; enough to find it in a ledger."""

LEAST_SECRET = 8
"""Characters of a key worth hiding: local servers are given words such as `EMPTY`, which any text may hold."""

_secrets: set[str] = set()


def tell(log: logging.Logger, level: int, event: str, message: str, *args: object, **fields: Any) -> None:
    """Make a record of `event`; nothing is done where nobody listens.

    Args:
        message, args: the event in words, formatted with %; keys are blotted out whoever handles the record.
        fields: what the event log shows beside; those that are None or empty are left out.
    """
    if log.isEnabledFor(level):
        # Half a surrogate, which JSON may carry, would break whoever writes the record down.
        words = blot(message % args).encode("utf-8", "replace").decode()
        log.log(level, "%s", words, extra={"event": event, "fields": fields}, stacklevel=2)


def bound() -> dict[str, Any]:
    """The ids of this context: of the plan that is worked on, and of the request that is being made."""
    found: dict[str, Any] = {}
    plan, request = item.get(), asked.get()
    if plan is not None:
        found["sample"] = getattr(plan, "id", None)
        found["ordinal"] = getattr(plan, "ordinal", None)
        found["split"] = getattr(plan, "split", None)
    if request is not None:
        found.update(ids_of(request))
    return found


def ids_of(request: Request) -> dict[str, Any]:
    """Who asks which model, and the beginning of the request's key."""
    return {"role": request.role, "model": request.model, "request": request.key[:SHORT_KEY]}


def keep_secret(secrets: Iterable[str]) -> None:
    """From now on `blot` hides these values, whoever's record they stand in."""
    _secrets.update(secret for secret in secrets if len(secret) >= LEAST_SECRET)


def blot(text: str) -> str:
    """`text` without any key of this process's providers."""
    for secret in _secrets:
        if secret in text:
            text = text.replace(secret, "***")
    return text
