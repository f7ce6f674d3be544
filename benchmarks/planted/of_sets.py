"""What `contamination` finds of defects that only the whole dataset shows: near-duplicates, and leaked benchmarks."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.planted.counting import Outcome, Share
from benchmarks.planted.in_files import write_output, written
from benchmarks.planted.outputs import World
from pipelines.contamination import EXCLUDED, Checks, contamination
from storage.references import image_bytes

NEAR = "near-duplicate of another target"
IMAGE_LEAK, TEXT_LEAK = "benchmark leak: its image is a target", "benchmark leak: its prompt is an instruction"
SAME, EMBEDDING = "contamination (perceptual hash)", "contamination (embedding, cosine 0.95)"
WORDS = "contamination (words in common)"
COPIES = ("saved again at quality 60", "at 60 % of its size", "with 3 % cropped off each side", "10 % lighter")


@dataclass(frozen=True)
class Copies:
    """Copies of targets, and the addresses of all clean targets, for peers that want to find the copies."""

    world: str
    defect: str
    copies: list[bytes]
    clean: list[str]


def copied(data: bytes, how: str) -> bytes:
    """The picture as somebody else would have it; `how` is one of `COPIES`."""
    from PIL import Image, ImageEnhance

    from storage.images import decode

    image, quality = decode(data), 90
    w, h = image.size
    if how == COPIES[0]:
        quality = 60
    elif how == COPIES[1]:
        image = image.resize((round(w * 0.6), round(h * 0.6)), Image.Resampling.BICUBIC)
    elif how == COPIES[2]:
        image = image.crop((round(w * 0.03), round(h * 0.03), round(w * 0.97), round(h * 0.97))).resize((w, h))
    else:
        image = ImageEnhance.Brightness(image).enhance(1.1)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def copies_of(world: World, most: int) -> Copies:
    """A copy of every target of the first half, `most` at most, in the four ways by turns."""
    some = world.samples[: len(world.samples) // 2][:most]
    copies = [copied(image_bytes(s.target), COPIES[n % 4]) for n, s in enumerate(some)]
    return Copies(world.name, NEAR, copies, [s.target.uri for s in world.samples])


def outcomes(world: World, planted: Copies, folder: Path) -> list[Outcome]:
    """The copies as samples of the dataset, as a benchmark's images, and instructions as a benchmark's prompts."""
    of = [sample.plan.id for sample in world.samples[: len(planted.copies)]]
    clean = [sample.plan.id for sample in world.samples[len(world.samples) // 2 :]]
    texts = [sample.instruction for sample in world.samples[: len(planted.copies)]]
    near = _with_copies(world, planted, of, folder / f"{world.name}-near")
    by_embedding = Checks(duplicates=True, distance=None, clip=world.weights) if world.weights else None
    return [
        _near_duplicates(world, near, of, SAME, Checks(duplicates=True)),
        *([_near_duplicates(world, near, of, EMBEDDING, by_embedding)] if by_embedding else []),
        _leak(world, IMAGE_LEAK, SAME, _images(planted, folder / f"{world.name}-benchmark"), of, clean),
        _leak(world, TEXT_LEAK, WORDS, _prompts(texts, folder / f"{world.name}-prompts.jsonl"), of, clean),
    ]


def reworded(text: str, rng: random.Random) -> str:
    """The prompt in other clothes: capitals, punctuation, or a few words around it."""
    kind = rng.randrange(3)
    if kind == 0:
        return text.upper()
    if kind == 1:
        return text.replace(",", "").replace(".", "!")
    return f"Please do this for me: {text} Thank you."


def _with_copies(world: World, planted: Copies, of: Sequence[str], out: Path) -> Path:
    """An output of all the world's samples and, for each copy, a twin that has it as its target."""
    from shards.reader import read_samples

    clean = [s for split in ("train", "test") if _has(world, split) for s in read_samples(str(world.out), split)]
    images = {sample.id: sample for sample in clean}
    samples = [written({**s.json, "split": "train"}, s.images) for s in clean]
    for n, (key, data) in enumerate(zip(of, planted.copies, strict=True)):
        view = {**images[key].json, "id": _twin(n), "split": "train"}
        samples.append(written(view, {**images[key].images, "target": data}))
    write_output(out, {"train": samples})
    return out


def _twin(number: int) -> str:
    return f"{number:032x}"


def _near_duplicates(world: World, near: Path, of: Sequence[str], check: str, checks: Checks) -> Outcome:
    # Of two that are alike either may be the one that goes.
    gone = _excluded(near, [], checks)
    share = Share(sum(_twin(n) in gone or key in gone for n, key in enumerate(of)), len(of))
    false = Share(len(_excluded(world.out, [], checks)), len(world.samples))
    return Outcome(world.name, NEAR, check, share, share, false)


def _leak(world: World, defect: str, check: str, benchmark: Path, of: Sequence[str], clean: Sequence[str]) -> Outcome:
    """The benchmark has what the samples `of` have, and nothing of the clean ones."""
    gone = _excluded(world.out, [str(benchmark)], Checks())
    share = Share(len(gone & set(of)), len(of))
    return Outcome(world.name, defect, check, share, share, Share(len(gone & set(clean)), len(clean)))


def _excluded(out: Path, against: list[str], checks: Checks) -> set[str]:
    contamination(str(out), against, checks)
    return set((out / EXCLUDED).read_text().split())


def _has(world: World, split: str) -> bool:
    return any(sample.plan.split == split for sample in world.samples)


def _images(planted: Copies, folder: Path) -> Path:
    folder.mkdir()
    for n, data in enumerate(planted.copies):
        (folder / f"{n}.jpg").write_bytes(data)
    return folder


def _prompts(texts: Sequence[str], path: Path) -> Path:
    rng = random.Random("texts")
    path.write_text("".join(json.dumps({"prompt": reworded(text, rng)}) + "\n" for text in texts))
    return path
