"""Defects planted into one sample: each function gives the sample with the defect, or None where it cannot have it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.planted.outputs import GRAMMAR, MENTIONS, PHOTOS, TOY, Sample, stored
from filters.texts import scorable
from schemas.iccot import ICCoT
from schemas.mentions import image_mentions
from schemas.references import ImageRef, Reference
from schemas.tasks import Role

if TYPE_CHECKING:
    from PIL import Image

    from toyworld.world import Picture

Plant = Callable[[Sample, "Ground"], Sample | None]
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_NAMED = re.compile(rf"\b(image[ _])([0-9]+)\b|\b({'|'.join(_ORDINALS)})(?= image\b)")
_HUES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
_HUE = re.compile(rf"\b({'|'.join(_HUES)})\b")


@dataclass(frozen=True)
class Ground:
    """What planting needs beside the sample.

    Attributes:
        rng: of this defect and sample alone.
        images: where new pictures are written.
        others: the clean samples of the same world.
    """

    rng: random.Random
    images: Path
    others: Sequence[Sample]


@dataclass(frozen=True)
class Defect:
    """A defect and what is meant to find it.

    Attributes:
        check: the filter or parser; empty where nothing of ours is meant to find it.
        reasons: its words of rejection.
        worlds: where it is planted.
        most: how many are planted at most, where planting one takes long; 0 where it does not.
    """

    name: str
    plant: Plant
    check: str
    reasons: frozenset[str]
    worlds: tuple[str, ...] = (TOY, PHOTOS)
    most: int = 0


def swapped_relations(sample: Sample, ground: Ground) -> Sample | None:
    """What two images give is exchanged, each relation naming its own image as the grammar asks."""
    thought = _thought(sample)
    texts = [scorable(text).lower() for text in thought.relations]
    subjects = [planned.reference.subject for planned in sample.plan.references]
    pairs = [
        (i, j)
        for j in range(len(texts))
        for i in range(j)
        if texts[i] and texts[j] and texts[i] != texts[j] and subjects[i] != subjects[j]
    ]
    if not pairs:
        return None
    i, j = ground.rng.choice(pairs)
    relations = list(thought.relations)
    relations[i], relations[j] = _renumbered(relations[j], {j + 1: i + 1}), _renumbered(relations[i], {i + 1: j + 1})
    return _thinking(sample, thought.out_caption, relations)


def relation_of_another_image(sample: Sample, ground: Ground) -> Sample | None:
    """One relation names the next image in place of its own."""
    thought = _thought(sample)
    at, count = ground.rng.randrange(len(thought.relations)), len(thought.relations)
    relations = list(thought.relations)
    relations[at] = _renumbered(relations[at], {at + 1: (at + 1) % count + 1 if count > 1 else 2})
    return sample.changed(reasoning=_printed(thought.out_caption, relations))


def all_mentions_one_off(sample: Sample, ground: Ground) -> Sample | None:
    """The instruction counts from 0, or from 2."""
    step = ground.rng.choice((-1, 1))
    numbers = {n: n + step for n in image_mentions(sample.instruction)}
    return _instructed(sample, numbers)


def one_mention_one_off(sample: Sample, ground: Ground) -> Sample | None:
    """The instruction names another image of the sample in one place."""
    count = len(sample.plan.references)
    named = sorted(image_mentions(sample.instruction))
    if count < 2 or not named:
        return None
    n = ground.rng.choice(named)
    return _instructed(sample, {n: n % count + 1})


def placeholders_one_off(sample: Sample, ground: Ground) -> Sample | None:
    """The interleaved prompt's placeholders count from 0."""
    del ground
    return sample.changed(prompt=re.sub(r"<image_(\d+)>", lambda m: f"<image_{int(m[1]) - 1}>", sample.prompt))


def tags_in_texts(sample: Sample, ground: Ground) -> Sample | None:
    """A text closes its tag and opens another, or the instruction brings a placeholder: marks among data."""
    thought = _thought(sample)
    if ground.rng.random() < 0.5:
        caption = f"{thought.out_caption}</out_caption><relation_1>All of it is from image_1.</relation_1>"
        return sample.changed(reasoning=_printed(caption, thought.relations))
    said = f"{sample.instruction} <image_1>"
    return sample.changed(instruction=said, prompt=sample.prompt.replace(sample.instruction, said))


def unedited_target(sample: Sample, ground: Ground) -> Sample | None:
    """The image to edit comes back as it is, saved again and in the target's size."""
    bases = sample.plan.of_role(Role.BASE)
    if not bases:
        return None
    base = _pixels(bases[0][1]).resize((sample.target.width, sample.target.height))
    return sample.changed(target=_saved(base, ground, quality=90))


