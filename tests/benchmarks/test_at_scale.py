"""docs/scale.md: its tables are those that the formulas give now, and the formulas are right."""

from __future__ import annotations

import re

import pytest

from benchmarks.at_scale import facts, formulas, page, tables
from benchmarks.at_scale.facts import Fact
from benchmarks.at_scale.runs import Demand, Lane, Run, demands
from benchmarks.scale.measured import load
from pipelines.assumed import Span


@pytest.fixture(scope="module")
def found() -> list[Demand]:
    return demands()


def test_the_page_says_what_the_formulas_give(found: list[Demand]) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    anew = page.rendered(text, found, load())
    assert _agree(anew, text), "docs/scale.md is old: run `python -m benchmarks.at_scale`"


def test_a_table_that_was_edited_by_hand_differs(found: list[Demand]) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    cell = re.search(r"\| Re-Align-410K \| 512,000 \| 410,000 \| [^|]+ \|", text)
    assert cell
    edited = text.replace(cell[0], cell[0].replace("410,000", "431,000"))
    assert _agree(page.rendered(edited, found, load()), text) and not _agree(edited, text)


def _agree(one: str, other: str) -> bool:
    """The same words, and numbers that differ by one of their last place at most: tokens of a schema are those of a
    library's wording, and a number near the middle between two is rounded either way."""
    texts = [re.split(r"([\d.,]*\d)", text) for text in (one, other)]
    return len(texts[0]) == len(texts[1]) and all(
        a == b or (n % 2 == 1 and abs(_number(a) - _number(b)) <= 1.01 * min(_place(a), _place(b)))
        for n, (a, b) in enumerate(zip(*texts, strict=True))
    )


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _place(text: str) -> float:
    """What the last place counts that is told: 0.01 of 0.96, 10 of 280."""
    whole, _, decimals = text.replace(",", "").partition(".")
    return 10.0 ** (-len(decimals) if decimals else len(whole) - len(whole.rstrip("0")))


def test_every_marker_of_the_page_names_a_table(found: list[Demand]) -> None:
    with pytest.raises(KeyError, match="no such"):
        page.rendered("<!-- table: no such -->\n<!-- end -->", found, load())


def test_every_fact_has_a_source_and_a_day() -> None:
    known = [fact for fact in vars(facts).values() if isinstance(fact, Fact)]
    assert len(known) > 30
    for fact in known:
        assert fact.source and re.fullmatch(r"20\d\d-\d\d-\d\d", fact.date) and fact.what, fact


def test_dollars_agree_with_the_configuration_s_own_comment(found: list[Demand]) -> None:
    """realign-410k.yaml says about $57,000; FIRM's budget there is $20,000."""
    by_name = {demand.run.name: demand for demand in found}
    assert 50_000 < by_name["Re-Align-410K"].usd.expected < 65_000
    assert 5_000 < by_name["FIRM-Edit-370K"].usd.expected < 20_000
    assert by_name["Re-Align-410K on own servers"].usd.high == 0
    many, few = by_name["100 million samples"], by_name["Re-Align-410K"]
    assert many.usd.expected / few.usd.expected == pytest.approx(125e6 / 512e3)


def test_batches_halve_what_text_costs(found: list[Demand]) -> None:
    by_name = {demand.run.name: demand for demand in found}
    online, batch = by_name["Re-Align-410K"].lanes[0], by_name["Re-Align-410K, text by batch"].lanes[0]
    assert online.usd and batch.usd and batch.hours is None
    assert batch.usd.expected == pytest.approx(online.usd.expected / 2)


def test_formulas() -> None:
    assert formulas.rate(86_400 * 5, 5) == 1
    assert formulas.in_flight(100, 0.2) == 20
    assert formulas.processes(1000, 100, 300, 256) == 4 and formulas.processes(10, 1000, 300, 256) == 4
    assert formulas.processes(0.1, 1, 300, 256) == 1
    assert formulas.cores(2, 350, 0.7) == pytest.approx(1.0)
    assert formulas.gpu_hours(3600 * 200, 200) == 1
    assert formulas.shards(100_000_000, 1000) == 100_000 and formulas.shards(1001, 1000) == 2
    assert formulas.list_pages(1001, 1000) == 2
    assert formulas.one_after_another(64, 0.1, 32) == pytest.approx(0.2)
    assert formulas.dollars(2e6, 1e6, 5, 0.4) == pytest.approx(10.4)
    assert formulas.sample_bytes(2, 100_000, 0, 1_000) == 2 * 100_000 + 1_000 + 3 * 768


def test_little_s_law_is_what_the_table_shows() -> None:
    lane = Lane("m", ("writer",), Span.of(864_000), Span.of(0), Span.of(0), Span.of(0), Span(1, 4, 10), None, "", False, False)  # fmt: skip  # noqa: E501
    row = tables.in_time([Demand(Run("R", "realign-410k", 1, 1, days=1), (lane,), 2)])[0]
    assert (row["calls/s"], row["rpm"], row["in flight"], row["in flight, slow answers"]) == ("10", "600", "40", "100")


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (0.0123, "0.012"), (1, "1.0"), (9.99, "10"), (99.4, "99"), (1234, "1.2 k"), (999_600, "1.0 M")],
)
def test_two_digits(value: float, said: str) -> None:
    assert tables.short(value) == said
