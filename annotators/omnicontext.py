"""OmniContext's judge as questions to a model: Prompt Following and Subject Consistency of an output, 0 to 10 each.

The protocol is that of VectorSpaceLab/OmniGen2, omnicontext/; the wording is ours (`prompts/omnicontext`). Two calls
per output, the references in order and the output last. What differs on purpose: each image stands under a label, the
reasoning comes before the score, and an answer that does not parse is repaired or fails. The released judge is asked
three times, and draws a random number then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from annotators.interface import Answer, Facts, Models
from prompts.catalogue import Catalogue
from schemas.omnicontext import ContextJudgement
from schemas.references import ImageRef

FAMILY = "omnicontext"
ROLES = ("judge",)
LARGEST_AREA = 1024 * 1024
STEP = 16


def judged_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) in pixels at which a reference is shown: an area of at most 1024^2, sides in steps of 16.

    A side is rounded down, but never below 16. The output is shown as it is (test_omnicontext_score.py).
    """
    scale = min(1.0, math.sqrt(LARGEST_AREA / (width * height)))
    return max(STEP, int(width * scale) // STEP * STEP), max(STEP, int(height * scale) // STEP * STEP)


@dataclass(frozen=True)
class OmniContextCritic:
    """Judges an output against the references and the instruction that it was made from.

    Nothing here opens a file or resizes: whoever wants the protocol's sizes gives references of `judged_size`.
    """

    catalogue: Catalogue

    async def prompt_following(
        self, references: Sequence[ImageRef], target: ImageRef, instruction: str, models: Models
    ) -> Answer[ContextJudgement]:
        """References, output and instruction in, PF out: what was requested, whoever the subjects are.

        The prompt has no variant for scenes: the released code shows the general one for every task, too.
        """
        return await self._ask("prompt_following", references, target, instruction, models)

    async def subject_consistency(
        self,
        references: Sequence[ImageRef],
        target: ImageRef,
        instruction: str,
        models: Models,
        *,
        with_scene: bool = False,
    ) -> Answer[ContextJudgement]:
        """References, output and instruction in, SC out: whether the subjects are those of the references.

        Args:
            with_scene: one of the references is the place, whose consistency counts too (the scene tasks).
        """
        return await self._ask("subject_consistency", references, target, instruction, models, with_scene=with_scene)

    async def _ask(
        self,
        name: str,
        references: Sequence[ImageRef],
        target: ImageRef,
        instruction: str,
        models: Models,
        with_scene: bool = False,
    ) -> Answer[ContextJudgement]:
        images = [(f"Reference {number}:", image) for number, image in enumerate(references, 1)]
        prompt = self.catalogue.render(
            f"{FAMILY}/{name}",
            images=[*images, ("Output:", target)],
            references=len(images),
            instruction=instruction,
            with_scene=with_scene,
        )
        facts = Facts(asks=prompt.id, instruction=instruction, image=target)
        return await models.ask("judge", prompt, answer=ContextJudgement, facts=facts)
