"""data-juicer's own operators over planted and clean samples, in an environment of its own.

python datajuicer.py IN.json OUT.json

IN: `{"each": [rows], "deduplicated": {NAME: [rows]}}`, a row being `{"id", "text", "images"}`; OUT: the ids dropped,
`{"each": [...], "deduplicated": {NAME: [...]}}`. CLIP's operators are left out: their weights come from a hub.
imagededup's network, which wants torch, and its plots are not loaded: its hashes do without.
"""

import json
import sys
import types
from typing import Any

FILTERS = (
    "image_aspect_ratio_filter",
    "image_size_filter",
    "special_characters_filter",
    "character_repetition_filter",
)


def main() -> None:
    """Run them over what the first file holds, and write what they drop to the second."""
    for module, name in (("methods.cnn", "CNN"), ("utils.plotter", "plot_duplicates")):
        stand_in: Any = types.ModuleType(f"imagededup.{module}")
        setattr(stand_in, name, None)
        sys.modules[f"imagededup.{module}"] = stand_in
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    sets = given["deduplicated"].items()
    found = {
        "each": dropped(given["each"], FILTERS),
        "deduplicated": {name: dropped(rows, ("image_deduplicator",)) for name, rows in sets},
    }
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(found, file)


def dropped(rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[str]:
    """The ids that these operators, with their defaults, do not keep."""
    from data_juicer.core.data import NestedDataset
    from data_juicer.ops import OPERATORS

    dataset = NestedDataset.from_list(rows)
    for name in names:
        dataset = OPERATORS.modules[name](num_proc=1).run(dataset)
    kept = set(dataset["id"])
    return [row["id"] for row in rows if row["id"] not in kept]


if __name__ == "__main__":
    main()
