"""The body of the dataset card: what the data is, in counts and sentences that follow from the output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from report.contents import Contents
from report.features import Json
from report.figures import figures
from report.output import Output
from report.overlaps import overlaps
from report.wording import without_paths, without_paths_in

_NAMES = {"realign": "Re-Align", "firm-edit": "FIRM-Edit", "firm-gen": "FIRM-Gen"}
_ABOUT = {
    "realign": """
Samples for in-context image generation and editing: one to several reference images with their roles, an instruction,
one or more structured reasonings (IC-CoT: a caption of the target, and for each reference what it contributes), and the
target image. Curated after *Re-Align: Structured Reasoning-guided Alignment for In-Context Image Generation and
Editing* (arXiv 2601.05124). The reasonings were written without sight of the target.""",
    "firm-edit": """
Labels that teach a critic to judge image edits: a source image, its edit, the instruction, and a score from 1 to 5 with
its reasoning for Execution (was it carried out?) or Consistency (did the rest stay?). Curated after FIRM (arXiv
2603.12247): the differences are described without the instruction, and only then judged. A row's student prompt does
without the difference report.""",
    "firm-gen": """
Labels that teach a critic to judge generated images: an image, its prompt, and a score from 1 to 5 with its reasoning
for Instruction Following or Quality. Curated after FIRM (arXiv 2603.12247): a checklist is planned from the prompt
alone, then the image is judged against it, point by point. A row's student prompt does without the checklist.""",
}
_FIELDS = {
    "realign": [
        ("image_1.jpg, image_2.jpg, ...", "the references in order; null where a sample has fewer"),
        ("target.jpg", "the target image"),
        ("json", "instruction, interleaved prompt, task, references, reasonings, scores, split, provenance"),
    ],
    "firm-edit": [
        ("image_1.jpg, image_2.jpg", "the source and the edit"),
        (
            "json",
            "instruction, rewrite, dimension, score, reasoning, difference_report, student_prompt, student_answer",
        ),
    ],
    "firm-gen": [
        ("image_1.jpg", "the generated image"),
        ("json", "prompt, dimension, score, reasoning, checklist, marks, aspects, student_prompt, student_answer"),
    ],
}
_UNITS = {"firm-edit": "dimension", "firm-gen": "dimension"}
"""What a row's `task` is called where it is none."""
_SENTINEL = """
Every key is in every sample, and nothing in the JSON is null: a score of -1.0 was not computed, an empty text does not
apply. The features in the header list every key; leave them there, since loaders that infer a schema from the first few
samples drop or cut what differs later."""


def name_of(dataset: str) -> str:
    """What people call a dataset."""
    return _NAMES.get(dataset, dataset or "Dataset")


def body(output: Output, contents: Contents, license_says: str) -> str:
    """Markdown below the front matter."""
    found, compared = figures(output), overlaps(output)
    parts = [
        f"# {inert(name_of(output.dataset))} dataset",
        _ABOUT.get(output.dataset, "Samples written by Plumbline.").strip(),
        "`report.html` shows the samples with their images; `plumbline verify` checks them against `manifest.json`.",
        "## What it holds\n\n" + _counts(found, contents),
        "## Fields\n\n" + _table(("field", "holds"), _FIELDS.get(output.dataset, [])) + "\n" + _SENTINEL,
        "## Reading it\n\n" + _reading(output),
        "## How it was made\n\n" + _making(output, found),
        *(["## Overlaps with benchmarks\n\n" + compared] if compared else []),
        "## License and persons\n\n" + _rights(output, contents, license_says),
        "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in limits(output, found, contents)),
    ]
    return "\n\n".join(parts) + "\n"


def _counts(found: Json, contents: Contents) -> str:
    counts = found["counts"]
    lines = [
        f"{counts['planned']:,} planned = {counts['kept']:,} kept + {counts['rejected']:,} rejected.",
        _table(
            ("split", "kept", "rejected", "shards"),
            [(s["name"], s["kept"], s["rejected"], s["shards"]) for s in found["splits"]],
        ),
        _table(
            (_UNITS.get(found["dataset"], "task"), "kept", "rejected"),
            [(t["name"], t["kept"], t["rejected"]) for t in found["tasks"]],
        ),
    ]
    if contents.images:
        lines.append(_table(("references", "samples"), sorted(contents.images.items())))
    if found["reasons"]:
        reasons = [(r["stage"], r["reason"], r["count"]) for r in found["reasons"]]
        lines.append(_table(("stage", "rejected because of", "count"), reasons))
    if scores := [(s["name"], _rounded(s["mean"])) for s in found["scores"] if s["mean"] is not None]:
        lines.append(_table(("score of the kept", "mean"), scores))
    for dimension, balance in sorted(found["balance"].items()):
        rows = [(score, n, balance["after"].get(score, 0)) for score, n in sorted(balance["before"].items())]
        lines.append(_table((f"{dimension} score", "rows", "in the config `balanced`"), rows))
    return "\n\n".join(lines)


def _reading(output: Output) -> str:
    split = next((s for s in output.splits if any(x.footer.kept for x in output.shards if x.name.split == s)), "train")
    tars = f'sorted(glob.glob(f"{{DIR}}/shards/{split}-*.tar"))'
    if output.missing:  # a tar without an index is not counted, and may be another run's
        tars = f'sorted(p[:-7] + "tar" for p in glob.glob(f"{{DIR}}/shards/{split}-*.parquet"))'
    return f"""With [datasets](https://huggingface.co/docs/datasets), `DIR` being this folder or its name on the hub:

```python
from datasets import load_dataset
rows = load_dataset(DIR, split="{split}", streaming=True)
```

With [webdataset](https://github.com/webdataset/webdataset):

```python
import glob, webdataset as wds
shards = {tars}
rows = wds.WebDataset(shards, shardshuffle=False).decode("pil")
```

The index, a row for each sample without its images, with pandas:

```python
import glob, pandas as pd
index = pd.concat(map(pd.read_parquet, sorted(glob.glob(f"{{DIR}}/shards/*.parquet"))))
```"""


