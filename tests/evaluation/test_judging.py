"""`--judge`: a model is asked, its scores land in the benchmark's form, and what fails is counted, never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation.judge_config import judge_config
from schemas.errors import InputError, PlumblineError
from tests.evaluation.judging import Bench, bench, contexts, counted, gedits, judge, said, shown, two_scores
from tests.servers.running import PracticeServer
from tests.servers.scripted import Scripted

__all__ = ["bench", "judge"]

INSTRUCTION = re.compile(r"<START OF \w+ INSTRUCTION>\n(.*)\n<END OF", re.DOTALL)


@pytest.fixture(scope="module")
def served() -> Iterator[PracticeServer]:
    with PracticeServer() as server:
        yield server


@pytest.fixture
def practice(served: PracticeServer) -> PracticeServer:
    served.reset()
    return served


def instruction_in(text: str) -> str:
    found = INSTRUCTION.search(text)
    assert found is not None, text
    return found[1]


# --- FIRM-Bench


def edits(bench: Bench, *instructions: str) -> None:
    """An edit per instruction, which people gave Execution 4 and Consistency 5."""
    for i in range(len(instructions)):
        bench.image(f"a/{i}.png", 10 * i), bench.image(f"b/{i}.png", 10 * i + 5)
    people = [{"id": i, "execution": {"score": [4]}, "consistency": {"score": [5]}} for i in range(len(instructions))]
    bench.lines("gt.jsonl", *people)
    records = [{"id": i, "image": [f"a/{i}.png", f"b/{i}.png"], "prompt": one} for i, one in enumerate(instructions)]
    bench.lines("bench.jsonl", *records, {"id": "unscored", "image": "c.png", "prompt": "nobody scored this"})


def test_scores_land_in_the_benchmark_s_form_and_a_rerun_asks_nothing(bench: Bench, judge: Scripted) -> None:
    edits(bench, "Turn it red.", "Turn it blue.")
    judge.reply = said(
        lambda text: json.dumps({"reasoning": "seen", "score": [3 if "How far has the instruction" in text else 5]})
    )
    report = bench.firm()
    table = {row[""]: row for row in report["tables"]["mae"]}
    assert table["execution"]["MAE"]["value"] == 1 and table["consistency"]["MAE"]["value"] == 0
    first, second = bench.read("pred.jsonl")
    assert first == {
        "id": 0,
        "image": ["a/0.png", "b/0.png"],
        "execution": {"score": [3], "reasoning": "seen"},
        "consistency": {"score": [5], "reasoning": "seen"},
    }
    assert second["id"] == 1 and counted(report) == {}
    assert len(judge.asked) == 4 and all(shown(got).count("[image]") == 2 for got in judge.asked)
    before = (bench.folder / "pred.jsonl").read_bytes()
    bench.firm()
    assert len(judge.asked) == 4 and (bench.folder / "pred.jsonl").read_bytes() == before


@pytest.mark.parametrize("answer", ['{"reasoning": "r", "score": [11]}', '{"reasoning": "r", "score": "4/5"}', "four"])
def test_an_answer_that_is_no_score_is_repaired_twice_and_then_counted(
    answer: str, bench: Bench, judge: Scripted
) -> None:
    edits(bench, "good", "bad")
    good = '{"reasoning": "r", "score": [4]}'
    judge.reply = said(lambda text: good if instruction_in(text) == "good" else answer)
    report = bench.firm()
    assert counted(report) == {"schema": 2} and report["counts"]["used"] == 2
    failed = bench.read("pred.jsonl")[1]["execution"]
    assert failed["score"] is None and failed["reasoning"].startswith("failed: schema: ")
    assert len(judge.asked) == 2 + 2 * 3
    assert any("2 of 4 scores failed (2 schema)" in note for note in report["notes"])


def test_a_missing_and_a_broken_image_cost_their_scores_and_no_call(bench: Bench, judge: Scripted) -> None:
    edits(bench, "one", "two", "three")
    judge.reply = said(lambda text: '{"reasoning": "r", "score": [4]}')
    (bench.folder / "b/1.png").unlink()
    (bench.folder / "a/2.png").write_bytes(b"no image")
    report = bench.firm()
    assert counted(report) == {"missing": 2, "unreadable": 2} and len(judge.asked) == 2


def test_only_what_people_scored_is_asked(bench: Bench, judge: Scripted) -> None:
    edits(bench, "one", "two")
    judge.reply = said(lambda text: '{"reasoning": "r", "score": [4]}')
    bench.lines("gt.jsonl", {"id": 0, "execution": {"score": [4]}}, {"id": "1", "consistency": {"score": [4]}})
    bench.firm()
    assert len(judge.asked) == 2
    assert [sorted(record) for record in bench.read("pred.jsonl")] == [
        ["execution", "id", "image"],
        ["consistency", "id", "image"],
    ]


def test_generated_images_are_judged_by_their_prompt(bench: Bench, judge: Scripted) -> None:
    bench.image("en/0.png"), bench.image("en_long/1.png")
    human = {"instruction_following": {"score": [4]}}
    records = [
        {"id": i, "image": [f"{name}/{i}.png"], "instruction": f"prompt {i}"}
        for i, name in enumerate(("en", "en_long"))
    ]
    bench.lines("gt.jsonl", *({**record, **human} for record in records))
    bench.lines("bench.jsonl", *records)
    judge.reply = said(
        lambda text: (
            "1. [it]: there. Verdict: met\n\nFinal Analysis: all is well.\n\nFinal Alignment Rating: 5\n\\boxed{5}"
            if instruction_in(text) == "prompt 0"
            else "I would say it is a five out of five."
        )
    )
    report = bench.firm()
    table = {row[""]: row for row in report["tables"]["mae"]}
    assert table["generation, easy"]["MAE"]["value"] == 1 and table["generation, hard"]["failed"] == 1
    assert counted(report) == {"grammar": 1}
    assert bench.read("pred.jsonl")[0]["instruction_following"] == {"score": [5], "reasoning": "all is well."}


def test_people_s_file_will_do_where_it_holds_the_instructions(bench: Bench, judge: Scripted) -> None:
    edits(bench, "one")
    judge.reply = said(lambda text: '{"reasoning": "r", "score": [4]}')
    words = [
        "firm-bench",
        "--gt",
        bench.path("gt.jsonl"),
        "--pred",
        bench.path("p"),
        "--judge",
        bench.path("judge.yaml"),
    ]
    with pytest.raises(InputError, match=r"line 1 has no instruction to judge by; .*--bench"):
        bench.run(*words)
    scored = {"id": 0, "image": ["a/0.png", "b/0.png"], "instruction": "one", "execution": {"score": [4]}}
    bench.lines("gt.jsonl", scored)
    assert "note: judged by judge: 1 answers" in bench.run(*words)


def test_the_aided_way_describes_once_for_both_scores(bench: Bench, judge: Scripted) -> None:
    edits(bench, "one")
    model = {"provider": "openai", "model": "judge", "base_url": bench.url}
    with pytest.raises(InputError, match=r"judge\.yaml: models\.describer: no model is configured"):
        bench.config(way="aided")
        bench.firm()
    bench.config(way="aided", models={"judge": model, "describer": model})
    judge.reply = said(
        lambda text: '{"reasoning": "r", "score": [4]}' if "EDIT INSTRUCTION" in text else "The hat turned red."
    )
    bench.firm()
    described = ["EDIT INSTRUCTION" not in "\n".join(shown(got)) for got in judge.asked]
    assert described.count(True) == 2 and described.count(False) == 2
    assert sum("The hat turned red." in "\n".join(shown(got)) for got in judge.asked) == 2


def test_without_its_report_an_aided_judge_is_not_asked(bench: Bench, judge: Scripted) -> None:
    edits(bench, "one")
    model = {"provider": "openai", "model": "judge", "base_url": bench.url}
    bench.config(way="aided", models={"judge": model, "describer": model})
    judge.reply = said(lambda text: " " if "EDIT INSTRUCTION" not in text else '{"reasoning": "r", "score": [4]}')
    with pytest.raises(InputError, match=r"2 of 2 scores failed"):
        bench.firm()
    assert judge.asked and not any("EDIT INSTRUCTION" in "\n".join(shown(got)) for got in judge.asked)


def test_the_result_alone_goes_to_stdout(bench: Bench, judge: Scripted) -> None:
    contexts(bench, ("single_object", "a", 1))
    judge.reply = said(two_scores(9, 4))
    words = ("--bench", bench.path("bench.jsonl"), "--outputs", bench.path("outputs"), "--scores", bench.path("s"))
    found = json.loads(bench.run("omnicontext", "--judge", bench.path("judge.yaml"), *words, "--json", "-"))
    assert found["counts"]["used"] == 1


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            {"id": 0, "image": ["a/0.png"], "prompt": "x"},
            "line 1: image holds 1; for execution and consistency two paths are needed",
        ),
        ({"id": 0, "image": ["a/0.png", 3], "prompt": "x"}, "line 1: image must be a path, or a list of paths"),
        ({"id": 0, "prompt": "x"}, "line 1 has no image"),
        ({"id": 0, "image": ["a/0.png", "b/0.png"], "prompt": None}, "line 1 has no instruction"),
        ({"id": 0, "image": ["a/0.png", "b/0.png"], "prompt": " "}, "line 1: instruction is ' '"),
        ({"id": 0, "image": ["x.png", "y.png"], "prompt": "x"}, "has none of the 2 images, such as x.png"),
        ({"id": 7, "image": ["x.png", "y.png"], "prompt": "x"}, "has no id in common with"),
    ],
)
def test_a_broken_record_ends_in_one_line_before_anything_is_asked(
    record: dict[str, Any], said: str, bench: Bench, judge: Scripted
) -> None:
    edits(bench, "one")
    bench.lines("bench.jsonl", record)
    with pytest.raises(InputError) as caught:
        bench.firm()
    assert said in str(caught.value) and "\n" not in str(caught.value) and not judge.asked
    assert not (bench.folder / "pred.jsonl").exists()


def test_files_that_are_read_are_never_written(bench: Bench) -> None:
    edits(bench, "one")
    with pytest.raises(InputError, match="is read by this command"):
        bench.run(
            *("firm-bench", "--gt", bench.path("gt.jsonl"), "--pred", bench.path("gt.jsonl")),
            *("--judge", bench.path("judge.yaml"), "--bench", bench.path("bench.jsonl")),
        )


def test_options_of_a_judge_need_one(bench: Bench) -> None:
    edits(bench, "one")
    with pytest.raises(InputError, match=r"--bench .*: is for a judge; add --judge CONFIG"):
        bench.run("firm-bench", "--gt", bench.path("gt.jsonl"), "--pred", bench.path("p"), "--bench", "b.jsonl")


def test_where_nothing_succeeds_the_line_says_why(bench: Bench, judge: Scripted) -> None:
    edits(bench, "one")
    judge.reply = said(lambda text: "four")
    with pytest.raises(InputError, match=r"no score at all: 2 of 2 scores failed \(2 schema\); first 0, execution"):
        bench.firm()


# --- through faults


def test_under_faults_every_score_is_there_or_counted(
    practice: PracticeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotators.calling.FIRST_PAUSE", 0.02)
    monkeypatch.setattr("annotators.limits.FIRST_PAUSE", 0.02)
    practice.configure(
        faults={"429_after": 0.1, "500": 0.1, "reset": 0.1, "broken": 0.2, "safety": 0.15}, retry_after=0.05
    )
    bench = Bench(tmp_path, practice.openai)
    edits(bench, *(f"instruction {i}" for i in range(40)))
    report = bench.firm()
    failures = counted(report)
    assert failures.get("safety") and set(failures) <= {"safety", "schema"}
    assert report["counts"]["used"] + sum(failures.values()) == 80
    first = practice.stats()
    assert first["repeats"] == 0
    assert counted(bench.firm()) == failures and practice.stats()["ok"] == first["ok"], "refusals are kept as well"


def test_a_budget_holds_over_attempts_and_what_is_answered_is_not_asked_again(
    practice: PracticeServer, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, practice.openai)
    edits(bench, *(f"instruction {i}" for i in range(10)))
    bench.config(budget={"calls": 8})
    for _ in range(2):
        with pytest.raises(PlumblineError, match=r"budget\.calls") as caught:
            bench.firm()
        assert caught.value.exit_code == 3 and not (tmp_path / "pred.jsonl").exists()
        assert practice.stats()["ok"] == 8
    bench.config(budget={"calls": 20})
    assert bench.firm()["counts"]["used"] == 20
    assert practice.stats()["ok"] == 20 and practice.stats()["repeats"] == 0


def test_an_interrupted_judge_writes_nothing_and_goes_on_later(practice: PracticeServer, tmp_path: Path) -> None:
    from evaluation.firm_judge import FirmJudge, firm_samples
    from evaluation.judged_images import Workspace
    from evaluation.judging import Judging

    bench = Bench(tmp_path, practice.openai)
    edits(bench, *(f"instruction {i}" for i in range(12)))
    practice.configure(latency=0.2)
    model = {"provider": "openai", "model": "judge", "base_url": bench.url, "in_flight": 4}
    path = bench.config(models={"judge": model})
    config = judge_config(path)
    samples = firm_samples(bench.path("gt.jsonl"), bench.path("bench.jsonl"), None)
    with Workspace() as workspace:
        judging = Judging(config, path, ("judge",), FirmJudge.of(config, workspace), samples, bench.path("pred.jsonl"))
        with judging:
            while practice.stats()["ok"] < 4:
                assert not judging.wait(0.02)
            judging.interrupt()
            with pytest.raises(PlumblineError) as caught:
                judging.verdicts()
    assert caught.value.exit_code == 130
    assert not (tmp_path / "pred.jsonl").exists()
    practice.configure(latency=0.0)
    assert bench.firm()["counts"]["used"] == 24 and practice.stats()["repeats"] == 0


@pytest.mark.parametrize("way", ["direct", "aided"])
def test_the_offline_judge_scores_firm_bench_and_sees_that_nothing_changed(way: str, bench: Bench) -> None:
    edits(bench, "Turn the sky red.")
    (bench.folder / "b/0.png").write_bytes((bench.folder / "a/0.png").read_bytes())
    offline = {"provider": "offline"}
    bench.config(way=way, models={"judge": offline, "describer": offline})
    bench.firm()
    (found,) = bench.read("pred.jsonl")
    assert found["execution"]["score"] == [1] and found["consistency"]["score"] == [5]


@pytest.mark.parametrize("mode", ["online", "batch"])
@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_each_provider_judges_online_and_in_batches(
    provider: str, mode: str, practice: PracticeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRACTICE_KEY", "judge-key-for-tests")
    monkeypatch.setattr("annotators.batching.Batching.__init__.__defaults__", (0.05,))
    monkeypatch.setattr("annotators.batching.LAST_LOOK", 0.05)
    practice.configure(batch_delay=0.1, batch_validating=0.02)
    bench = Bench(tmp_path, practice.openai)
    model = {"provider": provider, "model": "judge", "base_url": getattr(practice, provider)}
    bench.config(models={"judge": {**model, "api_key_env": "PRACTICE_KEY", "mode": mode}})
    contexts(bench, ("single_object", "a", 1), ("scene_object", "b", 2))
    assert bench.contexts()["counts"]["used"] == 2
    gedits(bench, ("color_alter", "a", "en"))
    assert bench.contexts(name="gedit")["counts"]["used"] == 1
    edits(bench, "one")
    assert bench.firm()["counts"]["used"] == 2


# --- the configuration


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ("models: {}", r"models\.judge: no model is configured"),
        ("{}", "models: is missing"),
        ("models: {judge: {provider: offline}}\nweg: aided", "weg: unknown key; remove it"),
        ("models: {judge: {provider: offline}}\nway: sideways", "way: must be 'direct' or 'aided', not 'sideways'"),
        ("models: [", "line 1"),
        ("models: {judge: {provider: nobody}}", "nobody"),
    ],
)
def test_a_judge_s_configuration_is_checked_in_one_line(tree: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text(tree)
    with pytest.raises(InputError, match=said) as caught:
        judge_config(str(path), ("judge",))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
