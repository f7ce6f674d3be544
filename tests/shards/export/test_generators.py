"""OmniGen2, Flow-Factory, EditRL and GenerationRL: files that generators are trained from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shards.export.editrl import distinct_end
from shards.export.formats import export
from shards.export.options import Options
from shards.export.prompts import plain
from shards.reader import Sample, read_samples
from tests.shards.export import outputs


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return outputs.realign(tmp_path_factory.mktemp("generators") / "out", paintings=3)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def references(sample: Sample) -> list[bytes]:
    return [sample.images[f"image_{n}"] for n in range(1, len(sample.json["references"]) + 1)]


def test_omnigen2_names_files_that_are_there(out: Path, tmp_path: Path) -> None:
    export(str(out), "omnigen2", str(tmp_path / "x"))
    for split, count in (("train", 20), ("test", 4)):
        config = yaml.safe_load((tmp_path / "x" / f"{split}.yaml").read_text())
        [listed] = config["data"]
        rows = lines(Path(listed["path"]))
        assert len(rows) == count
        for sample, row in zip(read_samples(str(out), split), rows, strict=True):
            assert row["instruction"] == plain(sample.json["instruction"])
            assert [Path(name).read_bytes() for name in row["input_images"]] == references(sample)
            assert Path(row["output_image"]).read_bytes() == sample.images["target"]
            assert row["task_type"] == ("edit" if sample.json["references"][0]["role"] == "base" else "ic")


def test_omnigen2_opens_in_datasets_as_its_loader_does(out: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    export(str(out), "omnigen2", str(tmp_path / "x"))
    found = load_dataset(
        "json", data_files=str(tmp_path / "x" / "train.jsonl"), cache_dir=str(tmp_path / "cache"), split="train"
    )
    assert sorted({len(row["input_images"]) for row in found}) == [1, 2, 3]
    with Image.open(found[0]["output_image"]) as image:
        assert image.convert("RGB").size == (32, 32)


def test_omnigen2_paths_begin_with_the_trainers_name_of_the_folder(out: Path, tmp_path: Path) -> None:
    export(str(out), "omnigen2", str(tmp_path / "x"), Options(data_dir="/mnt/x/"))
    for row in lines(tmp_path / "x" / "train.jsonl"):
        for name in [*row["input_images"], row["output_image"]]:
            assert (tmp_path / "x" / name.removeprefix("/mnt/x/")).is_file()
    assert yaml.safe_load((tmp_path / "x" / "train.yaml").read_text())["data"][0]["path"] == "/mnt/x/train.jsonl"


def test_an_image_that_many_samples_share_is_one_file(tmp_path: Path) -> None:
    out = outputs.firm_edit(tmp_path / "out")
    export(str(out), "llamafactory", str(tmp_path / "x"))
    assert len(list((tmp_path / "x" / "images").rglob("*.jpg"))) == 12


def test_flowfactory_online_rows_name_images_below_images(out: Path, tmp_path: Path) -> None:
    export(str(out), "flowfactory", str(tmp_path / "x"))
    for split in ("train", "test"):
        rows = lines(tmp_path / "x" / f"{split}.jsonl")
        for sample, row in zip(read_samples(str(out), split), rows, strict=True):
            assert row["prompt"] == plain(sample.json["instruction"])
            found = [(tmp_path / "x" / "images" / name).read_bytes() for name in row["images"]]
            assert found == references(sample)


def v2(row: dict[str, Any], folder: Path) -> tuple[list[bytes], dict[str, list[bytes]]]:
    """(input images, output images by role) of a strict V2 record, checked key by key as its schema forbids others."""
    assert set(row) == {"schema_version", "input", "supervision", "metadata"} and row["schema_version"] == 2
    assert set(row["input"]) == {"prompt", "media"}
    kind = row["supervision"]["type"]
    roles = {"demonstration": ["target"], "preference": ["chosen", "rejected"]}[kind]
    assert set(row["supervision"]) == {"type", *roles}

    def read(media: list[dict[str, str]]) -> list[bytes]:
        assert all(set(item) == {"type", "path"} and item["type"] == "image" for item in media)
        return [Path(os.path.normpath(folder / item["path"])).read_bytes() for item in media]

    return read(row["input"]["media"]), {role: read(row["supervision"][role]["media"]) for role in roles}


def test_flowfactory_demonstrations_and_preferences(out: Path, tmp_path: Path) -> None:
    export(str(out), "flowfactory", str(tmp_path / "x"))
    samples = list(read_samples(str(out)))
    shown = lines(tmp_path / "x" / "demonstrations" / "train.jsonl")
    preferred = lines(tmp_path / "x" / "preferences" / "train.jsonl")
    assert len(preferred) == 2 * len(samples)
    for n, (sample, row) in enumerate(zip(samples, shown, strict=True)):
        given, outputs_ = v2(row, tmp_path / "x" / "demonstrations")
        assert (given, outputs_) == (references(sample), {"target": [sample.images["target"]]})
        for other, pair in zip(("other_1", "other_2"), preferred[2 * n : 2 * n + 2], strict=True):
            given, outputs_ = v2(pair, tmp_path / "x" / "preferences")
            assert given == references(sample)
            assert outputs_ == {"chosen": [sample.images["target"]], "rejected": [sample.images[other]]}
    assert preferred[1]["metadata"]["reason"] == "no_op"


def test_without_paintings_there_are_no_preferences(tmp_path: Path) -> None:
    out = outputs.realign(tmp_path / "out", train=3, test=0)
    found = export(str(out), "flowfactory", str(tmp_path / "x"))
    assert found.rows == {"train.jsonl": 3, "demonstrations/train.jsonl": 3}


def test_flowfactory_takes_each_pair_and_each_prompt_once(tmp_path: Path) -> None:
    found = export(str(outputs.firm_edit(tmp_path / "e")), "flowfactory", str(tmp_path / "x"))
    assert found.left_out == {"rewritten": 12, "same_pair": 6}
    rows = lines(tmp_path / "x" / "train.jsonl")
    assert len(rows) == 6 and all(len(row["images"]) == 1 for row in rows)
    found = export(str(outputs.firm_gen(tmp_path / "g")), "flowfactory", str(tmp_path / "y"))
    prompts = [row["prompt"] for row in lines(tmp_path / "y" / "train.jsonl")]
    assert sorted(prompts) == ["three swans, 0", "three swans, 1", "three swans, 2"]
    assert found.left_out == {"same_prompt": 7}


def test_editrl_prompts_differ_though_they_read_alike(tmp_path: Path) -> None:
    out = outputs.firm_edit(tmp_path / "out", pairs=12)
    export(str(out), "editrl", str(tmp_path / "x"))
    rows = lines(tmp_path / "x" / "train_metadata.jsonl")
    assert len({row["prompt"] for row in rows}) == len(rows) == 12
    assert {row["prompt"].strip() for row in rows} == {"Remove the dog.", plain(outputs.HOSTILE)}
    for row in rows:
        assert set(row) == {"prompt", "image", "requirement"} and row["requirement"] == ""
        assert row["image"].startswith("images/") and (tmp_path / "x" / row["image"]).is_file()


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_the_ends_of_equal_instructions_differ(one: int, other: int) -> None:
    assert (distinct_end(one) == distinct_end(other)) == (one == other)
    assert distinct_end(one).strip() == "" and len(distinct_end(one)) <= 13


def test_editrl_asks_of_a_reference_what_its_relation_says(out: Path, tmp_path: Path) -> None:
    found = export(str(out), "editrl", str(tmp_path / "x"))
    rows = lines(tmp_path / "x" / "train_metadata.jsonl")
    assert {row["requirement"] for row in rows} == {"Thing 1 is from image_1."}
    assert found.rows["train_metadata.jsonl"] == 7 and found.rows["test_metadata.jsonl"] == 2
    assert found.left_out == {"several_images": 15}


def test_genrl_is_a_list_of_distinct_prompts(tmp_path: Path) -> None:
    found = export(str(outputs.firm_gen(tmp_path / "out")), "genrl", str(tmp_path / "x"))
    rows = json.loads((tmp_path / "x" / "train.json").read_text())
    assert sorted(row["input_prompt"] for row in rows) == [f"three swans, {n}" for n in range(3)]
    assert all(set(row) == {"input_prompt"} for row in rows)
    assert found.left_out == {"same_prompt": 7}


def test_what_users_type_reaches_no_generator_as_a_token(tmp_path: Path) -> None:
    made = {"realign": outputs.realign(tmp_path / "r", paintings=2), "edit": outputs.firm_edit(tmp_path / "e")}
    for dataset, name in [("realign", "omnigen2"), ("realign", "flowfactory"), ("realign", "editrl"),
                          ("edit", "flowfactory"), ("edit", "editrl")]:  # fmt: skip
        export(str(made[dataset]), name, str(tmp_path / f"{dataset}-{name}"))
        texts = [path.read_text() for path in (tmp_path / f"{dataset}-{name}").rglob("*.jsonl")]
        assert any("[im_end]" in text for text in texts)
        assert not any(token in text for text in texts for token in ("<|", "<image", "<video>", "</think>", "[IMG]"))
