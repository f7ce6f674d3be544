"""What the page shows of each entry, as JSON: heads for filtering, details for the cards."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from report.choice import Chosen
from report.output import Json, Output, Place, Row, members, read_records, whole_rejections
from report.pictures import Pictures
from report.wording import without_paths
from schemas.checklists import Checklist
from schemas.draft import NOT_COMPUTED
from schemas.judgements import JudgementError

_PART = re.compile(r"<(out_caption|relation_[0-9]{1,4})>(.*?)</\1>", re.DOTALL)
_DETAILED = "\nDetailed Differences:\n"


class Kept(NamedTuple):
    """A kept sample or row: its record and its members' places."""

    record: Json
    places: dict[str, Place]

    @property
    def id(self) -> str:
        return str(self.record.get("id", ""))


class Entry(NamedTuple):
    """One card.

    Attributes:
        head: `id`, `state`, `tasks`, `split`, `scores` ({name: [values]}), `reasons`.
        detail: what the card shows; its pictures are numbers of `Pictures`.
    """

    head: Json
    detail: Json


def entries(output: Output, chosen: Chosen, pictures: Pictures) -> tuple[list[Entry], list[Json]]:
    """(the entries, kept ones first, and the records of the kept)."""
    rows = [row for group in chosen.kept for row in group]
    places = members(output, rows)
    records = read_records(output.out, [found["json"] for found in places])
    known = {row: Kept(record, found) for row, record, found in zip(rows, records, places, strict=True)}
    view = _VIEWS.get(output.dataset, _sample)
    made = [view(_tar(output, group[0]), [known[row] for row in group], pictures) for group in chosen.kept]
    seen = _reference_pictures(known.values(), pictures)
    rejections = whole_rejections(output, set(chosen.rejected))
    made += [_rejection(rejections[key], seen) for key in chosen.rejected if key in rejections]
    return made, records


def _tar(output: Output, row: Row) -> str:
    return output.shards[row.shard].name.tar


def _scores(found: Mapping[str, Any]) -> dict[str, list[float]]:
    """Those that were computed and are finite; in a tar -1.0 stands for the others."""
    known = {k: float(v) for k, v in found.items() if isinstance(v, int | float) and v != NOT_COMPUTED}
    return {k: [v] for k, v in known.items() if math.isfinite(v)}


def _provenance(record: Json) -> Json:
    """By role: model, note, and the first digits of the prompt's hash."""
    try:
        found = json.loads(record.get("provenance") or "{}")
    except ValueError:
        return {}
    return {
        role: {
            "model": s.get("model", ""),
            "prompt": s.get("prompt", "")[:12],
            "note": without_paths(s.get("note", "")),
        }
        for role, s in found.items()
        if isinstance(s, dict)
    }


def _sample(tar: str, rows: list[Kept], pictures: Pictures) -> Entry:
    """A Re-Align sample."""
    record, places = rows[0]
    references = [_reference(r) for r in record.get("references", []) if isinstance(r, dict)]
    for number, reference in enumerate(references, 1):
        reference["picture"] = pictures.number(places.get(f"image_{number}.jpg"), lesser=True)
    others = [p for p in record.get("paintings", []) if isinstance(p, dict) and not p.get("chosen")]
    detail = {
        "instruction": record.get("instruction", ""),
        "prompt": record.get("prompt", ""),
        "references": references,
        "target": pictures.number(places.get("target.jpg")),
        "reasonings": [_reasoning(r, len(references)) for r in record.get("reasonings", [])],
        "others": [
            {"picture": pictures.number(places.get(str(p.get("member"))), lesser=True), "reason": p.get("reason", "")}
            for p in others
        ],
        "wording": record.get("wording", {}),
        "stress": record.get("stress", "none"),
        "subtype": record.get("subtype", ""),
        "provenance": _provenance(record),
        "tar": tar,
    }
    head = {
        "id": record.get("id", ""),
        "state": "kept",
        "tasks": [record.get("task", "")],
        "split": record.get("split", ""),
        "scores": _scores(record.get("scores", {})),
        "reasons": [],
    }
    return Entry(head, detail)


