"""What is found of defects that only the whole dataset shows: near-duplicates, and overlaps with a benchmark."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence

from benchmarks.planted.counting import Outcome, Share
from benchmarks.planted.outputs import World
from filters.near_duplicates import near_by_hash
from filters.near_hashes import as_hashes, near_matches
from filters.overlaps import KnownTexts
from schemas.references import ImageRef
from storage.references import image_bytes

BITS = 6
"""At most so many of 64 bits differ: the same picture; a common choice for this kind of hash."""
HASH = f"perceptual hash (at most {BITS} bits)"
WORDS = "texts in common (13 words)"
COPIES = ("saved again at quality 60", "at 60 % of its size", "with 3 % cropped off each side", "10 % lighter")


def copied(data: bytes, how: str) -> bytes:
    """The picture as somebody else would have it."""
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


def outcomes(world: World, most: int) -> list[Outcome]:
    """Near-duplicates of targets, and the leak of a benchmark's images and prompts into the dataset."""
    half = len(world.samples) // 2
    benchmark, clean = world.samples[:half], world.samples[half:]
    copies = [copied(image_bytes(s.target), COPIES[n % 4]) for n, s in enumerate(benchmark[:most])]
    hashes = [_hash(data) for data in copies]
    known = [_of(s.target) for s in benchmark]
    ours = [_of(s.target) for s in clean]
    texts = [s.instruction for s in benchmark]
    return [
        _near_duplicates(world, [*known, *ours], hashes),
        _leak_of_images(world, hashes, known, ours),
        _leak_of_texts(world, texts, [s.instruction for s in clean], most),
    ]


def _near_duplicates(world: World, clean: Sequence[str], copies: Sequence[str]) -> Outcome:
    gone = near_by_hash([*clean, *copies], BITS)
    share = Share(sum(len(clean) + n in gone for n in range(len(copies))), len(copies))
    false = Share(len(near_by_hash(clean, BITS)), len(clean))
    return Outcome(world.name, "near-duplicate of another target", HASH, share, share, false)


def _leak_of_images(world: World, copies: Sequence[str], known: Sequence[str], clean: Sequence[str]) -> Outcome:
    share = Share(_matching(copies, known), len(copies))
    false = Share(_matching(clean, known), len(clean))
    return Outcome(world.name, "benchmark leak: its image is a target", HASH, share, share, false)


def _matching(hashes: Sequence[str], known: Sequence[str]) -> int:
    """How many of `hashes` are near one of `known`."""
    return len({n for mine, _, _ in near_matches(as_hashes(hashes), as_hashes(known), BITS) for n in mine.tolist()})


def _leak_of_texts(world: World, texts: Sequence[str], clean: Sequence[str], most: int) -> Outcome:
    known = KnownTexts()
    known.add(texts, "benchmark")
    rng = random.Random("texts")
    leaked = [_reworded(text, rng) for text in texts[:most]]
    share = Share(sum(known.overlap(text) is not None for text in leaked), len(leaked))
    false = Share(sum(known.overlap(text) is not None for text in clean), len(clean))
    return Outcome(world.name, "benchmark leak: its prompt is an instruction", WORDS, share, share, false)


def _reworded(text: str, rng: random.Random) -> str:
    """The prompt in other clothes: capitals, punctuation, or a few words around it."""
    kind = rng.randrange(3)
    if kind == 0:
        return text.upper()
    if kind == 1:
        return text.replace(",", "").replace(".", "!")
    return f"Please do this for me: {text} Thank you."


def _of(image: ImageRef) -> str:
    return _hash(image_bytes(image))


def _hash(data: bytes) -> str:
    from storage.images import decode, phash

    return phash(decode(data))
