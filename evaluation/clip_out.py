"""CLIP_out: how well generated images fit their ground-truth captions, as Re-Align's ablation reports it.

100 times the cosine of CLIP's embeddings (the scale of its table: 32 to 34; which CLIP is not published). Records: id,
image (a path, relative to the file), caption; optionally group.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from evaluation.bootstrap import RESAMPLES, SEED, Bootstrap
from evaluation.records import Records, once, read_records, text_of
from evaluation.tables import Cell, Report, Table
from filters.clip_model import ClipModel, product
from filters.weights import WeightsUnavailable, defect_of
from schemas.errors import ImageError, InputError
from storage import paths

_BATCH = 64


def clip_out(scores: str, weights: str, device: str = "auto", resamples: int = RESAMPLES, seed: int = SEED) -> Report:
    """The mean of 100 * cosine over the samples, per group and over all.

    Args:
        scores: the records.
        weights: as for the filter: `NAME/PRETRAINED`, `local-dir:PATH`, or `toy`.

    An image that is missing or cannot be read, and a caption that the weights cannot take, are left out and counted by
    reason.

    Raises:
        InputError: bad records, an id twice, unknown weights, no sample that could be scored.
    """
    if defect := defect_of(weights):
        raise InputError(f"--weights {weights}: {defect}")
    records = read_records(scores)
    seen: dict[Any, int] = {}
    for i in range(len(records.rows)):
        once(seen, text_of(records, i, "id"), records, i)
        text_of(records, i, "image"), text_of(records, i, "caption")
    try:
        model = ClipModel.load(weights, device, key="--weights")
    except WeightsUnavailable as error:
        raise InputError(f"--weights {weights}: {error}") from None
    found: dict[str, list[float]] = {}
    failed: Counter[str] = Counter()
    example = ""
    for start in range(0, len(records.rows), _BATCH):
        for i, cosine in _scored(model, records, range(start, min(start + _BATCH, len(records.rows)))):
            if isinstance(cosine, str):
                failed[cosine.split(":")[0]] += 1
                example = example or f"{records.at(i)}: {cosine}"
            else:
                found.setdefault(str(records.rows[i].get("group") or "all"), []).append(100 * cosine)
    if not found:
        raise InputError(f"{scores}: no sample could be scored; {example}")
    bootstrap = Bootstrap(resamples, seed)
    rows: list[tuple[Cell, ...]] = [
        (group, len(values), bootstrap.mean(np.array(values))) for group, values in sorted(found.items())
    ]
    if set(found) != {"all"}:
        every = np.concatenate([np.array(values) for values in found.values()])
        rows.append(("all samples", len(every), bootstrap.mean(every)))
    counts = {"samples": len(records.rows), "used": sum(map(len, found.values()))}
    counts |= {f"left out, {reason}": count for reason, count in sorted(failed.items())}
    notes = [f"left out: {failed.total():,}, first {example}"] if failed else []
    title = f"CLIP_out: 100 * cosine of image and caption, by {weights}"
    return Report(
        "clip-out", counts, [Table("clip_out", title, ("", "samples", "CLIP_out"), rows)], notes, resamples, seed
    )


def _scored(model: ClipModel, records: Records, places: range) -> list[tuple[int, float | str]]:
    """The cosine of each record, or "reason: detail" where there is none."""
    folder = records.path.replace("\\", "/").rpartition("/")[0]
    failed: list[tuple[int, float | str]] = []
    images: dict[int, tuple[str, Callable[[], bytes]]] = {}
    for i in places:
        caption, name = str(records.rows[i]["caption"]), str(records.rows[i]["image"])
        if refusal := model.refusal(caption):
            failed.append((i, f"caption: {refusal}"))
            continue
        try:
            data = paths.read_bytes(paths.join(folder, name) if folder else name)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            failed.append((i, f"missing: {name}"))
        else:
            images[i] = hashlib.sha256(data).hexdigest(), partial(bytes, data)
    scored: list[tuple[int, float | str]] = []
    captions = {i: str(records.rows[i]["caption"]) for i in images}
    said = dict(zip(captions, model.text_embeddings(list(captions.values())), strict=True)) if captions else {}
    with suppress(ImageError):  # of all at once; the model then holds those that can be used
        if images:
            model.image_embeddings(list(images.values()))
    for i, image in images.items():
        try:
            seen = model.image_embeddings([image])[0]
        except ImageError as error:
            failed.append((i, f"{error.reason}: {records.rows[i]['image']}: {error.detail}"))
        else:
            scored.append((i, product(seen, said[i])))
    return failed + scored
