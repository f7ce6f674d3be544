"""A contact sheet: samples of an output folder as one picture, references on the left, target on the right.

    python examples/contact_sheet.py out --out sheet.png --samples 24

Reads shards as any trainer would, through the public API.
"""

from __future__ import annotations

import argparse
import io
import textwrap
from itertools import zip_longest

from PIL import Image, ImageDraw, ImageFont

from plumbline import Sample, read_samples

THUMB, TARGET, WIDTH, MARGIN = 122, 260, 554, 10
INK, SOFT, PAPER, RULE = (32, 33, 36), (95, 99, 104), (255, 255, 255), (218, 220, 224)


def main() -> None:
    """Draw `--samples` samples, tasks in turn, in `--columns` columns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="an output folder")
    parser.add_argument("--out", default="sheet.png")
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--columns", type=int, default=3)
    parser.add_argument("--split", default="train")
    args = parser.parse_args()
    samples = list(read_samples(args.folder, split=args.split))
    if samples and "target" not in samples[0].images:
        raise SystemExit(
            f"{args.folder}: holds no Re-Align samples; `plumbline report {args.folder}` shows it as a page"
        )
    cards = [card(sample) for sample in in_turn(samples, args.samples)]
    if not cards:
        raise SystemExit(f"{args.folder}: no samples in the split {args.split}")
    sheet(cards, args.columns).save(args.out)
    print(f"{args.out}: {len(cards)} samples")


def in_turn(samples: list[Sample], count: int) -> list[Sample]:
    """At most `count` samples, one of each task in turn, so that every task is seen."""
    by_task: dict[str, list[Sample]] = {}
    for sample in samples:
        by_task.setdefault(sample.json["task"], []).append(sample)
    ranks = zip_longest(*(by_task[task] for task in sorted(by_task)))
    return [sample for rank in ranks for sample in rank if sample is not None][:count]


def card(sample: Sample) -> Image.Image:
    """One sample: references with their roles, target, instruction, and the first reasoning."""
    record = sample.json
    drawn = Image.new("RGB", (WIDTH, MARGIN * 2 + TARGET + 120), PAPER)
    pen = ImageDraw.Draw(drawn)
    for i, reference in enumerate(record["references"][:4]):
        x, y = MARGIN + (i % 2) * (THUMB + MARGIN), MARGIN + 16 + (i // 2) * (THUMB + 16)
        drawn.paste(fitted(sample.images[f"image_{i + 1}"], THUMB), (x, y))
        pen.text((x, y - 14), f"{i + 1}:  {reference['role']}", fill=SOFT, font=font(11))
    drawn.paste(fitted(sample.images["target"], TARGET), (WIDTH - TARGET - MARGIN, MARGIN + 16))
    title = " · ".join(part for part in (record["task"], record["subtype"]) if part)
    pen.text((WIDTH - TARGET - MARGIN, MARGIN + 2), title, fill=SOFT, font=font(11))
    y = MARGIN + TARGET + 26
    for text, colour in ((record["instruction"], INK), (record["reasonings"][0]["out_caption"], SOFT)):
        for line in textwrap.wrap(text, 88, max_lines=3, placeholder=" ..."):
            pen.text((MARGIN, y), line, fill=colour, font=font(12))
            y += 15
        y += 4
    pen.rectangle((0, 0, drawn.width - 1, drawn.height - 1), outline=RULE)
    return drawn


def fitted(data: bytes, side: int) -> Image.Image:
    """The image within a square of `side`, on paper."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (side, side), PAPER)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    ImageDraw.Draw(square).rectangle((0, 0, side - 1, side - 1), outline=RULE)
    return square


def sheet(cards: list[Image.Image], columns: int) -> Image.Image:
    """The cards in rows of `columns`."""
    columns = min(columns, len(cards))
    rows = -(-len(cards) // columns)
    whole = Image.new("RGB", (columns * cards[0].width, rows * cards[0].height), PAPER)
    for i, one in enumerate(cards):
        whole.paste(one, ((i % columns) * one.width, (i // columns) * one.height))
    return whole


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that nothing need be installed."""
    return ImageFont.load_default(size)


if __name__ == "__main__":
    main()
