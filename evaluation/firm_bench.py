"""FIRM-Bench: how far a critic's scores are from people's (arXiv 2603.12247, section 3.3).

Records are those of VisionXLab/FIRM-Bench: `id`, and `execution.score[0]`, `consistency.score[0]` (editing) or
`instruction_following.score[0]` (generation), whose `image[0]` says how hard the prompt is: `en/` easy, `en_long/`
hard.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.bootstrap import RESAMPLES, SEED, Array, Bootstrap
from evaluation.records import Judged, once, read_records, text_of, true_score
from evaluation.tables import Cell, Report, Table
from schemas.errors import InputError

DIMENSIONS = ("execution", "consistency", "instruction_following")
SCALE = (1, 2, 3, 4, 5)
_DIFFICULTIES = {"en": "easy", "en_long": "hard"}

Scores = dict[tuple[str, str], tuple[float, str]]
"""(dimension, id) -> score (NaN where the answer failed) and difficulty."""


def firm_bench(gt: str, pred: str, resamples: int = RESAMPLES, seed: int = SEED) -> Report:
    """MAE of the predictions in `pred` against people's scores in `gt`, on the ids that both have.

    The pooled MAE of editing weighs each sample alike, which is how the paper's Overall comes about. Beside each stands
    the MAE of the best constant answer on the same samples: a critic above it knows less than a number does.

    Raises:
        InputError: bad records, an id twice, no id in common, or no prediction that parsed.
    """
    judged = Judged()
    truth, guesses = human_scores(gt), _read(pred, judged)
    common = [key for key in truth if key in guesses]
    if not common:
        raise InputError(
            f"{pred}: has no id and dimension in common with {gt}; first ids: {_first(guesses)}, {_first(truth)}"
        )
    human = np.array([truth[key][0] for key in common])
    critic = np.array([guesses[key][0] for key in common])
    known = np.isfinite(critic)
    if not known.any():
        raise InputError(f"{pred}: no score could be read: {judged.example}")
    dimensions = np.array([key[0] for key in common])
    levels = np.array([truth[key][1] or guesses[key][1] for key in common])
    bootstrap = Bootstrap(resamples, seed)
    groups = {name: dimensions == name for name in DIMENSIONS}
    groups["editing, pooled"] = groups["execution"] | groups["consistency"]
    groups |= {
        f"generation, {level}": (levels == level) & groups["instruction_following"] for level in ("easy", "hard")
    }
    if not (groups["execution"].any() and groups["consistency"].any()):
        del groups["editing, pooled"]
    rows = [_row(name, human, critic, chosen, bootstrap) for name, chosen in groups.items() if chosen.any()]
    counts = {
        "people's scores": len(truth),
        "predictions": len(guesses),
        "in both": len(common),
        "used": int(known.sum()),
        "only people's": len(truth) - len(common),
        "only predicted": len(guesses) - len(common),
        **judged.counts(),
    }
    heading = ("", "samples", "failed", "MAE", "best constant", "its MAE", "beats it")
    tables = [
        Table("mae", "mean absolute error (lower is better)", heading, rows),
        Table("by_score", "MAE by people's score", ("", *map(str, SCALE)), _buckets(groups, human, critic, known)),
    ]
    return Report("firm-bench", counts, tables, judged.notes(), resamples, seed)


def human_scores(gt: str) -> Scores:
    """People's scores.

    Raises:
        InputError: bad records, an id twice, a score outside 1 to 5.
    """
    return _read(gt, None)


def best_constant(human: Array) -> tuple[int, float]:
    """The score from 1 to 5 that is nearest to all, and its MAE; the lowest of equals."""
    errors = [float(np.abs(human - constant).mean()) for constant in SCALE]
    best = int(np.argmin(errors))
    return SCALE[best], errors[best]


def _row(name: str, human: Array, critic: Array, chosen: Array, bootstrap: Bootstrap) -> tuple[Cell, ...]:
    used = chosen & np.isfinite(critic)
    if not used.any():
        return name, 0, int(chosen.sum()), None, None, None, None
    mae = bootstrap.mean(np.abs(critic[used] - human[used]))
    constant, error = best_constant(human[used])
    return (
        name,
        int(used.sum()),
        int((chosen & ~used).sum()),
        mae,
        constant,
        error,
        "yes" if mae.value < error else "no",
    )


def _buckets(groups: dict[str, Array], human: Array, critic: Array, known: Array) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for name, chosen in groups.items():
        if not (chosen & known).any():
            continue
        cells: list[Cell] = []
        for score in SCALE:
            used = chosen & known & (np.floor(human + 0.5) == score)
            cells.append(float(np.abs(critic[used] - human[used]).mean()) if used.any() else None)
        rows.append((name, *cells))
    return rows


def _read(path: str, judged: Judged | None) -> Scores:
    """All scores of a file: people's must be sound (`judged` None), a critic's may fail and are counted."""
    records = read_records(path)
    scores: Scores = {}
    seen: dict[Any, int] = {}
    for i, row in enumerate(records.rows):
        name = text_of(records, i, "id")
        present = [dimension for dimension in DIMENSIONS if dimension in row]
        if not present:
            raise InputError(f"{records.at(i)} has none of {', '.join(DIMENSIONS)}")
        difficulty = _difficulty(row)
        for dimension in present:
            once(seen, (dimension, name), records, i, "id")
            key, value = f"{dimension}.score", _score_in(row[dimension])
            if judged:
                score = judged.score(records, i, key, value, SCALE[0], SCALE[-1])
            else:
                score = true_score(records, i, key, value, SCALE[0], SCALE[-1])
            scores[dimension, name] = score, difficulty
    return scores


def _score_in(answer: Any) -> Any:
    """`{"score": [4]}`; a judge's answer that did not parse may be null or a text, which is then no score."""
    return answer.get("score") if isinstance(answer, dict) else answer


def _difficulty(row: dict[str, Any]) -> str:
    image = row.get("image")
    if isinstance(image, list):
        image = image[0] if image else None
    if not isinstance(image, str):
        return ""
    return next((_DIFFICULTIES[folder] for folder in image.split("/")[:-1] if folder in _DIFFICULTIES), "")


def _first(scores: Scores) -> str:
    return repr(" ".join(next(iter(scores)))) if scores else "none"
