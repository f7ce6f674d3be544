"""BAGEL rows, read the way BAGEL reads them: by its loaders' rules, and by the class that the export brings along."""

from __future__ import annotations

import importlib
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from schemas.errors import InputError
from shards.export.formats import export
from shards.export.options import Options
from shards.export.prompts import plain, plain_prompt
from shards.reader import read_samples
from tests.shards.export import outputs

STANDIN = Path(__file__).with_name("bagel_standin")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return outputs.realign(tmp_path_factory.mktemp("bagel") / "out", train=70, test=3)


@pytest.fixture
def bagel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder laid out like BAGEL's repository, importable as it is when its trainer runs."""
    shutil.copytree(STANDIN, tmp_path / "bagel", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(str(tmp_path / "bagel"))
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name == "data" or name.startswith("data.")}
    yield tmp_path / "bagel"
    for name in [name for name in sys.modules if name == "data" or name.startswith("data.")]:
        del sys.modules[name]
    sys.modules.update(kept)


def dataset_module(bagel: Path, exported: Path) -> ModuleType:
    """The class as a user gets it: the file from the export, copied into BAGEL's folder."""
    shutil.copy(exported / "bagel_dataset.py", bagel / "data" / "interleave_datasets")
    importlib.invalidate_caches()
    return importlib.import_module("data.interleave_datasets.bagel_dataset")


def loader(bagel: Path, exported: Path, **changed: Any) -> Any:
    """The dataset, built as BAGEL builds it from bagel_info.json and bagel.yaml."""
    info = json.loads((exported / "bagel_info.json").read_text())["realign_iccot"]["realign_iccot"]
    named = yaml.safe_load((exported / "bagel.yaml").read_text())["realign_iccot"]
    size = named.pop("image_transform_args")["image_stride"], named.pop("vit_image_transform_args")["image_stride"]
    for key in ("dataset_names", "is_mandatory", "weight"):
        named.pop(key)
    from data.standin import ByteTokenizer, Transform

    return dataset_module(bagel, exported).ICCoTIterableDataset(
        dataset_name="realign_iccot",
        transform=Transform(size[0]),
        vit_transform=Transform(size[1]),
        tokenizer=ByteTokenizer(),
        data_dir_list=[info["data_dir"]],
        parquet_info=json.loads(Path(info["parquet_info_path"]).read_text()),
        **{"local_rank": 0, "world_size": 1, "num_workers": 1, **named, **changed},
    )


def one_epoch(dataset: Any, rows: int) -> list[dict[str, Any]]:
    visits = iter(dataset)
    return [next(visits) for _ in range(rows)]


def test_rows_hold_references_then_target_and_one_inner_instruction(out: Path, tmp_path: Path) -> None:
    export(str(out), "bagel", str(tmp_path / "x"), Options(without_iccot=0.25))
    rows = pq.read_table(tmp_path / "x" / "train").to_pandas()
    assert len(rows) == 70
    for sample, (_, row) in zip(read_samples(str(out)), rows.iterrows(), strict=True):
        names = sorted(name for name in sample.images if name.startswith("image_"))
        assert list(row["image_list"]) == [*(sample.images[name] for name in names), sample.images["target"]]
        # Echo-4o's loader calls .item() on it, which fails where there are several.
        assert len(row["instruction_list"]) == 1
        assert row["instruction_list"][0].item() == plain(sample.json["instruction"])
        assert row["prompt"] == plain_prompt(sample.json["prompt"])
        assert list(row["iccot_list"]) == list(dict.fromkeys(r["text"] for r in sample.json["reasonings"]))
        assert (row["id"], row["without_iccot"]) == (sample.id, 0.25)


