"""What an exam shows: errors against the truth, noise, hallucination and cost, as tables.

Errors, biases and kinds are of the first draw in the given order; the second draw and the exchanged order measure noise
alone. An answer without a score is counted as failed and enters no mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.bootstrap import RESAMPLES, SEED, Array, Bootstrap, Estimate
from evaluation.exam.cases import Case, Kind
from evaluation.exam.sitting import Mark, Question, Sat, Way
from evaluation.firm_bench import best_constant
from evaluation.tables import Cell, Report, Table
from schemas.judgements import Dimension
from schemas.usage import Usage

DIMENSIONS = (Dimension.EXECUTION, Dimension.CONSISTENCY, Dimension.INSTRUCTION_FOLLOWING)
_AIDED = {Dimension.INSTRUCTION_FOLLOWING: "plan-then-score"}
NOTES = (
    "MAE, bias and kinds: first draw, images in order; best constant: the one score that errs least on the same cases",
    "retest noise: mean |difference| of two draws; order noise: mean |difference| to the exchanged pair, where its "
    "truth is the same",
    "rate: identical pairs with Consistency below 5 or a difference reported; its interval is Wilson's",
    "the offline teacher knows the drawn world, whose pictures these are: elsewhere it is far weaker",
)


@dataclass(frozen=True)
class Judged:
    """One dimension of one case, judged by one teacher in one way, with its repetitions."""

    teacher: str
    case: Case
    dimension: Dimension
    way: Way
    mark: Mark
    again: int | None = None
    exchanged: int | None = None
    aid: str = ""

    @property
    def truth(self) -> int:
        return self.case.truth[self.dimension]

    @property
    def error(self) -> int | None:
        """Score less truth; None where there is no score."""
        return None if self.mark.score is None else self.mark.score - self.truth


Sheets = Mapping[str, Sequence[Sat]]
"""By teacher: all answers."""


def judged(teacher: str, sats: Sequence[Sat]) -> list[Judged]:
    """Each case's first judgement in each way and dimension, beside its repetitions."""
    known = {_place(sat.question): sat for sat in sats}
    found = []
    for sat in sats:
        question = sat.question
        if question.draw or question.exchanged:
            continue
        case, way = question.case, question.way
        again, exchanged = known.get((case.id, way, 1, False)), known.get((case.id, way, 0, True))
        for dimension, mark in sat.marks.items():
            scores = [None if other is None else other.marks[dimension].score for other in (again, exchanged)]
            found.append(Judged(teacher, case, dimension, way, mark, scores[0], scores[1], sat.aid))
    return found


def report_of(sheets: Sheets, resamples: int = RESAMPLES, seed: int = SEED) -> Report:
    """The exam's tables."""
    rows = [one for teacher, sats in sheets.items() for one in judged(teacher, sats)]
    bootstrap = Bootstrap(resamples, seed)
    cases = {one.case.id: one.case for one in rows}
    counts = {
        "cases": len(cases),
        "edits": sum(id.startswith("edit") for id in cases),
        "prompts": sum(id.startswith("prompt") for id in cases),
        "judgements": len(rows),
        "answers without a score": sum(one.mark.score is None for one in rows),
    }
    tables = [
        _errors(sheets, rows, bootstrap),
        _by_kind(sheets, rows),
        _by_truth(sheets, rows),
        _hallucinated(sheets, rows),
        _cost(sheets),
    ]
    return Report("exam", counts, tables, list(NOTES), resamples, seed)


def _errors(sheets: Sheets, rows: Sequence[Judged], bootstrap: Bootstrap) -> Table:
    head = (
        "teacher",
        "dimension",
        "judged",
        "scored",
        "failed",
        "MAE",
        "constant",
        "its MAE",
        "bias",
        "retest",
        "order",
    )
    found = []
    for dimension, teacher, way in _groups(sheets):
        mine = [one for one in rows if (one.dimension, one.teacher, one.way) == (dimension, teacher, way)]
        scored = [one for one in mine if one.mark.score is not None]
        cells: list[Cell] = [None, None, None, None]
        if scored:
            errors = _array([one.error for one in scored])
            constant, its = best_constant(_array([one.truth for one in scored]))
            cells = [bootstrap.mean(np.abs(errors)), constant, its, float(errors.mean())]
        noise = [_apart(scored, [one.again for one in scored]), _apart(scored, [one.exchanged for one in scored])]
        name = said(way, dimension)
        found.append((teacher, _spoken(dimension), name, len(scored), len(mine) - len(scored), *cells, *noise))
    return Table("errors", "errors against the truth (scores 1 to 5)", head, found)


