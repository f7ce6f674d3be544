"""VIEScore's judge of edits as questions to a model: SC and PQ, two sub-scores each (arXiv 2312.14867; GEdit-Bench).

The protocol is that of stepfun-ai/Step1X-Edit, GEdit-Bench: SC sees original, edit and instruction, PQ the edit alone.
The wording is ours (`prompts/viescore`), each image stands under a label, the reasoning comes first, and an answer that
does not parse is repaired or fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from annotators.interface import Answer, Facts, Models
from prompts.catalogue import Catalogue
from schemas.references import ImageRef
from schemas.viescore import EditQuality, EditSemantics

FAMILY = "viescore"
ROLES = ("judge",)
AREA = 512 * 512


def judged_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) in pixels at which GEdit-Bench shows an image: 512^2 in area, its aspect kept."""
    wide = math.sqrt(AREA * width / height)
    return max(1, int(wide)), max(1, int(wide * height / width))


@dataclass(frozen=True)
class EditScoreCritic:
    """Judges an edit by SC and PQ. Nothing here opens a file or resizes."""

    catalogue: Catalogue

    async def semantics(
        self, source: ImageRef, edited: ImageRef, instruction: str, models: Models
    ) -> Answer[EditSemantics]:
        """Original, edit and instruction in; success and restraint (VIEScore's over-editing) out."""
        images = [("Original:", source), ("Edited:", edited)]
        prompt = self.catalogue.render(f"{FAMILY}/semantics", images=images, instruction=instruction)
        facts = Facts(asks=prompt.id, instruction=instruction, image=edited)
        return await models.ask("judge", prompt, answer=EditSemantics, facts=facts)

    async def quality(self, edited: ImageRef, models: Models) -> Answer[EditQuality]:
        """Edit in, naturalness and artifacts out."""
        prompt = self.catalogue.render(f"{FAMILY}/quality", images=[("The image:", edited)])
        return await models.ask("judge", prompt, answer=EditQuality, facts=Facts(asks=prompt.id, image=edited))
