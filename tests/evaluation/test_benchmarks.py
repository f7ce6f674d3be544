"""Each benchmark's records become its aggregates; what is wrong is named or counted, and nothing is guessed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.agreement import Keys, agreement, calibrated_errors
from evaluation.dsg import dsg
from evaluation.edits import GROUPS, gedit, imgedit, mean_of_lines
from evaluation.firm_bench import best_constant, firm_bench
from evaluation.omnicontext import dreamomni2, omnicontext
from evaluation.t2i import dpg, geneval, unigenbench
from evaluation.viescore import least, viescore
from schemas.errors import InputError


class Folder:
    """Writes files of records."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, name: str, *records: Any) -> str:
        return self.text(name, "\n".join(r if isinstance(r, str) else json.dumps(r) for r in records))

    def text(self, name: str, text: str) -> str:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(file)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def value(cell: Any) -> float:
    return float(getattr(cell, "value", cell))


# --- FIRM-Bench

EXECUTION = {5: 105, 4: 57, 3: 108, 2: 21, 1: 10}
CONSISTENCY = {5: 73, 4: 83, 3: 82, 2: 14, 1: 4}
GENERATION = {5: 67, 4: 73, 3: 50, 2: 38, 1: 22}
"""How often people gave each score in FIRM-Bench (arXiv 2603.12247, table 6)."""


@pytest.mark.parametrize(("counts", "error"), [(EXECUTION, 0.947), (CONSISTENCY, 0.762), (GENERATION, 1.036)])
def test_the_best_constant_of_the_published_counts_is_4(counts: dict[int, int], error: float) -> None:
    human = np.repeat(list(map(float, counts)), list(counts.values()))
    constant, mae = best_constant(human)
    assert constant == 4 and mae == pytest.approx(error, abs=1e-3)


def firm(name: str, execution: Any = None, consistency: Any = None) -> dict[str, Any]:
    row: dict[str, Any] = {"id": name}
    row |= {} if execution is None else {"execution": {"score": [execution], "reasoning": "so"}}
    return row | ({} if consistency is None else {"consistency": {"score": [consistency]}})


def test_firm_bench_pools_samples_not_dimensions(folder: Folder) -> None:
    gt = folder.lines("gt.jsonl", firm("a", 5, 4), firm("b", 3), firm("c", 1), firm("only here", 2))
    pred = folder.lines("pred.jsonl", firm("a", 4, 1), firm("b", 3), firm("c", 3), firm("only there", 2))
    report = firm_bench(gt, pred)
    mae = report.table("mae")
    assert value(mae["execution"]["MAE"]) == 1.0 and value(mae["consistency"]["MAE"]) == 3.0
    assert value(mae["editing, pooled"]["MAE"]) == 1.5
    assert mae["consistency"]["beats it"] == "no" and mae["consistency"]["best constant"] == 4
    assert (report.counts["only people's"], report.counts["only predicted"]) == (1, 1)
    assert report.table("by_score")["execution"] == {"1": 2.0, "2": None, "3": 0.0, "4": None, "5": 1.0}


def test_firm_bench_counts_what_a_critic_failed_to_say(folder: Folder) -> None:
    """0 is the released server's word for an answer that did not parse; 6, "4/5" and "four" are no scores either."""
    wrong = [0, 6, "4/5", "four", None, {"score": 3}, True, "1e999"]
    gt = folder.lines("gt.jsonl", *(firm(str(i), 3) for i in range(len(wrong) + 1)))
    rows = [{"id": str(i), "execution": {"score": [answer]}} for i, answer in enumerate(wrong)]
    report = firm_bench(gt, folder.lines("pred.jsonl", *rows, firm("8", "4")))
    row = report.table("mae")["execution"]
    assert (row["samples"], row["failed"], value(row["MAE"])) == (1, 8, 1.0)
    assert report.counts["scores unparsed"] == 6 and report.counts["scores out of range"] == 2
    assert "8 scores that could not be used: left out" in report.notes[0]