def _by_kind(sheets: Sheets, rows: Sequence[Judged]) -> Table:
    """MAE of each kind, beside that of the constant that is best over all kinds."""
    found: list[tuple[Cell, ...]] = []
    for dimension in DIMENSIONS:
        every = {one.case.id: one for one in rows if one.dimension is dimension}.values()
        if not every:
            continue
        for _, teacher, way in (group for group in _groups(sheets) if group[0] is dimension):
            mine = [one for one in rows if (one.dimension, one.teacher, one.way) == (dimension, teacher, way)]
            cells = [_mae([one for one in mine if one.case.kind is kind]) for kind in Kind]
            found.append((teacher, _spoken(dimension), said(way, dimension), *cells, _mae(mine)))
        constant, its = best_constant(_array([one.truth for one in every]))
        of_kinds = [[abs(one.truth - constant) for one in every if one.case.kind is kind] for kind in Kind]
        means = [float(np.mean(errors)) if errors else None for errors in of_kinds]
        found.append((f"always {constant}", _spoken(dimension), "-", *means, its))
    return Table("kinds", "MAE by kind of case", ("teacher", "dimension", "judged", *map(str, Kind), "all"), found)


def _by_truth(sheets: Sheets, rows: Sequence[Judged]) -> Table:
    """The mean score given, by the true one."""
    found: list[tuple[Cell, ...]] = []
    for dimension, teacher, way in _groups(sheets):
        mine = [one for one in rows if (one.dimension, one.teacher, one.way) == (dimension, teacher, way)]
        given = [[one.mark.score for one in mine if one.truth == truth] for truth in range(1, 6)]
        scores = [[score for score in some if score is not None] for some in given]
        means = [float(np.mean(some)) if some else None for some in scores]
        found.append((teacher, _spoken(dimension), said(way, dimension), *means))
    return Table("by_truth", "mean score by true score", ("teacher", "dimension", "judged", *"12345"), found)


def _hallucinated(sheets: Sheets, rows: Sequence[Judged]) -> Table:
    """On identical pairs: Consistency below 5, Execution above 1, a difference in the report.

    The rate is the share of pairs with the first or the last of these; its interval is Wilson's (1927), for a bootstrap
    of nothing but zeros knows no doubt.
    """
    found: list[tuple[Cell, ...]] = []
    for teacher in sheets:
        for way in Way:
            mine = [one for one in rows if (one.teacher, one.way, one.case.kind) == (teacher, way, Kind.IDENTICAL)]
            scored = [one for one in mine if one.mark.score is not None]
            pairs = [one for one in scored if one.dimension is Dimension.CONSISTENCY]
            changed = [one.error != 0 for one in pairs]
            done = sum(one.error != 0 for one in scored if one.dimension is Dimension.EXECUTION)
            told = [reports_difference(one.aid) for one in pairs]
            rate = _share([a or b for a, b in zip(changed, told, strict=True)])
            reported = sum(told) if way is Way.AIDED else None
            name = said(way, Dimension.CONSISTENCY)
            found.append((teacher, name, len(pairs), sum(changed), done, reported, rate))
    head = ("teacher", "judged", "identical pairs", "Consistency < 5", "Execution > 1", "difference reported", "rate")
    return Table("hallucination", "hallucination on identical pairs", head, found)


def _cost(sheets: Sheets) -> Table:
    """What a thousand cases cost in each way by the first draws, and the whole exam; at the price once paid."""
    found: list[tuple[Cell, ...]] = []
    for teacher, sats in sheets.items():
        for kind, dimension in (("edit", Dimension.CONSISTENCY), ("prompt", Dimension.INSTRUCTION_FOLLOWING)):
            for way in Way:
                first = [sat for sat in sats if not (sat.question.draw or sat.question.exchanged)]
                mine = [sat for sat in first if sat.question.way is way and sat.question.case.id.startswith(kind)]
                if mine:
                    found.append((teacher, f"1,000 {kind}s, {said(way, dimension)}", *_used(mine, 1000 / len(mine))))
        found.append((teacher, "the whole exam", *_used(sats)))
    return Table("cost", "cost", ("teacher", "of", "answers", "tokens in", "tokens out", "USD"), found)


def _used(sats: Sequence[Sat], times: float = 1) -> tuple[Cell, ...]:
    """Answers, tokens in and out, and dollars, all of it so many times."""
    used = sum((usage for sat in sats for usage in sat.usage.values()), Usage())
    answers, tokens_in, tokens_out = used.calls + used.ledger_hits, used.tokens_in, used.tokens_out
    return round(answers * times), round(tokens_in * times), round(tokens_out * times), used.usd * times