def _reference(found: Mapping[str, Any]) -> Json:
    keys = ("id", "source_id", "kind", "role", "caption", "license", "attribution")
    view = {key: str(found.get(key, "")) for key in keys}
    return {**view, "source_id": without_paths(view["source_id"])}


def _reasoning(found: Json, references: int) -> Json:
    # Parsed strictly when it was written; parsing twenty thousand again would take a third of the report's time.
    text = str(found.get("text", ""))
    parts = _PART.findall(text)
    if [name for name, _ in parts] == ["out_caption", *(f"relation_{i}" for i in range(1, references + 1))]:
        view: Json = {"caption": parts[0][1], "relations": [said for _, said in parts[1:]]}
    else:
        view = {"caption": found.get("out_caption", ""), "relations": [], "text": text}
    scores = {key: found.get(key) for key in ("clip_text", "relation_margin")}
    return {
        **view,
        "draws": found.get("draws", 1),
        **{k: v for k, v in scores.items() if v not in (None, NOT_COMPUTED)},
    }


def _pair(tar: str, rows: list[Kept], pictures: Pictures) -> Entry:
    """The rows of one edit pair: each instruction with its two judgements."""
    record, places = rows[0]
    asked: dict[str, Json] = {}
    for row in rows:
        said = row.record
        one = asked.setdefault(
            said.get("instruction", ""),
            {"instruction": said.get("instruction", ""), "rewrite": said.get("rewrite", ""), "judged": {}},
        )
        one["judged"][said.get("dimension", "")] = _judged(row)
    ordered = sorted(asked.values(), key=lambda one: (one["rewrite"] != "", one["rewrite"], one["instruction"]))
    detail = {
        "input": without_paths(str(record.get("pair_id", ""))),
        "before": pictures.number(places.get("image_1.jpg")),
        "after": pictures.number(places.get("image_2.jpg")),
        "report": _report(str(record.get("difference_report", ""))),
        "asked": ordered,
        "provenance": _provenance(record),
        "tar": tar,
    }
    return Entry(_label_head(rows), detail)


def _judged(row: Kept) -> Json:
    return {"id": row.id, "score": row.record.get("score"), "reasoning": row.record.get("reasoning", "")}


def _label_head(rows: list[Kept]) -> Json:
    scores: dict[str, list[float]] = {}
    for row in rows:
        for name, values in _scores({str(row.record.get("dimension", "")): row.record.get("score")}).items():
            scores.setdefault(name, []).extend(values)
    return {
        "id": rows[0].id,
        "state": "kept",
        "tasks": sorted(scores),
        "split": rows[0].record.get("split", ""),
        "scores": scores,
        "reasons": [],
    }


def _report(text: str) -> list[Json]:
    """The merged report in its two parts, as (heading, text)."""
    obvious, found, detailed = text.partition(_DETAILED)
    if not found:
        return [{"name": "Differences", "text": text}]
    obvious = obvious.removeprefix("Obvious Differences:").strip()
    return [{"name": "Obvious differences", "text": obvious}, {"name": "Detailed differences", "text": detailed}]


def _image(tar: str, rows: list[Kept], pictures: Pictures) -> Entry:
    """The rows of one image of a prompt: the checklist with its marks, and quality."""
    record, places = rows[0]
    detail: Json = {
        "input": without_paths(str(record.get("prompt_id", ""))),
        "prompt": record.get("prompt", ""),
        "painting": record.get("painting", 0),
        "image": pictures.number(places.get("image_1.jpg")),
        "provenance": {role: said for row in rows for role, said in _provenance(row.record).items()},
        "tar": tar,
    }
    for row in rows:
        said = row.record
        if said.get("dimension") == "quality":
            aspects = {name: value for name, value in said.get("aspects", {}).items() if value != NOT_COMPUTED}
            detail["quality"] = {**_judged(row), "aspects": aspects}
        else:
            detail["following"] = {**_judged(row), **_marked(said)}
    return Entry(_label_head(rows), detail)


