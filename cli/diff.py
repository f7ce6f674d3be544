"""`plumbline diff`: two outputs side by side, as tables on a terminal and as plain columns elsewhere."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cli.outputs import one_line
from schemas.iccot import ICCoT

if TYPE_CHECKING:
    from shards.columns import Output
    from shards.diff import Difference, Spread

Row = Sequence[str]
_WIDTH = 160
_NONE = "-"
"""Shown where there is no text or number."""


def run(out_a: str, out_b: str, samples: int) -> None:
    """Print what differs between two output folders, and `samples` plans that ended differently."""
    from shards.diff import compare

    found = compare(out_a, out_b)
    for name, output in (("A", found.a), ("B", found.b)):
        state = f"; unfinished: {output.missing}" if output.missing else ""
        print(f"{name}  {output.out}: {_sums(output)}{state}")
    heads = ("", "A", "B")
    for title, changes in (("run.json", found.settings), ("prompts", found.prompts)):
        show(title, [heads, *((c.key, _value(c.a), _value(c.b)) for c in changes)], texts=True)
    for title, rows in _numbers(found):
        show(title, rows)
    _say_plans(found)
    if samples:
        _show_samples(found, samples)


def show(title: str, rows: list[Row], texts: bool = False) -> None:
    """A table whose first row is its heading; nothing where there is no other row.

    Args:
        texts: what stands in it is read, not compared digit by digit.
    """
    if len(rows) < 2:
        return
    print()
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(title), title_justify="left", header_style="bold", show_edge=False)
        for i, heading in enumerate(rows[0]):
            table.add_column(heading, justify="left" if texts or not i else "right", overflow="fold")
        for row in rows[1:]:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    print(title)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if texts or not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print(f"  {'  '.join(cells)}".rstrip())


def _numbers(found: Difference) -> Iterator[tuple[str, list[Row]]]:
    heads = ("", "A", "B")
    counts = {name: tuple(_sum(o, name) for o in (found.a, found.b)) for name in ("planned", "kept", "rejected")}
    yield "counts", [(*heads, "B - A"), *_counted(counts)]
    yield "rejected by reason", [(*heads, "B - A"), *_counted(found.reasons)]
    kept = [
        (task, _share(a.kept, a.planned), _share(b.kept, b.planned), _points(a, b))
        for task, (a, b) in found.tasks.items()
    ]
    yield "kept share by task", [(*heads, "B - A"), *kept]
    heading = ("", "A mean", "10 %", "50 %", "90 %", "B mean", "10 %", "50 %", "90 %", "B - A")
    yield (
        "scores of what was kept: mean and quantiles",
        [heading, *(_scored(name, a, b) for name, (a, b) in found.scores.items())],
    )
    usage = [
        (f"{model}: {name.replace('_', ' ')}", *(_number(getattr(used, name)) for used in pair))
        for model, pair in found.usage.items()
        for name in ("calls", "ledger_hits", "tokens_in", "tokens_out", "usd")
        if any(getattr(used, name) for used in pair)
    ]
    yield "usage", [heads, *usage]


def _say_plans(found: Difference) -> None:
    common, only_a, only_b = found.plans
    if not common:
        print("\nThere is no common plan: the two were drawn with another seed, pool or tasks. Only sums compare.")
        return
    pair, both = found.pair, len(found.pair.both)
    print(f"\nplans: {common:,} in both, {only_a:,} only in A, {only_b:,} only in B")
    print(
        f"  of those in both: {both:,} kept in both, {len(pair.only_a):,} only in A, {len(pair.only_b):,} only in B, "
        f"{len(pair.neither):,} in neither"
    )
    if not both:
        return
    differing = both - found.alike
    print(f"  of those kept in both: {found.alike:,} are alike to the byte, {differing:,} differ")
    if not differing:
        return
    kinds = Counter(kind for one in found.kinds.values() for kind in one)
    of = f" of {len(found.read):,} read" if len(found.read) < differing else ""
    print(f"    {found.counts['instruction']:>8,}  another instruction")
    print(f"    {kinds['reasonings']:>8,}  other reasonings{of}")
    if found.counts["target"]:
        print(f"    {found.counts['target']:>8,}  another target")
    print(f"    {found.counts['scores']:>8,}  other scores")
    if kinds["record"]:
        print(f"    {kinds['record']:>8,}  nothing but the rest of their JSON (provenance and the like){of}")


class _View(NamedTuple):
    """One side of a plan, as shown; `texts` are pairs of what `named` names."""

    outcome: str
    instruction: str
    texts: list[tuple[str, str]]
    scores: Mapping[str, float]
    named: tuple[str, str] = ("out_caption", "reasoning")


def _show_samples(found: Difference, count: int) -> None:
    from shards.diff import spread_out

    keys = spread_out(found, count)
    a, b = _views(found.a, keys), _views(found.b, keys)
    for key in keys:
        task = (found.a.kept.get(key) or found.a.rejected[key]).task
        kinds = " and ".join(found.kinds.get(key, ())) or "kept in one only"
        title, rows = f"{key}  {task}: {kinds}", list(_compared(a[key], b[key]))
        if sys.stdout.isatty():
            shown = [(name, one, "the same" if one == other else other) for name, one, other in rows]
            show(title, [("", "A", "B"), *shown], texts=True)
        else:
            _say_below(title, rows)


def _say_below(title: str, rows: list[tuple[str, str, str]]) -> None:
    """Long texts side by side are unreadable without a terminal to fold them: A above B, once where they are alike."""
    print(f"\n{title}")
    for name, a, b in rows:
        if a == b:
            print(f"  {name:<12} =  {a}")
            continue
        print(f"  {name:<12} A  {a}")
        print(f"  {'':<12} B  {b}")


def _compared(a: _View, b: _View) -> Iterator[tuple[str, str, str]]:
    """(name, A, B) for what is shown of a plan; of several reasonings the first that only one side has."""
    yield "outcome", a.outcome, b.outcome
    yield "instruction", a.instruction, b.instruction
    thought, other_thought = _only_in(a.texts, b.texts), _only_in(b.texts, a.texts)
    # Where the captions are alike, the difference is in the relations.
    part = 1 if thought[0] == other_thought[0] and thought != other_thought else 0
    named = a.named if a.texts else b.named
    yield named[part], thought[part], other_thought[part]
    scores = [
        (name, _number(a.scores.get(name, math.nan)), _number(b.scores.get(name, math.nan)))
        for name in sorted(a.scores.keys() | b.scores.keys())
    ]
    differing = [row for row in scores if row[1] != row[2] or (row[0] == "clip_text" and row[1] != _NONE)]
    if differing:
        one, other = (", ".join(f"{row[0]} {row[side]}" for row in differing) for side in (1, 2))
        yield "scores", one, other


def _only_in(texts: list[tuple[str, str]], others: list[tuple[str, str]]) -> tuple[str, str]:
    """The first text that the other side lacks; `_NONE` where only the other has one; the first where none differs."""
    own = [text for text in texts if text not in others]
    if own or len(texts) == len(others):
        return (own or texts or [(_NONE, _NONE)])[0]
    return _NONE, _NONE


def _views(output: Output, keys: list[str]) -> dict[str, _View]:
    from shards.columns import read_records, read_rejections

    records = read_records(output, [key for key in keys if key in output.kept])
    rows = read_rejections(output, [key for key in keys if key in output.rejected])
    kept = {key: _kept_view(record) for key, record in records.items()}
    return kept | {key: _rejected_view(row) for key, row in rows.items()}


def _label_view(outcome: str, record: Mapping[str, Any]) -> _View:
    """A row of critic data."""
    texts = [(str(record["reasoning"]), str(record["student_answer"]))]
    asked = str(record.get("instruction") or record.get("prompt", ""))
    return _View(outcome, asked, texts, {"score": float(record["score"])}, ("reasoning", "answer"))


def _kept_view(record: Mapping[str, Any]) -> _View:
    if "student_answer" in record:
        return _label_view("kept", record)
    texts = [(str(r.get("out_caption", "")), str(r.get("text", ""))) for r in record.get("reasonings") or ()]
    scores = {name: math.nan if score == -1.0 else score for name, score in (record.get("scores") or {}).items()}
    return _View("kept", str(record.get("instruction", "")), texts, scores)


def _rejected_view(row: Mapping[str, Any]) -> _View:
    draft = json.loads(row["draft"]) if row["draft"] else {}
    outcome = one_line(f"rejected, {row['stage']}: {row['reason']}" + (f" ({row['detail']})" if row["detail"] else ""))
    if "student_answer" in draft:
        return _label_view(outcome, draft)
    thoughts = [ICCoT.model_validate(one["iccot"]) for one in draft.get("reasonings", ())]
    texts = [(one.out_caption, str(one)) for one in thoughts]
    return _View(outcome, row["instruction"] or "", texts, json.loads(row["scores"] or "{}"))


def _sums(output: Output) -> str:
    planned, kept, rejected = (_sum(output, name) for name in ("planned", "kept", "rejected"))
    return f"{planned:,} planned = {kept:,} kept + {rejected:,} rejected"


def _sum(output: Output, name: str) -> int:
    return sum(getattr(footer, name) for footer in output.footers)


def _counted(counts: Mapping[str, Sequence[int]]) -> Iterable[Row]:
    ordered = sorted(counts.items(), key=lambda item: -max(item[1]))
    return [(name, f"{a:,}", f"{b:,}", f"{b - a:+,}" if a != b else "") for name, (a, b) in ordered]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} % of {whole:,}" if whole else "none planned"


def _points(a: Any, b: Any) -> str:
    if not a.planned or not b.planned:
        return ""
    points = 100 * (b.kept / b.planned - a.kept / a.planned)
    return f"{points:+.1f}" if round(points, 1) else ""


def _scored(name: str, a: Spread | None, b: Spread | None) -> Row:
    cells = [_number(value) for one in (a, b) for value in (one[1:] if one else [math.nan] * 4)]
    apart = b.mean - a.mean if a and b else math.nan
    return (
        name,
        *cells,
        "" if math.isnan(apart) or not round(apart, 4) else f"{'+' if apart > 0 else ''}{_number(apart)}",
    )


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return _NONE if math.isnan(value) else f"{value:,.4f}" if abs(value) < 100 else f"{value:,.1f}"


def _value(value: object) -> str:
    """A value of run.json on one line; digests are told apart by their beginnings."""
    if value is None:
        return "not set"
    if isinstance(value, str):
        is_digest = len(value) == 64 and set(value) <= set("0123456789abcdef")
        return value[:12] if is_digest else one_line(value, _WIDTH // 2)
    return one_line(json.dumps(value, sort_keys=True, ensure_ascii=False), _WIDTH // 2)
