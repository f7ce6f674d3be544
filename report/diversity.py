"""How various the texts are: distinct n-grams, verb-object pairs, and the distance between a sample's reasonings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise
from typing import Any

from report.output import Json

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[\u3400-\u9fff\u3040-\u30ff]")
_CLAUSE = re.compile(r"[.;:!?,]|\b(?:and|then|so that|while|but)\b", re.IGNORECASE)
# Shares of different n-grams fall as texts grow in number, so datasets are compared over equally many.
RECORDS = 2000
_DISTANCE_BINS = 10
_MOST_REASONINGS = 8


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SKIPPED = _set(
    "please now first just also simply carefully only kindly let us you should could must can to new else one"
)
_DETERMINERS = _set("a an the this that these those its his her their my your our some any each every all both")
# What ends an object: prepositions, and words that begin something else.
_ENDS = _set(
    """of in on at to from into onto with without by for over under above below behind beside between through across
    around along against near next within inside outside out off up down as like so where which who while then and or
    but is are was were be shown seen image images"""
)
# Words that are as often nouns or adjectives (light, set, open, frame) are left out.
_VERBS = _set(
    """add adjust alter apply arrange blend blur bring brighten build carry change clean colour color combine compose
    convert copy cover create crop cut darken decorate delete depict design display draw dress drop edit enlarge erase
    exchange expand extend fill fix flip fuse generate give grow hang have hide hold imagine include insert join keep
    lay leave lend lighten lift liven lower make match melt merge mirror mix move outfit paint pair paste place plant
    portray pose position pour present preserve produce put raise recolor recolour redesign redraw refine remove render
    repaint replace restore restyle retain rotate see seat sharpen shift show shrink sit smooth stage stand stretch
    stylise stylize substitute swap take tilt tint transfer transform translate transport trim turn use wear wrap
    write"""
)
_FORMS = {"sees": "see", "shows": "show", "shown": "show", "made": "make"}


def diversity(records: list[Json]) -> Json:
    """Over the first `RECORDS` of these records, as JSON; shares lie in [0, 1].

    `instructions` and `captions` hold `texts`, `words`, `different` and `distinct` ([distinct-1, -2, -3]: different
    n-grams over n-grams, which falls as texts grow in number); `verbs` the verb-object pairs of instructions;
    `reasonings` the distance between the reasonings of one sample.
    """
    records = records[:RECORDS]
    instructions = [str(r.get("instruction") or r.get("prompt") or "") for r in records]
    captions = [str(c.get("out_caption", "")) for r in records for c in r.get("reasonings", [])]
    answers = [] if captions else [str(r.get("reasoning", "")) for r in records]
    found = {
        "records": len(records),
        "instructions": _distinct(dict.fromkeys(instructions)),
        "verbs": _verbs(instructions),
    }
    if captions:
        found |= {"captions": _distinct(captions), "reasonings": reasoning_distances(records)}
    elif any(answers):
        found |= {"answers": _distinct(answers)}
    return found


def words(text: str) -> list[str]:
    """Lower-case words; of scripts without spaces, characters."""
    return [word.lower() for word in _WORD.findall(text)]


def _distinct(texts: Iterable[str]) -> Json:
    grams: list[set[tuple[str, ...]]] = [set(), set(), set()]
    counts, tokens, kinds, number = [0, 0, 0], 0, set(), 0
    for text in texts:
        found = words(text)
        number, tokens = number + 1, tokens + len(found)
        kinds.add(text)
        for n in (1, 2, 3):
            here = list(zip(*(found[i:] for i in range(n)), strict=False))
            counts[n - 1] += len(here)
            grams[n - 1].update(here)
    return {
        "texts": number,
        "different": len(kinds),
        "words": tokens,
        "distinct": [round(len(g) / c, 4) if c else 0.0 for g, c in zip(grams, counts, strict=True)],
    }


def verb_object(instruction: str) -> tuple[str, str]:
    """The first verb of editing and the head of its object, (`replace`, `cat`); empty where none is recognised.

    By rule and for English only: the object ends at the first preposition, and its last word is its head.
    """
    for clause in _CLAUSE.split(instruction):
        found = words(clause)
        for at, word in enumerate(found):
            verb = _FORMS.get(word, word)
            if verb in _VERBS and (at == 0 or found[at - 1] not in _DETERMINERS):
                return verb, _object(found[at + 1 :])
    return "", ""


def _object(following: list[str]) -> str:
    head = ""
    for word in following:
        if word in _DETERMINERS or word in _SKIPPED:
            if head:
                break
            continue
        if word in _ENDS:
            if head:
                break
            continue
        head = word
    return head


def _verbs(instructions: list[str]) -> Json:
    pairs = Counter(pair for pair in map(verb_object, instructions) if pair[0])
    verbs = Counter(verb for verb, _ in pairs.elements())
    return {
        "recognised": round(sum(pairs.values()) / max(1, len(instructions)), 4),
        "verbs": len(verbs),
        "pairs": len(pairs),
        "top": [[f"{verb} {thing}".strip(), count] for (verb, thing), count in pairs.most_common(12)],
    }


def reasoning_distances(records: list[Json]) -> Json:
    """Of samples with several reasonings: the mean over pairs of 1 - Jaccard of their word pairs, as a histogram."""
    distances = [d for record in records if (d := _distance(record.get("reasonings", []))) is not None]
    histogram = [0] * _DISTANCE_BINS
    for distance in distances:
        histogram[min(_DISTANCE_BINS - 1, int(distance * _DISTANCE_BINS))] += 1
    draws = [int(c.get("draws", 1)) for record in records for c in record.get("reasonings", [])]
    return {
        "samples": len(distances),
        "mean": round(sum(distances) / len(distances), 4) if distances else 0.0,
        "histogram": histogram,
        "draws": sum(draws),
        "repeated": round(1 - len(draws) / sum(draws), 4) if sum(draws) else 0.0,
    }


def _distance(reasonings: list[Any]) -> float | None:
    texts = [words(re.sub(r"</?\w+>", " . ", str(c.get("text", "")))) for c in reasonings[:_MOST_REASONINGS]]
    if len(texts) < 2:
        return None
    grams = [frozenset(_pairs(text)) for text in texts]
    found = [1 - len(a & b) / max(1, len(a | b)) for a, b in combinations(grams, 2)]
    return sum(found) / len(found)


def _pairs(text: list[str]) -> Iterator[tuple[str, str]]:
    return pairwise(text)
