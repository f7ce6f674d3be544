"""`plumbline verify`, `merge` and `rejects`: what is done with an output folder."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from schemas.counting import many
from schemas.errors import DamageError, InputError, StoppedError
from storage import paths


def run_verify(out: str) -> None:
    """Check everything; each problem is a line, and any problem is exit 4. A run not finished is exit 3."""
    from shards.manifest import read_manifest
    from shards.names import MANIFEST, RUN
    from shards.verify import verify

    begun, closed = (paths.exists(paths.join(out, name)) for name in (RUN, MANIFEST))
    if not begun and not closed:
        raise InputError(f"{out}: is not the folder of a run: it has neither {RUN} nor {MANIFEST}")
    problems = verify(out)
    if not closed:
        raise StoppedError(problems[0])
    for problem in problems:
        print(problem)
    if problems:
        found = f"{many(len(problems), 'problem')} found"
        mend = "delete the files of each shard named above and run the command that made them again"
        raise DamageError(f"{out}: {found}; {mend}")
    manifest = read_manifest(out)
    assert manifest is not None
    counts = manifest["counts"]
    sums = f"{counts['planned']:,} planned = {counts['kept']:,} kept + {counts['rejected']:,} rejected"
    print(f"{out}: sound; {many(len(manifest['files']), 'file')}, {sums}")


def run_merge(folders: list[str], out: str) -> None:
    """Join slices; the result is verified before the command says that it is whole."""
    from annotators.spending import carry
    from cli.making import say_result
    from shards.merge import merge

    manifest = merge(folders, out)
    carry(folders, out)
    say_result(manifest, out, already=False)
    run_verify(out)


def run_rejects(out: str, retry: bool, ledger: str | None, limit: int) -> None:
    """Counts by stage and reason, then examples; or, with `retry`, reopen what another attempt may mend."""
    from collections import Counter

    from shards.rejects import rejections

    if retry:
        return _reopen(out, ledger)
    rows = [row for _, row in rejections(out)]
    print(f"{out}: {len(rows):,} rejected")
    counts = Counter((row["stage"], row["reason"], row["class"]) for row in rows)
    for (stage, reason, kind), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        print(f"  {count:>8,}  {stage:<9} {reason:<14} {kind}")
    for alike in _spread(_alike(rows), limit):
        row = alike[0]
        print(f"\n{row['id']}  {row['split']} {row['ordinal']}  {_tasks(alike)}  {row['stage']}: {row['reason']}")
        for name, text in (("input", row["input_id"]), ("detail", row["detail"]), ("last_answer", row["last_answer"])):
            if text:
                print(f"  {name}: {one_line(text)}")
    return None


def _alike(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rows of one plan that say the same, together: each dimension of a pair whose image is missing."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        said = tuple(row[name] for name in ("split", "ordinal", "input_id", "stage", "reason", "detail", "last_answer"))
        groups.setdefault(said, []).append(row)
    return list(groups.values())


def _tasks(alike: list[dict[str, Any]]) -> str:
    tasks = ", ".join(sorted({str(row["task"]) for row in alike}))
    return tasks if len(alike) == 1 else f"{len(alike)} rows ({tasks})"


def one_line(text: str, width: int = 200) -> str:
    """The text on one line, cut to `width` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 3] + "..."


def _spread(groups: list[list[dict[str, Any]]], limit: int) -> list[list[dict[str, Any]]]:
    """At most `limit` groups, the reasons in turn, so that a common one does not hide the others."""
    by_reason: dict[tuple[str, str], list[list[dict[str, Any]]]] = {}
    for group in groups:
        by_reason.setdefault((group[0]["stage"], group[0]["reason"]), []).append(group)
    in_turn = [group for rank in zip_longest(*by_reason.values()) for group in rank if group is not None]
    return in_turn[:limit]


def _reopen(out: str, ledger: str | None) -> None:
    """Forget unusable answers first, then take the finish marks: an error in between loses neither."""
    from annotators.ledger import LedgerError, open_ledger
    from shards.rejects import of_inputs, reopen, worth_another_try

    shards, keys = worth_another_try(out)
    if problems := of_inputs(out):
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(problems.items()))
        print(
            f"{out}: {sum(problems.values()):,} rows were rejected for what they are in the list ({reasons}); mend the "
            "list or its images and run the command with another --out: the ledger answers what was asked already"
        )
    if not shards:
        print(f"{out}: nothing to retry; every rejection is final, or a filter's")
        return
    opened = open_ledger(ledger, create=False)
    try:
        forgotten = opened.forget(keys)
    except LedgerError as error:
        raise StoppedError(f"{error}; nothing was reopened") from error
    finally:
        opened.close()
    if keys and not forgotten:
        raise InputError(
            f"--ledger: none of the {len(keys):,} unusable answers is in {opened.location}; name the run's own ledger "
            "(nothing was reopened)"
        )
    reopen(out, shards)
    print(f"{out}: {many(len(shards), 'shard')} reopened; run the command that made them again")
    if forgotten < len(keys):
        print(
            f"note: {len(keys) - forgotten:,} of {len(keys):,} unusable answers are not in the ledger {opened.location}"
        )
