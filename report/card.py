"""The dataset card: `OUT/README.md` with the YAML that the hub and `datasets` read, and `attribution.csv`."""

from __future__ import annotations

import csv
import io

from report.contents import Contents, read_contents
from report.features import Json, features, member_names
from report.licenses import Verdict, strictest
from report.output import Output, balanced_output
from report.prose import body, name_of
from report.wording import without_paths
from shards.names import BALANCED, SHARDS

CARD, ATTRIBUTION = "README.md", "attribution.csv"
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
_TASKS = {
    "realign": ["image-to-image", "text-to-image"],
    "firm-edit": ["image-text-to-text"],
    "firm-gen": ["image-text-to-text"],
}
_TAGS = {
    "realign": ["in-context-generation", "image-editing", "reasoning"],
    "firm-edit": ["image-editing", "reward-model", "critic"],
    "firm-gen": ["text-to-image", "reward-model", "critic"],
}


def card_files(output: Output) -> dict[str, bytes]:
    """README.md and, where references carry an attribution, attribution.csv, by name; equal outputs give equal bytes.

    Raises:
        DamageError: a tar is missing or damaged.
    """
    contents = read_contents(output)
    yaml_text = _yaml(header(output, contents))
    text = f"---\n{yaml_text}---\n\n{body(output, contents, license_of(contents).why)}"
    files = {ATTRIBUTION: _attribution(contents)} if contents.references else {}
    return {**files, CARD: text.encode("utf-8", "replace")}


def header(output: Output, contents: Contents) -> Json:
    """The YAML front matter, as JSON."""
    license = license_of(contents).license
    found: Json = {"license": license}
    if license == "other":
        found |= {"license_name": "see-attribution", "license_link": ATTRIBUTION}
    found |= {
        "pretty_name": name_of(output.dataset),
        "language": _languages(output),
        "task_categories": _TASKS.get(output.dataset, []),
        "size_categories": [size_category(output.counts["kept"])],
        "tags": [
            "webdataset",
            "plumbline",
            *([output.dataset] if output.dataset else []),
            *_TAGS.get(output.dataset, []),
        ],
    }
    balanced = balanced_output(output.out)
    parts = [("default", output, "")] + ([(BALANCED, balanced, f"{BALANCED}/")] if balanced is not None else [])
    listed = features(contents.record, member_names(output.dataset, contents.members))
    filled = [(name, part, folder) for name, part, folder in parts if part.counts["kept"]]
    if filled:
        found["configs"] = [_config(name, part, folder) for name, part, folder in filled]
        found["dataset_info"] = [_info(name, part, listed) for name, part, _ in filled]
    return found


def size_category(samples: int) -> str:
    """The hub's word for a number of samples: `1K<n<10K`."""
    return next((word for below, word in _SIZES if samples < below), "100M<n<1B")


def license_of(contents: Contents) -> Verdict:
    """The license that the card names, and why."""
    return strictest(str(r.get("license", "")) for r in contents.references.values())


def _languages(output: Output) -> list[str]:
    wording = output.settings.get("planning", {}).get("wording", {})
    weights = wording.get("language", {}) if isinstance(wording, dict) else {}
    return sorted(language for language, weight in weights.items() if weight) or ["en"]


def _kept_by_split(output: Output) -> dict[str, int]:
    """Splits without a sample are left out: no loader can make anything of them."""
    kept = dict.fromkeys(output.splits, 0)
    for shard in output.shards:
        kept[shard.name.split] += shard.footer.kept
    return {split: count for split, count in kept.items() if count}


def _config(name: str, output: Output, folder: str) -> Json:
    files = [{"split": split, "path": _tars(output, split, folder)} for split in _kept_by_split(output)]
    return {"config_name": name, **({"default": True} if name == "default" else {}), "data_files": files}


def _tars(output: Output, split: str, folder: str) -> str | list[str]:
    """A pattern; of an unfinished run the tars that are counted, since the pattern would match others too."""
    if not output.missing:
        return f"{folder}{SHARDS}/{split}-*.tar"
    return [f"{folder}{s.name.tar}" for s in output.shards if s.name.split == split and s.footer.kept]


def _info(name: str, output: Output, listed: list[Json]) -> Json:
    sizes = dict.fromkeys(output.splits, 0)
    for shard in output.shards:
        sizes[shard.name.split] += shard.footer.tar_bytes
    splits = [{"name": s, "num_bytes": sizes[s], "num_examples": n} for s, n in _kept_by_split(output).items()]
    total = sum(sizes.values())
    return {"config_name": name, "features": listed, "splits": splits, "download_size": total, "dataset_size": total}


def _yaml(value: Json) -> str:
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    return str(yaml.dump(value, Dumper=Plain, sort_keys=False, allow_unicode=True, width=120))


def _attribution(contents: Contents) -> bytes:
    """A row for each reference that a sample shows."""
    columns = ("id", "source_id", "kind", "license", "attribution", "person", "samples")
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    for _, row in sorted(contents.references.items()):
        cells = {**row, "source_id": without_paths(str(row.get("source_id", "")))}
        writer.writerow({key: _inert(value) for key, value in cells.items()})
    return out.getvalue().encode("utf-8", "replace")


def _inert(value: object) -> object:
    """A cell that no spreadsheet runs: text that would begin a formula gets an apostrophe (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
