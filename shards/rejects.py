"""Reading what was rejected, and reopening shards whose plans failed for want of an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from schemas.draft import Draft, ErrorClass
from schemas.errors import DamageError, InputError
from shards.manifest import read_run
from shards.names import MANIFEST, REJECTS, SHARDS, ShardName, committed
from shards.tables import read_rejects
from storage import paths

WORTH_ANOTHER_TRY = frozenset({str(ErrorClass.RETRYABLE), str(ErrorClass.REPAIRABLE)})
_OF_IMAGES = frozenset({"missing", "unreadable", "changed", "bomb"})
_SHOWN = (
    "id",
    "input_id",
    "ordinal",
    "split",
    "task",
    "stage",
    "reason",
    "class",
    "detail",
    "attempts",
    "usd",
    "last_answer",
)


def rejections(out: str) -> Iterator[tuple[ShardName, dict[str, Any]]]:
    """Every rejection of the finished shards of `out`, without drafts, in the order of the plan.

    Raises:
        InputError: `out` is not the folder of a run.
        DamageError: a rejects file cannot be read.
    """
    read_run(out)
    for name in _committed(out):
        uri = paths.join(out, name.rejects)
        try:
            _, rows = read_rejects(paths.read_bytes(uri), [*_SHOWN, "request_key"])
        except (OSError, ValueError) as error:
            raise DamageError(f"{uri}: {error}") from error
        for row in rows:
            yield name, row


def of_inputs(out: str) -> dict[str, int]:
    """Rows per problem that were rejected for what the user's list or its images are, which only the user can mend."""
    rows = (row for _, row in rejections(out))
    return dict(Counter(row["reason"] for row in rows if row["stage"] == "input" or _of_image(row)))


def _of_image(row: dict[str, Any]) -> bool:
    """Whether a row of a list was rejected later on, for an image that only decoding showed to be damaged."""
    return bool(row["input_id"]) and row["class"] == str(ErrorClass.FINAL) and row["reason"] in _OF_IMAGES


def worth_another_try(out: str) -> tuple[list[ShardName], list[str]]:
    """(shards that a provider's failure cost a sample, request keys whose stored answers were unusable).

    Final rejections and those of filters would come out the same, so shards that have only such are left out.
    """
    shards: dict[ShardName, None] = {}
    keys: dict[str, None] = {}
    for name, row in rejections(out):
        if row["class"] in WORTH_ANOTHER_TRY:
            shards[name] = None
        if row["class"] == str(ErrorClass.REPAIRABLE) and row["request_key"]:
            keys[row["request_key"]] = None
    return list(shards), list(keys)


def reopen(out: str, shards: list[ShardName]) -> None:
    """Take the finish marks of `shards`, and the manifest's, so that a rerun makes them anew."""
    paths.remove(paths.join(out, MANIFEST))
    for name in shards:
        paths.remove(paths.join(out, name.index_file))


def _committed(out: str) -> list[ShardName]:
    found = committed(paths.list_files(paths.join(out, SHARDS)))
    if not found:
        raise InputError(f"{paths.join(out, REJECTS)}: no shard is finished yet")
    return found


def rejected_drafts(out: str) -> Iterator[Draft]:
    """The draft of every rejection that has one: those of filters.

    Raises:
        DamageError: a rejects file cannot be read.
    """
    for name in _committed(out):
        uri = paths.join(out, name.rejects)
        try:
            _, rows = read_rejects(paths.read_bytes(uri), ["draft"])
            yield from (Draft.model_validate_json(row["draft"]) for row in rows if row["draft"])
        except (OSError, ValueError) as error:
            raise DamageError(f"{uri}: {error}") from error
