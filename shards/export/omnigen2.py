"""OmniGen2: JSON lines of instruction, input images and output image, and the YAML that names them.

Paths are opened as they stand, so they begin with the folder's name as the trainer sees it. The `ratio` of its YAML
has no effect (the resampled set is not kept), so a mix must be made of the samples themselves: `plumbline select`.
"""

from __future__ import annotations

from shards.export.folder import Folder
from shards.export.options import Options
from shards.export.prompts import plain
from shards.export.source import Row, Source


def write(source: Source, folder: Folder, options: Options) -> None:
    """SPLIT.jsonl, SPLIT.yaml and images/."""
    where = options.data_dir.rstrip("/") or folder.final
    for split, kept in source.kept.items():
        if not kept:
            continue
        with folder.lines(f"{split}.jsonl") as lines:
            for row in source.rows(split):
                task = task_of(row)
                lines.write(
                    {
                        "task_type": task,
                        "instruction": plain(row.text("instruction")),
                        "input_images": [f"{where}/{folder.image(image)}" for image in row.inputs],
                        "output_image": f"{where}/{folder.image(row.image('target'))}",
                        "id": row.id,
                    }
                )
        folder.text(f"{split}.yaml", f"data:\n- path: {where}/{split}.jsonl\n  type: ic\n  ratio: 1\n")


def task_of(row: Row) -> str:
    """`edit` where the first reference is the image to edit, else `ic` (in-context generation)."""
    references = row.records("references")
    return "edit" if references and references[0].get("role") == "base" else "ic"
