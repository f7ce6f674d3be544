"""`plumbline calibrate`: limits for the filters from what a run has stored, as a table and as YAML to paste."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from schemas.errors import InputError
from storage import paths

if TYPE_CHECKING:
    from filters.calibration import Calibrated, Criterion
    from shards.stored import StoredRow

FEW = 50
"""Below so many samples a limit says little."""
_GOOD = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def run(out: str, drop: float, by: list[str], per_task: bool, labels: str | None, criterion: str) -> None:
    """Print the limits: of all samples, and with `per_task` of each task.

    Raises:
        InputError: a column that is not there, a share that is none, labels that cannot be read or belong to nobody.
    """
    from filters.calibration import LIMITS
    from shards.stored import stored_rows

    if not 0 <= drop < 1:
        raise InputError(f"--drop {drop:g}: must be a share from 0 to below 1, such as 0.2")
    if criterion not in ("f1", "youden"):
        raise InputError(f"--criterion {criterion}: is neither f1 nor youden")
    if labels is None and criterion != "f1":
        raise InputError(f"--criterion {criterion}: measures agreement with labels; add --labels FILE")
    rows = stored_rows(out)
    there = [name for name in LIMITS if any(name in row.scores for row in rows)]
    columns = by or (["clip_text"] if "clip_text" in there else there[:1])
    for name in columns:
        if name not in there:
            known = ", ".join(there) or "none that has a limit"
            raise InputError(f"--by {name}: {out} has no such score; it has {known}")
    if not columns:
        raise InputError(f"{out}: has no score that a limit could be found for; configure filters first")
    judged = None if labels is None else read_labels(labels)
    groups = {"": rows}
    if per_task:
        tasks = sorted({row.task for row in rows})
        groups |= {task: [row for row in rows if row.task == task] for task in tasks}
    found: dict[str, list[Calibrated]] = {}
    for task, members in groups.items():
        if judged is None:
            found[task] = _dropping(task, members, columns, drop)
        else:
            found[task] = _labelled(task, members, columns, judged, labels or "", cast("Criterion", criterion))
    print(f"\n{_snippet(found)}")


def read_labels(path: str) -> dict[str, bool]:
    """By id, whether a sample is good, from JSONL or CSV with `id` and `good`.

    Raises:
        InputError: it cannot be read, or names file and line of a row that is none.
    """
    try:
        text = paths.read_bytes(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"--labels {path}: there is no such file; give JSONL or CSV of id and good") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--labels {path}: cannot be read ({type(error).__name__}); give JSONL or CSV") from error
    found: dict[str, bool] = {}
    for line, row in _rows(path, text):
        key, good = row.get("id"), _GOOD.get(str(row.get("good")).strip().lower())
        if not isinstance(key, str) or not key or good is None:
            raise InputError(f"{path}:{line}: needs `id`, and `good` as true or false (or 1 or 0)")
        found[key] = good
    return found


def _rows(path: str, text: str) -> Iterable[tuple[int, dict[str, Any]]]:
    if not text.lstrip().startswith("{"):
        yield from ((line, dict(row)) for line, row in enumerate(csv.DictReader(io.StringIO(text)), 2))
        return
    for line, one in enumerate(text.splitlines(), 1):
        if one.strip():
            try:
                row = json.loads(one)
            except ValueError as error:
                raise InputError(f"{path}:{line}: is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}:{line}: must be an object with id and good")
            yield line, row


def _dropping(task: str, rows: Sequence[StoredRow], columns: Sequence[str], drop: float) -> list[Calibrated]:
    from filters.calibration import by_drop

    scored = [row.scores for row in rows if any(name in row.scores for name in columns)]
    found, lost = by_drop(scored, columns, drop)
    share = f"{lost / len(scored):.1%}" if scored else "none"
    print(f"{task or 'all tasks'}: {len(scored):,} samples with scores, {lost:,} dropped ({share})")
    for one in found:
        print(f"  {one.column:<20} {_said(one.limit):>10}  drops {one.dropped:,} of {one.rows:,}{_few(one.rows)}")
    return found


def _labelled(
    task: str,
    rows: Sequence[StoredRow],
    columns: Sequence[str],
    labels: dict[str, bool],
    path: str,
    criterion: Criterion,
) -> list[Calibrated]:
    from filters.calibration import by_labels

    known = [row for row in rows if row.id in labels]
    if not known and not task:
        raise InputError(f"--labels {path}: none of its {len(labels):,} ids is a sample of this output")
    good = sum(labels[row.id] for row in known)
    print(f"{task or 'all tasks'}: {len(known):,} of {len(rows):,} samples have a label, {good:,} are good")
    if not task and good in (0, len(known)):
        kind = "good" if good else "bad"
        raise InputError(f"--labels {path}: all of them are {kind}, and a limit needs samples of both kinds")
    if good in (0, len(known)):
        print("  one kind of label alone: no limit can be found")
        return []
    found = []
    for name in columns:
        pairs = [(row.scores[name], labels[row.id]) for row in known if name in row.scores]
        if pairs:
            one = by_labels(pairs, name, criterion)
            found.append(one)
            print(
                f"  {name:<20} {_said(one.limit):>10}  {criterion} {one.measure:.3f}  precision {one.precision:.3f}  "
                f"recall {one.recall:.3f}  drops {one.dropped:,} of {one.rows:,}{_few(one.rows)}"
            )
    return found


def _said(limit: float | None) -> str:
    return "no limit" if limit is None else f"{limit:g}"


def _few(rows: int) -> str:
    return f"  (few: a limit of {rows} samples says little)" if rows < FEW else ""


def _snippet(found: dict[str, list[Calibrated]]) -> str:
    """The limits as the `filters:` of a configuration."""
    from filters.calibration import LIMITS

    def by_filter(limits: Sequence[Calibrated]) -> dict[str, dict[str, float | None]]:
        tree: dict[str, dict[str, float | None]] = {}
        for one in limits:
            if not one.rows:
                continue  # what nobody has is left to the limit of all
            name, key = LIMITS[one.column]
            tree.setdefault(name, {})[key] = None if one.limit is None else _outward(one)
        return tree

    def flow(keys: dict[str, float | None]) -> str:
        return (
            "{" + ", ".join(f"{key}: {'null' if value is None else f'{value:g}'}" for key, value in keys.items()) + "}"
        )

    every = by_filter(found[""])
    lines = ["filters:", *(f"  {name}: {flow(keys)}" for name, keys in every.items())]
    own = {task: tree for task, limits in found.items() if task and (tree := by_filter(limits)) and tree != every}
    if own:
        lines.append("  tasks:")
    for task, tree in own.items():
        lines.append(f"    {task}: {{{', '.join(f'{name}: {flow(keys)}' for name, keys in tree.items())}}}")
    return "\n".join(lines)


def _outward(one: Calibrated) -> float:
    """The limit as six digits print it, rounded so that the sample it was taken from still passes."""
    from filters.calibration import is_highest

    assert one.limit is not None
    limit = one.limit
    if float(f"{limit:g}") == limit or not limit:
        return limit
    step = 10.0 ** (math.floor(math.log10(abs(limit))) - 5)
    return (math.ceil if is_highest(one.column) else math.floor)(limit / step) * step
