"""The offline writer: an instruction for a plan, from captions, pixels and a compositional grammar.

What it promises (places, backdrop, light) is what `staging` gives the painter; what it only asks for (keep the
fur, match the light) is what the painter does anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

from annotators.offline.chance import pick, share, shuffled
from annotators.offline.grammar import joined, sentence
from annotators.offline.looks import Look
from annotators.offline.showing import Showing, setting, showings, surroundings, where
from annotators.offline.staging import PAINTABLE_SUBTYPES, Staging, staging
from annotators.offline.terms import (
    ORDINALS,
    agreement,
    of_donor,
    of_ground,
    of_studio,
    of_subject,
    of_surroundings,
    own_colours,
    placements,
    placements_apart,
    stands,
    style_words,
)
from schemas.answers import INSTRUCTION_LENGTH, WriterAnswer
from schemas.plan import Length, Naming, Plan, Style
from schemas.references import Kind
from schemas.tasks import Role

# The plan's foci, and whatever else a config may name, by what the grammar has sentences about.
_FOCI = {
    "material": "surface", "texture": "surface", "surface": "surface", "fabric": "surface",
    "pattern": "parts", "shape": "parts", "trim": "parts", "accessories": "parts", "details": "parts",
    "color": "colour", "colour": "colour", "palette": "colour", "tone": "colour",
    "light": "light", "lighting": "light", "shadow": "light",
    "position": "layout", "layout": "layout", "composition": "layout", "size": "layout", "scale": "layout",
    "background": "surroundings", "surroundings": "surroundings", "setting": "surroundings", "scene": "surroundings",
}  # fmt: skip
_GROUPS = ("surface", "parts", "colour", "light", "layout", "surroundings")
_LOCAL = ("material", "pattern", "texture")


def write_instruction(plan: Plan, looks: Sequence[Look]) -> WriterAnswer:
    """An instruction in the plan's style, naming, length and focus, or why there is none.

    Args:
        plan: its seed alone decides what its wording leaves open.
        looks: one per reference, in order.
    """
    stage = staging(plan)
    shown = showings(plan, looks)
    reason = _obstacle(plan, stage, shown)
    if reason:
        return WriterAnswer(feasible=False, reason=reason)
    citing = _Citing(plan, stage)
    kind, values = _values(plan, stage, shown, citing)
    said = [sentence(("writer", kind, str(plan.wording.style)), values, plan.seed)]
    said += _details(plan, stage, shown, values)
    instruction = " ".join(said)
    if len(instruction) > INSTRUCTION_LENGTH:  # A caption of the pool is as long as its author liked.
        size, image = max((len(r.reference.caption), i) for i, r in enumerate(plan.references, 1))
        limit = f"an instruction has at most {INSTRUCTION_LENGTH:,} characters"
        return WriterAnswer(feasible=False, reason=f"The caption of image {image} has {size:,}, and {limit}.")
    return WriterAnswer(feasible=True, instruction=instruction)


def focus_group(focus: str, seed: int) -> str:
    """What the grammar calls a focus; for an unknown word, one that the seed draws."""
    return _FOCI.get(focus.lower()) or pick(_GROUPS, seed, "focus")


def _obstacle(plan: Plan, stage: Staging, shown: list[Showing]) -> str:
    """Why the plan has no instruction, in one sentence; empty where it has."""
    if plan.wording.language.split("-")[0].lower() != "en":
        return f"The offline writer knows English only, and the plan asks for {plan.wording.language!r}."
    for one in shown:
        noun = one.phrase.indefinite
        if one.image in stage.unused:
            continue
        if one.role is Role.SCENE and one.kind is not Kind.SCENE:
            return f"Image {one.image} shows {noun}, which is no scene that anything could stand in."
        if stage.action != "attribute" and one.role in (Role.SUBJECT, Role.DONOR) and one.kind is Kind.SCENE:
            return f"Image {one.image} shows a whole scene, {noun}, and no single subject to take from it."
    if stage.action == "attribute":
        return _attribute_obstacle(plan.subtype, shown[stage.ground - 1], shown[stage.donor - 1])
    if not stage.pasted:
        return "No image of this plan gives a subject to show."
    if stage.action == "replace" and shown[stage.ground - 1].kind is Kind.SCENE:
        return f"Image {stage.ground} shows a whole scene, in which no single subject could be replaced."
    return ""


def _attribute_obstacle(subtype: str, base: Showing, donor: Showing) -> str:
    if subtype not in PAINTABLE_SUBTYPES:
        return f"Transferring the {subtype or 'attribute'} needs a generative painter, which the offline one is not."
    alike = {
        "light": base.light == donor.light,
        "tone": set(base.look.scene_colours[:2]) == set(donor.look.scene_colours[:2]),
        "style": style_words(base) == style_words(donor),
    }
    if alike.get(subtype, False):
        return f"The {subtype} of image {donor.image} hardly differs from that of image {base.image}."
    if subtype in ("material", "pattern") and donor.kind is Kind.SCENE:
        return f"Image {donor.image} shows a whole scene, which has no one {subtype} to give."
    if subtype in _LOCAL and base.kind is Kind.SCENE:
        return f"Image {base.image} shows a whole scene, which has no single subject to give a new {subtype}."
    return ""


class _Citing:
    """How one instruction names its images: `from image 2`, `in the second image`, or not at all."""

    def __init__(self, plan: Plan, stage: Staging) -> None:
        self.seed = plan.seed
        self.indexed = plan.wording.naming is Naming.INDEXED
        self.ordinal = share(plan.seed, "ordinal") < 0.4 and len(plan.references) <= len(ORDINALS)
        self.preposition = pick(("from", "in", "of", "from"), plan.seed, "citing")
        self.bracketed = share(plan.seed, "bracketed") < 0.15
        self.views = {stage.pasted[0].image: stage.views} if len(stage.pasted) == 1 else {}

    def image(self, number: int) -> str:
        return f"the {ORDINALS[number - 1]} image" if self.ordinal else f"image {number}"

    def behind(self, number: int, preposition: str = "") -> str:
        """What follows a noun: ` from image 2`; nothing where images are not named."""
        if not self.indexed:
            return ""
        views = self.views.get(number, ())
        if views:
            return f" {preposition or 'from'} images {joined([str(n) for n in sorted((number, *views))])}"
        if self.bracketed:
            return f" ({self.image(number).removeprefix('the ')})"
        return f" {preposition or self.preposition} {self.image(number)}"

    def thing(self, one: Showing) -> str:
        return one.phrase.definite + self.behind(one.image)

    def whole(self, one: Showing) -> str:
        """A picture as a whole: `image 1`, `the scene of image 1`, `the photo of a pier at sunset`."""
        if not self.indexed:
            noun = "drawing" if one.look.flat else pick(("photo", "picture", "shot"), self.seed, "photo", one.image)
            return f"the {noun} of {one.phrase.whole}"
        named = self.image(one.image)
        return pick((named, named, f"the picture in {named}"), self.seed, "whole", one.image)

    def scene(self, one: Showing) -> str:
        return one.phrase.whole_definite + self.behind(one.image, pick(("of", "in"), self.seed, "scene"))

    def where(self, one: Showing) -> str:
        behind = self.behind(one.image, pick(("of", "in"), self.seed, "where"))
        return where(one, definite=True, citing=behind)


def _values(plan: Plan, stage: Staging, shown: list[Showing], citing: _Citing) -> tuple[str, dict[str, str]]:
    """(the grammar's name for what is done, the values for its templates)."""
    if stage.action == "attribute":
        return plan.subtype, _attribute_values(plan, stage, shown, citing)
    pasted = [shown[p.image - 1] for p in sorted(stage.pasted, key=lambda p: p.image)]
    brief = plan.wording.length is Length.SHORT and focus_group(plan.wording.focus, plan.seed) != "layout"
    instructive = plan.wording.style is Style.INSTRUCTIVE
    values = {
        **agreement(pasted),
        "plain": joined([citing.thing(one) for one in pasted]),
        "placed": "" if brief else placements(stage, shown, plan.seed),
        "placed_apart": "" if brief else "." + placements_apart(stage, shown, plan.seed, instructive=instructive),
        "stands": stands(pasted, plan.seed),
    }
    if not stage.ground:
        return ("studio_one" if len(pasted) == 1 else "studio_many"), {**values, **of_studio(stage)}
    ground = shown[stage.ground - 1]
    if stage.action == "replace":
        old = ground.phrase
        return "replace", {
            **values,
            **of_surroundings(ground, plan.seed),
            "new": citing.thing(pasted[0]),
            "old": citing.thing(ground),
            "old_short": old.definite,
            "old_is": old.be,
            "old_its": old.its,
            "old_surroundings": surroundings(ground),
            "old_setting": setting(ground, definite=True),
        }
    values |= {
        **of_ground(ground, plan.seed),
        "where": citing.where(ground),
        "scene": citing.scene(ground),
        "ground": citing.whole(ground),
        "there": "there",
    }
    edits = shown[0].role is Role.BASE
    return ("add" if ground.role is Role.BASE else "move" if edits else "compose"), values


def _attribute_values(plan: Plan, stage: Staging, shown: list[Showing], citing: _Citing) -> dict[str, str]:
    base, donor = shown[stage.ground - 1], shown[stage.donor - 1]
    named = share(plan.seed, "donor named") < 0.5 or not citing.indexed
    return {
        **of_donor(donor, local=plan.subtype in _LOCAL),
        "base": citing.whole(base),
        "donor": citing.scene(donor) if named else citing.whole(donor),
        "b": citing.thing(base),
        "d": citing.thing(donor),
        "b_it": "they" if base.phrase.plural else "it",
    }


def _details(plan: Plan, stage: Staging, shown: list[Showing], values: dict[str, str]) -> list[str]:
    """Sentences on secondary details: none, one on the focus, or three, as the plan's length asks."""
    count = {Length.SHORT: 0, Length.MEDIUM: 1, Length.LONG: 3}[plan.wording.length]
    first = focus_group(plan.wording.focus, plan.seed)
    groups = [first, *(g for g in shuffled(_GROUPS, plan.seed, "groups") if g != first)]
    said: list[str] = []
    used: set[tuple[str, ...]] = set()
    for group in groups:
        path = _detail_path(stage, shown, group, str(plan.wording.style))
        if len(said) == count:
            break
        if path in used:
            continue
        one, filled = _detail_values(plan, stage, shown, group)
        if group == "colour" and not _colour_is_known(plan, stage, one):
            continue
        used.add(path)
        said.append(sentence(path, {**values, **filled}, plan.seed, "detail", group))
    return said


def _colour_is_known(plan: Plan, stage: Staging, one: Showing) -> bool:
    if stage.action == "attribute":
        return plan.subtype not in ("light", "texture")
    return bool(own_colours(one))


def _detail_path(stage: Staging, shown: list[Showing], group: str, style: str) -> tuple[str, ...]:
    if stage.action == "attribute":
        return ("details", "attribute", "colour" if group == "colour" else "base", style)
    if stage.action == "replace" and group in ("layout", "surroundings"):
        return ("details", "replace", group, style)
    if not stage.ground and group in ("surroundings", "colour", "light"):
        return ("details", "studio", group, style)
    return ("details", "pasted", group, style)


def _detail_values(plan: Plan, stage: Staging, shown: list[Showing], group: str) -> tuple[Showing, dict[str, str]]:
    """(the subject that the detail is about, what is said of it)."""
    if stage.action == "attribute":
        one = shown[stage.ground - 1]
        return one, of_subject(one, None, plan.seed, group)
    placement = pick(stage.pasted, plan.seed, "detail of", group)
    one = shown[placement.image - 1]
    return one, of_subject(one, placement, plan.seed, group, alone=len(stage.pasted) == 1)