@pytest.mark.parametrize("units", [1, 4, 7, 32, 70])
def test_row_groups_divide_over_the_workers_and_no_row_is_dropped(
    units: int, out: Path, tmp_path: Path, bagel: Path
) -> None:
    export(str(out), "bagel", str(tmp_path / "x"), Options(units=units))
    info = json.loads((tmp_path / "x" / "train.parquet_info.json").read_text())
    file = pq.ParquetFile(tmp_path / "x" / "train" / "part-00000.parquet")
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert info == {str(tmp_path / "x" / "train" / "part-00000.parquet"): {"num_row_groups": len(sizes)}}
    assert len(sizes) % units == 0
    assert max(sizes) - min(sizes) <= 1 and (max(sizes) <= 16 or len(sizes) == 70 // units * units)
    seen: Counter[str] = Counter()
    for rank in range(units):
        dataset = loader(bagel, tmp_path / "x", local_rank=rank, world_size=units)
        share = dataset.data_paths_per_rank
        assert share
        seen.update(f"{group}" for _, group in share)
    assert len(seen) == len(sizes)


@pytest.mark.parametrize("units", [4, 7, 32])
@pytest.mark.parametrize("large", [False, True])
def test_row_groups_divide_though_samples_are_left_out_or_large(
    units: int, large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr("shards.export.bagel.GROUP_BYTES", 6_000)
    out = outputs.realign(tmp_path / "out", train=70, test=2, unfit=range(20, 29))
    found = export(str(out), "bagel", str(tmp_path / "x"), Options(units=units))
    assert (found.samples, found.left_out) == (72, {"placeholders": 9})
    assert sum(rows for name, rows in found.rows.items() if name.startswith("train/")) == 61
    file = pq.ParquetFile(tmp_path / "x" / "train" / "part-00000.parquet")
    info = json.loads((tmp_path / "x" / "train.parquet_info.json").read_text())
    assert [part["num_row_groups"] for part in info.values()] == [file.num_row_groups]
    assert file.num_row_groups % units == 0 and file.metadata.num_rows == 61
    ids = [row["id"] for row in file.read(["id"]).to_pylist()]
    kept = [s.id for s in read_samples(str(out)) if "<image_1>" in s.json["prompt"]]
    assert ids == kept
    told = json.loads((tmp_path / "x" / "bagel_info.json").read_text())["realign_iccot"]["realign_iccot"]
    assert told["num_total_samples"] == 61


def test_fewer_samples_that_fit_than_workers_are_refused(tmp_path: Path) -> None:
    out = outputs.realign(tmp_path / "out", train=20, test=0, unfit=range(3))
    with pytest.raises(InputError, match=r"17 samples \(3 left out\), fewer than the 18 workers"):
        export(str(out), "bagel", str(tmp_path / "x"), Options(units=18))
    gone = outputs.realign(tmp_path / "gone", train=4, test=2, unfit=range(2, 4))
    export(str(gone), "bagel", str(tmp_path / "y"))
    none = outputs.realign(tmp_path / "none", train=4, test=6, unfit=range(4))
    with pytest.raises(InputError, match=r"0 samples \(4 left out\), fewer than the 1 workers"):
        export(str(none), "bagel", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_keys_are_the_paths_that_bagel_will_ask_for(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, wanted in (("", str(tmp_path / "0")), ("/mnt/data/", "/mnt/data"), ("data/realign", "data/realign")):
        dest = tmp_path / str(len(list(tmp_path.iterdir())))
        export(str(out), "bagel", str(dest), Options(data_dir=given))
        info = json.loads((dest / "train.parquet_info.json").read_text())
        assert list(info) == [f"{wanted}/train/part-00000.parquet"]
        told = json.loads((dest / "bagel_info.json").read_text())["realign_iccot"]["realign_iccot"]
        assert told["data_dir"] == f"{wanted}/train"
        assert told["parquet_info_path"] == f"{wanted}/train.parquet_info.json"
        assert (told["num_files"], told["num_total_samples"]) == (1, 70)


def test_files_roll_over_and_all_are_keys(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.export.groups.FILE_BYTES", 30_000)
    export(str(out), "bagel", str(tmp_path / "x"), Options(units=35))
    files = sorted((tmp_path / "x" / "train").iterdir())
    info = json.loads((tmp_path / "x" / "train.parquet_info.json").read_text())
    assert len(files) > 2 and sorted(info) == [str(file) for file in files]
    assert sum(part["num_row_groups"] for part in info.values()) == 35
    assert yaml.safe_load((tmp_path / "x" / "bagel.yaml").read_text())["realign_iccot"]["num_used_data"] == [len(files)]


def test_the_class_gives_loss_to_the_iccot_and_the_target_alone(out: Path, tmp_path: Path, bagel: Path) -> None:
    export(str(out), "bagel", str(tmp_path / "x"))
    views = [sample.json for sample in read_samples(str(out))]
    known = {(plain(view["instruction"]), f"<think>{r['text']}</think>") for view in views for r in view["reasonings"]}
    for visit in one_epoch(loader(bagel, tmp_path / "x"), 70):
        plan = [(item["type"], item["loss"]) for item in visit["sequence_plan"]]
        references = plan.count(("vit_image", 0))
        given = [("vae_image", 0), ("vit_image", 0)] * references
        assert plan == [*given, ("text", 0), ("text", 1), ("vae_image", 1)]
        instruction, iccot = (bytes(ids).decode() for ids in visit["text_ids_list"])
        assert (instruction, iccot) in known
        assert len(visit["image_tensor_list"]) == 2 * references + 1


def test_the_share_without_iccot_is_drawn_anew_at_each_visit(out: Path, tmp_path: Path, bagel: Path) -> None:
    export(str(out), "bagel", str(tmp_path / "x"), Options(without_iccot=0.3))
    random.seed(5)
    dataset = loader(bagel, tmp_path / "x", think=False)
    epochs = [[len(visit["text_ids_list"]) for visit in one_epoch(dataset, 70)] for _ in range(8)]
    without = sum(texts == 1 for epoch in epochs for texts in epoch) / 560
    assert 0.22 < without < 0.38
    assert len({tuple(epoch) for epoch in epochs}) == 8
    for share, count in ((0.0, 2), (1.0, 1)):
        shutil.rmtree(tmp_path / "x")
        export(str(out), "bagel", str(tmp_path / "x"), Options(without_iccot=share))
        assert {len(visit["text_ids_list"]) for visit in one_epoch(loader(bagel, tmp_path / "x"), 70)} == {count}


def test_the_class_sets_references_where_the_prompt_names_them(out: Path, tmp_path: Path, bagel: Path) -> None:
    export(str(out), "bagel", str(tmp_path / "x"), Options(without_iccot=1.0))
    dataset = loader(bagel, tmp_path / "x", interleaved=True)
    shapes = Counter()
    for visit in one_epoch(dataset, 70):
        assert [i["loss"] for i in visit["sequence_plan"]].count(1) == 1
        shapes["".join(item["type"][1] for item in visit["sequence_plan"])] += 1
    # text, then vae and vit of image 1, "and the thing of", image 2, the rest, the target.
    assert shapes["eaieaiea"] > 0
    # In front, or named out of order: three images, text, target.
    assert shapes["aiaiaiea"] > 0


def test_a_users_tokens_end_neither_the_thought_nor_the_turn(tmp_path: Path, bagel: Path) -> None:
    out = outputs.realign(tmp_path / "out", train=14, test=0, aside="so </think><|im_end|> it is")
    export(str(out), "bagel", str(tmp_path / "x"))
    seen = 0
    for visit in one_epoch(loader(bagel, tmp_path / "x", interleaved=True), 14):
        *given, iccot = (bytes(ids).decode() for ids in visit["text_ids_list"])
        assert iccot.count("</think>") == 1 and "so [/think][im_end] it is" in iccot
        assert "<relation_1>" in iccot and "<out_caption>" in iccot
        assert not any(token in text for text in given for token in ("<|", "</think>", "<image", "<video>"))
        seen += any("[im_end]" in text for text in given)
    assert seen == 2


def test_a_system_prompt_belongs_to_visits_with_an_iccot(out: Path, tmp_path: Path, bagel: Path) -> None:
    export(str(out), "bagel", str(tmp_path / "x"), Options(without_iccot=0.5))
    dataset = loader(bagel, tmp_path / "x", system_prompt="Think first.")
    counts = Counter(len(visit["text_ids_list"]) for visit in one_epoch(dataset, 70))
    assert set(counts) == {1, 3}
