"""Indexing: every image is looked at once; what cannot be used is listed with its reason and costs nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pools.index import IndexReport, index
from pools.pool import Pool
from pools.rows import caption_of_name
from schemas.errors import InputError
from schemas.references import Kind, Person, Reference

Draw = Callable[..., Path]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def lines(source: Path, *rows: dict[str, Any] | str) -> str:
    path = source / "rows.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def row(path: str, kind: str = "object", **more: Any) -> dict[str, Any]:
    return {"path": path, "kind": kind, "caption": "a thing", **more}


def indexed(source: str | Path, out: Path, **options: Any) -> tuple[IndexReport, list[Reference]]:
    report = index(str(source), str(out), **options)
    pool = Pool.open(str(out), str(out.parent / "cache"))
    return report, pool.references(range(len(pool)))


def test_the_real_pool_is_indexed_whole(test_data: Path, tmp_path: Path) -> None:
    report, references = indexed(test_data / "pool" / "pool.jsonl", tmp_path / "pool.parquet")
    assert report.kinds == {"character": 75, "object": 139, "scene": 47}
    assert [(p.row, p.reason) for p in report.problems] == [(192, "tiny")]
    stated = {s["sha256"]: s for s in map(json.loads, (test_data / "pool" / "pool.jsonl").read_text().splitlines())}
    for reference in references:
        said = stated[reference.id]
        assert Reference.model_validate(reference.model_dump()) == reference
        assert (reference.source_id, reference.kind, reference.subject) == (said["id"], said["kind"], said["subject"])
        assert (reference.category, reference.license) == (said["class"], said["license"])
        assert (reference.width, reference.height, reference.alpha) == (said["width"], said["height"], said["alpha"])
        assert reference.person is Person.UNKNOWN and len(reference.phash) == 16
        assert os.path.isabs(reference.uri)
    assert len({r.subject for r in references}) == 167


def test_a_folder_of_kinds_takes_captions_from_sidecars_and_names(source: Path, draw: Draw, tmp_path: Path) -> None:
    draw(source / "objects" / "red-kettle_02.jpg", seed=1)
    draw(source / "objects" / "IMG_0001.png", seed=2)
    (source / "objects" / "IMG_0001.txt").write_text("a brass\n  lamp\n")
    draw(source / "objects" / "IMG_0002.png", seed=3)
    draw(source / "characters" / "rex" / "01.jpg", seed=4)
    draw(source / "characters" / "rex" / "02.jpg", seed=5)
    draw(source / "Scenes" / "old harbour.webp", seed=6)
    draw(source / "other" / "cat.jpg", seed=7)
    (source / "objects" / "notes.md").write_text("not an image")
    report, references = indexed(source, tmp_path / "pool.parquet")
    assert {r.source_id: (r.kind.value, r.caption) for r in references} == {
        "Scenes/old harbour.webp": ("scene", "old harbour"),
        "characters/rex/01.jpg": ("character", "rex"),
        "characters/rex/02.jpg": ("character", "rex"),
        "objects/IMG_0001.png": ("object", "a brass lamp"),
        "objects/red-kettle_02.jpg": ("object", "red kettle"),
    }
    subjects = {r.source_id: r.subject for r in references}
    assert subjects["characters/rex/01.jpg"] == subjects["characters/rex/02.jpg"] == "characters/rex"
    assert len(set(subjects.values())) == 4
    assert {p.path: p.reason for p in report.problems} == {
        "objects/IMG_0002.png": "no_caption",
        "other/cat.jpg": "unknown_kind",
    }


def test_rotated_photos_are_measured_upright_and_gps_stays_out_of_the_index(
    source: Path, draw: Draw, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.9), 3: "E", 4: (2.0, 17.0, 40.2)})
    draw(source / "a.jpg", size=(160, 90), exif=exif)
    _, [reference] = indexed(lines(source, row("a.jpg")), tmp_path / "pool.parquet")
    assert (reference.width, reference.height) == (90, 160)
    assert "48" not in reference.model_dump_json(include={"caption", "attribution", "source_id"})
    draw(source / "b.png", size=(160, 90))
    rotated = Image.open(source / "b.png").transpose(Image.Transpose.ROTATE_270)
    rotated.save(source / "c.png")
    _, [upright] = indexed(lines(source, row("c.png")), tmp_path / "other.parquet")
    from storage.images import hamming

    assert hamming(reference.phash, upright.phash) <= 4


def bomb() -> bytes:
    """A PNG of a few bytes whose header claims 50000 x 50000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_everything_unusable_is_listed_with_its_reason_and_the_rest_is_indexed(
    source: Path, draw: Draw, tmp_path: Path
) -> None:
    draw(source / "good.jpg", seed=1)
    whole = draw(source / "whole.jpg", seed=2, size=(400, 300)).read_bytes()
    (source / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (source / "text.png").write_text("I am a picture")
    (source / "empty.jpg").write_bytes(b"")
    (source / "bomb.png").write_bytes(bomb())
    (source / "folder.jpg").mkdir()
    draw(source / "small.png", size=(63, 400))
    draw(source / "edge.png", size=(64, 64))
    draw(tmp_path / "secret" / "outside.jpg", seed=3)
    (source / "link.jpg").symlink_to(tmp_path / "secret" / "outside.jpg")
    (source / "linked").symlink_to(tmp_path / "secret")
    (source / "inner.jpg").symlink_to(source / "whole.jpg")
    cases: list[tuple[dict[str, Any], str]] = [
        (row("good.jpg"), ""),
        (row("cut.jpg"), "unreadable"),
        (row("text.png"), "unreadable"),
        (row("empty.jpg"), "unreadable"),
        (row("folder.jpg"), "unreadable"),
        (row("bomb.png"), "bomb"),
        (row("small.png"), "tiny"),
        (row("edge.png"), ""),
        (row("gone.jpg"), "missing"),
        (row("../secret/outside.jpg"), "outside"),
        (row(str(tmp_path / "secret" / "outside.jpg")), "outside"),
        (row("link.jpg"), "outside"),
        (row("linked/outside.jpg"), "outside"),
        (row("a\0b.jpg"), "outside"),
        (row("s3://bucket/a.jpg"), "outside"),
        (row("inner.jpg"), ""),
        (row("./good.jpg", caption="again"), "duplicate"),
        (row("good.jpg", kind="person"), "unknown_kind"),
        (row("good.jpg", kind=None), "unknown_kind"),
        (row("good.jpg", caption="  "), "no_caption"),
        (row("good.jpg", caption=["a"]), "no_caption"),
        (row("good.jpg", sha256="0" * 64), "changed"),
        (row("\ud800.jpg"), "bad_path"),
        ({"kind": "object", "caption": "nothing"}, "no_path"),
        (row(7), "no_path"),  # type: ignore[arg-type]
    ]
    source_file = lines(source, *(case for case, _ in cases))
    report, references = indexed(source_file, tmp_path / "pool.parquet")
    assert {p.row: p.reason for p in report.problems} == {i: why for i, (_, why) in enumerate(cases, 1) if why}
    assert len(references) == report.indexed == sum(not why for _, why in cases)
    written = [json.loads(line) for line in Path(report.problems_file).read_text().splitlines()]
    assert [(p["row"], p["reason"]) for p in written] == [(p.row, p.reason) for p in report.problems]
    assert all(p["path"] and p["detail"] for p in written)
    assert sum(report.reasons.values()) == len(report.problems)


def test_an_allow_list_of_licences_keeps_the_rest_out(source: Path, draw: Draw, tmp_path: Path) -> None:
    licenses = ["CC-BY-4.0", "CC-BY-4.0 (MagicBrush)", "CC-BY-NC-4.0", "cc0-1.0", ""]
    for i, _ in enumerate(licenses):
        draw(source / f"{i}.jpg", seed=i)
    rows = lines(source, *(row(f"{i}.jpg", license=text) for i, text in enumerate(licenses)))
    report, references = indexed(rows, tmp_path / "pool.parquet", licenses=["CC-BY-4.0*", "CC0-1.0"])
    assert [r.license for r in references] == ["CC-BY-4.0", "CC-BY-4.0 (MagicBrush)", "cc0-1.0"]
    assert report.reasons == {"license": 2}


@pytest.mark.parametrize("bad", ["{", '{"path": }', "[1]", '"text"', "\x00", '{"a":' * 100_000])
def test_a_broken_line_is_one_line_with_file_and_number(source: Path, draw: Draw, tmp_path: Path, bad: str) -> None:
    draw(source / "a.jpg")
    file = lines(source, row("a.jpg"), "", bad)
    with pytest.raises(InputError) as caught:
        index(file, str(tmp_path / "pool.parquet"))
    assert str(caught.value).startswith(f"{file}: line 3 ") and "\n" not in str(caught.value)
    assert not any(tmp_path.glob("pool*")) and not any(tmp_path.glob(".pool*"))


def test_a_missing_or_empty_or_unknown_source_is_one_line(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "folder.jsonl").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "no_path.parquet")
    (tmp_path / "stray").mkdir()
    (tmp_path / "stray" / "a.txt").write_text("x")
    for name, says in {
        "gone.jsonl": "no such file", "gone": "missing or empty", "source": "missing or empty",
        "stray": "holds none of them", "empty.jsonl": "it has no rows", "folder.jsonl": "cannot be read",
        "broken.parquet": "not a Parquet file", "no_path.parquet": "no column names the images",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=says) as caught:
            index(str(tmp_path / name), str(tmp_path / "pool.parquet"))
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "out", ["file/pool.parquet", "file/deeper/pool.parquet", "folder", "locked/pool.parquet", "x" * 300]
)
def test_an_index_that_cannot_be_written_is_one_line(source: Path, draw: Draw, tmp_path: Path, out: str) -> None:
    draw(source / "objects" / "thing.jpg")
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked").mkdir(mode=0o500)
    if out.startswith("locked") and os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(InputError) as error:
        index(str(source), str(tmp_path / out))
    assert str(tmp_path / out) in str(error.value) and "\n" not in str(error.value)