def test_firm_bench_tells_easy_from_hard_by_the_image(folder: Folder) -> None:
    images = {"a": "en/a.png", "b": "en_long/b.png", "c": "x/en_long/c.png"}
    gt = folder.lines(
        "gt.jsonl",
        *({"id": k, "image": [v], "instruction_following": {"score": [5]}} for k, v in images.items()),
    )
    answers = {"a": 5, "b": 3, "c": 4}
    pred = folder.lines("pred.jsonl", *({"id": k, "instruction_following": {"score": v}} for k, v in answers.items()))
    mae = firm_bench(gt, pred).table("mae")
    assert value(mae["generation, easy"]["MAE"]) == 0 and value(mae["generation, hard"]["MAE"]) == 1.5
    assert "editing, pooled" not in mae


@pytest.mark.parametrize(
    ("gt", "pred", "said"),
    [
        ([firm("a", 9)], [firm("a", 3)], "gt.jsonl: line 1: execution.score is [9]; a number from 1 to 5"),
        ([firm("a", "x")], [firm("a", 3)], "gt.jsonl: line 1: execution.score is ['x']"),
        ([firm("a", 3), "{nonsense"], [firm("a", 3)], "gt.jsonl: line 2 is no JSON"),
        ([firm("a", 3), "[1]"], [firm("a", 3)], "gt.jsonl: line 2 holds [1]"),
        ([firm("a", 3), "", firm("a", 4)], [firm("a", 3)], "gt.jsonl: line 3: id 'execution a' came before, in line 1"),
        ([firm("a", 3)], [firm("b", 3)], "has no id and dimension in common"),
        ([firm("a", 3)], [{"id": "a"}], "pred.jsonl: line 1 has none of execution, consistency"),
        ([{"execution": {"score": [3]}}], [firm("a", 3)], "gt.jsonl: line 1 has no id"),
        ([firm("a", 3)], [firm("a", 7)], "pred.jsonl: no score could be read"),
        ([""], [firm("a", 7)], "gt.jsonl: is empty"),
    ],
)
def test_bad_input_is_named(folder: Folder, gt: list[Any], pred: list[Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        firm_bench(folder.lines("gt.jsonl", *gt), folder.lines("pred.jsonl", *pred))
    assert said in str(error.value) and "\n" not in str(error.value)


# --- OmniContext and DreamOmni2Bench


def omni(key: str, task: str, pf: Any, sc: Any, language: str = "en") -> dict[str, Any]:
    return {"key": key, "task_type": task, "instruction_language": language, "PF_score": pf, "SC_score": sc}


def test_omnicontext_takes_the_geometric_mean_of_each_sample(folder: Folder) -> None:
    rows = [omni("1", "single_object", 4, 9), omni("2", "single_object", 10, 0), omni("3", "scene_object", 8, 8)]
    report = omnicontext([folder.lines("score.jsonl", *rows, omni("1", "single_object", 0, 0, "zh"))])
    table = report.table("by_group")
    assert value(table["single_object"]["Overall"]) == 3.0
    assert value(table["average"]["Overall"]) == 5.5
    assert (report.counts["records"], report.counts["of this language"]) == (4, 3)
    assert "2 of 8 present" in report.notes[0] and "single_character" in report.notes[0]


def test_omnicontext_guesses_no_score(folder: Folder) -> None:
    rows = [
        omni("1", "single_object", 4, 4),
        omni("2", "single_object", "no idea", 9),
        omni("3", "single_object", 9, 11),
    ]
    row = omnicontext([folder.lines("s.jsonl", *rows)]).table("by_group")["single_object"]
    assert (row["samples"], row["failed"], value(row["PF"])) == (1, 2, 4.0)


def test_omnicontext_reads_the_official_layout(folder: Folder) -> None:
    folder.lines("m/single_object/score.jsonl", omni("1", "single_object", 4, 4))
    folder.lines("m/scene_object/score.jsonl", omni("1", "scene_object", 8, 8))
    folder.lines("m/combined_score.jsonl", omni("1", "single_object", 4, 4))
    report = omnicontext([str(folder.path / "m")])
    assert report.counts["records"] == 2 and value(report.table("by_group")["average"]["PF"]) == 6.0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([omni("1", "a", 1, 1), omni("1", "a", 2, 2)], "key 'a en 1' came before, in line 1"),
        ([omni("1", "a", 1, 1, "zh")], "no record has instruction_language en; try --language all"),
        ([omni("1", "a", None, 1)], "no sample has both scores"),
        ([{"key": "1", "PF_score": 1, "SC_score": 1}], "line 1 has no task_type"),
    ],
)
def test_omnicontext_bad_input(folder: Folder, rows: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        omnicontext([folder.lines("s.jsonl", *rows)])


def test_dreamomni2_groups_categories(folder: Folder) -> None:
    rows = [omni("1", "local_expression", 4, 4), omni("2", "local_font", 6, 6), omni("1", "Replace", 9, 9)]
    table = dreamomni2([folder.lines("s.jsonl", *rows)]).table("by_group")
    assert list(table) == ["replace", "local", "average"]
    assert value(table["local"]["Overall"]) == 5.0 and value(table["average"]["Overall"]) == 7.0
    with pytest.raises(InputError, match="task_type is 'faces'; it must begin with one of add, replace"):
        dreamomni2([folder.lines("s.jsonl", omni("1", "faces", 1, 1))])


# --- GEdit-Bench, ImgEdit-Bench, VIEScore


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ([8, 3], 3.0),
        ([7], 7.0),
        (6, 6.0),
        ([8.5, 9], 8.5),
        ([], None),
        ([8, "x"], None),
        ([8, 11], None),
        (True, None),
        ([math.nan, 3], None),
        (None, None),
        ([-1, 5], None),
        ("8", None),
        ([[8], 3], None),
    ],
)
def test_the_least_sub_score(answer: Any, score: float | None) -> None:
    assert least(answer) == score


