"""data-juicer's own operators over planted and clean samples, in an environment of its own.

python datajuicer.py IN.json OUT.json

IN: `{"sets": {NAME: [{"id", "text", "images"}]}, "deduplicated": {...}}`; OUT: the ids that are dropped, by set name.
CLIP's operators are left out: their weights come from a hub. `imagededup`'s network, which wants torch, is not loaded:
its hashes do without.
"""

import json
import sys
import types

FILTERS = (
    "image_aspect_ratio_filter",
    "image_shape_filter",
    "image_size_filter",
    "text_length_filter",
    "special_characters_filter",
    "character_repetition_filter",
    "alphanumeric_filter",
)


def main() -> None:
    without_network = types.ModuleType("imagededup.methods.cnn")
    without_network.CNN = None  # type: ignore[attr-defined]
    sys.modules["imagededup.methods.cnn"] = without_network
    from data_juicer.core.data import NestedDataset  # type: ignore[import-not-found]
    from data_juicer.ops import OPERATORS  # type: ignore[import-not-found]

    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)

    def kept(rows: list, names: tuple) -> set:
        dataset = NestedDataset.from_list(rows)
        for name in names:
            op = OPERATORS.modules[name](num_proc=1)
            dataset = op.run(dataset)
        return set(dataset["id"])

    found = {}
    for part, names in (("sets", FILTERS), ("deduplicated", ("image_deduplicator",))):
        for name, rows in given[part].items():
            there = kept(rows, names)
            found[name] = [row["id"] for row in rows if row["id"] not in there]
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
