"""The tables of docs/scale.md, each computed from facts, demands and what was measured. Cells are texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.at_scale import facts, formulas
from benchmarks.at_scale.facts import Fact
from benchmarks.at_scale.runs import Demand, Lane
from benchmarks.results import Row
from benchmarks.scale.measured import Measured
from pipelines.assumed import Span

MEGA, GIGA, TERA = 1e6, 1e9, 1e12


def asked(demands: Sequence[Demand]) -> list[Row]:
    """What each run asks, in calls, tokens and dollars, and the hours at the limits of its configuration."""
    rows: list[Row] = []
    for demand in demands:
        for lane in demand.lanes:
            rows.append(
                {
                    "run": demand.run.name,
                    "model": lane.model,
                    "calls": short(lane.calls.expected),
                    "tokens in": short(lane.tokens_in.expected),
                    "tokens out": "images" if lane.images else short(lane.tokens_out.expected),
                    "dollars": _dollars(lane.usd),
                    "hours at its limits": "within the batch API's day" if lane.hours is None else spanned(lane.hours),
                    "held by": lane.bound or "-",
                }
            )
    return rows


def totals(demands: Sequence[Demand]) -> list[Row]:
    """Each run in one line: dollars to models, dollars a sample, and the hours of its slowest model."""
    rows: list[Row] = []
    for demand in demands:
        hours = [lane.hours for lane in demand.lanes if lane.hours is not None]
        slowest = max(hours, key=lambda span: span.expected) if hours else None
        kept = demand.run.rows
        rows.append(
            {
                "run": demand.run.name,
                "planned": f"{demand.run.plans:,.0f}",
                "kept": f"{kept:,.0f}",
                "calls": short(demand.calls.expected),
                "dollars to providers": _dollars(demand.usd),
                "dollars a kept row": "0" if not demand.usd.high else f"{demand.usd.expected / kept:.3f}",
                "hours, slowest model": "-" if slowest is None else spanned(slowest),
                "days": "-" if slowest is None else short(slowest.expected / 24),
            }
        )
    return rows


def in_time(demands: Sequence[Demand]) -> list[Row]:
    """What being through in the chosen days needs of each model: requests and tokens a minute, calls in flight."""
    rows: list[Row] = []
    for demand in demands:
        for lane in demand.lanes:
            if lane.batch:
                continue
            calls = formulas.rate(lane.calls.expected, demand.run.days)
            flying = formulas.in_flight(calls, lane.seconds.expected)
            tokens = lane.tokens_in.expected + (0 if lane.images else lane.tokens_out.expected)
            rows.append(
                {
                    "run": f"{demand.run.name}, {demand.run.days:g} days",
                    "model": lane.model,
                    "calls/s": short(calls),
                    "rpm": short(calls * 60),
                    "tpm": short(formulas.rate(tokens, demand.run.days) * 60),
                    "seconds an answer": spanned(lane.seconds),
                    "in flight": short(flying),
                    "in flight, slow answers": short(formulas.in_flight(calls, lane.seconds.high)),
                }
            )
    return rows


def workers(demands: Sequence[Demand], measured: Measured) -> list[Row]:
    """Processes by calls in flight, cores by CPU, machines, and what one GPU would do for CLIP."""
    rows: list[Row] = []
    own = measured.own_ms(measured.largest)
    for demand in demands:
        online = [lane for lane in demand.lanes if not lane.batch]
        calls = formulas.rate(sum(lane.calls.expected for lane in online), demand.run.days)
        flying = sum(_flying(lane, demand.run.days) for lane in online)
        plans = formulas.rate(demand.run.plans, demand.run.days)
        scored = demand.references + 1 if demand.run.config.startswith("realign") else 0.0
        images = demand.run.plans * scored
        busy = facts.BUSY.value
        of_calls = formulas.cores(facts.CALL_CPU.value, calls, busy)
        of_samples = formulas.cores(own, plans, busy)
        of_images = formulas.cores(facts.PREPARING.value, plans * scored, busy)
        on_cpu = formulas.cores(1000 / facts.CLIP_CPU.value, plans * scored, busy)
        most = formulas.processes(calls, flying, facts.CALLS_PER_PROCESS.value * busy, facts.PER_PROCESS.value)
        count = of_calls + of_samples + of_images
        rows.append(
            {
                "run": f"{demand.run.name}, {demand.run.days:g} days",
                "plans/s": short(plans),
                "calls in flight": short(flying),
                "processes for them": f"{most:,}",
                "cores: calls": short(of_calls),
                "cores: samples": short(of_samples),
                "cores: images for CLIP": short(of_images) if scored else "-",
                "machines of 16": f"{math.ceil(max(count, most) / facts.CORES.value):,}",
                "CLIP images": short(images) if scored else "-",
                "cores for ViT-B-32 without a GPU": short(on_cpu) if scored else "-",
                "GPU hours for CLIP": f"{short(images / formulas.HOUR)} / R" if scored else "-",
            }
        )
    return rows


def stored(demands: Sequence[Demand]) -> list[Row]:
    """What lies on disk or in a bucket at the end, and what that costs."""
    rows: list[Row] = []
    for demand in _different(demands):
        each = _sample_bytes(demand)
        size = each * demand.run.rows
        blobs = demand.painted * facts.PAINTED.value
        texts = (demand.calls.expected - demand.painted) * facts.TEXT_ANSWER.value
        count = formulas.shards(demand.run.plans, facts.SHARD.value)
        rows.append(
            {
                "run": demand.run.name,
                "kB a sample": short(each / 1e3),
                "shards, TB": short(size / TERA),
                "shards": f"{count:,}",
                "ledger: images, TB": short(blobs / TERA),
                "ledger: texts, GB": short(texts / GIGA),
                "GCS, $ a month": short((size + blobs + texts) / formulas.GIB * facts.GCS_STORAGE.value),
                "S3, $ a month": short((size + blobs + texts) / GIGA * facts.S3_STORAGE.value),
                "shards once to the internet: GCS, S3, $": (
                    f"{short(size / formulas.GIB * facts.GCS_EGRESS.value)}, "
                    f"{short(size / GIGA * facts.S3_EGRESS.value)}"
                ),
            }
        )
    return rows


def ledger(demands: Sequence[Demand]) -> list[Row]:
    """A ledger in a bucket: what its requests cost, and an object for each key against compacted segments."""
    rows: list[Row] = []
    for demand in _different(demands):
        answers, painted = demand.calls.expected, demand.painted
        writes, reads = 2 * answers + painted, answers + painted
        texts = answers * facts.TEXT_ANSWER.value
        segments = max(1, math.ceil(texts / facts.SEGMENT.value))
        pages = formulas.list_pages(answers, facts.LIST_PAGE.value)
        wait, at_once = facts.STORE_SECONDS.value, facts.AT_ONCE.value
        listing = formulas.one_after_another(pages, wait)
        rerun = formulas.one_after_another(answers, wait, at_once)
        reading = formulas.dollars(0, answers, 0, facts.GCS_READS.value)
        rows.append(
            {
                "run": demand.run.name,
                "answers": short(answers),
                "requests while it runs, $": short(
                    formulas.dollars(writes, reads, facts.GCS_WRITES.value, facts.GCS_READS.value)
                ),
                "writes and deletes/s": short(formulas.rate(writes + 2 * answers, demand.run.days)),
                "by key: objects": short(answers),
                "by key: listing once": _time(listing),
                "by key: a rerun reads": f"{_time(rerun)}, ${short(reading)}",
                "segments": f"{segments:,}",
                "segments: listing": _time(
                    formulas.one_after_another(formulas.list_pages(segments, facts.LIST_PAGE.value), wait)
                ),
                "processes: GCS, S3": (
                    f"{_processes(answers, demand.run.days, facts.GCS_LEDGER)}, "
                    f"{_processes(answers, demand.run.days, facts.S3_LEDGER)}"
                ),
            }
        )
    return rows


def output(demands: Sequence[Demand]) -> list[Row]:
    """The output folder as objects: how many, how long they take to list, what the manifest comes to."""
    rows: list[Row] = []
    for demand in _different(demands):
        count = formulas.shards(demand.run.plans, facts.SHARD.value)
        objects = 3 * count
        pages = formulas.list_pages(objects, facts.LIST_PAGE.value)
        rows.append(
            {
                "run": demand.run.name,
                "shards": f"{count:,}",
                "objects": f"{objects:,}",
                "list requests": f"{pages:,}",
                "listing": _time(formulas.one_after_another(pages, facts.STORE_SECONDS.value)),
                "reading every index's footer": _time(
                    formulas.one_after_another(2 * count, facts.STORE_SECONDS.value, facts.AT_ONCE.value)
                ),
                "manifest.json, MB": short(objects * facts.MANIFEST_ENTRY.value / MEGA),
                "planning, one process": _time(demand.run.plans / facts.PLANS.value),
                "each image of a pool of a million is shown": _shown(demand),
            }
        )
    return rows


def known(kinds: Sequence[str]) -> list[Row]:
    """The facts of some kinds, with their sources and days."""
    found = [fact for fact in vars(facts).values() if isinstance(fact, Fact) and fact.kind in kinds]
    return [
        {
            "what": fact.what,
            "value": f"{_number(fact.value)} {fact.unit}".strip(),
            "source": fact.source,
            "read": fact.date,
        }
        for fact in found
    ]


def short(value: float) -> str:
    """Two digits and a unit: 1,234,567 is 1.2 M. Coarse on purpose, for nothing here is known better."""
    for limit, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * limit:
            return _two(value / limit) + unit
    return _two(value)


def spanned(span: Span) -> str:
    """Likely, and in brackets least to most."""
    return f"{short(span.expected)} ({short(span.low)} to {short(span.high)})"


def _two(value: float) -> str:
    if not value:
        return "0"
    rounded = float(f"{value:.1e}")
    return f"{rounded:,.{max(0, 1 - math.floor(math.log10(abs(rounded))))}f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{_two(max(seconds, 0.1))} s"
    for limit, unit, of in ((3600.0, "min", 60.0), (86_400.0, "h", 3600.0), (math.inf, "days", 86_400.0)):
        if seconds < limit:
            return f"{_two(seconds / of)} {unit}"
    raise AssertionError("unreachable")


def _dollars(span: Span | None) -> str:
    if span is None:
        return "not known"
    return spanned(span) if span.high else "0, own servers"


def _flying(lane: Lane, days: float) -> float:
    return formulas.in_flight(formulas.rate(lane.calls.expected, days), lane.seconds.expected)


def _processes(answers: float, days: float, each: Fact) -> str:
    return f"{max(1, math.ceil(formulas.rate(answers, days) / each.value / facts.BUSY.value)):,}"


def _different(demands: Sequence[Demand]) -> list[Demand]:
    """Without those that differ from another only in the price of what they ask."""
    return [demand for demand in demands if not demand.run.settings]


def _shown(demand: Demand) -> str:
    if not demand.run.config.startswith("realign"):
        return "-"
    return f"{short(demand.run.plans * demand.references / facts.POOL.value)} times"


def _sample_bytes(demand: Demand) -> float:
    painted = facts.TARGET.value if demand.painted else 0.0
    return formulas.sample_bytes(demand.references, facts.PHOTO.value, painted, facts.SAMPLE_JSON.value)
