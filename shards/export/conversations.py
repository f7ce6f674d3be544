"""Samples as conversations of a vision-language model: what is asked, with its images, and what it learns to answer.

A critic's row asks the student prompt and answers as the student shall. A Re-Align sample asks its interleaved prompt
and answers with an IC-CoT, once for each that it has: what the reasoner learns.
"""

from __future__ import annotations

from typing import NamedTuple

from shards.export.folder import Folder
from shards.export.prompts import Piece, PlaceholderError, leading_pieces, order_of, pieces, plain
from shards.export.source import ImageBytes, Row


class Conversation(NamedTuple):
    """Attributes:
    prompt: text and images in order.
    images: in the order in which they stand in the prompt.
    """

    prompt: list[Piece]
    answer: str
    images: list[ImageBytes]


def conversations(row: Row, dataset: str) -> list[Conversation]:
    """All of one sample; none where it has no answer.

    Raises:
        PlaceholderError: its prompt does not name each of its images once.
        DamageError: its record lacks a text.
    """
    images = row.inputs
    if dataset == "realign":
        prompt, answers = pieces(row.text("prompt"), len(images)), row.reasonings()
    else:
        prompt, answers = leading_pieces(row.text("student_prompt"), len(images)), [row.text("student_answer")]
    # A critic's template may show its images in an order of its own.
    ordered = [images[number - 1] for number in order_of(prompt)]
    return [Conversation(prompt, plain(answer), ordered) for answer in answers if answer]


def held(row: Row, dataset: str, folder: Folder) -> list[Conversation]:
    """All of one sample; none, and the sample counted as left out, where it has no answer or names its images badly."""
    try:
        found = conversations(row, dataset)
    except PlaceholderError:
        folder.leave_out("placeholders")
        return []
    if not found:
        folder.leave_out("no_answer")
    return found
