"""From plan to sample: what the models made of a plan, what the filters said, and what a tar holds."""

from __future__ import annotations

import json
from itertools import count

from pydantic import Field, model_validator

from schemas.base import Record, Word
from schemas.iccot import ICCoT
from schemas.mentions import PLACEHOLDER, beyond
from schemas.plan import Plan
from schemas.references import ImageRef
from schemas.usage import Usage

NOT_COMPUTED = -1.0


class Reasoning(Record):
    """One IC-CoT of a sample.

    Attributes:
        draws: how many of the N draws gave exactly this text.
        clip_text: CLIP cosine of out_caption and target, in [-1, 1]; None where not computed.
        relation_margin: the smallest CLIP margin by which two relations fit their own references better than
            each other's, in [-2, 2]; None where not computed.
    """

    iccot: ICCoT
    draws: int = Field(default=1, ge=1)
    clip_text: float | None = None
    relation_margin: float | None = None

    def to_json(self) -> dict[str, object]:
        """`{text, out_caption, draws, clip_text, relation_margin}` as the tar has it; -1.0 for not computed."""
        return {
            "text": str(self.iccot),
            "out_caption": self.iccot.out_caption,
            "draws": self.draws,
            "clip_text": score_or_sentinel(self.clip_text),
            "relation_margin": score_or_sentinel(self.relation_margin),
        }


class Source(Record):
    """Where one part of a draft came from: a model's answer, found again under its request key.

    Attributes:
        note: what a provider says about its own answer; the embedded painter names its deliberate error here.
    """

    model: str
    prompt: str = ""
    request_key: str = ""
    note: str = ""


class Painting(Record):
    """One of several targets that were painted for a plan.

    Attributes:
        draw: the number of the painter's draw, from 0.
        phash: perceptual hash, 16 hex digits; empty until it is decoded.
        scores: as a draft's, with this painting as the target.
        reason: the word for which a filter rejected it; empty where none did.
        chosen: whether it became the target.
    """

    draw: int = Field(ge=0)
    image: ImageRef
    source: Source
    phash: str = ""
    scores: dict[str, float] = {}
    reason: str = ""
    chosen: bool = False

    def to_json(self, member: str, score_names: tuple[str, ...] = ()) -> dict[str, object]:
        """Its entry in a sample's `paintings`; `member` is its name in the tar, without the sample's id."""
        return {
            "member": member,
            "draw": self.draw,
            "chosen": self.chosen,
            "reason": self.reason,
            "scores": _scores(self.scores, score_names),
            "phash": self.phash,
            "source": self.source.model_dump(),
        }