def _share(found: Sequence[bool]) -> Estimate | None:
    """How many of all, with Wilson's interval of 95 %."""
    n, z = len(found), 1.959963984540054
    if not n:
        return None
    share = sum(found) / n
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return Estimate(share, max(0.0, low), min(1.0, high))


_DENIAL = re.compile(
    r"""(?ix)\b(?: (?:no|not\ any|without\ any)\ (?:\w+\ ){0,2}?(?:differences?|changes?)
    | nothing\ (?:\w+\ ){0,2}?(?:differs?|differed|changes?|changed|is\ different) | (?:the\ )?same | identical
    | unchanged | indistinguishable | do(?:es)?\ not\ differ | did\ not\ change | (?:is|are)\ not\ different )\b"""
)
_NOUGHT = re.compile(r"\b(?:none|nothing|no|n/a)\b", re.IGNORECASE)
_WORDS = re.compile(r"[\w']+")
_CATEGORIES = {
    *_WORDS.findall("quantity number shape form texture surface position layout category found to report and or")
}
_NEUTRAL = _CATEGORIES | {
    *_WORDS.findall("""
    a all an any apparent appear are as at be been between both by can clearly completely content contents could
    detail details detectable discernible do does each element elements entirely every everything exactly fully for
    from has have here i image images in is it look looks noticeable object objects obvious of one other's perceptible
    perfectly photo photos picture pictures positions quantities color colors colour colours remain remains respect
    respects scene scenes see seem seems shapes show shows significant stays subject subjects surfaces textures that
    the their them there these they this those two visible visually was way were with among first second background
    observed pixel noted style lighting light
    """)
}
_LISTED = re.compile(r"^\s*(?:\*\*)?(?:\d{1,2}[.)]|[-*•])\s+")


def reports_difference(report: str) -> bool:
    """Whether a report, in either of its two texts, names a difference: any sentence or listed item that is no denial.

    A denial is `Both images look the same.`, `No visible differences.`, `1. Quantity: none` and the like: words that
    say that nothing differs, and besides them only such as name the images and the four categories. "There is no car
    in the second image" denies a car, not a difference. Not looked at: sentences beside a list, and an obvious part
    that tells the same of both images.
    """
    obvious, header, detailed = report.rpartition("\nDetailed Differences:\n")
    told = obvious.removeprefix("Obvious Differences:") if header else ""
    return (bool(told) and not _told_alike(told) and _names(told)) or _names(detailed)


def _told_alike(obvious: str) -> bool:
    parts = [part.strip(" .*\n").lower() for part in re.split(r"(?i)\b(?:first|second) image\W{1,4}", obvious)[1:]]
    return len(parts) == 2 and parts[0] == parts[1]


def _names(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    listed = [_LISTED.sub("", line) for line in lines if _LISTED.match(line)]
    sentences = [s for line in listed or lines for s in re.split(r"(?<=[.!?;])\s+", line) if re.search(r"\w", s)]
    return any(not _denied(sentence) for sentence in sentences)


def _denied(sentence: str) -> bool:
    """Whether a sentence says that nothing differs, and nothing else."""
    for denial, besides in ((_DENIAL, _NEUTRAL), (_NOUGHT, _CATEGORIES)):
        rest, denials = denial.subn(" ", sentence)
        if denials and set(_WORDS.findall(rest.lower())) <= besides:
            return True
    return False


def said(way: Way, dimension: Dimension) -> str:
    """A way's name for a dimension: directly, difference-first or plan-then-score."""
    return "directly" if way is Way.DIRECT else _AIDED.get(dimension, "difference-first")


def _spoken(dimension: Dimension) -> str:
    return str(dimension).replace("_", " ")


def _groups(sheets: Sheets) -> list[tuple[Dimension, str, Way]]:
    return [(dimension, teacher, way) for dimension in DIMENSIONS for teacher in sheets for way in Way]


def _mae(rows: Sequence[Judged]) -> float | None:
    errors = [abs(one.error) for one in rows if one.error is not None]
    return float(np.mean(errors)) if errors else None


def _apart(rows: Sequence[Judged], others: Sequence[int | None]) -> float | None:
    """Mean |difference| between the scores and their repetitions, where both are there."""
    pairs = [(one.mark.score, other) for one, other in zip(rows, others, strict=True)]
    found = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    return float(np.mean(found)) if found else None


def _array(values: Sequence[float | int | bool | None]) -> Array:
    return np.array(values, dtype=np.float64)


def _place(question: Question) -> tuple[str, Way, int, bool]:
    return question.case.id, question.way, question.draw, question.exchanged
