"""LLaMA-Factory, ms-swift, TRL and flat Parquet, opened by what their readers use."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from shards.export.formats import export
from shards.export.options import Options
from shards.reader import read_samples
from tests.shards.export import outputs, tiny_qwen

MAKERS = {"realign": outputs.realign, "firm-edit": outputs.firm_edit, "firm-gen": outputs.firm_gen}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("conversations")
    return {dataset: maker(folder / dataset) for dataset, maker in MAKERS.items()}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("dataset", list(MAKERS))
@pytest.mark.parametrize("keys", ["llamafactory", "swift"])
def test_every_row_has_as_many_tokens_as_images(dataset: str, keys: str, made: dict[str, Path], tmp_path: Path) -> None:
    found = export(str(made[dataset]), "llamafactory", str(tmp_path / "x"), Options(keys=keys))
    rows = lines(tmp_path / "x" / "train.jsonl")
    assert len(rows) == found.rows["train.jsonl"] and found.left_out == {}
    for row in rows:
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        said = "".join(message["content"] for message in row["messages"])
        assert said.count("<image>") == len(row["images"]) == row["messages"][0]["content"].count("<image>")
        for token in ("<video>", "<audio>", "<|image_pad|>", "<|im_end|>"):
            assert token not in said
        for name in row["images"]:
            # LLaMA-Factory looks below its dataset_dir; ms-swift where it runs.
            assert Path(name).is_absolute() == (keys == "swift")
            assert (tmp_path / "x" / name).is_file()
    assert (tmp_path / "x" / "dataset_info.json").exists() == (keys == "llamafactory")


def test_dataset_info_names_every_split(made: dict[str, Path], tmp_path: Path) -> None:
    export(str(made["realign"]), "llamafactory", str(tmp_path / "x"))
    info = json.loads((tmp_path / "x" / "dataset_info.json").read_text())
    assert sorted(info) == ["realign_test", "realign_train"]
    for entry in info.values():
        row = lines(tmp_path / "x" / entry["file_name"])[0]
        assert set(entry["columns"].values()) == set(row)
        assert {entry["tags"]["role_tag"], entry["tags"]["content_tag"]} == set(row["messages"][0])


def test_answers_and_images_are_the_samples(made: dict[str, Path], tmp_path: Path) -> None:
    export(str(made["realign"]), "llamafactory", str(tmp_path / "x"))
    rows = iter(lines(tmp_path / "x" / "train.jsonl"))
    for sample in read_samples(str(made["realign"])):
        for text in dict.fromkeys(r["text"] for r in sample.json["reasonings"]):
            row = next(rows)
            assert row["messages"][1]["content"] == text
            found = [(tmp_path / "x" / name).read_bytes() for name in row["images"]]
            assert found == [sample.images[f"image_{n + 1}"] for n in range(len(found))]
    assert next(rows, None) is None


def test_swift_paths_take_the_trainers_name(made: dict[str, Path], tmp_path: Path) -> None:
    options = Options(keys="swift", data_dir="/mnt/x")
    export(str(made["firm-gen"]), "llamafactory", str(tmp_path / "x"), options)
    assert all(row["images"][0].startswith("/mnt/x/images/") for row in lines(tmp_path / "x" / "train.jsonl"))


def test_a_prompt_that_lost_a_placeholder_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "prompt_of", lambda i, n, text: text if i % 4 == 0 else outputs_prompt(i, n, text))
    out = outputs.realign(tmp_path / "out", train=8, test=0)
    for name in ("trl", "llamafactory", "bagel"):
        assert export(str(out), name, str(tmp_path / name)).left_out == {"placeholders": 2}


outputs_prompt = outputs.prompt_of


def load(folder: Path, cache: Path, split: str = "train") -> Any:
    from datasets import load_dataset

    return load_dataset(str(folder), cache_dir=str(cache), split=split)


@pytest.mark.parametrize("dataset", list(MAKERS))
def test_flat_parquet_gives_every_field_back(dataset: str, made: dict[str, Path], tmp_path: Path) -> None:
    export(str(made[dataset]), "parquet", str(tmp_path / "x"))
    rows = load(tmp_path / "x", tmp_path / "cache")
    samples = list(read_samples(str(made[dataset])))
    assert len(rows) == len(samples)
    raw = rows.with_format("arrow")[:].to_pylist()
    for sample, row, undecoded in zip(samples, rows, raw, strict=True):
        view = dict(sample.json)
        scores = view.pop("scores", {})
        assert {name: row[f"score_{name}"] for name in scores} == scores
        for key, value in view.items():
            assert (json.loads(row[key]) if isinstance(value, dict | list) else row[key]) == value
        assert [image.size for image in row["images"]] == [(32, 32)] * len(row["images"])
        assert [image["bytes"] for image in undecoded["images"]] == [
            sample.images[f"image_{n + 1}"] for n in range(len(row["images"]))
        ]
        assert ("target" in row) == ("target" in sample.images)
        if dataset == "realign":
            assert undecoded["target"]["bytes"] == sample.images["target"]
            assert row["iccots"] == [r["text"] for r in view["reasonings"]]


def test_flat_parquet_keeps_paintings_and_splits(tmp_path: Path) -> None:
    out = outputs.realign(tmp_path / "out", paintings=3)
    export(str(out), "parquet", str(tmp_path / "x"))
    for split, count in (("train", 20), ("test", 4)):
        rows = load(tmp_path / "x", tmp_path / "cache", split)
        assert len(rows) == count
        for sample, row in zip(read_samples(str(out), split), rows.with_format("arrow")[:].to_pylist(), strict=True):
            assert [image["bytes"] for image in row["others"]] == [sample.images["other_1"], sample.images["other_2"]]


def test_flat_parquet_reads_in_pandas(made: dict[str, Path], tmp_path: Path) -> None:
    import pandas as pd
    from PIL import Image

    export(str(made["firm-edit"]), "parquet", str(tmp_path / "x"))
    frame = pd.read_parquet(tmp_path / "x" / "train")
    assert frame.groupby("dimension")["score"].count().to_dict() == {"consistency": 12, "execution": 12}
    with Image.open(io.BytesIO(frame["images"][0][1]["bytes"])) as image:
        assert image.size == (32, 32)


def test_trl_trains_a_tiny_qwen3_vl_on_what_is_exported(made: dict[str, Path], tmp_path: Path) -> None:
    from toyworld.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from trl import SFTConfig, SFTTrainer

    processor = tiny_qwen.processor()
    model = tiny_qwen.model(processor)
    image_pad = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    for dataset, out in made.items():
        export(str(out), "trl", str(tmp_path / dataset))
        rows = load(tmp_path / dataset, tmp_path / "cache")
        arguments = SFTConfig(
            output_dir=str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=2, max_length=None, report_to=[],
            use_cpu=True, bf16=False, logging_steps=1, save_strategy="no", activation_checkpointing=False,
            disable_tqdm=True, learning_rate=1e-2,
        )  # fmt: skip
        trainer = SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=processor)
        for row in rows.select(range(6)):
            batch = trainer.data_collator([dict(row)])
            # Merged 2 x 2, an image of h x w patches becomes h * w / 4 tokens: all the images', and no other's.
            assert int((batch["input_ids"] == image_pad).sum()) == int(batch["image_grid_thw"].prod(1).sum()) // 4
            assert len(batch["image_grid_thw"]) == len(row["images"])
            learnt = batch["labels"][batch["labels"] != -100]
            assert processor.tokenizer.decode(learnt) == f"{row['completion'][0]['content'][0]['text']}<|im_end|>\n"
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert len(losses) == 2 and all(0 < float(loss) < 20 for loss in losses)
