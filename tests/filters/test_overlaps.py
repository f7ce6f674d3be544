"""Texts in common with a benchmark."""

from __future__ import annotations

import pytest

from filters.overlaps import KnownTexts, words

CAPTION = "a worn copper lantern hangs beside the striped awning of a small shop in the rain at night"


def known(length: int = 13, shortest: int = 5) -> KnownTexts:
    found = KnownTexts(length, shortest)
    found.add([CAPTION, "Put the dog on the red chair."], "bench.jsonl")
    return found


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("put the DOG, on the red chair", "text"),
        ("<image_1> <image_2> Put the dog on the red chair!", "text"),
        ("Put the dog on the red chair and smile", ""),
        (f"Imagine {CAPTION}, please", "ngram"),
        (" ".join(CAPTION.split()[:13]), "ngram"),
        (" ".join(CAPTION.split()[:12]), ""),
        ("make it snowy", ""),
        ("", ""),
    ],
)
def test_a_text_overlaps_where_it_is_the_same_or_shares_a_run(text: str, kind: str) -> None:
    found = known().overlap(text)
    assert (found.kind if found else "") == kind
    if found:
        assert found.where == "bench.jsonl" and found.shared


def test_the_length_of_a_run_and_of_the_shortest_text_can_be_chosen() -> None:
    found = known(length=6).overlap("Put the dog on the red chair and smile")
    assert found is not None and found.shared == "put the dog on the red"
    short = KnownTexts(13, 3)
    short.add(["Make it snowy"], "b")
    assert short.overlap("make it snowy.") is not None and len(short) == 1


def test_scripts_without_spaces_are_read_letter_by_letter() -> None:
    assert words("把狗 put 在椅子上。") == ["把", "狗", "put", "在", "椅", "子", "上"]
    assert words("ＡＢＣ don't") == ["abc", "don", "t"]