class Draft(Record):
    """What the models made of one plan, and the scores given to it so far.

    Attributes:
        prompt: the interleaved form: the instruction with one `<image_i>` placeholder per reference.
        paintings: in the order of their draws, where several were asked for; `target` is one of them. Else empty.
        scores: by name; a name that is absent was not computed.
        target_phash: perceptual hash of the target, 16 hex digits; empty until it is decoded.
        provenance: by role (`writer`, `reasoner`, `painter`).
        usage: by model, for this plan alone.
    """

    plan: Plan
    instruction: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    reasonings: tuple[Reasoning, ...] = Field(min_length=1)
    target: ImageRef
    target_phash: str = ""
    scores: dict[str, float] = {}
    provenance: dict[str, Source] = {}
    usage: dict[str, Usage] = {}
    paintings: tuple[Painting, ...] = ()

    @model_validator(mode="after")
    def _names_only_its_images(self) -> Draft:
        images = len(self.plan.references)
        found = beyond([self.instruction, *self._relations()], images) + prompt_defects(self.prompt, images)
        if any(len(r.iccot.relations) != images for r in self.reasonings):
            found.append(f"Every reasoning needs exactly {images} relations.")
        if found:
            raise ValueError(" ".join(dict.fromkeys(found)))
        return self

    def _relations(self) -> list[str]:
        return [text for r in self.reasonings for text in r.iccot.relations]

    @property
    def id(self) -> str:
        return self.plan.id

    @property
    def ordinal(self) -> int:
        return self.plan.ordinal

    @property
    def split(self) -> str:
        return self.plan.split

    @property
    def seed(self) -> int:
        """Its plan's: chooses among the models of a mix."""
        return self.plan.seed

    @property
    def clip_text(self) -> float | None:
        """The sample's CLIP score: that of its best-aligned reasoning, or None."""
        scores = [r.clip_text for r in self.reasonings if r.clip_text is not None]
        return max(scores) if scores else None

    @property
    def painted_members(self) -> list[tuple[str, Painting]]:
        """(name in the tar without the sample's id, painting), in order: `target.jpg` and `other_1.jpg`, ..."""
        others = (f"other_{n}.jpg" for n in count(1))
        return [("target.jpg" if painting.chosen else next(others), painting) for painting in self.paintings]

    def to_json(self, score_names: tuple[str, ...] = ()) -> dict[str, object]:
        """The sample's JSON in a tar (DESIGN section 5): every key in every sample, no nulls, scores floats.

        `paintings` is there in every sample of a run that asked for several, and in none of any other.

        Args:
            score_names: the run's score columns; those not computed for this draft are written as -1.0.
        """
        plan = self.plan
        view: dict[str, object] = {
            "id": plan.id,
            "task": plan.task,
            "subtype": plan.subtype,
            "instruction": self.instruction,
            "prompt": self.prompt,
            "references": [
                {
                    "id": r.reference.id,
                    "source_id": r.reference.source_id,
                    "kind": str(r.reference.kind),
                    "role": str(r.role),
                    "caption": r.reference.caption,
                    "license": r.reference.license,
                    "attribution": r.reference.attribution,
                    "person": str(r.reference.person),
                }
                for r in plan.references
            ],
            "reasonings": [r.to_json() for r in self.reasonings],
            "scores": _scores(self.scores, score_names),
            "wording": {k: str(v) for k, v in plan.wording},
            "stress": str(plan.stress),
            "split": plan.split,
            "provenance": json.dumps(
                {role: source.model_dump() for role, source in sorted(self.provenance.items())},
                sort_keys=True,
                ensure_ascii=False,
            ),
        }
        if self.paintings:
            view["paintings"] = [painting.to_json(member, score_names) for member, painting in self.painted_members]
        return view


class ErrorClass(Word):
    """DESIGN section 4: what a failure means for its plan."""

    RETRYABLE = "retryable"
    REPAIRABLE = "repairable"
    FINAL = "final"
    PLANNED = "planned"
    FILTERED = "filtered"


class Rejection(Record):
    """A plan that gave no sample, and why.

    Attributes:
        input_id: the user's own id of the input; empty where a plan has none.
        stage: `plan`, `writer`, `reasoner`, `painter`, `filter`, `images`, `write`.
        reason: one word for counting (`infeasible`, `no_cutout`, `clip_text`, `no_op`, ...).
        error_class: see `ErrorClass`; `filtered` for a filter's verdict.
        last_answer: the model's last answer, cut to 2,000 characters.
        instruction: what the models were asked to make, where the plan got that far.
        draft: a filter's rejection keeps the draft, so that a lower threshold can bring it back.
        label: a rejected row of critic data, as JSON (`schemas.labels`), where it had got a score.
        images: sha256 of its images.
    """

    id: str
    ordinal: int = Field(ge=0)
    split: str = "train"
    task: str = ""
    stage: str
    reason: str
    error_class: ErrorClass
    detail: str = ""
    attempts: int = Field(default=0, ge=0)
    last_answer: str = Field(default="", max_length=2000)
    request_key: str = ""
    instruction: str = ""
    scores: dict[str, float] = {}
    usage: dict[str, Usage] = {}
    draft: Draft | None = None
    label: str = ""
    images: tuple[str, ...] = ()
    input_id: str = ""


def score_or_sentinel(score: float | None) -> float:
    """A score as the tar has it: rounded to 4 decimals, or -1.0 where it was not computed."""
    return NOT_COMPUTED if score is None else round(float(score), 4) + 0.0


def _scores(scores: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    """Every one of `names`, and whatever else was computed, in alphabetical order."""
    return {name: score_or_sentinel(scores.get(name)) for name in sorted({*names, *scores})}


def prompt_defects(prompt: str, references: int) -> list[str]:
    """Plain sentences: each image must have its `<image_i>` placeholder in the interleaved prompt, exactly once."""
    numbers = sorted(int(n) for n in PLACEHOLDER.findall(prompt))
    wanted = list(range(1, references + 1))
    if numbers == wanted:
        return []
    return [f"The interleaved prompt must hold each of <image_1> to <image_{references}> once, but holds {numbers}."]
