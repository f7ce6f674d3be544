"""The values that fill grammar.yaml: what is said of a subject, a scene, a donor, in either voice."""

from __future__ import annotations

from annotators.offline.chance import pick, shuffled
from annotators.offline.grammar import joined
from annotators.offline.lexicon import words
from annotators.offline.showing import Showing, backdrop_colours
from annotators.offline.staging import Placement, Staging

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh")
_LIVING = ("animal", "bird", "hoofed", "sea animal", "insect", "person")
_SIZES = (0.24, "rather small in the frame"), (0.42, "neither large nor small"), (1.1, "large in the frame")
_TEXTURES = {"smooth": "smooth", "fine": "finely grained", "busy": "rough"}
_FUR_COLOURS = {"orange": "golden", "beige": "cream", "yellow": "golden"}
_FUR = ("black", "white", "grey", "dark grey", "pale grey", "brown", "golden", "cream")
_COLOURS = words("nouns", "colours")


def own_colours(shown: Showing) -> str:
    """Colours that are the subject's for certain, as `brown and black`; nothing where the pixels do not say."""
    seen = [c for c in shown.look.colours if shown.cut_out or shown.look.certain or c != shown.look.scene_colours[0]]
    if shown.thing in ("animal", "bird", "hoofed"):
        seen = [_FUR_COLOURS.get(c, c) for c in seen]
        seen = [c for c in dict.fromkeys(seen) if c in _FUR]
    return joined(seen[:2]) if seen else ""


def has_colour_word(shown: Showing) -> bool:
    """Whether the noun phrase names a colour already."""
    return bool(set(shown.phrase.noun.lower().replace("-", " ").split()) & _COLOURS)


def place_phrase(placement: Placement, seed: int) -> str:
    """`on the left`, `in the middle`, `on the far right`, `second from the left`."""
    place = placement.place
    if place == "centre":
        return pick(("in the centre", "in the middle"), seed, "centre", placement.image)
    if place.startswith("centre "):
        return f"just {place.removeprefix('centre ')} of the centre"
    return place if "from" in place else f"on the {place}"


def placements(stage: Staging, shown: list[Showing], seed: int) -> str:
    """Where the pasted subjects stand, with a comma before it: `, on the left`."""
    if len(stage.pasted) == 1:
        return f", {place_phrase(stage.pasted[0], seed)}"
    row = [f"{shown[p.image - 1].phrase.definite} {place_phrase(p, seed)}" for p in stage.pasted]
    return f", {joined(row)}"


def placements_apart(stage: Staging, shown: list[Showing], seed: int, *, instructive: bool) -> str:
    """The same as a sentence of its own, with a blank before it: ` It should be on the left.`"""
    if len(stage.pasted) == 1:
        one = shown[stage.pasted[0].image - 1].phrase
        verb = pick(("should be", "should go"), seed, "apart") if instructive else one.be
        they = one.plural or shown[stage.pasted[0].image - 1].thing == "person"
        verb = "are" if they and verb == "is" else verb
        return f" {'They' if they else 'It'} {verb} {place_phrase(stage.pasted[0], seed)}"
    row = [f"{shown[p.image - 1].phrase.definite} {place_phrase(p, seed)}" for p in stage.pasted]
    if instructive:
        return f" {pick(('Place', 'Put', 'Set'), seed, 'apart')} {joined(row)}"
    first = shown[stage.pasted[0].image - 1].phrase
    text = joined([row[0].replace(first.definite, f"{first.definite} {first.be}", 1), *row[1:]])
    return f" {text[:1].upper()}{text[1:]}"


def stands(shown: list[Showing], seed: int, *names: object) -> str:
    """A verb for where things are, which claims no pose: the photo decides whether a cat sits or lies."""
    plural = len(shown) > 1 or shown[0].phrase.plural
    neutral = [("is", "are"), ("appears", "appear"), ("can be seen", "can be seen")]
    still = [("rests", "rest"), ("sits", "sit"), ("stands", "stand"), ("is", "are")]
    living = any(s.thing in _LIVING or s.stature.floats for s in shown)
    return pick(neutral if living else still, seed, "stands", *names)[plural]


