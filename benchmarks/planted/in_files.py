"""Defects planted into the files of an output: damage, splits that share a subject, images that tell a place."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shards.commit import ShardSample, write_shard
from shards.manifest import write_manifest, write_run
from shards.names import names_of
from shards.reader import read_samples
from shards.tables import Column
from storage.images import decode, encode_jpeg, phash

_COLUMNS: tuple[Column, ...] = (("task", "string"), ("instruction", "string"), ("target_phash", "string"))
SECRET = b"PLANTED-WHEREABOUTS"
"""Stands in every kind of metadata that is planted, so that one search finds whatever is left of it."""


@contextmanager
def put_back(*files: Path) -> Iterator[None]:
    """Whatever happens to these files inside, they are as before afterwards."""
    before = {file: file.read_bytes() for file in files}
    try:
        yield
    finally:
        for file, data in before.items():
            file.write_bytes(data)


def flip_bit(tar: Path, rng: random.Random) -> int:
    """Flip one bit of the file; its number."""
    data = bytearray(tar.read_bytes())
    bit = rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    tar.write_bytes(data)
    return bit


def cut_short(tar: Path, rng: random.Random) -> int:
    """Leave only the beginning of the file; how many bytes that is."""
    length = rng.randrange(tar.stat().st_size)
    with tar.open("r+b") as file:
        file.truncate(length)
    return length


def disagreeing_index(index: Path, rng: random.Random) -> str:
    """Make one row of an index say something else than its tar holds; what, in a word.

    The caller closes the run again, so that the manifest agrees with the index.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(index.read_bytes()))
    rows = table.to_pylist()
    kind = rng.choice(sorted(_DISAGREEMENTS))
    rows = _DISAGREEMENTS[kind](rows, rng)
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), out)
    index.write_bytes(out.getvalue())
    return kind


def _other_digest(rows: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    member = rng.choice(rng.choice(rows)["members"])
    member["sha256"] = f"{rng.getrandbits(256):064x}"
    return rows


def _other_offset(rows: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    rng.choice(rng.choice(rows)["members"])["offset"] += 512
    return rows


def _lost_row(rows: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    del rows[rng.randrange(len(rows))]
    return rows


def _exchanged_members(rows: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    a, b = rng.sample(rows, 2)
    a["members"], b["members"] = b["members"], a["members"]
    return rows


_DISAGREEMENTS: dict[str, Callable[[list[dict[str, Any]], random.Random], list[dict[str, Any]]]] = {
    "digest": _other_digest,
    "offset": _other_offset,
    "lost row": _lost_row,
    "exchanged members": _exchanged_members,
}


def small_output(source: Path, out: Path, rng: random.Random, leak: str = "", train: int = 20, test: int = 6) -> None:
    """A sound little output of some samples of `source`, apart from what leaks between its splits.

    Args:
        train, test: samples of each split, if there are so many.
        leak: `reference`: a test sample has an image of the train split. `saved again`: it has it re-encoded, under
            another digest and subject.
    """
    if out.exists():
        shutil.rmtree(out)
    every = {split: list(read_samples(str(source), split)) for split in ("train", "test")}
    chosen = {
        split: rng.sample(found, min(most, len(found)))
        for (split, found), most in zip(every.items(), (train, test), strict=True)
    }
    samples = {split: [written(s.json, s.images) for s in found] for split, found in chosen.items()}
    if leak:
        view, images = dict(chosen["train"][0].json), dict(chosen["train"][0].images)
        view |= {"id": f"{rng.getrandbits(128):032x}", "split": "test"}
        if leak == "saved again":
            images = {name: encode_jpeg(decode(data), 85) for name, data in images.items()}
            view["references"] = [{**r, "id": f"{rng.getrandbits(256):064x}"} for r in view["references"]]
        samples["test"].append(written(view, images))
    write_output(out, samples)


def write_output(out: Path, samples: dict[str, list[ShardSample]]) -> None:
    """A finished output of one shard per split."""
    shards = dict.fromkeys(samples, 1)
    run_hash = write_run(str(out), {"dataset": "realign", "shards": shards})
    for name in names_of(shards):
        of_split = samples[name.split]
        count = len(of_split)
        write_shard(str(out), name, of_split, [], run_hash=run_hash, planned=count, columns=_COLUMNS)
    write_manifest(str(out))


def written(view: dict[str, Any], images: dict[str, bytes]) -> ShardSample:
    """A sample as a shard takes it, from its JSON and its images."""
    members: list[tuple[str, bytes]] = [(f"{name}.jpg", data) for name, data in sorted(images.items())]
    members.append(("json", json.dumps(view, ensure_ascii=False).encode()))
    subjects = tuple(dict.fromkeys(r["id"] for r in view["references"]))
    columns = {
        "task": view["task"],
        "instruction": view["instruction"],
        "target_phash": phash(decode(images["target"])),
    }
    return ShardSample(view["id"], members, columns, subjects)


def with_whereabouts(data: bytes, kind: str) -> bytes:
    """The picture as a file of `kind` (`JPEG`, `PNG`, `WEBP`) whose EXIF, XMP and comments tell a place."""
    from PIL import Image, PngImagePlugin

    image = decode(data)
    exif = Image.Exif()
    exif[0x8298] = SECRET.decode()  # copyright
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 9.0), 3: "E", 4: (11.0, 34.0, 30.0), 27: SECRET})
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><place>' + SECRET + b"</place></x:xmpmeta>"
    out = io.BytesIO()
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Location", SECRET.decode())
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        image.save(out, "PNG", exif=exif, pnginfo=info)
    elif kind == "WEBP":
        image.save(out, "WEBP", exif=exif, xmp=xmp, quality=90)
    else:
        image.save(out, "JPEG", exif=exif, xmp=xmp, comment=SECRET, quality=92)
    return out.getvalue()


def tells_whereabouts(images: Sequence[bytes]) -> bool:
    """Whether anything planted by `with_whereabouts`, or any EXIF at all, is left in one of the files."""
    from PIL import Image

    return any(SECRET in data or len(Image.open(io.BytesIO(data)).getexif()) > 0 for data in images)
