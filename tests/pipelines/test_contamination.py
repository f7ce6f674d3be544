"""Overlaps with benchmarks, and near-duplicates, of a small finished run."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.against import prompts_of, read_source
from pipelines.contamination import EXCLUDED, KEPT, REPORT, Checks, contamination
from schemas.errors import DamageError, InputError
from shards.manifest import read_manifest
from shards.verify import verify
from storage import images


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "out"))


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    folder = tmp_path / "bench"
    (folder / "deep").mkdir(parents=True)
    return folder


def members(out: Path, suffix: str) -> dict[str, bytes]:
    found = {}
    for file in sorted((out / "shards").glob("*.tar")):
        with tarfile.open(file) as tar:
            found |= {m.name.split(".")[0]: tar.extractfile(m).read() for m in tar if m.name.endswith(suffix)}  # type: ignore[union-attr]
    return found


def ids(out: Path, name: str) -> set[str]:
    return set((out / name).read_text().split())


def test_the_same_file_and_a_smaller_copy_of_it_are_found(out: Path, bench: Path) -> None:
    targets = members(out, ".target.jpg")
    same, copied = list(targets)[:2]
    (bench / "same.jpg").write_bytes(targets[same])
    picture = Image.open(io.BytesIO(targets[copied]))
    picture.resize((picture.width * 2 // 3, picture.height * 2 // 3)).save(bench / "deep" / "copy.webp", quality=80)
    report = contamination(str(out), [str(bench)], Checks(distance=4))
    examples = {row["id"]: row for row in report["examples"]["phash"]}
    assert report["overlaps"]["sha"] == 1 and report["examples"]["sha"][0]["id"] == same
    assert {same, copied} <= set(examples) and examples[copied]["what"].endswith(".jpg")
    assert examples[copied]["where"].endswith("deep/copy.webp")
    assert ids(out, EXCLUDED) >= {same, copied} and not ids(out, EXCLUDED) & ids(out, KEPT)
    assert ids(out, EXCLUDED) | ids(out, KEPT) == set(targets) and report["excluded"] == len(ids(out, EXCLUDED))
    assert json.loads((out / REPORT).read_text()) == report and verify(str(out)) == []


def test_what_cleaning_does_to_a_file_does_not_hide_it(out: Path, bench: Path) -> None:
    """A benchmark's file with EXIF is in the tars without it."""
    key, data = next(iter(members(out, ".image_1.jpg").items()))
    exif = Image.Exif()
    exif[0x010E] = "a photo of mine"
    block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    marked = data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:]
    assert images.clean(marked, max_side=1024).data == data != marked
    (bench / "with-exif.jpg").write_bytes(marked)
    report = contamination(str(out), [str(bench)], Checks(distance=None))
    assert key in ids(out, EXCLUDED) and report["overlaps"]["sha"] >= 1 and report["overlaps"]["phash"] == 0


def test_instructions_that_a_benchmark_has_are_found_in_any_file_of_prompts(out: Path, tmp_path: Path) -> None:
    told = {json.loads(d)["id"]: json.loads(d)["instruction"] for d in members(out, ".json").values()}
    long = [(key, text) for key, text in told.items() if len(text.split()) >= 16]
    (one, first), (other, second) = next(iter(told.items())), long[-1]
    (tmp_path / "bench.jsonl").write_text(json.dumps({"id": 1, "prompt": f"  {first.upper()} "}) + "\n")
    (tmp_path / "more.txt").write_text(f"Hello. {' '.join(second.split()[1:16])} and so on\n")
    report = contamination(str(out), [str(tmp_path / "bench.jsonl"), str(tmp_path / "more.txt")], Checks())
    assert one in {row["id"] for row in report["examples"]["text"]}
    assert other in ids(out, EXCLUDED) and report["overlaps"]["ngram"] >= 1
    assert [source["prompts"] for source in report["against"]] == [1, 1]


def test_an_output_may_be_the_benchmark(out: Path) -> None:
    report = contamination(str(out), [str(out)], Checks(distance=None))
    assert report["overlaps"]["sha"] == report["samples"] == report["excluded"] and not ids(out, KEPT)


