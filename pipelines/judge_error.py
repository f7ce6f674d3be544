"""How often the judge contradicts what is known: rewritten instructions scored beyond what their kind allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.judgements import Dimension
from schemas.labels import EditLabel, Rewrite
from shards.names import names_of
from shards.tables import index_table, read_rejects
from storage import paths


class JudgeError(NamedTuple):
    """Of the rewritten instructions of one kind: how many got an Execution, and how many of those beyond the bound."""

    judged: int
    conflicts: int


def judge_error(out: str, shards: Mapping[str, int]) -> dict[Rewrite, JudgeError]:
    """By kind of rewriting, from the stored scores and rejections of a finished run.

    Args:
        shards: number of shards by split, as run.json has it.
    """
    within: Counter[Rewrite] = Counter()
    beyond: Counter[Rewrite] = Counter()
    for name in names_of(dict(shards)):
        _, table = index_table(paths.read_bytes(paths.join(out, name.index_file)), name, ["dimension", "rewrite"])
        for row in table.to_pylist():
            if row["rewrite"] and row["dimension"] == str(Dimension.EXECUTION):
                within[Rewrite(row["rewrite"])] += 1
        _, rows = read_rejects(paths.read_bytes(paths.join(out, name.rejects)), ["reason", "draft"])
        for row in rows:
            if row["reason"] == "label_conflict":
                label = EditLabel.model_validate_json(row["draft"])
                assert label.rewrite is not None
                beyond[label.rewrite] += 1
    return {
        kind: JudgeError(within[kind] + beyond[kind], beyond[kind]) for kind in Rewrite if within[kind] + beyond[kind]
    }


def judge_error_lines(out: str, manifest: Mapping[str, Any]) -> list[str]:
    """The judge's error as a line to read; none where no instruction was rewritten."""
    if manifest["dataset"] != "firm-edit" or not manifest["config"]["planning"]["rewrites"]["share"]:
        return []
    found = judge_error(out, manifest["config"]["shards"])
    judged, conflicts = sum(one.judged for one in found.values()), sum(one.conflicts for one in found.values())
    if not judged:
        return []
    kinds = ", ".join(f"{kind} {one.conflicts} of {one.judged}" for kind, one in found.items())
    share = f"{100 * conflicts / judged:.1f} %"
    lines = [f"judge error: {conflicts:,} of {judged:,} rewritten instructions ({share}) were scored too high: {kinds}"]
    models = manifest["config"]["models"]
    if {model["provider"] for role in ("rewriter", "judge") for model in models[role]} == {"offline"}:
        lines.append("  (rewriter and judge are the same rules here, so this says nothing of the judge)")
    return lines
