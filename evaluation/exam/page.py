"""An exam as a page: one HTML file that needs no other, its tables and its worst cases with their pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from evaluation.exam.config import BASELINE
from evaluation.exam.holding import Exam
from evaluation.exam.pictures import Drawn, DrawnEdit
from evaluation.exam.results import Judged, judged, said
from evaluation.tables import Report, Table
from schemas.references import ImageRef
from storage.references import image_bytes

WORST = 10
_LONGEST = 700
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1d1d22; max-width: 82rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } h2::first-letter { text-transform: uppercase }
h3 { font-size: 1rem; margin-bottom: .4rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .22rem .7rem; text-align: right; border-bottom: 1px solid #e3e3e8; white-space: nowrap }
td:first-child, th:first-child, td.text, th.text { text-align: left } td.why { white-space: pre-line; min-width: 24rem }
th { font-weight: 600 } .case { border-top: 2px solid #d9d9df; margin-top: 1.6rem }
img { width: 15rem; max-width: 47%; margin-right: .6rem; border: 1px solid #d9d9df } .note { color: #55555f }
"""


def page_of(exam: Exam, report: Report) -> str:
    """The page; whatever a model or a configuration said stands in it as text.

    Raises:
        ImageError: a picture of the worst cases is no longer there.
    """
    counts = ", ".join(f"{count:,} {escape(name)}" for name, count in report.counts.items())
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Exam</title>',
        f"<style>{_STYLE}</style></head><body><h1>Exam of FIRM's critics on drawn cases</h1>",
        f"<p>{counts}; seed {exam.config.seed}.</p>",
        *(_table(table) for table in report.tables),
        *(f'<p class="note">{escape(note[:1].upper() + note[1:])}.</p>' for note in report.notes),
        f'<p class="note">In brackets: 95 % bootstrap intervals, {report.resamples:,} resamples.</p>',
        *_worst(exam),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def worst(exam: Exam, count: int = WORST) -> list[tuple[Drawn, int]]:
    """The cases with the largest errors, and these; of the teachers alone where others than the baseline sat it.

    Of equals, those with more errors come first, then those that come first in the exam.
    """
    teachers = [name for name in exam.sheets if name != BASELINE] or list(exam.sheets)
    errors: dict[str, list[int]] = {}
    for teacher in teachers:
        for one in judged(teacher, exam.sheets[teacher]):
            if one.error:
                errors.setdefault(one.case.id, []).append(abs(one.error))
    found = [drawn for drawn in exam.cases if drawn.case.id in errors]
    found.sort(key=lambda drawn: (-max(errors[drawn.case.id]), -sum(errors[drawn.case.id])))
    return [(drawn, max(errors[drawn.case.id])) for drawn in found[:count]]


def answers_of(exam: Exam) -> list[dict[str, Any]]:
    """Every case with its truth and all that was said of it, as plain values."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for teacher, sats in exam.sheets.items():
        for one in judged(teacher, sats):
            rows.setdefault(one.case.id, []).append(_plain(one))
    return [
        {
            "id": drawn.case.id,
            "kind": str(drawn.case.kind),
            **({"instruction": drawn.pair.instruction} if isinstance(drawn, DrawnEdit) else {}),
            **({} if isinstance(drawn, DrawnEdit) else {"prompt": drawn.case.prompt}),
            "images": [image.sha256 for image in _images(drawn)],
            "truth": {str(dimension): score for dimension, score in drawn.case.truth.items()},
            "answers": rows.get(drawn.case.id, []),
        }
        for drawn in exam.cases
    ]


def _plain(one: Judged) -> dict[str, Any]:
    return {
        "teacher": one.teacher,
        "dimension": str(one.dimension),
        "way": str(one.way),
        "score": one.mark.score,
        "again": one.again,
        "exchanged": one.exchanged,
        "reasoning": one.mark.reasoning,
        "problem": one.mark.problem,
        "aid": one.aid,
    }


def _table(table: Table) -> str:
    first, *rest = table.texts(digits=3)
    texts = [i for i in range(len(first)) if all(isinstance(row[i], str) for row in table.rows)]

    def row(cells: Sequence[str], tag: str) -> str:
        inner = (f"<{tag}{' class=text' if i in texts else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(cells))
        return f"<tr>{''.join(inner)}</tr>"

    body = "".join(row(cells, "td") for cells in rest)
    return f'<h2>{escape(table.title)}</h2><div class="wide"><table>{row(first, "th")}{body}</table></div>'


def _worst(exam: Exam) -> list[str]:
    found = worst(exam)
    if not found:
        return ["<h2>Worst cases</h2><p>None: every score is the true one.</p>"]
    return [f"<h2>The worst {len(found)} cases</h2>", *(_case(exam, drawn, error) for drawn, error in found)]


def _case(exam: Exam, drawn: Drawn, error: int) -> str:
    case = drawn.case
    asked = drawn.pair.instruction if isinstance(drawn, DrawnEdit) else drawn.case.prompt
    truth = ", ".join(f"{dimension.replace('_', ' ')} {score}" for dimension, score in case.truth.items())
    pictures = "".join(f'<img alt="" src="{_data_uri(image)}">' for image in _images(drawn))
    rows = []
    for teacher, sats in exam.sheets.items():
        for one in judged(teacher, [sat for sat in sats if sat.question.case.id == case.id]):
            score = "-" if one.mark.score is None else str(one.mark.score)
            why = one.mark.problem or one.mark.reasoning
            why = why if len(why) <= _LONGEST else f"{why[:_LONGEST]} ..."
            cells = (teacher, one.dimension.replace("_", " "), said(one.way, one.dimension))
            inner = "".join(f"<td class=text>{escape(cell)}</td>" for cell in cells)
            rows.append(f"<tr>{inner}<td>{score}</td><td class='text why'>{escape(why)}</td></tr>")
    return (
        f'<div class="case"><h3>{escape(case.id)}: off by {error}</h3><p>“{escape(asked)}”</p><p>{pictures}</p>'
        f'<p>True scores: {escape(truth)}.</p><div class="wide"><table>{"".join(rows)}</table></div></div>'
    )


def _images(drawn: Drawn) -> tuple[ImageRef, ...]:
    return drawn.pair.images if isinstance(drawn, DrawnEdit) else (drawn.image,)


def _data_uri(image: ImageRef) -> str:
    return f"data:{image.media_type};base64,{base64.b64encode(image_bytes(image)).decode()}"
