"""Exams: their statistics against numbers worked out by hand, and whole exams of teachers whose errors are known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.exam import run
from evaluation.bootstrap import Estimate
from evaluation.exam.cases import EditCase, Kind, cases_of
from evaluation.exam.config import BASELINE, ROLES, ExamConfig
from evaluation.exam.holding import Exam, hold
from evaluation.exam.page import answers_of, page_of, worst
from evaluation.exam.pictures import DrawnEdit
from evaluation.exam.results import report_of, reports_difference
from evaluation.exam.sitting import Mark, Question, Sat, Way
from evaluation.tables import Report
from schemas.errors import InputError, StoppedError
from schemas.judgements import DifferenceReport, Dimension
from schemas.labels import EditPair
from schemas.references import ImageRef
from schemas.usage import Usage
from storage.configs import load
from tests.evaluation.exam_teachers import Grade, Teacher
from tests.servers.running import PracticeServer
from toyworld.world import Picture

ROOT = Path(__file__).resolve().parents[2]
E, C, F = Dimension.EXECUTION, Dimension.CONSISTENCY, Dimension.INSTRUCTION_FOLLOWING


def all_roles(**model: Any) -> dict[str, Any]:
    """One model in all roles."""
    return {role: dict(model) for role in ROLES}


OFFLINE = all_roles(provider="offline")


def config_of(**more: Any) -> ExamConfig:
    tree = {"seed": 5, "cases": 40, "side": 128, "teachers": {"fake": OFFLINE}, "baseline": False, **more}
    return ExamConfig.model_validate(tree)


def held(tmp_path: Path, grade: Grade, report: str = "Nothing differs.", **more: Any) -> tuple[Exam, Teacher]:
    config = config_of(ledger=str(tmp_path / "ledger"), **more)
    teacher = Teacher(config, grade, report)
    return hold(config, str(tmp_path / "out"), make=teacher.make), teacher


def rows(report: Report, name: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """A table's rows by their leading texts, each as {column: number}."""
    (table,) = (table for table in report.tables if table.name == name)
    texts = [i for i in range(len(table.head)) if all(isinstance(row[i], str) for row in table.rows)]
    return {
        tuple(str(row[i]) for i in texts[1:]): {
            head: getattr(cell, "value", cell) for head, cell in zip(table.head, row, strict=True)
        }
        for row in table.rows
    }


# -- statistics -----------------------------------------------------------------------------------------------------


def sat(index: int, kind: Kind, truth: tuple[int, int], score: tuple[int | None, int | None], **more: Any) -> Sat:
    """An answer about an edit: truth and score of Execution and Consistency."""
    case = EditCase(index, kind, "Do it.", {E: truth[0], C: truth[1]}, Picture(), Picture())
    image = ImageRef(uri="x", sha256="0" * 64, width=1, height=1, media_type="image/jpeg")
    question = Question(
        DrawnEdit(case, EditPair(id=case.id, source=image, edited=image)),
        more.pop("way", Way.DIRECT),
        more.pop("draw", 0),
        more.pop("exchanged", False),
    )
    return Sat(question, {E: Mark(score[0]), C: Mark(score[1])}, **more)


