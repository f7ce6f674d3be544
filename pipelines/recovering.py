"""Rejected samples brought back: what a filter turned away, as it would have been written had it been kept.

A filter's rejection keeps its whole draft, or its label, with every score that was computed; the images lie where they
lay, in the ledger's blobs and the pool. So a lower threshold costs no call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import ValidationError

from annotators.blobs import Blobs
from pipelines.config import ImageOutput, OutputConfig
from pipelines.samples import LOWEST, label_row, label_sample, realign_row, realign_sample
from schemas.draft import Draft, ErrorClass, Reasoning
from schemas.errors import DamageError, InputError
from schemas.labels import EditLabel, GenerationLabel
from schemas.references import ImageRef
from shards.commit import ShardSample
from shards.expressions import Condition, Kind
from shards.manifest import read_run, root_run
from shards.names import names_of
from shards.selecting import rows_matching
from shards.tables import Cell, read_rejects
from storage import paths

REASON = "reason"
"""A column that rejected samples have beside those of the index: the word for which they were."""
_READ = ["id", "ordinal", "split", "class", "reason", "scores", "draft"]
_OF_REASONING = ("clip_text", "relation_margin")


@dataclass
class Recovered:
    """What was found among the rejections.

    Attributes:
        samples: by split, those that meet the condition and can be written.
        rows: by id, their columns.
        lost: by id, why one that meets the condition cannot come back.
        rejected: how many rejections there are.
        without_draft: of those, the ones that never became a sample: a model failed, or a plan could not be made.
        unscored: of those with a draft, the ones that lack a score the condition looks at, being rejected before it
            was computed, and do not meet it.
    """

    samples: dict[str, list[ShardSample]] = field(default_factory=dict)
    rows: dict[str, Mapping[str, Cell]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    rejected: int = 0
    without_draft: int = 0
    unscored: int = 0

    @property
    def ids(self) -> list[str]:
        """Of what can be written, split by split."""
        return [sample.id for samples in self.samples.values() for sample in samples]

    def only(self, ids: frozenset[str]) -> None:
        """Leave out what is not among these."""
        for split, samples in self.samples.items():
            self.samples[split] = [sample for sample in samples if sample.id in ids]


def recovered(
    out: str,
    kinds: Mapping[str, Kind],
    condition: Condition | None,
    within: frozenset[str] | None = None,
    blobs: Blobs | None = None,
) -> Recovered:
    """The rejected samples of a finished run that meet the condition by their stored scores.

    Of several IC-CoTs those stay that meet it by their own `clip_text` and `relation_margin`; all, where none does.

    Args:
        kinds: the columns of the index; `reason` is known beside them.
        within: only these ids; None: all.
        blobs: where an image is looked for that is no longer at its address.

    Raises:
        InputError: `out` is not the folder of a run.
        DamageError: a rejects file cannot be read.
    """
    _, own = read_run(out)
    run = root_run(own)
    known = {**kinds, REASON: "text"}
    found, places = Recovered(), _Places(blobs)
    try:
        output = OutputConfig.model_validate(run.get("output", {})).image
    except ValidationError as error:
        raise InputError(f"{out}: run.json says nothing readable of `output`, so no sample can be written") from error
    for name in names_of(own["shards"]):
        uri = paths.join(out, name.rejects)
        try:
            _, rows = read_rejects(paths.read_bytes(uri), _READ)
            found.rejected += len(rows)
            kept = [row for row in rows if row["draft"] and row["class"] == str(ErrorClass.FILTERED)]
            found.without_draft += len(rows) - len(kept)
            candidates = list(_candidates(run.get("dataset", ""), kinds, kept, output))
        except (OSError, ValueError) as error:
            raise DamageError(f"{uri}: {error}; run `verify`") from error
        _choose(found, [one for one in candidates if within is None or one.id in within], condition, known, places)
    return found


class _Candidate(NamedTuple):
    """A rejection with its draft.

    Attributes:
        row: its columns, as the index would have them.
        images: that it is written from.
        write: the sample, from those images by digest and whether a reasoning stays.
        reasonings: their own scores.
    """

    id: str
    split: str
    row: Mapping[str, Cell]
    images: Sequence[ImageRef]
    write: Callable[[Mapping[str, ImageRef], Sequence[bool]], ShardSample]
    reasonings: Sequence[Reasoning] = ()


def _choose(
    found: Recovered,
    candidates: Sequence[_Candidate],
    condition: Condition | None,
    kinds: Mapping[str, Kind],
    places: _Places,
) -> None:
    rows = [one.row for one in candidates]
    chosen = [True] * len(rows) if condition is None else rows_matching(condition, kinds, rows)
    for one, meets in zip(candidates, chosen, strict=True):
        if not meets:
            asked = condition.columns if condition else ()
            found.unscored += any(one.row.get(name) is None and kinds[name] == "number" for name in asked)
            continue
        images = {image.sha256: places.of(image) for image in one.images}
        gone = next((image for image in one.images if images[image.sha256] is None), None)
        if gone is not None:
            found.lost[one.id] = f"{gone.uri} is not there"
            continue
        there = {digest: image for digest, image in images.items() if image is not None}
        sample = one.write(there, _staying(one, condition, kinds))
        found.samples.setdefault(one.split, []).append(sample)
        found.rows[one.id] = one.row


def _staying(one: _Candidate, condition: Condition | None, kinds: Mapping[str, Kind]) -> list[bool]:
    """Which of its reasonings meet the condition by their own scores; all, where none does."""
    if condition is None or not condition.columns & set(_OF_REASONING):
        return [True] * len(one.reasonings)
    rows = [
        {**one.row, **{name: getattr(r, name) for name in _OF_REASONING if getattr(r, name) is not None}}
        for r in one.reasonings
    ]
    stay = rows_matching(condition, kinds, rows)
    return stay if any(stay) else [True] * len(stay)


def _candidates(
    dataset: str, kinds: Mapping[str, Kind], rows: Sequence[Mapping[str, Any]], output: ImageOutput
) -> Iterator[_Candidate]:
    make = _of_draft if dataset == "realign" else _of_label
    for row in rows:
        yield make(dataset, kinds, row, output)


def _of_draft(dataset: str, kinds: Mapping[str, Kind], row: Mapping[str, Any], output: ImageOutput) -> _Candidate:
    draft = Draft.model_validate_json(row["draft"])
    columns = ("references", "reasonings", "paintings", "paintings_passed", "chosen_draw", LOWEST[0])
    names = tuple(name for name, kind in kinds.items() if kind == "number" and name not in columns)

    def write(images: Mapping[str, ImageRef], stay: Sequence[bool]) -> ShardSample:
        return realign_sample(_moved(draft, images, stay), output, names)

    return _Candidate(
        id=draft.id,
        split=draft.split,
        row={"id": draft.id, "split": draft.split, REASON: row["reason"], **realign_row(draft, names)},
        images=[*(p.reference for p in draft.plan.references), draft.target, *(p.image for p in draft.paintings)],
        write=write,
        reasonings=draft.reasonings,
    )


def _of_label(dataset: str, kinds: Mapping[str, Kind], row: Mapping[str, Any], output: ImageOutput) -> _Candidate:
    label: EditLabel | GenerationLabel
    label = (EditLabel if dataset == "firm-edit" else GenerationLabel).model_validate_json(row["draft"])

    def write(images: Mapping[str, ImageRef], stay: Sequence[bool]) -> ShardSample:
        return label_sample(_relabelled(label, images), row["split"], row["ordinal"], output)

    columns = {"id": label.id, "split": row["split"], REASON: row["reason"], **label_row(label)}
    return _Candidate(label.id, row["split"], columns, label.images, write)


def _moved(draft: Draft, images: Mapping[str, ImageRef], stay: Sequence[bool]) -> Draft:
    """The draft with its images where they are now, and with the reasonings that stay."""
    references = tuple(
        p.model_copy(update={"reference": p.reference.model_copy(update={"uri": images[p.reference.sha256].uri})})
        for p in draft.plan.references
    )
    return draft.model_copy(
        update={
            "plan": draft.plan.model_copy(update={"references": references}),
            "target": images[draft.target.sha256],
            "paintings": tuple(p.model_copy(update={"image": images[p.image.sha256]}) for p in draft.paintings),
            "reasonings": tuple(r for r, stays in zip(draft.reasonings, stay, strict=True) if stays),
        }
    )


def _relabelled(label: EditLabel | GenerationLabel, images: Mapping[str, ImageRef]) -> EditLabel | GenerationLabel:
    if isinstance(label, GenerationLabel):
        return label.model_copy(update={"image": images[label.image.sha256]})
    pair = label.pair
    moved = {"source": images[pair.source.sha256], "edited": images[pair.edited.sha256]}
    return label.model_copy(update={"pair": pair.model_copy(update=moved)})


class _Places:
    """Where images are now: at their address, or among the blobs; asked once for each."""

    def __init__(self, blobs: Blobs | None) -> None:
        self._blobs = blobs
        self._known: dict[str, ImageRef | None] = {}

    def of(self, image: ImageRef) -> ImageRef | None:
        if image.sha256 not in self._known:
            self._known[image.sha256] = self._found(image)
        return self._known[image.sha256]

    def _found(self, image: ImageRef) -> ImageRef | None:
        if paths.exists(image.uri):
            return image
        if self._blobs is not None:
            uri = self._blobs.uri(image.sha256, image.media_type)
            if paths.exists(uri):
                return image.model_copy(update={"uri": uri})
        return None
