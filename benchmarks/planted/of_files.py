"""What `verify` and the cleaning of images find of the defects in files."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.planted.counting import Outcome, Share
from benchmarks.planted.in_files import (
    cut_short,
    disagreeing_index,
    flip_bit,
    put_back,
    small_output,
    tells_whereabouts,
    with_whereabouts,
)
from benchmarks.planted.outputs import Sample, World, stored
from shards.manifest import write_manifest
from shards.verify import verify

FLIPS, CUTS, DISAGREEMENTS, LEAKS, SOUND, PLACES = 40, 20, 20, 10, 10, 30
VERIFY, CLEANING = "verify", "image cleaning"


def outcomes(world: World, folder: Path) -> list[Outcome]:
    """Every defect of files, planted into one world's output or into small ones made of its samples."""
    damage = [
        _damaged(world, "flipped bit in a tar", flip_bit, FLIPS),
        _damaged(world, "tar cut short", cut_short, CUTS),
    ]
    found = [*damage, _disagreeing(world)]
    if any(sample.plan.split == "test" for sample in world.samples):
        found += _leaks(world, folder)
    return [*found, _places(world, folder)]


def _damaged(world: World, name: str, damage: Callable[[Path, random.Random], int], times: int) -> Outcome:
    rng = random.Random(name)
    tars = sorted((world.out / "shards").glob("*.tar"))
    named = any_found = 0
    for _ in range(times):
        tar = rng.choice(tars)
        with put_back(tar):
            damage(tar, rng)
            problems = verify(str(world.out))
        named += any(tar.name in problem for problem in problems)
        any_found += bool(problems)
    return Outcome(world.name, name, VERIFY, Share(named, times), Share(any_found, times), _untouched(world))


def _disagreeing(world: World) -> Outcome:
    rng = random.Random("index")
    indexes = sorted((world.out / "shards").glob("*.parquet"))
    found = 0
    for _ in range(DISAGREEMENTS):
        index = rng.choice(indexes)
        with put_back(index, world.out / "manifest.json"):
            disagreeing_index(index, rng)
            write_manifest(str(world.out))
            found += bool(verify(str(world.out)))
    share = Share(found, DISAGREEMENTS)
    return Outcome(world.name, "index that disagrees with its tar", VERIFY, share, share, _untouched(world))


def _untouched(world: World) -> Share:
    """The world's output itself, as clean as it was made."""
    return Share(int(bool(verify(str(world.out)))), 1)


def _leaks(world: World, folder: Path) -> list[Outcome]:
    out = folder / "small"

    def problems(seed: int, leak: str) -> bool:
        small_output(world.out, out, random.Random(f"{leak} {seed}"), leak)
        return bool(verify(str(out)))

    false = Share(sum(problems(seed, "") for seed in range(SOUND)), SOUND)
    same = Share(sum(problems(seed, "reference") for seed in range(LEAKS)), LEAKS)
    again = Share(sum(problems(seed, "saved again") for seed in range(LEAKS)), LEAKS)
    return [
        Outcome(world.name, "split leak: an image in two splits", VERIFY, same, same, false),
        Outcome(world.name, "split leak: the same image saved again", "", again, again, false),
    ]


def _places(world: World, folder: Path) -> Outcome:
    """An input image tells where it was taken; the tar must not."""
    kinds = ("JPEG", "PNG", "WEBP")
    some = world.samples[:PLACES]
    left = [_written_images(_placed(s, kinds[n % 3], world), folder) for n, s in enumerate(some)]
    # A clean one that is refused, or is not written, would be a false alarm.
    refused = [not _written_images(sample, folder) for sample in some]
    gone = Share(sum(bool(images) and not tells_whereabouts(images) for images in left), len(some))
    return Outcome(
        world.name, "GPS and other metadata in an input image", CLEANING, gone, gone, Share(sum(refused), len(some))
    )


def _placed(sample: Sample, kind: str, world: World) -> Sample:
    """The sample with its first image in a file that tells a place."""
    from storage.references import image_bytes

    first = sample.plan.references[0]
    ref = stored(with_whereabouts(image_bytes(first.reference), kind), world.images)
    reference = first.reference.model_copy(update={**ref.model_dump(), "id": ref.sha256})
    planned = (first.model_copy(update={"reference": reference}), *sample.plan.references[1:])
    return replace(sample, plan=sample.plan.model_copy(update={"references": planned}))


def _written_images(sample: Sample, folder: Path) -> list[bytes]:
    """The images of the sample in a tar written as a run writes it; none where it was rejected."""
    import shutil

    from pipelines.config import ImageOutput
    from pipelines.samples import realign_sample
    from shards.commit import write_shard
    from shards.names import ShardName
    from shards.reader import read_shard

    out, name = folder / "places", ShardName("train", 0, 1)
    if out.exists():
        shutil.rmtree(out)
    written = realign_sample(sample.draft(), ImageOutput(), ())
    write_shard(str(out), name, [replace(written, columns={})], [], run_hash="0" * 64, planned=1)
    return [bytes(data) for raw in read_shard(str(out / name.tar)) for key, data in raw.items() if key.endswith(".jpg")]