def test_nothing_in_common_is_nothing_found(out: Path, bench: Path) -> None:
    noise = Image.effect_noise((200, 160), 90).convert("RGB")
    noise.save(bench / "noise.png")
    Image.new("RGB", (64, 64), "white").save(bench / "white.png")
    (bench / "broken.jpg").write_bytes(b"\xff\xd8 not an image")
    (bench / "prompts.csv").write_text("prompt,n\nsomething else entirely that nobody wrote,1\n")
    report = contamination(str(out), [str(bench)], Checks())
    assert report["excluded"] == 0 and (out / EXCLUDED).read_text() == ""
    assert report["against"][0] == {"name": str(bench), "images": 3, "prompts": 1}
    assert any("1 image cannot be read" in note for note in report["notes"])


def test_near_duplicates_keep_the_first(out: Path) -> None:
    rows = [row for f in sorted((out / "shards").glob("*.parquet")) for row in pq.read_table(f).to_pylist()]
    report = contamination(str(out), [], Checks(distance=15, duplicates=True))
    hashes = {row["id"]: row["target_phash"] for row in rows}
    gone = ids(out, EXCLUDED)
    kept = [key for key in hashes if key not in gone]
    assert all(images.hamming(hashes[a], hashes[b]) > 15 for a in kept for b in kept if a < b)
    assert report["near_duplicates"]["duplicate_phash"] == len(gone)


def test_embeddings_are_compared_where_a_clip_is_named(out: Path, bench: Path) -> None:
    key, data = next(iter(members(out, ".target.jpg").items()))
    Image.open(io.BytesIO(data)).save(bench / "again.jpg", quality=60)
    report = contamination(str(out), [str(bench)], Checks(distance=None, clip="toy", cosine=0.99, duplicates=True))
    assert key in {row["id"] for row in report["examples"]["embedding"]}
    assert report["overlaps"]["embedding"] < report["samples"]


@pytest.mark.parametrize(
    ("against", "checks", "said"),
    [
        ([], Checks(), "give --against"),
        (["nowhere"], Checks(), "there is no such folder"),
        (["empty"], Checks(), "neither images nor files of prompts"),
        (["bad.jsonl"], Checks(), "cannot be read"),
        (["other.jsonl"], Checks(), "holds no prompt"),
        (["code.py"], Checks(), "neither an image nor a file of prompts"),
        ([], Checks(clip="nonsense", duplicates=True), "--clip: 'nonsense'"),
        ([], Checks(clip="local-dir:/nowhere", duplicates=True), "^--clip: local-dir:/nowhere: there is no"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    out: Path, tmp_path: Path, against: list[str], checks: Checks, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jsonl").write_text('{"prompt": \n')
    (tmp_path / "other.jsonl").write_text('{"title": "a"}\n')
    (tmp_path / "code.py").write_text("x = 1\n")
    with pytest.raises(InputError, match=said) as error:
        contamination(str(out), [str(tmp_path / name) for name in against], checks)
    assert "\n" not in str(error.value) and not (out / REPORT).exists()


def test_a_missing_tar_is_damage(out: Path, bench: Path) -> None:
    next((out / "shards").glob("*.tar")).unlink()
    Image.effect_noise((64, 64), 80).save(bench / "a.png")
    with pytest.raises(DamageError, match="verify"):
        contamination(str(out), [str(bench)], Checks())


def test_prompts_are_read_from_every_kind_of_file(tmp_path: Path) -> None:
    table = pa.table({"caption": ["a", None, "b"], "n": [1, 2, 3]})
    pq.write_table(table, tmp_path / "p.parquet")
    (tmp_path / "p.json").write_text(
        json.dumps({"data": [{"prompt": "a"}, {"x": {"instruction": ["b"]}}], "name": "z"})
    )
    (tmp_path / "p.csv").write_text("id,prompt\n1,a\n2,b\n")
    (tmp_path / "p.tsv").write_text("id\tprompt\n1\ta\n2\tb\n")
    (tmp_path / "p.txt").write_text("a\n\n b \n")
    for kind in ("parquet", "json", "csv", "tsv", "txt"):
        assert list(prompts_of(str(tmp_path / f"p.{kind}"))) == ["a", "b"], kind
    assert len(read_source(str(tmp_path)).texts) == 10


def test_the_report_names_the_shards_that_it_speaks_of(out: Path, bench: Path) -> None:
    Image.effect_noise((64, 64), 80).save(bench / "a.png")
    report = contamination(str(out), [str(bench)], Checks())
    manifest = read_manifest(str(out))
    assert manifest is not None
    lines = sorted(
        f"{Path(name).stem} {about['sha256']}" for name, about in manifest["files"].items() if name.endswith(".tar")
    )
    assert report["tars"] == hashlib.sha256("\n".join(lines).encode()).hexdigest()
