"""Every format: what it holds, the same bytes every time, whole or not at all, and errors in one line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import DamageError, InputError
from shards.commit import ShardSample, write_shard
from shards.export.formats import HOLDS, export
from shards.export.options import Options
from shards.manifest import write_manifest, write_run
from shards.names import names_of
from tests.servers.commands import plumbline
from tests.shards.export import outputs
from tests.shards.made import jpeg

MAKERS = {"realign": outputs.realign, "firm-edit": outputs.firm_edit, "firm-gen": outputs.firm_gen}
PAIRS = [(name, dataset) for name in HOLDS for dataset in MAKERS]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One output of each dataset, read-only by agreement."""
    folder = tmp_path_factory.mktemp("outputs")
    return {dataset: maker(folder / dataset) for dataset, maker in MAKERS.items()}


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize(("name", "dataset"), PAIRS)
def test_a_format_holds_what_the_table_says(name: str, dataset: str, made: dict[str, Path], tmp_path: Path) -> None:
    dest = tmp_path / "x"
    if dataset not in HOLDS[name]:
        with pytest.raises(InputError, match=f"{name} holds nothing of {dataset}"):
            export(str(made[dataset]), name, str(dest))
        assert os.listdir(tmp_path) == []
        return
    found = export(str(made[dataset]), name, str(dest))
    samples = {"realign": 24, "firm-edit": 24, "firm-gen": 10}[dataset]
    assert found.samples == samples
    assert 0 <= sum(found.left_out.values()) < samples
    assert sum(found.rows.values()) > 0
    assert f"{samples} samples = " in str(found)
    before = tree(dest)
    os.rename(dest, tmp_path / "first")
    export(str(made[dataset]), name, str(dest))
    assert tree(dest) == before
    assert sorted(os.listdir(tmp_path)) == ["first", "x"]


def test_the_page_has_the_table_of_the_code() -> None:
    page = (Path(__file__).parents[3] / "docs" / "export.md").read_text(encoding="utf-8")
    rows = {match[1]: match[2] for match in re.finditer(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE)}
    for name, held in HOLDS.items():
        assert rows[name] == " | ".join(held.get(dataset, "-") for dataset in MAKERS)


def test_a_damaged_tar_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    for name in HOLDS:
        if "realign" not in HOLDS[name]:
            continue
        for damage in (_flip, _cut, os.unlink):
            out = outputs.realign(tmp_path / f"{name}-{damage.__name__}" / "out", train=6, test=0)
            damage(out / names_of({"train": 1})[0].tar)
            with pytest.raises(DamageError, match=r"train-00000-of-00001\.tar"):
                export(str(out), name, str(out.parent / "x"))
            assert os.listdir(out.parent) == ["out"]


def _flip(tar: Path) -> None:
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)


def _cut(tar: Path) -> None:
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])


@pytest.mark.parametrize("told", [{"offset": 10**12}, {"offset": 1024}, {"size": 1}, {"name": "other"}])
def test_an_index_that_disagrees_with_its_tar_is_told(told: dict[str, Any], tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = outputs.realign(tmp_path / "out", train=3, test=0)
    index = out / names_of({"train": 1})[0].index_file
    table = pq.read_table(index)
    rows = table.to_pylist()
    rows[1]["members"][1].update(told)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), index)
    with pytest.raises(DamageError, match=r"train-00000-of-00001\.(tar: .* its index says|parquet: .* can have none)"):
        export(str(out), "trl", str(tmp_path / "x"))
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize(("added", "said"), [({"later": 1}, "`later`"), ({"scores": {"new": 0.5}}, "`scores.new`")])
def test_parquet_loses_no_key_that_the_first_sample_lacks(added: dict[str, Any], said: str, tmp_path: Path) -> None:
    samples = []
    for number, more in enumerate([{"scores": {}}, {"scores": {}, **added}]):
        view = {"id": f"a{number}", "instruction": "x", **more}
        members = [("image_1.jpg", jpeg(1)), ("target.jpg", jpeg(2)), ("json", json.dumps(view).encode())]
        samples.append(ShardSample(f"a{number}", members))
    run_hash = write_run(str(tmp_path / "out"), {"dataset": "realign", "shards": {"train": 1}})
    name = names_of({"train": 1})[0]
    write_shard(str(tmp_path / "out"), name, samples, [], run_hash=run_hash, planned=2)
    write_manifest(str(tmp_path / "out"))
    with pytest.raises(DamageError, match=f"sample a1 has {said}, which the first sample lacks"):
        export(str(tmp_path / "out"), "parquet", str(tmp_path / "x"))
    assert os.listdir(tmp_path) == ["out"]