def agreement(shown: list[Showing]) -> dict[str, str]:
    """The words that agree with a list of subjects."""
    plural = len(shown) > 1 or shown[0].phrase.plural
    them = plural or shown[0].thing == "person"
    return {
        "is": "are" if plural else "is",
        "has": "have" if plural else "has",
        "it": "them" if them else "it",
        "its": "their" if them else "its",
        "it_nominative": "they" if them else "it",
        "can_be_seen": "can be seen",
    }


def of_subject(
    shown: Showing, placement: Placement | None, seed: int, *names: object, alone: bool = True
) -> dict[str, str]:
    """What is said of one subject at its second mention, under `x...`.

    Args:
        alone: whether a pronoun is clear; else its name stands: `the cat's`.
    """
    small = shuffled(shown.parts, seed, "parts", *names)
    return {
        "x": shown.phrase.definite,
        "x_is": shown.phrase.be,
        "x_its": shown.its if alone else possessive(shown.phrase.definite),
        "x_it": shown.it if alone else shown.phrase.definite,
        "x_own": shown.its,
        "x_short_it": ("they" if shown.it == "them" else "it") if alone else shown.phrase.definite,
        "x_short": shown.phrase.definite,
        "x_keeps": "keep" if shown.phrase.plural else "keeps",
        "surface": shown.surface,
        "part": small[0],
        "part2": small[1],
        "colours": own_colours(shown),
        "size_words": _size_words(shown, placement) if placement else "as large as before",
    }


def _size_words(shown: Showing, placement: Placement) -> str:
    """How large it looks: what staging gives it, times what its kind takes of that, as the painter does."""
    height = placement.height * shown.stature.share
    return next(text for limit, text in _SIZES if height < limit)


def possessive(noun: str) -> str:
    """`the cat's`, `the glasses'`."""
    return f"{noun}'" if noun.endswith("s") else f"{noun}'s"


def of_ground(ground: Showing, seed: int, *names: object) -> dict[str, str]:
    """What is said of the picture or scene that things are put into."""
    return {
        "light": "even" if ground.cut_out else ground.light,
        "ground_colours": joined(list(ground.look.scene_colours[:2])),
        "ground_parts": pick(ground.parts, seed, "ground parts", *names),
    }


def of_surroundings(base: Showing, seed: int, *names: object) -> dict[str, str]:
    """What is said of a base photo whose subject changes: the background is the ground."""
    return {**of_ground(base, seed, *names), "ground_colours": backdrop_colours(base), "ground_parts": "background"}


def of_studio(stage: Staging) -> dict[str, str]:
    """The backdrop and light of a picture that has no ground."""
    assert stage.backdrop is not None and stage.light is not None
    name = stage.backdrop.name
    return {
        "a_backdrop": f"{'an' if name[0] in 'aeiou' else 'a'} {name}",
        "studio_light": stage.light.name,
        "light": stage.light.name,
        "ground_colours": name,
        "ground_parts": "backdrop",
    }


def of_donor(donor: Showing, *, local: bool = False) -> dict[str, str]:
    """What a donor gives: style, light, palette, material, pattern, texture.

    Args:
        local: whether its subject gives it rather than the whole picture.
    """
    palette = joined(list(donor.look.scene_colours[:2]))
    own = own_colours(donor) or palette
    return {
        "style": style_words(donor),
        "donor_light": donor.light,
        "palette": palette,
        "first_tone": donor.look.scene_colours[0].replace(" ", "-"),
        "donor_palette": f"{own if local else palette} tones",
        "d_surface": donor.surface,
        "d_colours": "" if has_colour_word(donor) else own,
        "d_palette": own,
        "d_texture": texture_words(donor),
        "d_has": "have" if donor.phrase.plural else "has",
    }


def style_words(shown: Showing) -> str:
    """How a picture is made, as far as rules can tell and paint it: drawn, or soft like paint in the photo's tones."""
    if shown.look.flat or shown.cut_out:
        return "flat, inked drawing style"
    if shown.look.monochrome:
        return "soft, painterly black-and-white style"
    tone = {"warm": "warm-toned", "cool": "cool-toned", "neutral": "softly toned"}[shown.look.temperature]
    return f"{tone}, painterly style"


def texture_words(shown: Showing) -> str:
    return _TEXTURES[shown.look.texture]