def _making(output: Output, found: Json) -> str:
    usage = found["usage"]
    version = inert(found["versions"].get("plumbline", ""))
    lines = [f"Made by Plumbline {version}; seed {inert(_seed(output))}.".replace(" ;", ";")]
    if usage:
        head = ("model", "roles", "calls", "answers from the ledger", "tokens in", "tokens out", "USD")
        rows = [
            (
                u["model"],
                ", ".join(u["roles"]),
                u["calls"],
                u["ledger_hits"],
                u["tokens_in"],
                u["tokens_out"],
                f"{u['usd']:.2f}",
            )
            for u in usage
        ]
        lines.append(_table(head, rows))
    if found["prompts"]:
        lines.append(
            "Prompts, by the first digits of their sha256:\n\n"
            + _table(("prompt", "version"), sorted(found["prompts"].items()))
        )
    filters = without_paths_in(output.settings.get("filters", {}).get("config", {}))
    if isinstance(filters, dict) and filters:
        settings = [
            (name, ", ".join(f"{k} = {v}" for k, v in said.items() if v is not None))
            for name, said in sorted(filters.items())
            if isinstance(said, dict)
        ]
        lines.append(_table(("filter", "settings"), settings))
    elif output.dataset == "realign" and "filters" not in output.settings:
        lines.append("The filters' settings are not recorded.")
    return "\n\n".join(lines)


def _seed(output: Output) -> object:
    return output.settings.get("planning", {}).get("seed", output.settings.get("seed", "not recorded"))


def _rights(output: Output, contents: Contents, license_says: str) -> str:
    if not contents.references:
        lines = [
            "The rows carry no license of their images: that of the input (its pairs, prompts and images) applies."
        ]
        if output.dataset in _UNITS:
            lines.append("Persons: the input does not say whom its images show, and none was left out because of it.")
    else:
        held: dict[str, int] = {}
        for reference in contents.references.values():
            name = str(reference.get("license", "")) or "(none given)"
            held[name] = held.get(name, 0) + 1
        rows = sorted(held.items(), key=lambda one: (-one[1], one[0]))
        lines = [
            f"{inert(license_says)} `attribution.csv` names the license and the author of each reference that a "
            f"sample shows ({len(contents.references):,}).",
            _table(("license", "references"), rows),
            _persons(output, contents),
        ]
    painters = sorted(set(contents.models.get("painter", {})) - {"offline"})
    if painters:
        lines.append(f"Images painted by {inert(', '.join(painters))} are also subject to the terms of their provider.")
    return "\n\n".join(lines)


def _persons(output: Output, contents: Contents) -> str:
    planning = output.settings.get("planning", {})
    allowed = planning.get("persons")
    if "persons" not in planning:
        rule = "The rule by which references that show persons were let in is not recorded."
    elif allowed:
        rule = f"Only references that the pool marks as {inert(', '.join(map(str, allowed)))} were let in."
    else:
        rule = (
            "References that the pool marks as identifiable are left out by default, and were; "
            "those of which it says nothing (unknown) may show people, and were let in."
        )
    held: dict[str, int] = {}
    for reference in contents.references.values():
        name = str(reference.get("person", "")) or "not recorded"
        held[name] = held.get(name, 0) + 1
    said = ", ".join(f"{inert(name)}: {count:,}" for name, count in sorted(held.items()))
    return f"Persons: {rule} What the pool says of the references shown: {said}."


def limits(output: Output, found: Json, contents: Contents) -> list[str]:
    """Sentences on what this data is not, as far as the output shows it."""
    lines = []
    if found["missing"]:
        lines.append(f"The run is not finished: {inert(found['missing'])}.")
    if any("offline" in models for models in contents.models.values()):
        # A role that answers twice is in the provenance twice: describer_detailed, describer_obvious.
        roles = sorted({role.split("_")[0] for role, models in contents.models.items() if "offline" in models})
        lines.append(
            f"By rule and without a model ({inert(', '.join(roles))}): good for testing a pipeline, poor for training."
        )
    for name, note in sorted((found["notes"] or {}).items()):
        lines.append(f"{inert(name)}: {inert(without_paths(str(note)))}")
    if output.dataset == "realign":
        lines += [
            "Instructions, reasonings and targets are made and checked by models and rules, not by people.",
            "The kept are biased towards what the filters can see; the rejected, with every score, are in `rejects/`.",
        ]
        stressed = any(row not in (None, "", "none") for row in output.column("stress"))
        if stressed:
            lines.append("Some samples carry a defect put in on purpose; the key `stress` names it.")
    else:
        lines.append("Scores and reasonings are a model's judgement; no person gave or checked them.")
    if output.dataset == "firm-edit":
        lines.append("Rewritten instructions were not fulfilled by the edit on purpose; the key `rewrite` names how.")
    return lines


def _rounded(score: float) -> float:
    """As the gallery shows it: of what is counted in tens or thousands, such as sharpness, one decimal."""
    return round(score, 1 if abs(score) >= 10 else 4)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(cell, row)) + " |" for row in rows)])


def cell(value: object) -> str:
    """A table's cell: numbers with separators, and text as `inert` makes it."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else inert(value)


def inert(value: object) -> str:
    """On one line, with nothing that a renderer takes for a bar, code, a link, a picture or HTML."""
    text = " ".join(str(value).split())
    for sign in "\\|`[]":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;")