def test_gedit_takes_minima_then_the_root_and_averages_groups(folder: Folder) -> None:
    row = {"instruction_language": "en", "intersection_exist": False, "task_type": "ps_human"}
    rows = [
        {**row, "key": "1", "SC": [9, 4], "PQ": [9, 9]},
        {**row, "key": "2", "SC": [0, 9], "PQ": 8, "intersection_exist": True},
        {**row, "key": "3", "SC": [5, 5], "PQ": ["bad", 3]},
        {**row, "key": "4", "task_type": "text_change", "SC": [8, 8], "PQ": [8, 8]},
    ]
    report = gedit([folder.lines("s.jsonl", *rows)])
    table = report.table("by_group")
    assert value(table["ps_human"]["G_O"]) == 3.0 and table["ps_human"]["failed"] == 1
    assert value(table["average"]["G_O"]) == 5.5
    assert value(report.table("intersection")["average"]["G_PQ"]) == 8.0
    assert report.counts["scores unparsed"] == 1 and f"2 of {len(GROUPS)} present" in report.notes[1]


def test_gedit_reads_the_tables_of_the_released_scripts(folder: Folder) -> None:
    head = (
        "source_image,edited_image,instruction,sementics_score,quality_score,intersection_exist,instruction_language\n"
    )
    rows = 'a.png,out/a.png,"add a hat, please",9.0,4.0,True,en\na.png,out/cn/a.png,x,1,1,True,cn\n'
    file = folder.text("bagel_subject-add_gpt_score.csv", head + rows)
    table = gedit([file]).table("by_group")
    assert list(table) == ["subject-add", "average"] and value(table["average"]["G_O"]) == 6.0
    with pytest.raises(InputError, match="has no task_type, and the file's name holds no group"):
        gedit([folder.text("scores.csv", head + rows)])
    with pytest.raises(InputError, match=r"line 4: 'subject-add en out/a.png' came before"):
        gedit([folder.text("x_subject-add.csv", head + rows + rows)])
    with pytest.raises(InputError, match="line 2 has not 7 cells"):
        gedit([folder.text("y_subject-add.csv", head + "a,b\n")])


ANSWER = "Brief reasoning: good: really\nPrompt Compliance: 5\nVisual Naturalness: 4\nDetail: 4\n"