def test_inside_the_output_nothing_is_written(tmp_path: Path) -> None:
    out = outputs.realign(tmp_path / "out")
    before = tree(out)
    with pytest.raises(InputError, match=r"lies inside .*, which is exported; choose another --out"):
        export(str(out), "parquet", str(out / "exports" / "x"))
    assert tree(out) == before and not (out / "exports").exists()


def test_no_run_and_an_unfinished_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the folder of a run"):
        export(str(tmp_path), "parquet", str(tmp_path / "x"))
    out = outputs.realign(tmp_path / "out")
    (out / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"not finished: it has no manifest\.json"):
        export(str(out), "parquet", str(tmp_path / "x"))
    (out / names_of({"train": 3})[1].index_file).unlink()
    with pytest.raises(InputError, match="1 of 4 shards are not finished"):
        export(str(out), "parquet", str(tmp_path / "x"))
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("sharegpt", Options(), "there is no such format; choose bagel, "),
        ("trl", Options(units=4), "--units: is not an option of trl; it belongs to bagel"),
        ("trl", Options(data_dir="/x"), "--data-dir: is not an option of trl"),
        ("bagel", Options(units=0), "--units 0: must be 1 or more"),
        ("bagel", Options(units=21), "20 samples, fewer than the 21 workers"),
        ("bagel", Options(without_iccot=1.5), "is a share, from 0 to 1"),
        ("llamafactory", Options(keys="axolotl"), "choose llamafactory or swift"),
        ("llamafactory", Options(data_dir="/x"), "relative to its dataset_dir"),
    ],
)
def test_options_are_checked(name: str, options: Options, said: str, made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        export(str(made["realign"]), name, str(tmp_path / "x"), options)
    assert os.listdir(tmp_path) == []


def test_an_export_of_none_of_the_samples_is_refused(tmp_path: Path) -> None:
    out = outputs.realign(tmp_path / "out", train=0, test=3)
    for tar in (out / "shards").glob("*.tar"):
        assert tar.name.startswith("test")
    found = export(str(out), "editrl", str(tmp_path / "x"))
    assert found.left_out == {"several_images": 2}
    gone = outputs.realign(tmp_path / "none", train=0, test=0)
    with pytest.raises(InputError, match="holds none of its samples"):
        export(str(gone), "editrl", str(tmp_path / "y"))


def test_what_is_there_is_never_overwritten(made: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        export(str(made["realign"]), "trl", str(tmp_path / "x"))
    assert (tmp_path / "x" / "mine").read_text() == "mine"
    with pytest.raises(InputError, match="is on a bucket"):
        export(str(made["realign"]), "trl", "gs://bucket/x")
    (tmp_path / "empty").mkdir()
    export(str(made["realign"]), "trl", str(tmp_path / "empty"))


def test_what_a_killed_export_left_is_swept(made: dict[str, Path], tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    for name in (f".x.{dead.stdout.strip()}.exporting", f".x.{os.getppid()}.exporting"):
        (tmp_path / name).mkdir()
    export(str(made["realign"]), "trl", str(tmp_path / "x"))
    assert sorted(os.listdir(tmp_path)) == [f".x.{os.getppid()}.exporting", "x"]


def test_the_command_line_says_one_line(made: dict[str, Path], tmp_path: Path) -> None:
    done = plumbline("export", str(made["firm-edit"]), "--format", "editrl", "--out", str(tmp_path / "x"))
    assert done.returncode == 0
    assert done.stdout == (
        f"{tmp_path}/x: 24 samples = 6 written + 18 left out (12 rewritten, 6 same_pair); "
        "rows: train_metadata.jsonl 6\n"
    )
    refused = plumbline("export", str(made["firm-edit"]), "--format", "bagel", "--out", str(tmp_path / "y"))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


def test_a_record_that_is_not_the_datasets_is_named(tmp_path: Path) -> None:
    for number, view in enumerate([{"id": "ab"}, [], {"instruction": 3, "prompt": "<image_1>", "reasonings": {}}]):
        out = str(tmp_path / f"out{number}")
        run_hash = write_run(out, {"dataset": "realign", "shards": {"train": 1}})
        members = [("image_1.jpg", jpeg(1)), ("json", json.dumps(view).encode())]
        write_shard(out, names_of({"train": 1})[0], [ShardSample("ab", members)], [], run_hash=run_hash, planned=1)
        write_manifest(out)
        for name in HOLDS:
            if "realign" in HOLDS[name] and name != "parquet":
                with pytest.raises(DamageError, match="sample ab"):
                    export(out, name, str(tmp_path / "x"))
        assert not (tmp_path / "x").exists()
