"""docs/observing.md lists every event that is told, and the pages name no event and no section that there is not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("annotators", "pipelines", "cli")
OF_ANY_LIBRARY = {"log"}


def told() -> set[str]:
    """The names that are given to `events.tell`, and to the command's own `_tell`."""
    found = set()
    for file in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)):
            name, place = ast.unparse(call.func), {"events.tell": 2, "self._tell": 0}
            if name in place and len(call.args) > place[name]:
                given = call.args[place[name]]
                if isinstance(given, ast.Constant):
                    found.add(str(given.value))
    return found


def listed() -> set[str]:
    """The names in the first column of the table of events."""
    page = (ROOT / "docs" / "observing.md").read_text("utf-8")
    table = page.partition("| event | level | when |")[2].partition("\n\n")[0]
    return {name for row in table.splitlines() for name in re.findall(r"`([a-z_]+)`", row.partition(" | ")[0])}


def test_every_event_is_listed_and_every_listed_event_is_told() -> None:
    one_of_two = {"retry", "throttled"}  # chosen where the call failed
    assert told() - listed() == set()
    assert listed() - told() - one_of_two - OF_ANY_LIBRARY == set()
    assert {"run_started", "run_finished", "stopped", "pause", "recovered", "wave_begun", "shard_committed"} <= told()


def test_the_runbook_names_events_and_entries_that_there_are() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    named = set(re.findall(r'"event":"([a-z_]+)"', page)) | set(re.findall(r'\.event == "([a-z_]+)"', page))
    assert named and named <= listed()
    heads = {
        re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^## (.+)$", page, re.M)
    }
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", page)) <= heads
    for linked in re.findall(r"\]\(([a-z-]+\.md)\)", page):
        assert (ROOT / "docs" / linked).exists(), linked