def test_errors_noise_and_failures_by_hand() -> None:
    sheet = [
        sat(0, Kind.COUNT, (5, 5), (3, 5)),
        sat(0, Kind.COUNT, (5, 5), (4, 5), draw=1),
        sat(0, Kind.COUNT, (5, 5), (1, 2), exchanged=True),
        sat(1, Kind.COUNT, (1, 4), (2, 5)),
        sat(1, Kind.COUNT, (1, 4), (None, 3), draw=1),
        sat(2, Kind.SPATIAL, (1, 3), (None, 3)),
        sat(2, Kind.SPATIAL, (1, 3), (5, 5), draw=1),
    ]
    report = report_of({"one": sheet})
    execution = rows(report, "errors")["execution", "directly"]
    assert (execution["scored"], execution["failed"]) == (2, 1), "what could not be read is failed, never scored"
    assert (execution["MAE"], execution["bias"]) == (1.5, -0.5), "errors -2 and +1"
    assert (execution["constant"], execution["its MAE"]) == (1, 2.0), "of the true scores 5 and 1"
    assert (execution["retest"], execution["order"]) == (1.0, 2.0), "|3 - 4|, and |3 - 1|"
    consistency = rows(report, "errors")["consistency", "directly"]
    assert (consistency["MAE"], consistency["bias"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert (consistency["retest"], consistency["order"]) == (pytest.approx(4 / 3), 3.0), "|5-5|, |5-3|, |3-5|"
    kinds = rows(report, "kinds")
    assert kinds["execution", "directly"]["count"] == 1.5 and kinds["execution", "directly"]["spatial"] is None
    assert rows(report, "by_truth")["execution", "directly"]["5"] == 3.0
    assert report.counts["answers without a score"] == 1 and report.counts["judgements"] == 6


def test_the_best_constant_stands_below_each_dimension() -> None:
    sheet = [
        sat(0, Kind.COUNT, (5, 5), (5, 5)),
        sat(1, Kind.SPATIAL, (5, 1), (5, 1)),
        sat(2, Kind.COUNT, (2, 1), (2, 1)),
    ]
    (table,) = (table for table in report_of({"one": sheet}).tables if table.name == "kinds")
    always = [row for row in table.rows if str(row[0]).startswith("always")]
    assert [row[0] for row in always] == ["always 5", "always 1"]
    assert always[0][-1] == 1.0 and always[1][-1] == pytest.approx(4 / 3)
    assert dict(zip(table.head, always[0], strict=True))["count"] == 1.5


def test_hallucination_by_hand() -> None:
    told, silent = "1. Texture: the wall has another pattern.", "1. Quantity: no difference.\n2. Shape: none."
    sheet = [
        sat(0, Kind.IDENTICAL, (1, 5), (1, 5), way=Way.AIDED, aid=silent),
        sat(1, Kind.IDENTICAL, (1, 5), (2, 5), way=Way.AIDED, aid=told),
        sat(2, Kind.IDENTICAL, (1, 5), (1, 4), way=Way.AIDED, aid=told),
        sat(3, Kind.IDENTICAL, (1, 5), (1, None), way=Way.AIDED, aid=told),
        sat(4, Kind.COUNT, (1, 5), (1, 4), way=Way.AIDED, aid=told),
    ]
    report = report_of({"one": sheet})
    found = rows(report, "hallucination")["difference-first",]
    assert found["identical pairs"] == 3, "one has no score, one is no identical pair"
    assert (found["Consistency < 5"], found["Execution > 1"], found["difference reported"]) == (1, 1, 2)
    assert found["rate"] == pytest.approx(2 / 3)
    interval = next(table for table in report.tables if table.name == "hallucination").rows[1][-1]
    assert isinstance(interval, Estimate)
    assert [interval.low, interval.high] == pytest.approx([0.2077, 0.9385], abs=1e-4)


def test_cost_is_of_the_first_draws_and_counts_what_the_ledger_gave_at_its_price() -> None:
    asked = {"m": Usage(calls=1, tokens_in=100, tokens_out=10, usd=0.25)}
    known = {"m": Usage(ledger_hits=1, tokens_in=100, tokens_out=10, usd=0.25), "n": Usage(calls=2, usd=0.5)}
    sheet = [
        sat(0, Kind.COUNT, (5, 5), (5, 5), usage=asked),
        sat(1, Kind.COUNT, (5, 5), (5, 5), usage=known),
        sat(0, Kind.COUNT, (5, 5), (5, 5), draw=1, usage=asked),
    ]
    (table,) = (table for table in report_of({"one": sheet}).tables if table.name == "cost")
    assert table.rows == [
        ("one", "1,000 edits, directly", 2000, 100_000, 10_000, 500.0),
        ("one", "the whole exam", 5, 300, 30, 1.25),
    ]


@pytest.mark.parametrize(
    ("report", "differs"),
    [
        ("Nothing differs between the two images.", False),
        ("The two pictures are identical.", False),
        ("I compared both.\n1. Quantity: none\n2. Position & Layout: no change", False),
        ("1. Quantity: one star more at the top.\n2. Texture: the same", True),
        ("- the car is blue rather than red", True),
        ("The sky is darker in the second image.", True),
        ("", False),
        ("Both images look the same.", False),
        ("No differences.", False),
        ("Nothing has changed.", False),
        ("1. **Quantity**: No changes.\n2. **Shape & Form**: Identical in both images.", False),
        ("The images are exactly the same, with no differences in color, texture or position.", False),
        ("there is no car in the second image; it was there before", True),
        ("The ball is no longer on the left.", True),
        ("The lamp is shown without its shade.", True),
        ("The second ball has none of its stripes.", True),
        ("There are no objects in the second image.", True),
        ("The same car is there, but in red.", True),
        ("The same objects in other positions.", True),
        ("1. Quantity: none\n2. Position & Layout: the ball is no longer on the left", True),
        (str(DifferenceReport(obvious="A ball left.", detailed="No differences.")), True),
        (str(DifferenceReport(obvious="No differences.", detailed="1. Quantity: no ball")), True),
        (str(DifferenceReport(obvious="Nothing differs.", detailed="1. Quantity: none")), False),
        (str(DifferenceReport(obvious="First image: a cat.\nSecond image: A cat.", detailed="No differences.")), False),
    ],
)
def test_a_report_names_a_difference_or_denies_it(report: str, differs: bool) -> None:
    assert reports_difference(report) is differs


# -- whole exams ----------------------------------------------------------------------------------------------------


def test_a_perfect_teacher_errs_nowhere(tmp_path: Path) -> None:
    exam, teacher = held(tmp_path, lambda id, dimension, truth, draw: truth)
    report = report_of(exam.sheets)
    assert len(rows(report, "errors")) == 6
    for row in rows(report, "errors").values():
        assert (row["scored"], row["failed"], row["MAE"], row["bias"], row["retest"]) == (20, 0, 0, 0, 0)
    assert rows(report, "errors")["execution", "difference-first"]["order"] == 0
    assert rows(report, "errors")["instruction following", "directly"]["order"] is None
    assert all(row["rate"] == 0 for row in rows(report, "hallucination").values())
    assert worst(exam) == [] and "None: every score is the true one" in page_of(exam, report)
    exchanged = sum(drawn.exchanged is not None for drawn in exam.cases if isinstance(drawn, DrawnEdit))
    assert exchanged >= 4
    assert teacher.asked.count("firm/obvious") == teacher.asked.count("firm/detailed") == 2 * 20 + exchanged
    assert teacher.asked.count("firm/planner") == teacher.asked.count("firm/following") == 2 * 20
    assert teacher.asked.count("firm/student_execution") == 2 * 20 + exchanged


def test_a_constant_teacher_has_the_constants_error(tmp_path: Path) -> None:
    exam, _ = held(tmp_path, lambda id, dimension, truth, draw: 3, retest=False, exchange=False)
    cases = cases_of(5, 40)
    for dimension, name in ((E, "execution"), (C, "consistency"), (F, "instruction following")):
        truths = [case.truth[dimension] for case in cases if dimension in case.truth]
        row = rows(report_of(exam.sheets), "errors")[name, "directly"]
        assert row["MAE"] == pytest.approx(sum(abs(3 - truth) for truth in truths) / len(truths))
        assert row["bias"] == pytest.approx(sum(3 - truth for truth in truths) / len(truths))
        assert row["retest"] is None and row["order"] is None, "it was judged once"


def test_noise_between_draws_and_orders_is_measured(tmp_path: Path) -> None:
    def grade(id: str, dimension: Dimension, truth: int, draw: int) -> int:
        return 2 if id.endswith("-exchanged") else 4 if draw else 3

    exam, _ = held(tmp_path, grade)
    for name in ("execution", "consistency"):
        for way in ("directly", "difference-first"):
            row = rows(report_of(exam.sheets), "errors")[name, way]
            assert (row["retest"], row["order"]) == (1, 1)


def test_answers_that_cannot_be_read_are_failed_and_never_scored(tmp_path: Path) -> None:
    def grade(id: str, dimension: Dimension, truth: int, draw: int) -> int | None:
        return None if "count" in id and dimension is not C else truth

    exam, _ = held(tmp_path, grade)
    report = report_of(exam.sheets)
    for name in ("execution", "instruction following"):
        row = rows(report, "errors")[name, "directly"]
        assert (row["scored"], row["failed"], row["MAE"]) == (16, 4, 0)
    assert rows(report, "errors")["consistency", "directly"]["failed"] == 0, "one dimension's failure is its own"
    failed = [answer for case in answers_of(exam) for answer in case["answers"] if answer["score"] is None]
    assert failed and all("schema" in answer["problem"] for answer in failed if answer["dimension"] == "execution")


def test_a_teacher_that_sees_differences_everywhere_hallucinates(tmp_path: Path) -> None:
    exam, _ = held(tmp_path, lambda *_: 5, report="1. Quantity: one more star in the second image.")
    found = rows(report_of(exam.sheets), "hallucination")
    assert found["difference-first",]["rate"] == 1 and found["directly",]["rate"] == 0


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]


def test_the_page_stands_alone_and_shows_the_worst_with_their_pictures(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"

    def grade(id: str, dimension: Dimension, truth: int, draw: int) -> int:
        return 1 if id == "edit-003-count" and dimension is C else min(5, truth + (dimension is F))

    exam, _ = held(tmp_path, grade, teachers={name: OFFLINE})
    page = page_of(exam, report_of(exam.sheets))
    tags = _Tags()
    tags.feed(page)
    assert "script" not in tags.tags and "&lt;script&gt;" in page
    assert tags.links and all(link.startswith("data:image/jpeg;base64,") for link in tags.links)
    found = worst(exam)
    assert 2 <= len(found) <= 10 and found[0][0].case.id == "edit-003-count" and found[0][1] > 1
    assert [error for _, error in found] == sorted((error for _, error in found), reverse=True)


def test_the_worst_cases_are_the_teachers_not_the_baselines(tmp_path: Path) -> None:
    exam, _ = held(tmp_path, lambda id, dimension, truth, draw: truth)
    wrong, _ = held(tmp_path, lambda id, dimension, truth, draw: 3)
    both = Exam(exam.config, exam.cases, {**exam.sheets, BASELINE: wrong.sheets["fake"]})
    assert worst(both) == []


# -- over a network, and the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served() -> Iterator[PracticeServer]:
    with PracticeServer() as server:
        yield server


def written(folder: Path, server: PracticeServer, **more: Any) -> str:
    """A configuration of an exam by the practice server."""
    models = all_roles(provider="openai", model="practice", base_url=server.openai)
    tree = {"seed": 5, "cases": 10, "side": 128, "models": models, "baseline": False, "ledger": str(folder / "ledger")}
    path = folder / "exam.yaml"
    path.write_text(json.dumps({**tree, **more}))
    return str(path)


def test_a_network_teacher_is_paid_once_and_a_budget_stops_and_resumes(
    served: PracticeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "exam-key-for-tests")
    served.reset()
    path, out = written(tmp_path, served), tmp_path / "out"
    with pytest.raises(StoppedError, match=r"budget.calls: the 20 calls are spent") as stopped:
        run(path, str(out), None, ["budget.calls=20"])
    assert stopped.value.exit_code == 3 and not (out / "exam.json").exists()
    run(path, str(out), str(tmp_path / "tables.json"), [])
    first = served.stats()
    assert first["repeats"] == 0, "what was paid before the stop is not paid again"
    record = json.loads((out / "exam.json").read_text())
    assert len(record["cases"]) == 10 and {case["kind"] for case in record["cases"]} == set(map(str, Kind))
    judgements = [answer for case in record["cases"] for answer in case["answers"]]
    assert len(judgements) == 5 * 2 * 2 + 5 * 2
    edits = [answer for answer in judgements if answer["dimension"] != str(F)]
    assert all(answer["score"] in (1, 2, 3, 4, 5) and answer["reasoning"] for answer in edits)
    assert all((answer["score"] is None) == bool(answer["problem"]) for answer in judgements)
    assert json.loads((tmp_path / "tables.json").read_text())["tables"] == record["tables"]
    assert "errors against the truth" in capsys.readouterr().out
    run(path, str(tmp_path / "again"), None, [])
    assert served.stats()["requests"] == first["requests"], "a rerun costs nothing"
    again = json.loads((tmp_path / "again" / "exam.json").read_text())
    assert again["cases"] == record["cases"] and again["tables"] == record["tables"]


def test_a_budget_is_of_the_whole_exam_whoever_sits_it(served: PracticeServer, tmp_path: Path) -> None:
    model = {"provider": "openai", "model": "practice", "base_url": served.openai, "api_key_env": None}
    teachers = {name: all_roles(**model, temperature=heat) for name, heat in (("a", 0.1), ("b", 0.9))}
    more = {"retest": False, "exchange": False, "cases": 2}
    config = config_of(teachers=teachers, ledger=str(tmp_path / "one"), **more)
    served.reset()
    hold(config, str(tmp_path / "one-out"))
    asked = served.stats()["requests"]
    config = config_of(teachers=teachers, ledger=str(tmp_path / "two"), budget={"calls": asked - 1}, **more)
    with pytest.raises(StoppedError):
        hold(config, str(tmp_path / "two-out"))
    with pytest.raises(StoppedError):
        hold(config, str(tmp_path / "two-out"))
    assert served.stats()["requests"] == 2 * asked - 1


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("casess=3", "casess: unknown key; did you mean cases?"),
        ("cases=1", "cases: must be greater than or equal to 2, not 1"),
        ("seed=-1", "seed: must be greater than or equal to 0, not -1"),
        ("models.jugde.model=x", "models: 'jugde' is no role; choose from"),
        ("models.planner=[]", "models: planner: no model is configured for this role; add `planner:"),
        ("models.judge=[{provider: offline}, {provider: offline}]", "models: judge: a mix of 2 cannot be examined"),
        ("models={}", "models: is missing; name a describer, a planner and a judge"),
        ("teachers.offline (baseline).judge={provider: offline}", "teachers: 'offline (baseline)' cannot be"),
        ("teachers.x.judge={provider: offline}", "teachers: x: describer: no model is configured"),
        ("prompts.nobody=/x.j2", "prompts: 'nobody' is no role and no prompt"),
    ],
)
def test_a_bad_configuration_is_one_line(
    setting: str, line: str, served: PracticeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "exam-key-for-tests")
    path = written(tmp_path, served)
    with pytest.raises(InputError) as error:
        run(path, str(tmp_path / "out"), None, [setting])
    assert line in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith((f"{path}: ", f"--set {setting}: ")) and not (tmp_path / "out").exists()


