"""The trainer's example of docs/reward-server.md, run as it stands there against the server that the page starts."""

from __future__ import annotations

import re
from pathlib import Path

from evaluation.reward_server.serving import load
from tests.servers.reward_server import serving

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reward-server.md"


def test_the_trainers_example_holds() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (command,) = re.findall(r"\$ plumbline serve rewards (\S+) (.*)", text)
    sets = [value.strip("'") for value in re.findall(r"--set (\S+='[^']*'|\S+)", command[1])]
    sets = [value.replace("='", "=") for value in sets]
    config = load(str(ROOT / command[0]), [*sets, "port=0"]).model_dump(exclude_unset=True)
    with serving(**config) as server:
        assert block.count("http://127.0.0.1:8100") == 1 and block.count("assert") >= 5
        exec(compile(block.replace("http://127.0.0.1:8100", server.url), str(PAGE), "exec"), {})
