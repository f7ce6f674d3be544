"""What `plumbline contamination` found in an output, as a part of its card."""

from __future__ import annotations

import json

from report.features import Json
from report.output import Output
from report.wording import without_paths
from schemas.counting import many
from schemas.errors import DamageError
from shards.indexes import digest_of_tars
from storage import paths

FILE = "contamination.json"
_WORDS = {
    "sha": "by equal bytes",
    "phash": "by perceptual hash",
    "embedding": "by embedding",
    "text": "by the whole instruction",
    "ngram": "by a run of words",
}


def overlaps(output: Output) -> str:
    """Markdown; empty where nothing was compared, or other shards than those here now.

    Raises:
        DamageError: what lies there is no report.
    """
    uri = paths.join(output.out, FILE)
    try:
        found: Json = json.loads(paths.read_bytes(uri))
        if found["tars"] != digest_of_tars(shard.footer for shard in output.shards):
            return ""
        return _told(found)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamageError(f"{uri}: is no report of `plumbline contamination`; run it again, or remove it") from error


def _told(found: Json) -> str:
    lines = []
    for source in found["against"]:
        name = without_paths(str(source["name"])).replace("`", "'").replace("\n", " ")
        lines.append(
            f"- Compared with `{name}`: {many(source['images'], 'image')}, {many(source['prompts'], 'prompt')}."
        )
    if found["against"]:
        kinds = [f"{count:,} {_WORDS[kind]}" for kind, count in found["overlaps"].items() if count]
        said = f"overlap: {', '.join(kinds)}" if kinds else "no sample overlaps with any of these"
        lines.append(f"- Of {many(found['samples'], 'sample')}, {'these ' if kinds else ''}{said}.")
    duplicates = sum(found["near_duplicates"].values())
    if found["settings"]["duplicates"]:
        lines.append(f"- Near-duplicates of another target, counted by kind: {duplicates:,}.")
    if found["excluded"]:
        lines.append(f"- Still here: {many(found['excluded'], 'sample')}, named in `contamination-exclude.txt`.")
    return "\n".join(lines)
