"""`--judge` over the outputs for OmniContext, DreamOmni2 and GEdit-Bench: what is shown, and what is written."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from schemas.errors import InputError
from tests.evaluation.judging import Bench, bench, contexts, counted, gedits, judge, said, shown, two_scores
from tests.servers.scripted import Scripted

__all__ = ["bench", "judge"]


# --- OmniContext


def test_official_records_are_made_and_aggregated(bench: Bench, judge: Scripted) -> None:
    contexts(bench, ("single_object", "k1", 1), ("scene_object", "k2", 2))
    judge.reply = said(two_scores(9, 4))
    report = bench.contexts()
    (average,) = (row for row in report["tables"]["by_group"] if row["task type"] == "average")
    assert [average[name]["value"] for name in ("PF", "SC", "Overall")] == [9, 4, 6]
    assert bench.read("score.jsonl")[0] == {
        "key": "k1",
        "task_type": "single_object",
        "instruction": "single_object k1",
        "instruction_language": "en",
        "output_image_path": bench.path("outputs/single_object/k1.png"),
        "PF_score": 9,
        "PF_score_reason": "as seen",
        "SC_score": 4,
        "SC_score_reason": "as seen",
    }
    asked = ["\n".join(shown(got)) for got in judge.asked]
    scenes = [text for text in asked if "shows the place" in text]
    assert len(asked) == 4 and len(scenes) == 1 and "scene_object k2" in scenes[0]
    assert sorted(text.count("[image]") for text in asked) == [2, 2, 3, 3]
    bench.contexts()
    assert len(judge.asked) == 4


def test_references_are_shown_in_the_protocol_s_sizes_and_the_output_last(bench: Bench, judge: Scripted) -> None:
    import base64
    import io

    contexts(bench, ("single_object", "k", 2))
    bench.image("refs/single_object-k-1.png", 7, (2048, 1024))
    judge.reply = said(two_scores(5, 5))
    bench.contexts()
    urls = [
        part["image_url"]["url"] for part in judge.asked[0].json["messages"][0]["content"] if part["type"] != "text"
    ]
    sizes = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size for url in urls]
    assert sizes == [(192, 96), (1440, 720), (64, 48)]


def test_one_failed_score_leaves_the_other_and_is_null(bench: Bench, judge: Scripted) -> None:
    contexts(bench, ("single_object", "good", 1), ("single_object", "half", 1), ("single_object", "gone", 1))
    (bench.folder / "outputs/single_object/gone.png").unlink()
    good = two_scores(9, 4)
    judge.reply = said(
        lambda text: '{"reasoning": "r", "score": 11}' if "half" in text and "very ones" in text else good(text)
    )
    report = bench.contexts()
    _, half, gone = bench.read("score.jsonl")
    assert half["PF_score"] == 9 and half["SC_score"] is None and half["SC_score_reason"].startswith("failed: schema")
    assert gone["PF_score"] is None and gone["PF_score_reason"].startswith("failed: missing: there is no")
    assert counted(report) == {"missing": 2, "schema": 1} and report["counts"]["used"] == 1


@pytest.mark.parametrize("form", ["bytes", "struct", "paths"])
def test_parquet_in_a_folder_is_read_with_its_images(form: str, bench: Bench, judge: Scripted) -> None:
    records = contexts(bench, ("single_object", "k", 2))
    (bench.folder / "bench.jsonl").unlink()
    data = [(bench.folder / name).read_bytes() for name in records[0]["input_images"]]
    images: list[Any] = {
        "bytes": data,
        "struct": [{"bytes": one, "path": None} for one in data],
        "paths": records[0]["input_images"],
    }[form]
    rows = [{**records[0], "input_images": images, "instruction_language": "en", "unused": 1}]
    rows.append({**rows[0], "instruction_language": "cn"})
    (bench.folder / "hub/data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), bench.folder / "hub/data/train-00000.parquet")
    judge.reply = said(two_scores(9, 4))
    report = bench.contexts(*(["--image-root", str(bench.folder)] if form == "paths" else []), bench="hub")
    assert len(bench.read("score.jsonl")) == 1 and report["counts"]["used"] == 1
    assert [shown(got).count("[image]") for got in judge.asked] == [3, 3]


def test_a_path_that_leaves_the_folder_is_not_sent(bench: Bench, judge: Scripted) -> None:
    secret = bench.image("secret.png")
    records = contexts(bench, ("single_object", "a", 1), ("single_object", "b", 1))
    records[0]["input_images"] = ["../secret.png"]
    (bench.folder / "inner").mkdir()
    bench.image("inner/refs/single_object-b-0.png")
    bench.lines("inner/bench.jsonl", *records)
    judge.reply = said(two_scores(9, 4))
    report = bench.contexts(bench="inner/bench.jsonl")
    assert secret and counted(report) == {"outside": 2} and len(judge.asked) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"instruction": ""}, "line 1: instruction is ''"),
        ({"key": None}, "line 1 has no key"),
        ({"task_type": None}, "line 1 has no task_type"),
        ({"input_images": []}, "line 1: input_images must be a list of images"),
        ({"input_images": ["a.png", None]}, "without a gap"),
        ({"instruction_language": "cn"}, "no record has instruction_language en; try --language all"),
    ],
)
def test_broken_records_of_omnicontext_end_in_one_line(
    change: dict[str, Any], said: str, bench: Bench, judge: Scripted
) -> None:
    records = contexts(bench, ("single_object", "k", 1))
    bench.lines("bench.jsonl", {**records[0], **change})
    with pytest.raises(InputError) as caught:
        bench.contexts()
    assert said in str(caught.value) and "\n" not in str(caught.value) and not judge.asked


def test_a_broken_parquet_and_a_wrong_folder_end_in_one_line(bench: Bench) -> None:
    contexts(bench, ("single_object", "k", 1))
    bench.text("bad.parquet", "PAR1 no")
    with pytest.raises(InputError, match=r"bad\.parquet: is no Parquet file"):
        bench.contexts(bench="bad.parquet")
    with pytest.raises(InputError, match=r"--bench .*nowhere.* is not there"):
        bench.contexts(bench="nowhere")
    (bench.folder / "outputs").rename(bench.folder / "elsewhere")
    with pytest.raises(
        InputError, match=r"--outputs .*outputs: has none of the 1 images, such as single_object/k\.png"
    ):
        bench.contexts()


def test_offline_cannot_judge_omnicontext_and_says_so(bench: Bench) -> None:
    contexts(bench, ("single_object", "k", 1))
    bench.config(models={"judge": {"provider": "offline"}})
    with pytest.raises(InputError, match=r"judge\.yaml: models\.judge\.provider: offline has no rules .* OmniContext"):
        bench.contexts()


def test_the_aided_way_is_firm_bench_s_own(bench: Bench) -> None:
    contexts(bench, ("single_object", "k", 1))
    bench.config(way="aided")
    with pytest.raises(InputError, match=r"judge\.yaml: way: aided is for FIRM-Bench; OmniContext has one way"):
        bench.contexts()


def test_dreamomni2_is_judged_alike_and_its_categories_are_checked_first(bench: Bench, judge: Scripted) -> None:
    records = contexts(bench, ("local_expression", "k", 2))
    judge.reply = said(two_scores(9, 4))
    report = bench.contexts(name="dreamomni2")
    assert report["counts"]["used"] == 1 and bench.read("score.jsonl")[0]["task_type"] == "local_expression"
    asked = len(judge.asked)
    bench.lines("bench.jsonl", *records, {**records[0], "key": "l", "task_type": "motion"})
    with pytest.raises(InputError, match="line 2: task_type is 'motion'; it must begin with one of add"):
        bench.contexts(name="dreamomni2")
    assert len(judge.asked) == asked


# --- GEdit-Bench


def four_scores(text: str) -> str:
    semantics = {"reasoning": "r", "success": 9, "restraint": 4}
    return json.dumps(semantics if "carried out" in text else {"reasoning": "q", "naturalness": 9, "artifacts": 10})


def test_gedit_is_judged_by_both_sub_scores(bench: Bench, judge: Scripted) -> None:
    gedits(bench, ("color_alter", "a", "en"), ("subject-add", "b", "en"), ("subject-add", "b", "cn"))
    judge.reply = said(lambda text: "four" if "edit b" in text else four_scores(text))
    report = bench.contexts(name="gedit")
    first, second = bench.read("score.jsonl")
    assert (first["SC"], first["PQ"], first["intersection_exist"]) == ([9, 4], [9, 10], True)
    assert second["SC"] is None and second["PQ"] == [9, 10] and second["SC_reason"].startswith("failed: schema")
    rows = {row["group"]: row for row in report["tables"]["by_group"]}
    assert [rows["color_alter"][name]["value"] for name in ("G_SC", "G_PQ", "G_O")] == [4, 9, 6]
    assert counted(report) == {"schema": 1} and rows["subject-add"]["failed"] == 1
    images = sorted("\n".join(shown(got)).count("[image]") for got in judge.asked if "edit b" not in str(got.json))
    assert images == [1, 1, 2], "quality sees the edit alone"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task_type": "dance"}, "line 1: task_type is 'dance'; GEdit-Bench's groups are background_change"),
        ({"input_image": ["src/a.png", "src/a.png"]}, "line 1: input_image holds 2 images; one is wanted"),
        ({"input_image": None}, "line 1: input_image must be a list of images"),
    ],
)
def test_broken_records_of_gedit_end_in_one_line(
    change: dict[str, Any], said: str, bench: Bench, judge: Scripted
) -> None:
    gedits(bench, ("color_alter", "a", "en"))
    bench.lines("bench.jsonl", {**bench.read("bench.jsonl")[0], **change})
    with pytest.raises(InputError) as caught:
        bench.contexts(name="gedit")
    assert said in str(caught.value) and not judge.asked
