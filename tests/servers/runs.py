"""Small runs of a dataset command within this process, and what came of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cli.dataset import run as make_dataset
from cli.watching import UNWATCHED, Watching
from schemas.errors import PlumblineError
from tests.servers.running import PracticeServer

ROOT = Path(__file__).resolve().parents[2]
TOYS = {"realign": "toy.yaml", "firm-edit": "toy-edit.yaml", "firm-gen": "toy-gen.yaml"}
DRAWN = ("samples=12", "output.shard_samples=4")
REALIGN = ("reasonings=1", "filters={similarity: {}}", "splits={train: 0.7, test: 0.3}")


def drawn(dataset: str, ledger: Path, *more: str) -> list[str]:
    """The settings of a small run of the drawn world: 12 plans, 4 to a shard; Re-Align's in two splits."""
    own = REALIGN if dataset == "realign" else ()
    return [*DRAWN, *own, f"ledger={ledger}", *more]


def paid(server: PracticeServer, ledger: Path, *more: str) -> list[str]:
    """The settings of a run whose models are the practice server's: 12 plans, 3 calls for each."""
    model = f"provider: openai, base_url: '{server.openai}', in_flight: 4"
    models = ", ".join(f"{role}: {{{model}, model: m-{role}}}" for role in ("writer", "reasoner", "painter"))
    return [*drawn("realign", ledger, "filters={}"), f"models={{{models}}}", *more]


def attempt(
    out: Path,
    settings: Sequence[str],
    beam: Sequence[str] = (),
    *,
    dataset: str = "realign",
    part: str = "1/1",
    workers: int = 1,
    watching: Watching = UNWATCHED,
) -> tuple[int, str]:
    """One attempt of the command in this process: its exit code, and the line it would print."""
    config = str(ROOT / "configs" / TOYS[dataset])
    try:
        make_dataset(dataset, config, str(out), list(settings), workers, part, "", list(beam), watching)
    except PlumblineError as error:
        return error.exit_code, str(error)
    return 0, ""


def digests(out: Path) -> dict[str, str]:
    """sha256 of run.json and of every tar and index of an output; what usage it had may differ."""
    files = [out / "run.json", *sorted(f for f in (out / "shards").iterdir() if not f.name.startswith("."))]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
