"""docs/scale.md: its words are written by hand, its tables stand between markers and are written from here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from benchmarks.at_scale import facts, tables
from benchmarks.at_scale.runs import ROOT, Demand
from benchmarks.results import Row, table
from benchmarks.scale.measured import Measured

PAGE = ROOT / "docs" / "scale.md"
_MARKED = re.compile(r"(<!-- table: (?P<name>[a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rendered(text: str, demands: Sequence[Demand], measured: Measured) -> str:
    """The page with each of its tables computed anew.

    Raises:
        KeyError: a marker names a table that there is none of.
    """
    made: Mapping[str, Callable[[], list[Row]]] = {
        "totals": lambda: tables.totals(demands),
        "asked": lambda: tables.asked(demands),
        "in time": lambda: tables.in_time(demands),
        "workers": lambda: tables.workers(demands, measured),
        "stored": lambda: tables.stored(demands),
        "ledger": lambda: tables.ledger(demands),
        "output": lambda: tables.output(demands),
        "prices and limits": lambda: tables.known([facts.PRICE, facts.LIMIT]),
        "measured": lambda: tables.known([facts.MEASURED]) + own_work(measured),
        "assumed": lambda: tables.known([facts.ASSUMED, facts.COUNTED]),
    }

    def filled(found: re.Match[str]) -> str:
        lines = table(made[found["name"]]())
        return found[1] + "\n" + "\n".join(lines) + "\n\n" + found[3]

    return _MARKED.sub(filled, text)


def own_work(measured: Measured) -> list[Row]:
    """The pipeline's own time of a sample, as the largest run of `benchmarks.scale` has it."""
    largest = measured.largest
    what = (
        f"CPU of a sample beyond starting, at {largest.samples:,} samples: plans, Beam, ledger, shards; rules at 64 px"
    )
    value = f"{measured.own_ms(largest):.1f} ms"
    return [{"what": what, "value": value, "source": "benchmarks/RESULTS.md, `Scale`", "read": measured.date}]
