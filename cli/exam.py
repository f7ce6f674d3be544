"""`plumbline exam`: an exam for critics, its table, and its page."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from cli.making import POLL, interrupts
from cli.watching import UNWATCHED
from schemas.errors import InputError

if TYPE_CHECKING:
    from evaluation.exam.holding import Exam
    from evaluation.exam.sitting import Sat, Sitting
    from evaluation.tables import Report
    from pipelines.numbers import Numbers

PAGE, RECORD = "exam.html", "exam.json"


def run(path: str, out: str, json: str | None, settings: list[str]) -> None:
    """Hold the exam that a configuration describes and say what came of it."""
    from cli.evaluate import run as say
    from evaluation.exam.config import ExamConfig
    from evaluation.exam.holding import checked, hold
    from evaluation.exam.results import report_of
    from storage.configs import load

    config = load(ExamConfig, path, settings)
    for line in checked(config, path):
        _note(line)
    with UNWATCHED.begun(out, 0):
        exam = hold(config, out, watched=watched)
    report = report_of(exam.sheets)
    _write(exam, report, out)
    say(lambda: report, json)
    if json != "-":
        print(f"the page: {out}/{PAGE}; every answer: {out}/{RECORD}")


def watched(teacher: str, sitting: Sitting) -> list[Sat]:
    """Run one teacher's sitting with the live line, until its end or Ctrl-C."""
    from cli.progress import Progress

    running = _Running(sitting)
    _note(f"{teacher}: {len(sitting.asked):,} questions")
    with interrupts(running), Progress(len(sitting.asked)) as progress:
        while not running.wait(POLL):
            progress.show(running.progress())
    return running.result()


class _Running:
    """A sitting in a thread of its own, so that signals are heard meanwhile."""

    def __init__(self, sitting: Sitting) -> None:
        self._sitting = sitting
        self._sats: list[Sat] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="plumbline-exam", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def progress(self) -> Numbers:
        from pipelines.numbers import Committed, numbers_of

        return numbers_of(self._sitting.engine.progress(), Committed())

    def interrupt(self) -> None:
        self._sitting.interrupt()

    def result(self) -> list[Sat]:
        """The answers; raises what ended the sitting early."""
        if self._error is not None:
            raise self._error
        return self._sats

    def _run(self) -> None:
        try:
            self._sats = self._sitting.run()
        except BaseException as error:  # noqa: BLE001 - whatever it is, `result` raises it in the caller's thread
            self._error = error


def _write(exam: Exam, report: Report, out: str) -> None:
    import orjson

    from evaluation.exam.page import answers_of, page_of
    from storage import paths

    config = exam.config.model_dump(mode="json", include={"seed", "cases", "side", "retest", "exchange"})
    record = {**report.as_json(), "exam": config, "cases": answers_of(exam)}
    data = orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        paths.write_atomic(paths.join(out, RECORD), data)
        paths.write_atomic(paths.join(out, PAGE), page_of(exam, report).encode())
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror or error}") from None


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)