def _marked(said: Json) -> Json:
    """The criteria with their questions and marks; the bare text where it is no checklist."""
    text = str(said.get("checklist", ""))
    marks = [mark.strip() for mark in str(said.get("marks", "")).split(",") if mark.strip()]
    try:
        criteria = Checklist.parse(text).criteria
    except JudgementError:
        return {"criteria": [], "text": text, "answer": said.get("student_answer", "")}
    listed = [{"name": c.name, "questions": list(c.questions)} for c in criteria]
    for number, one in enumerate(listed):
        one["mark"] = marks[number] if number < len(marks) else ""
    return {"criteria": listed, "answer": said.get("student_answer", "")}


def _reference_pictures(kept: Any, pictures: Pictures) -> dict[str, int]:
    """By reference id, and by the input's id of critic labels, the pictures that kept samples have of them."""
    seen: dict[str, int] = {}
    for record, places in kept:
        for number, reference in enumerate(record.get("references", []), 1):
            if place := places.get(f"image_{number}.jpg"):
                seen[str(reference.get("id", ""))] = pictures.number(place)
        for name, place in places.items():
            if name.startswith("image_"):
                seen.setdefault(place.sha256, pictures.number(place))
    return seen


def _rejection(row: Json, seen: Mapping[str, int]) -> Entry:
    """A rejected plan or row, with as much of its draft as there is; its pictures are those that kept samples share."""
    detail: Json = {
        "instruction": row.get("instruction") or "",
        "rejected": {
            "stage": row["stage"],
            "reason": row["reason"],
            "class": row["class"],
            "detail": without_paths(row.get("detail") or ""),
            "answer": without_paths(row.get("last_answer") or ""),
            "attempts": row.get("attempts") or 0,
            "usd": row.get("usd") or 0.0,
        },
    }
    scores = _json(row.get("scores"))
    if draft := _json(row.get("draft")):
        detail |= _draft(draft, seen) if "plan" in draft else _label(draft, seen)
        if "plan" not in draft and isinstance(draft.get("score"), int | float):
            scores = {str(draft.get("dimension", "")): draft["score"]}
    head = {
        "id": row["id"],
        "state": "rejected",
        "tasks": [row["task"]] if row["task"] else [],
        "split": row["split"],
        "scores": _scores(scores),
        "reasons": [row["reason"]],
    }
    return Entry(head, detail)


def _json(text: str | None) -> Json:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _draft(draft: Json, seen: Mapping[str, int]) -> Json:
    references = []
    for slot in draft["plan"].get("references", []):
        found = {**slot.get("reference", {}), "role": slot.get("role", "")}
        references.append({**_reference(found), "picture": seen.get(str(found.get("id")), -1)})
    reasonings = []
    for one in draft.get("reasonings", []):
        cot = one.get("iccot", {})
        scores = {k: one[k] for k in ("clip_text", "relation_margin") if isinstance(one.get(k), int | float)}
        shown = {"caption": cot.get("out_caption", ""), "relations": list(cot.get("relations", []))}
        reasonings.append({**shown, "draws": one.get("draws", 1), **scores})
    return {
        "references": references,
        "target": -1,
        "reasonings": reasonings,
        "subtype": draft["plan"].get("subtype", ""),
        "provenance": _provenance({"provenance": json.dumps(draft.get("provenance", {}))}),
    }


def _label(label: Json, seen: Mapping[str, int]) -> Json:
    pair = label.get("pair", {})
    judged = {"score": label.get("score"), "reasoning": label.get("reasoning", ""), "id": label.get("id", "")}
    if pair:
        report = label.get("report", {})
        one = {"instruction": label.get("instruction", ""), "rewrite": label.get("rewrite") or ""}
        return {
            "input": without_paths(str(pair.get("id", ""))),
            "before": seen.get(str(pair.get("source", {}).get("sha256")), -1),
            "after": seen.get(str(pair.get("edited", {}).get("sha256")), -1),
            "report": [
                {"name": name, "text": report.get(key, "")}
                for name, key in (("Obvious differences", "obvious"), ("Detailed differences", "detailed"))
            ],
            "asked": [{**one, "judged": {label.get("dimension", ""): judged}}],
        }
    image = seen.get(str(label.get("image", {}).get("sha256")), -1)
    return {"prompt": label.get("prompt", ""), "image": image, "following": {**judged, "criteria": []}}


_VIEWS: dict[str, Callable[[str, list[Kept], Pictures], Entry]] = {"firm-edit": _pair, "firm-gen": _image}
