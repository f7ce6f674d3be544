"""The runs that the page tells of, and what each asks of its models: by `plumbline estimate`, on drawn inputs.

The estimate is made of a few thousand plans and multiplied: a plan never depends on how many there are.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.at_scale import facts
from pipelines import config as configs
from pipelines.assumed import Span, prose
from pipelines.estimate import Estimate, Sampled, estimate

ROOT = Path(__file__).parents[2]
PLANNED = 400
"""Plans that an estimate is made of; `SAMPLED` of them are run through the recipe."""
SAMPLED = 60
_ROWS = 300
_IMAGES = 12


@dataclass(frozen=True)
class Run:
    """One row of the page's tables.

    Attributes:
        plans, rows: planned, and what is kept of them.
        days: in how many it is to be through, for the tables that ask what that needs.
        settings: of `--set`, beside the input.
    """

    name: str
    config: str
    plans: float
    rows: float
    days: float
    settings: tuple[str, ...] = ()


_PLANS_OF_MANY = facts.HUNDRED_MILLION.value / facts.KEPT.value
RUNS = (
    Run("Re-Align-410K", "realign-410k", facts.CANDIDATES.value, 410_000, 3),
    Run("Re-Align-410K, text by batch", "realign-410k", facts.CANDIDATES.value, 410_000, 3,
        ("models.writer.mode=batch", "models.reasoner.mode=batch")),
    Run("Re-Align-410K on own servers", "realign-qwen", facts.CANDIDATES.value, 410_000, 3),
    Run("FIRM-Edit-370K", "firm-edit-370k", facts.EDIT_PAIRS.value, facts.EDIT_ROWS.value, 2),
    Run("FIRM-Gen-293K on own servers", "firm-gen-293k", facts.GEN_PROMPTS.value, facts.GEN_ROWS.value, 2),
    Run("100 million samples", "realign-410k", _PLANS_OF_MANY, facts.HUNDRED_MILLION.value, 30),
    Run("100 million on own servers", "realign-qwen", _PLANS_OF_MANY, facts.HUNDRED_MILLION.value, 30),
)  # fmt: skip


@dataclass(frozen=True)
class Lane:
    """What one model is asked over a whole run, all its roles together.

    Attributes:
        usd: None where no price is known; 0 on servers of one's own.
        seconds: of an answer, the mean over the roles.
        hours: at the limits of the configuration; None for a batch, which promises none.
        bound: which limit that is.
    """

    model: str
    roles: tuple[str, ...]
    calls: Span
    tokens_in: Span
    tokens_out: Span
    usd: Span | None
    seconds: Span
    hours: Span | None
    bound: str
    images: bool
    batch: bool


@dataclass(frozen=True)
class Demand:
    """A run and what it asks.

    Attributes:
        references: per plan, the mean.
    """

    run: Run
    lanes: tuple[Lane, ...]
    references: float

    @property
    def usd(self) -> Span:
        return sum((lane.usd for lane in self.lanes if lane.usd is not None), Span.of(0))

    @property
    def calls(self) -> Span:
        return sum((lane.calls for lane in self.lanes), Span.of(0))

    @property
    def painted(self) -> float:
        """Images that models make."""
        return sum(lane.calls.expected for lane in self.lanes if lane.images)


def demands(runs: tuple[Run, ...] = RUNS) -> list[Demand]:
    """What each run asks, each configuration looked at once."""
    known: dict[tuple[str, tuple[str, ...]], tuple[Estimate, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        inputs = _inputs(Path(folder))
        for run in runs:
            key = (run.config, run.settings)
            if key not in known:
                known[key] = _estimated(run, inputs)
    return [_demand(run, *known[run.config, run.settings]) for run in runs]


def _estimated(run: Run, inputs: dict[str, str]) -> tuple[Estimate, float]:
    path = str(ROOT / "configs" / f"{run.config}.yaml")
    config = configs.load(path, [*_input_of(run.config, inputs), *run.settings])
    sampled = Sampled(config, path, SAMPLED)
    shown = [len(getattr(plan, "references", ())) for plan in sampled.plans]
    weighed = sum(n * weight for n, weight in zip(shown, sampled.weights, strict=True)) / sum(sampled.weights)
    return estimate(sampled), weighed


def _demand(run: Run, found: Estimate, references: float) -> Demand:
    times = run.plans / found.samples
    paces = {pace.model: pace for pace in found.paces}
    lanes = []
    for model in dict.fromkeys(row.config.model for row in found.rows):
        rows = [row for row in found.rows if row.config.model == model]
        calls = sum((row.calls for row in rows), Span.of(0))
        weight = [row.calls.expected / calls.expected for row in rows]
        pace = paces.get(model)
        lanes.append(
            Lane(
                model=model,
                roles=tuple(dict.fromkeys(row.role for row in rows)),
                calls=calls * times,
                tokens_in=found.of_model(model, "tokens_in") * times,
                tokens_out=found.of_model(model, "tokens_out") * times,
                usd=None if any(row.usd is None for row in rows) else found.of_model(model, "usd") * times,
                seconds=sum((row.seconds * w for row, w in zip(rows, weight, strict=True)), Span.of(0)),
                hours=pace.hours * times if pace else None,
                bound=pace.bound if pace else "",
                images=rows[0].role == "painter",
                batch=rows[0].config.mode == "batch",
            )
        )
    if run.config.startswith("firm-edit"):
        references = 2
    return Demand(run, tuple(lanes), references)


def _input_of(config: str, inputs: dict[str, str]) -> list[str]:
    if config.startswith("realign"):
        return [f"pool={inputs['pool']}", f"samples={PLANNED}", "splits={train: 1}"]
    key = "pairs" if config.startswith("firm-edit") else "prompts_file"
    return [f"{key}={inputs[key]}", "splits={train: 1}"]


def _inputs(folder: Path) -> dict[str, str]:
    """A pool's index, edit pairs and prompts, drawn: no image of the pool is there, those of the pairs are plain."""
    from PIL import Image

    from benchmarks.planning import write_index

    write_index(folder / "pool.parquet", _ROWS)
    for number in range(_IMAGES):
        colour = (40 + 8 * number, 200 - 7 * number, 90 + 5 * number)
        Image.new("RGB", (1024, 768), colour).save(folder / f"{number}.jpg", quality=60)
    pairs = [
        {
            "id": f"pair-{i}",
            "instruction": f"{prose(11)} number {i}",
            "source_image": f"{i % _IMAGES}.jpg",
            "edited_image": f"{(i + 1 + i // _IMAGES % (_IMAGES - 1)) % _IMAGES}.jpg",
        }
        for i in range(_ROWS)
    ]
    prompts = [{"id": f"prompt-{i}", "prompt": f"{prose(facts.PROMPT_WORDS.value)} number {i}"} for i in range(_ROWS)]
    found = {"pool": str(folder / "pool.parquet")}
    for name, lines in (("pairs", pairs), ("prompts_file", prompts)):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        found[name] = str(path)
    return found