def test_a_missing_key_is_said_before_anything_is_drawn(
    served: PracticeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match=r"exam.yaml: models.*OPENAI_API_KEY"):
        run(written(tmp_path, served), str(tmp_path / "out"), None, ["models.judge.base_url=null"])
    assert not (tmp_path / "out").exists()


def test_who_sits_an_exam() -> None:
    gemini = all_roles(provider="gemini", model="g")
    assert list(config_of(teachers={}, models=gemini, baseline=True).entrants) == ["g", BASELINE]
    assert list(config_of(teachers={"a": gemini, "b": gemini}, baseline=False).entrants) == ["a", "b"]
    assert list(config_of(teachers={}, models=OFFLINE, baseline=True).entrants) == [BASELINE]
    assert list(config_of(teachers={"g": gemini}, models=gemini, baseline=False).entrants) == ["g", "g (models)"]


def test_the_shipped_configuration_and_the_documented_one_are_sound() -> None:
    shipped = load(ExamConfig, str(ROOT / "configs" / "exam-offline.yaml"))
    assert list(shipped.entrants) == [BASELINE] and shipped.cases == 200
    page = (ROOT / "docs" / "exam.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    assert list(ExamConfig.model_validate(yaml.safe_load(example)).entrants) == ["gemini-2.5-flash", BASELINE]
