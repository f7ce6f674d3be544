"""The offline reasoner: IC-CoTs that follow from plan and pixels; the target is never seen, as in the paper.

Each draw says the same facts from its own focus: the caption dwells on another detail, and the relations name
another part of what each reference gives.
"""

from __future__ import annotations

from collections.abc import Sequence

from annotators.offline.chance import pick
from annotators.offline.grammar import joined, phrase, sentence
from annotators.offline.looks import Look
from annotators.offline.showing import Showing, backdrop_colours, setting, showings, surroundings, where
from annotators.offline.staging import Staging, staging
from annotators.offline.terms import (
    agreement,
    of_donor,
    of_ground,
    of_studio,
    of_subject,
    placements,
    stands,
    style_words,
)
from annotators.offline.writer import focus_group
from schemas.iccot import ICCoT
from schemas.plan import Plan
from schemas.references import Kind
from schemas.tasks import Role

_LOCAL = ("material", "pattern", "texture")
# What a relation should mention, where it can, for each group of foci.
_FIELDS = {
    "surface": ("surface",),
    "parts": ("part", "ground_parts"),
    "colour": ("colours", "ground_colours", "palette"),
    "light": ("light",),
    "surroundings": ("ground_parts", "surroundings"),
}


def reason(plan: Plan, instruction: str, looks: Sequence[Look], draw: int, focus: str) -> str:
    """One IC-CoT in the tag grammar.

    Args:
        instruction: given for the interface's sake; what it asks for follows from the plan, as this does.
        looks: one per reference, in order.
        draw: number of the draw, from 0; draws differ in wording even where their focus is the same.
        focus: what this draw dwells on: `colour`, `material`, `light`, `layout`, ...
    """
    del instruction
    stage = staging(plan)
    shown = showings(plan, looks)
    group = focus_group(focus, plan.seed + draw)
    caption = _caption(plan, stage, shown, draw, group)
    relations = [_relation(plan, stage, shown, one, draw, group) for one in shown]
    return str(ICCoT(out_caption=caption, relations=tuple(relations)))


def _caption(plan: Plan, stage: Staging, shown: list[Showing], draw: int, group: str) -> str:
    if stage.action == "attribute":
        return _attribute_caption(plan, stage, shown, draw, group)
    seed = plan.seed
    pasted = [shown[p.image - 1] for p in sorted(stage.pasted, key=lambda p: p.image)]
    values = {
        **agreement(pasted),
        "a_plain": joined([one.phrase.indefinite for one in pasted]),
        "stands": stands(pasted, seed, draw),
        "placed": placements(stage, shown, seed),
    }
    if not stage.ground:
        kind, ground = "studio", of_studio(stage)
    else:
        base = shown[stage.ground - 1]
        ground = of_ground(base, seed, draw)
        if stage.action == "replace":
            kind = "replace"
            ground |= {"setting": setting(base, definite=False), "ground_colours": backdrop_colours(base)}
            ground |= {"ground_parts": "background"}
        else:
            kind = "paste"
            ground |= {"where": where(base, definite=False)}
    placement = pick(stage.pasted, seed, "caption detail", draw)
    one = shown[placement.image - 1]
    about = of_subject(one, placement, seed, draw, alone=len(pasted) == 1)
    # CLIP reads 77 tokens: a row of three and more leaves no room for a detail.
    extra = "" if len(pasted) > 2 else _extra(group, {**ground, **about}, seed, draw)
    return sentence(("captions", kind), {**values, **ground, "extra": extra}, seed, turn=draw)


def _attribute_caption(plan: Plan, stage: Staging, shown: list[Showing], draw: int, group: str) -> str:
    base, donor = shown[stage.ground - 1], shown[stage.donor - 1]
    local = plan.subtype in _LOCAL
    style = style_words(donor)
    about = of_subject(base, None, plan.seed, draw)
    group = group if group in (("parts",) if local else ("surface", "parts")) else "none"
    values = {
        **of_donor(donor, local=local),
        "a_base": base.phrase.whole,
        "a_b": base.phrase.indefinite,
        "a_d": donor.phrase.indefinite,
        "b_its": base.phrase.its,
        "b_looks": "look" if base.phrase.plural else "looks",
        "setting": setting(base, definite=False),
        "a_style": f"a {style}",
        "extra": _extra(group, about, plan.seed, draw),
    }
    return sentence(("captions", plan.subtype), values, plan.seed, turn=draw)


def _extra(group: str, values: dict[str, str], seed: int, draw: int) -> str:
    """What a caption adds in the draw's focus; nothing where there is nothing true to say."""
    if group == "none" or (group == "colour" and not values["colours"]):
        return ""
    text = phrase(("extras", group), values, seed, turn=draw)
    return text if text.startswith(",") else f" {text}"


def _relation(plan: Plan, stage: Staging, shown: list[Showing], one: Showing, draw: int, group: str) -> str:
    """What `one` contributes, naming what it shows."""
    noun = one.phrase
    around = surroundings(one)
    values = {
        **agreement([one]),
        **of_subject(one, None, plan.seed, draw, one.image),
        **of_ground(one, plan.seed, draw),
        **of_donor(one, local=plan.subtype in _LOCAL),
        "i": str(one.image),
        "the": noun.definite,
        "whole": noun.whole_definite if one.kind is Kind.SCENE else noun.definite,
        "noun": noun.noun,
        "stays": "stay" if noun.plural else "stays",
        "surroundings": around,
        "surroundings_is": "are" if around.endswith("s") and not around.endswith("ss") else "is",
    }
    kind = _relation_kind(plan, stage, one)
    return sentence(
        ("relations", kind), values, plan.seed, "relation", one.image, about=_FIELDS.get(group, ()), turn=draw
    )


def _relation_kind(plan: Plan, stage: Staging, one: Showing) -> str:
    if one.image in stage.unused:
        return "unused"
    if one.image in stage.views:
        return "view"
    if stage.action == "attribute":
        if one.image == stage.donor:
            return plan.subtype
        return "edited_scene" if one.kind is Kind.SCENE else "edited"
    if one.image == stage.ground:
        return "replaced" if stage.action == "replace" else "base" if one.role is Role.BASE else "scene"
    return "kept_subject" if one.role is Role.BASE else "subject"
