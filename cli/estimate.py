"""`plumbline estimate`: what a run will ask, cost and take, as a table with a range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pipelines import config as configs
from schemas.errors import InputError

if TYPE_CHECKING:
    from pipelines.assumed import Span
    from pipelines.estimate import Estimate, Row

_STEPS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k"))


def run(config: str, settings: Sequence[str], live: int, from_run: str | None) -> None:
    """Print the estimate; nothing is asked of a model unless `live` samples are to be."""
    from pipelines.estimate import Sampled, estimate

    if live and from_run is not None:
        raise InputError("--live and --from both say what is measured; give one of them")
    loaded = configs.load(config, list(settings))
    sampled = Sampled(loaded, config)
    if from_run is not None:
        from pipelines.measured import of_run

        found = estimate(sampled, *of_run(from_run, sampled, config))
    elif live:
        from pipelines.measured import Live

        asked = Live(sampled, live)
        count = min(live, len(sampled.plans))
        note = f"measured by {count} samples: {asked.paid.calls:,} calls paid now, ${asked.paid.usd:,.2f}"
        note += f"; {asked.hits:,} answers from the ledger" if asked.hits else ""
        found = estimate(sampled, asked.ratios, [note])
    else:
        found = estimate(sampled, None, ["by the token rules and assumptions of docs/cost.md; nothing was asked"])
    show(found, config, loaded.budget.usd)


def show(found: Estimate, config: str, budget: float | None) -> None:
    """The tables and the notes; each cell is what is likely, and from where to where it may lie."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a file has room for whole numbers
    table = Table(title=f"{config}: {found.samples:,} samples", title_justify="left", show_footer=True)
    total = found.total("usd")
    sums = [found.total(name) for name in ("calls", "tokens_in", "tokens_out")]
    footers = ["in all", "", *(_cell(span, _count) for span in sums), _whole(found.rows, total)]
    for name, footer in zip(("role", "model", "calls", "tokens in", "tokens out", "dollars"), footers, strict=True):
        table.add_column(name, footer, justify="left" if name in ("role", "model") else "right", overflow="fold")
    for row in found.rows:
        model = row.config.model + (" (batch)" if row.config.mode == "batch" else "")
        usd = "?" if row.usd is None else _cell(row.usd, _dollars)
        counted = [_cell(span, _count) for span in (row.calls, row.tokens_in, row.tokens_out)]
        table.add_row(row.role, model, *counted, usd)
    console.print(table)
    for pace in found.paces:
        console.print(
            f"{pace.model}: {_plain(pace.hours, _hours)} at its limits (bound by {pace.bound})", highlight=False
        )
    if len(found.paces) > 1:
        console.print(f"together: {_plain(found.hours, _hours)}; the slowest model sets the pace", highlight=False)
    for note in (*found.notes, *_on_budget(total, budget)):
        console.print(f"note: {note}", highlight=False, markup=False)


def _on_budget(usd: Span, budget: float | None) -> list[str]:
    if budget is None or usd.high <= budget:
        return []
    word = "will not" if usd.low > budget else "is not likely to" if usd.expected > budget else "may not"
    return [f"budget.usd is {budget:g}: it {word} last to the end"]


def _whole(rows: Sequence[Row], usd: Span) -> str:
    """The dollars of all rows; of those whose price is known where some are not."""
    known = [row.usd is not None for row in rows]
    return _cell(usd, _dollars) if all(known) else f"{_cell(usd, _dollars)} + ?" if any(known) else "?"


def _cell(span: Span, shown: Callable[[float], str]) -> str:
    texts = [shown(value) for value in (span.expected, span.low, span.high)]
    return texts[0] if texts[1] == texts[2] else f"{texts[0]}\n[dim]{texts[1]}–{texts[2]}[/dim]"


def _plain(span: Span, shown: Callable[[float], str]) -> str:
    return f"{shown(span.expected)} ({shown(span.low)} to {shown(span.high)})"


def _count(value: float) -> str:
    for step, letter in _STEPS:
        if value >= step:
            by = 1e3 if letter == "k" else step
            return f"{value / by:,.3g}{letter}" if value < 1e3 * by else f"{value / by:,.0f}{letter}"
    return f"{value:,.0f}"


def _dollars(value: float) -> str:
    return f"${value:,.0f}" if value >= 1000 else f"${value:,.2f}"


def _hours(value: Any) -> str:
    return f"{value:,.0f} h" if value >= 10 else f"{value:.1f} h" if value >= 1 else f"{value * 60:.1f} min"