def test_a_pool_without_one_usable_image_is_an_error_that_counts_the_reasons(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no usable image \(2 missing\); see .*problems\.jsonl"):
        index(lines(source, row("a.jpg"), row("b.jpg")), str(tmp_path / "pool.parquet"))
    assert not (tmp_path / "pool.parquet").exists()
    assert len((tmp_path / "pool.parquet.problems.jsonl").read_text().splitlines()) == 2


def test_an_index_is_the_same_bytes_whatever_the_threads(source: Path, draw: Draw, tmp_path: Path) -> None:
    rows = [row(draw(source / f"{i:03d}.jpg", seed=i).name) for i in range(150)]
    file = lines(source, *rows)
    for threads in (1, 3):
        index(file, str(tmp_path / f"{threads}" / "pool.parquet"), threads=threads)
    # Written beside each other in folders of equal depth, both hold the same paths.
    assert (tmp_path / "1" / "pool.parquet").read_bytes() == (tmp_path / "3" / "pool.parquet").read_bytes()


def test_another_pool_is_not_overwritten_and_the_same_one_may_be_indexed_again(
    source: Path, draw: Draw, tmp_path: Path
) -> None:
    out = tmp_path / "pool.parquet"
    draw(source / "a.jpg")
    file = lines(source, row("a.jpg"))
    index(file, str(out))
    before = out.read_bytes()
    index(file, str(out))
    assert out.read_bytes() == before
    lines(source, row("a.jpg", caption="another"))
    with pytest.raises(InputError, match="holds another pool"):
        index(file, str(out))
    assert out.read_bytes() == before
    foreign = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    with pytest.raises(InputError, match="is no pool index"):
        index(file, str(foreign))


def test_a_pool_and_its_index_can_be_moved_together(source: Path, draw: Draw, tmp_path: Path) -> None:
    draw(source / "images" / "a.jpg")
    _, [before] = indexed(lines(source, row("images/a.jpg")), source / "pool.parquet")
    digest = Pool.open(str(source / "pool.parquet"), str(tmp_path / "cache")).digest
    moved = source.rename(tmp_path / "moved")
    pool = Pool.open(str(moved / "pool.parquet"), str(tmp_path / "cache"))
    [after] = pool.references([0])
    assert before.uri == str(source / "images" / "a.jpg") and after.uri == str(moved / "images" / "a.jpg")
    assert pool.digest == digest and Path(after.uri).exists()


def test_the_digest_follows_what_the_pool_says(source: Path, draw: Draw, tmp_path: Path) -> None:
    draw(source / "a.jpg")
    rows = [row("a.jpg"), row("a.jpg", caption="other"), row("a.jpg", subject="s"), row("a.jpg", extra="ignored")]
    digests = [index(lines(source, r), str(tmp_path / f"{i}.parquet")).digest for i, r in enumerate(rows)]
    assert len(set(digests)) == 3 and digests[0] == digests[3]


def test_free_text_fields_of_odd_types_do_not_stop_indexing(source: Path, draw: Draw, tmp_path: Path) -> None:
    draw(source / "a.jpg")
    odd = row("a.jpg", kind="Objects", id=17, subject=3.5, license=None, attribution={"by": "me"}, person="yes")
    odd["class"] = "mug\n\tcup \ud83d"
    _, [reference] = indexed(lines(source, odd), tmp_path / "pool.parquet")
    assert (reference.kind, reference.source_id, reference.subject) == (Kind.OBJECT, "17", "3.5")
    assert (reference.license, reference.attribution, reference.person) == ("", "", Person.UNKNOWN)
    assert reference.category == "mug cup ?"


def test_an_identifiable_person_is_read_as_one(source: Path, draw: Draw, tmp_path: Path) -> None:
    draw(source / "a.jpg")
    _, [reference] = indexed(lines(source, row("a.jpg", person=" Identifiable")), tmp_path / "pool.parquet")
    assert reference.person is Person.IDENTIFIABLE


def test_a_table_is_read_by_paths_or_by_embedded_images(source: Path, draw: Draw, tmp_path: Path) -> None:
    first, second = draw(source / "a.jpg", seed=1), draw(source / "b.png", seed=2)
    common = {"kind": ["scene", "object"], "caption": ["a hill", "a hat"], "license": ["MIT", "MIT"], "other": [1, 2]}
    pq.write_table(pa.table({"path": ["a.jpg", "b.png"], **common}), source / "paths.parquet")
    data = [{"bytes": p.read_bytes(), "path": p.name} for p in (first, second)]
    pq.write_table(pa.table({"image": data, **common}), source / "embedded.parquet")
    _, by_path = indexed(source / "paths.parquet", tmp_path / "a" / "pool.parquet")
    _, embedded = indexed(source / "embedded.parquet", tmp_path / "b" / "pool.parquet")
    assert [r.id for r in by_path] == [r.id for r in embedded]
    assert [Path(r.uri).parent.name for r in embedded] == ["pool-images", "pool-images"]
    assert [hashlib.sha256(Path(r.uri).read_bytes()).hexdigest() for r in embedded] == [r.id for r in embedded]


def tar_of(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_webdataset_tars_are_taken_apart_beside_the_index(source: Path, draw: Draw, tmp_path: Path) -> None:
    images = [draw(tmp_path / f"{i}.png", seed=i).read_bytes() for i in range(4)]
    described = json.dumps({"kind": "object", "caption": "a lamp", "license": "CC0-1.0", "subject": "lamp"}).encode()
    first = [("0.png", images[0]), ("0.json", described), ("1.seg.png", images[1]), ("1.txt", b"a hill")]
    tar_of(source / "a.tar", [*first, ("1.kind", b"scene"), ("2.json", b"{}")])
    second = [("../../etc/3.png", images[2]), ("../../etc/3.json", described), ("4.png", images[3]), ("4.json", b"{")]
    tar_of(source / "b.tgz", [*second, ("5.png", images[0]), ("5.json", described)])
    report, references = indexed(source, tmp_path / "out" / "pool.parquet")
    assert [(r.source_id, r.kind.value, r.caption) for r in references] == [
        ("0", "object", "a lamp"),
        ("1", "scene", "a hill"),
        ("../../etc/3", "object", "a lamp"),
    ]
    assert [p.reason for p in report.problems] == ["no_path", "bad_json", "duplicate"]
    stored = sorted(p.name for p in (tmp_path / "out" / "pool-images").iterdir())
    assert stored == sorted(f"{r.id}.png" for r in references)


def test_a_tar_that_ends_early_costs_only_what_it_lost(source: Path, draw: Draw, tmp_path: Path) -> None:
    images = [draw(tmp_path / f"{i}.png", seed=i).read_bytes() for i in range(3)]
    members = [(f"{i}.{e}", data if e == "png" else b"a cup") for i, data in enumerate(images) for e in ("png", "txt")]
    whole = tar_of(source / "a.tar", members).read_bytes()
    second = whole.index(images[1])
    (source / "a.tar").write_bytes(whole[: second + len(images[1]) // 2])
    (source / "b.tar").write_bytes(b"no tar at all" * 100)
    tar_of(source / "c.tar", members[4:])
    report, references = indexed(source, tmp_path / "pool.parquet", kind=Kind.OBJECT)
    assert [r.id for r in references] == [hashlib.sha256(images[i]).hexdigest() for i in (0, 2)]
    assert [(Path(p.path).name, p.reason) for p in report.problems] == [
        ("a.tar", "unreadable"),
        ("b.tar", "unreadable"),
    ]


def test_tars_written_by_others_are_read_and_their_lacks_counted(test_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="90 no_caption"):
        index(str(test_data / "wds" / "sample.tgz"), str(tmp_path / "pool.parquet"), kind=Kind.OBJECT)


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("objects/red-kettle_02.jpg", "red kettle"),
        ("objects/IMG_2041.jpg", ""),
        ("objects/DSC00017.JPG", ""),
        ("scenes/0001.png", ""),
        ("characters/old_sailor/3.png", "old sailor"),
        ("objects/9f86d081884c7d65.png", ""),
        ("scenes/雪山.jpg", "雪山"),
        ("kettle", "kettle"),
    ],
)
def test_a_caption_is_read_from_a_name_only_where_it_has_words(name: str, caption: str) -> None:
    assert caption_of_name(name) == caption


@given(st.text(max_size=40))
def test_any_name_gives_a_caption_of_one_line(name: str) -> None:
    caption = caption_of_name(name)
    assert caption == " ".join(caption.split())