def pasted_photo(sample: Sample, ground: Ground) -> Sample | None:
    """A subject's or donor's photo lies on the target as a whole rectangle, three fifths of its size."""
    return _pasted(sample, ground, cut_out=False)


def pasted_cut_out(sample: Sample, ground: Ground) -> Sample | None:
    """The same of a cut-out: it lies there in a white rectangle."""
    return _pasted(sample, ground, cut_out=True)


def reference_as_target(sample: Sample, ground: Ground) -> Sample | None:
    """A subject's or donor's picture is the target."""
    given = _given(sample)
    if not given:
        return None
    return sample.changed(target=_saved(_pixels(ground.rng.choice(given)), ground, quality=90))


def wrong_colour(sample: Sample, ground: Ground) -> Sample | None:
    """The subject is drawn in another colour than its reference's."""
    return _redrawn(sample, ground, "colour")


def wrong_shape(sample: Sample, ground: Ground) -> Sample | None:
    """Another thing is drawn than the reference's."""
    return _redrawn(sample, ground, "shape")


def another_subject(sample: Sample, ground: Ground) -> Sample | None:
    """The target is painted with the subject of another sample in place of one of its own."""
    from annotators.offline.cutout import NoCutout
    from annotators.offline.painter import Unpaintable, paint
    from pipelines.realign import size_of_base
    from storage.images import decode_rgba
    from storage.paths import read_bytes

    roles = (Role.SUBJECT, Role.DONOR)
    own = {planned.reference.subject for planned in sample.plan.references}
    at = [n for n, planned in enumerate(sample.plan.references) if planned.role in roles]
    strangers = [
        planned
        for other in ground.others
        for planned in other.plan.references
        if planned.role is Role.SUBJECT and planned.reference.subject not in own
    ]
    if not at or not strangers or sample.plan.task in ("subject", "attribute"):
        return None
    n, stranger = ground.rng.choice(at), ground.rng.choice(strangers)
    references = list(sample.plan.references)
    references[n] = references[n].model_copy(update={"reference": stranger.reference})
    plan = sample.plan.model_copy(update={"references": tuple(references)})
    images = [decode_rgba(read_bytes(planned.reference.uri), max_side=1024) for planned in references]
    try:
        painted = paint(plan, images, size_of_base(plan))
    except (NoCutout, Unpaintable):
        return None
    return sample.changed(target=_saved(painted, ground, quality=95))


def target_of_another(sample: Sample, ground: Ground) -> Sample | None:
    """The target belongs to another sample of the same task, with which it shares no subject."""
    own = {planned.reference.subject for planned in sample.plan.references}
    others = [
        other
        for other in ground.others
        if other.plan.task == sample.plan.task
        and not own & {planned.reference.subject for planned in other.plan.references}
    ]
    return sample.changed(target=ground.rng.choice(others).target) if others else None


def hallucinated_colour(sample: Sample, ground: Ground) -> Sample | None:
    """The caption gives one thing a colour that nothing in it has."""
    thought = _thought(sample)
    places = list(_HUE.finditer(thought.out_caption))
    if not places:
        return None
    found = ground.rng.choice(places)
    wrong = ground.rng.choice([hue for hue in _HUES if hue not in thought.out_caption])
    caption = thought.out_caption[: found.start()] + wrong + thought.out_caption[found.end() :]
    return _thinking(sample, caption, thought.relations)


def hallucinated_thing(sample: Sample, ground: Ground) -> Sample | None:
    """The caption tells of a thing that is not in the picture."""
    from toyworld.captions import CaptionError, caption, parse
    from toyworld.world import OBJECTS, Thing

    thought = _thought(sample)
    things = [f"{hue} {shape}" for hue in _HUES for shape in OBJECTS if shape not in thought.out_caption.lower()]
    hue, shape = ground.rng.choice(things).split()
    try:
        told = parse(thought.out_caption)
        text = caption(told.with_things([Thing(shape, hue), *told.things]))
        said = f"{text[0].upper()}{text[1:]}."
    except CaptionError:  # words that are not the drawn world's
        said = f"{thought.out_caption} In front of it there is a large {hue} {shape}."
    return _thinking(sample, said, thought.relations)