def test_imgedit_means_the_parsed_lines(folder: Folder) -> None:
    assert mean_of_lines(ANSWER) == 4.33
    assert all(math.isnan(mean_of_lines(bad)) for bad in ("none", "Score: 7", "Score: 4/5", {"error": "x"}, None, ""))
    edits = {
        str(i): {"id": "a.png", "prompt": "p", "edit_type": kind} for i, kind in enumerate(["add", "add", "style"])
    }
    answers = {"0": ANSWER, "1": {"error": "timeout"}, "2": "A: 1\nB: 2", "9": ANSWER}
    report = imgedit(folder.text("r.json", json.dumps(answers)), folder.text("e.json", json.dumps(edits)))
    table = report.table("by_type")
    assert value(table["add"]["score"]) == 4.33 and table["add"]["failed"] == 1
    assert value(table["average of types"]["score"]) == pytest.approx((4.33 + 1.5) / 2)
    assert report.counts["answers without an edit"] == 1 and report.counts["answers unparsed"] == 1
    with pytest.raises(InputError, match="has no key in common"):
        imgedit(folder.text("r.json", '{"x": "A: 1"}'), str(folder.path / "e.json"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": "A: 1", "a": "A: 2"}', "id 'a' is there twice; each may come once"),
        ('{"a": ', r"is no JSON: .*line 1, column 7"),
        ("[1, 2]", "holds no object of records by id"),
        ("{}", "holds no object of records by id"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_json_file_that_is_not_what_it_should_be(folder: Folder, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        imgedit(folder.text("r.json", text), folder.text("e.json", '{"a": {"edit_type": "add"}}'))


def test_viescore_bad_folders(folder: Folder) -> None:
    with pytest.raises(InputError, match=r"has no MODEL/SC.json beside a MODEL/PQ.json"):
        viescore(str(folder.path))
    folder.text("m/SC.json", '{"a": {"score": [1, 2]}}')
    folder.text("m/PQ.json", '{"a": {"score": [9, 12]}}')
    with pytest.raises(InputError, match="m has no image with both scores"):
        viescore(str(folder.path))
    folder.text("m/PQ.json", '{"a": {"score": [9, 9]}}')
    with pytest.raises(InputError, match=r'm is \'\[0\]\'; "\[SC, PQ\]" with scores from 0 to 1 is wanted'):
        viescore(str(folder.path), [folder.text("r.tsv", "uid\tm\na\t[0]\n")])
    with pytest.raises(InputError, match="has no row a"):
        viescore(str(folder.path), [folder.text("r.tsv", "uid\tm\nb\t[0,1]\n")])


# --- Text to image


def test_geneval_averages_tags(folder: Folder) -> None:
    rows = [
        {"filename": f"{tag}{i}.png", "tag": tag, "prompt": "p", "correct": right, "metadata": f'{{"p": "{tag}"}}'}
        for tag, answers in {"colors": [True, True, False, True], "counting": [False, False]}.items()
        for i, right in enumerate(answers)
    ]
    table = geneval([folder.lines("r.jsonl", *rows)]).table("by_tag")
    assert value(table["colors"]["correct images"]) == 0.75 and value(table["colors"]["correct prompts"]) == 1.0
    assert value(table["overall (mean of tags)"]["correct images"]) == 0.375
    assert value(table["all images"]["correct images"]) == 0.5
    with pytest.raises(InputError, match=r"filename 'colors0.png' came before"):
        geneval([folder.lines("r.jsonl", rows[0], rows[0])])
    with pytest.raises(InputError, match="correct is 'yes'; true or false is wanted"):
        geneval([folder.lines("r.jsonl", {**rows[0], "correct": "yes"})])


def test_dpg_reads_the_results_file(folder: Folder) -> None:
    text = "out/1.png, 1.0, 0.5, 0.75\nout/2.png, 0.25, 0.25\nModel: m\nL1 category scores:\n\tentity: 90.1\n"
    report = dpg([folder.text("results.txt", text)])
    assert value(report.table("score")["all"]["score"]) == 50.0 and report.counts == {"prompts": 2, "images": 3}
    with pytest.raises(InputError, match=r"line 1: 0.9 is not the mean of its scores, 0.75"):
        dpg([folder.text("r.txt", "a.png, 1.0, 0.5, 0.9\n")])
    with pytest.raises(InputError, match="scores from 0 to 1"):
        dpg([folder.text("r.txt", "a.png, 1.0, x, 0.9\n")])
    with pytest.raises(InputError, match="has no line of an image"):
        dpg([folder.text("r.txt", "hello\n")])


def test_unigenbench_counts_test_points(folder: Folder) -> None:
    def row(index: int, points: list[str], scores: list[int]) -> dict[str, Any]:
        return {"index": index, "img_path": f"{index}.png", "testpoint": str(points), "result_json": {"score": scores}}

    points = ["Attribute - Color", "Attribute - Size", "Style"]
    rows = [row(0, points, [1, 0, 1]), row(1, points[:1], [1])]
    report = unigenbench([folder.lines("r.jsonl", *rows)])
    dimensions = report.table("dimensions")
    assert value(dimensions["Attribute"]["score"]) == pytest.approx(200 / 3)
    assert value(dimensions["mean of dimensions"]["score"]) == pytest.approx((200 / 3 + 100) / 2)
    assert value(report.table("aspects")["Attribute - Color"]["score"]) == 100.0
    with pytest.raises(InputError, match="has not one score for each of its test points"):
        unigenbench([folder.lines("r.jsonl", row(0, points, [1]))])


DSG_HEAD = "t2i_model,item_id,question_id,dependency_id,answer\n"


def test_a_question_is_void_where_its_parent_is_answered_no(folder: Folder) -> None:
    text = 'm,a,1,0,no\nm,a,2,1,yes\nm,a,3,"2, outside",yes\nm,a,4,0,yes\n'
    report = dsg(folder.text("a.csv", DSG_HEAD + text))
    row = report.table("means")["m"]
    assert value(row["score"]) == 0.5 and value(row["without dependencies"]) == 0.75
    assert report.notes == ["1 dependencies that are no number are ignored"]
    with pytest.raises(InputError, match="question 1 depends on 9, which is not there"):
        dsg(folder.text("a.csv", DSG_HEAD + "m,a,1,9,yes\n"))
    with pytest.raises(InputError, match="question 'm a 1' came before"):
        dsg(folder.text("a.csv", DSG_HEAD + "m,a,1,0,yes\nm,a,1,0,no\n"))


# --- Agreement


def test_calibration_removes_a_shifted_scale(folder: Folder) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(1, 6, 200).astype(float)
    scores = np.clip(truth[:, None] + rng.integers(-1, 2, (200, 3)), 1, 5)
    judge = truth / 5
    ours, theirs = calibrated_errors(judge, scores)
    assert np.abs(judge[:, None] - scores).mean() > 2
    assert np.nanmean(ours) < np.nanmean(theirs) < 1


def test_a_rater_is_never_calibrated_on_their_own_scores() -> None:
    """The second rater answers the opposite: a line fitted on them too would be flat."""
    judge = np.tile([0.0, 1.0], 50)
    scores = np.stack([judge, 1 - judge], 1)
    ours, _ = calibrated_errors(judge, scores)
    assert np.allclose(ours, 1.0)


def test_agreement_of_people_alone_and_ids_of_two_columns(folder: Folder) -> None:
    rows = [{"m": m, "i": i, "who": who, "s": i + (who == "x")} for m in "ab" for i in range(3) for who in "xy"]
    report = agreement([folder.lines("r.jsonl", *rows)], keys=Keys("m,i", "who", "s"), level="interval")
    assert report.counts == {"units rated": 6, "raters": 2, "ratings": 12}
    assert 0 < value(report.table("people")["Krippendorff's alpha (interval)"]["value"]) < 1


@pytest.mark.parametrize(
    ("ratings", "pred", "said"),
    [
        ([{"id": 1, "rater": "a", "score": 1}] * 2, None, "id and rater '1 a' came before"),
        ([{"id": 1, "rater": "a", "score": "high"}], None, "score is 'high'; a number is wanted"),
        ([{"id": 1, "score": 3}], None, "line 1 has no rater"),
        ([{"id": 1, "score": [3, 4]}], [{"id": 2, "score": 1}], "has no id in common"),
        ([{"id": 1, "score": [3, 4]}], [{"id": 1, "score": "x"}], "no score could be read"),
        ([{"id": 1, "score": [3, 4]}], [{"id": 1, "score": 1}] * 2, "id '1' came before"),
    ],
)
def test_agreement_bad_input(folder: Folder, ratings: list[Any], pred: list[Any] | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        agreement([folder.lines("r.jsonl", *ratings)], folder.lines("p.jsonl", *pred) if pred else None)
