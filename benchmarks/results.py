"""benchmarks/RESULTS.md: one section per benchmark, replaced in place when it is run again."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
Row = dict[str, str | int | float]
_HEAD = (
    "# Results\n\nEach section was written by its own command; ratios compare contestants of one and the same run.\n"
)


def record(title: str, command: str, rows: Sequence[Row], notes: Sequence[str] = (), path: Path = RESULTS) -> str:
    """Write (or replace) the section `title` with machine, date, command and a table of `rows`; returns its text.

    Args:
        rows: all with the same keys, which become the table's columns.
        notes: lines below the table, such as the goal and whether it was met.
    """
    lines = [f"## {title}", "", f"{machine()}; {datetime.date.today().isoformat()}; `{command}`", "", *table(rows)]
    section = "\n".join([*lines, *(["", *(f"- {note}" for note in notes)] if notes else [])]) + "\n"
    text = path.read_text(encoding="utf-8") if path.exists() else _HEAD
    before = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    if before:
        text = text[: before.start()] + section + "\n" + text[before.end() :]
    else:
        text = text.rstrip("\n") + "\n\n" + section
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    return section


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of a markdown table."""
    columns = list(rows[0])
    body = ["| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows]
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns), *body]


def machine() -> str:
    """Processor, cores, memory and Python, in a few words; no host name."""
    names = re.findall(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    kilobytes = re.search(r"^MemTotal:\s*(\d+)", _read("/proc/meminfo"), re.MULTILINE)
    memory = f", {int(kilobytes[1]) / 2**20:.0f} GiB" if kilobytes else ""
    processor = names[0].strip() if names else platform.machine()
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{processor}, {os.cpu_count()} cores{memory}, Python {platform.python_version()}{load}"


def _cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else value


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