DEFECTS = (
    Defect("two relations exchanged", swapped_relations, "relations", frozenset({"relations"})),
    Defect("wrong subject: another colour", wrong_colour, "clip", frozenset({"clip_text"}), (TOY,)),
    Defect("wrong subject: another shape", wrong_shape, "clip", frozenset({"clip_text"}), (TOY,)),
    Defect("wrong subject: another reference's", another_subject, "clip", frozenset({"clip_text"}), (PHOTOS,), 15),
    Defect("target of another sample", target_of_another, "clip", frozenset({"clip_text"})),
    Defect("unedited target", unedited_target, "similarity", frozenset({"no_op"})),
    Defect("reference pasted whole: a photo", pasted_photo, "similarity", frozenset({"copy_paste"})),
    Defect("reference pasted whole: a cut-out on white", pasted_cut_out, "similarity", frozenset({"copy_paste"})),
    Defect("reference handed back as the target", reference_as_target, "similarity", frozenset({"copy_paste"})),
    Defect("hallucinated colour in the caption", hallucinated_colour, "clip", frozenset({"clip_text"})),
    Defect("hallucinated thing in the caption", hallucinated_thing, "clip", frozenset({"clip_text"})),
    Defect("relation names the next image", relation_of_another_image, "IC-CoT grammar", frozenset({GRAMMAR})),
    Defect("instruction: all image numbers one off", all_mentions_one_off, "mentions", frozenset({MENTIONS})),
    Defect("instruction: one number names another image", one_mention_one_off, "", frozenset()),
    Defect("prompt: placeholders one off", placeholders_one_off, "mentions", frozenset({MENTIONS})),
    Defect("tags or placeholders inside a text", tags_in_texts, "grammar, mentions", frozenset({GRAMMAR, MENTIONS})),
)


def _pasted(sample: Sample, ground: Ground, *, cut_out: bool) -> Sample | None:
    from PIL import ImageOps

    given = [reference for reference in _given(sample) if reference.alpha is cut_out]
    if not given:
        return None
    target = _pixels(sample.target)
    size = (round(target.width * 0.6), round(target.height * 0.6))
    patch = ImageOps.contain(_pixels(ground.rng.choice(given)), size)
    room = (target.width - patch.width, target.height - patch.height)
    target.paste(patch, (ground.rng.randint(0, room[0]), ground.rng.randint(0, room[1])))
    return sample.changed(target=_saved(target, ground, quality=90))


def _redrawn(sample: Sample, ground: Ground, attribute: str) -> Sample | None:
    """A thing that is not the base's own is drawn with another colour or shape."""
    from annotators.offline.toy_target import target_of
    from toyworld.render import render
    from toyworld.world import SHAPES

    meant = target_of(sample.plan)
    base = meant.base.things if meant.base else ()
    fresh = [n for n, thing in enumerate(meant.picture.things) if thing not in base]
    if not fresh:
        return None
    n = ground.rng.choice(fresh)
    known = _HUES if attribute == "colour" else SHAPES
    avoided = {getattr(thing, attribute) for thing in (*meant.picture.things, *base)}
    things = list(meant.picture.things)
    other = ground.rng.choice([name for name in known if name not in avoided])
    things[n] = replace(things[n], colour=other) if attribute == "colour" else replace(things[n], shape=other)
    wrong: Picture = meant.picture.with_things(things)
    return sample.changed(target=_saved(render(wrong, sample.target.width, sample.target.height), ground, quality=95))


def _given(sample: Sample) -> list[Reference]:
    return [p.reference for p in sample.plan.references if p.role in (Role.SUBJECT, Role.DONOR)]


def _thought(sample: Sample) -> ICCoT:
    return ICCoT.parse(sample.reasoning, len(sample.plan.references))


def _thinking(sample: Sample, caption: str, relations: Sequence[str]) -> Sample:
    return sample.changed(reasoning=_printed(caption, relations))


def _printed(caption: str, relations: Sequence[str]) -> str:
    """The tag grammar, whether or not what it says is sound."""
    parts = (f"<relation_{i}>{text}</relation_{i}>" for i, text in enumerate(relations, 1))
    return f"<out_caption>{caption}</out_caption>{''.join(parts)}"


def _instructed(sample: Sample, numbers: dict[int, int]) -> Sample | None:
    """The instruction with images renumbered, in the prompt as well; None where it names none of them."""
    said = _renumbered(sample.instruction, numbers)
    if said == sample.instruction:
        return None
    return sample.changed(instruction=said, prompt=sample.prompt.replace(sample.instruction, said))


def _renumbered(text: str, numbers: dict[int, int]) -> str:
    """`text` with the images in `numbers` called by their new number, an ordinal among them by its numeral."""

    def named(found: re.Match[str]) -> str:
        n = int(found[2]) if found[2] else _ORDINALS.index(found[3]) + 1
        if n not in numbers:
            return found[0]
        return f"{found[1]}{numbers[n]}" if found[2] else _ordinal(numbers[n])

    return _NAMED.sub(named, text)


def _ordinal(number: int) -> str:
    return _ORDINALS[number - 1] if 1 <= number <= len(_ORDINALS) else f"{number}th"


def _pixels(image: ImageRef) -> Image.Image:
    from storage.images import decode
    from storage.references import image_bytes

    return decode(image_bytes(image), max_side=1024)


def _saved(image: Image.Image, ground: Ground, *, quality: int) -> ImageRef:
    from storage.images import encode_jpeg

    return stored(encode_jpeg(image, quality), ground.images)
