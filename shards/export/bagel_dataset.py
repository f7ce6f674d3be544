"""Re-Align samples for BAGEL's trainer: loss on the IC-CoT and on the target, and the mix with and without it.

A file to copy into BAGEL's `data/interleave_datasets/` or to import from here; it needs what BAGEL needs and nothing
of Plumbline. It reads what `plumbline export --format bagel` writes. BAGEL's own loader reads the same rows, but knows
no IC-CoT column, and takes several references for the steps of one long edit.

In BAGEL's `data/dataset_info.py`:

    import json
    from .interleave_datasets.bagel_dataset import ICCoTIterableDataset
    DATASET_REGISTRY["realign_iccot"] = ICCoTIterableDataset
    DATASET_INFO.update(json.load(open("EXPORT/bagel_info.json")))

and `--dataset_config_file EXPORT/bagel.yaml`. The keys `think`, `interleaved` and `system_prompt` of that file reach
`__init__`. BAGEL drops each text with `text_cond_dropout_prob`, for classifier-free guidance, the IC-CoT like any
other.
"""

from __future__ import annotations

import io
import random
import re
from typing import Any

from data.interleave_datasets.interleave_t2i_dataset import (
    InterleavedBaseIterableDataset,
    ParquetStandardIterableDataset,
)
from PIL import Image

_PLACEHOLDER = re.compile(r"<image_([0-9]{1,4})>")


class ICCoTIterableDataset(InterleavedBaseIterableDataset, ParquetStandardIterableDataset):  # type: ignore[misc]
    """Rows of `image_list` (references, then the target), `instruction_list`, `prompt`, `iccot_list`, `without_iccot`.

    The sequence of a visit: references and instruction (given), the IC-CoT (cross-entropy), the target (flow matching).
    Each visit draws one of the row's IC-CoTs, or, with the row's probability `without_iccot`, none.

    Args:
        think: put the IC-CoT between `<think>` and `</think>`, BAGEL's mark of thinking, as Re-Align's figure 2 has it.
        interleaved: set each reference where the prompt names it; otherwise, and where that is not in their order, all
            come first, as in Echo-4o's loader.
        system_prompt: a text before all else, such as BAGEL's prompt for thinking; for visits with an IC-CoT only.
        others: what BAGEL passes to every dataset.
    """

    def __init__(
        self, *others: Any, think: bool = True, interleaved: bool = False, system_prompt: str = "", **named: Any
    ) -> None:
        self.think, self.interleaved, self.system_prompt = think, interleaved, system_prompt
        super().__init__(*others, **named)

    def parse_row(self, row: Any) -> dict[str, Any]:
        """One visit to a row, in the terms of BAGEL's packer."""
        images = [Image.open(io.BytesIO(data)).convert("RGB") for data in row["image_list"]]
        iccots = list(row["iccot_list"])
        # BAGEL draws its dropout from `random` too.
        iccot = random.choice(iccots) if iccots and random.random() >= row["without_iccot"] else ""
        data: dict[str, Any] = self._init_data()
        if iccot and self.system_prompt:
            data = self._add_text(data, self.system_prompt, need_loss=False)
        for part in self._given(row, len(images) - 1):
            if isinstance(part, int):
                data = self._add_image(data, images[part], need_loss=False, need_vae=True, need_vit=True)
            else:
                data = self._add_text(data, part, need_loss=False)
        if iccot:
            data = self._add_text(data, f"<think>{iccot}</think>" if self.think else iccot, need_loss=True)
        return dict(self._add_image(data, images[-1], need_loss=True, need_vae=False, need_vit=False))

    def _given(self, row: Any, references: int) -> list[int | str]:
        """References (by position, from 0) and texts, in order."""
        parts = _PLACEHOLDER.split(str(row["prompt"]))
        named = [int(number) - 1 for number in parts[1::2]]
        if not self.interleaved or named != list(range(references)):
            return [*range(references), str(row["instruction_list"][0][0])]
        found = [named[n // 2] if n % 2 else part.strip() for n, part in enumerate(parts)]
        return [part for part in found if part != ""]
