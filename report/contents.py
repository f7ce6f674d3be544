"""What the records of all samples come to: their shape, their references, their models. No image is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from report.features import Json, Type, joined, type_of
from report.output import READERS, Output, Shard, read_records, record_places
from schemas.errors import DamageError


@dataclass
class Contents:
    """What the records of all samples come to.

    Attributes:
        record: the type of their JSON.
        members: every name of a member, without the sample's id.
        references: by id, what the samples say of it and how many show it.
        images: how many samples have each number of references.
        models: by role.
    """

    record: Type = None
    members: set[str] = field(default_factory=set)
    references: dict[str, Json] = field(default_factory=dict)
    images: Counter[int] = field(default_factory=Counter)
    models: dict[str, Counter[str]] = field(default_factory=dict)

    def take(self, record: Json) -> None:
        """Take in one sample's record.

        Raises:
            DamageError: its references or its provenance are not what a run writes.
        """
        self.record = joined(self.record, type_of(record))
        listed = record.get("references")
        if isinstance(listed, list):
            if not all(isinstance(reference, dict) for reference in listed):
                raise DamageError(f"sample {record.get('id', '')}: its references are no JSON objects; run `verify`")
            self.images[len(listed)] += 1
            for reference in listed:
                known = self.references.setdefault(str(reference.get("id", "")), {**reference, "samples": 0})
                known["samples"] += 1
        for role, source in _provenance(record).items():
            self.models.setdefault(role, Counter())[str(source.get("model", ""))] += 1


def _provenance(record: Json) -> dict[str, Json]:
    try:
        found = json.loads(record.get("provenance") or "{}")
    except (TypeError, ValueError) as error:
        raise DamageError(
            f"sample {record.get('id', '')}: its provenance is no JSON ({error}); run `verify`"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(source, dict) for source in found.values()):
        raise DamageError(f"sample {record.get('id', '')}: its provenance does not name a source by role; run `verify`")
    return found


def read_contents(output: Output) -> Contents:
    """Read the record of every sample; no image is read.

    Raises:
        DamageError: a tar is missing or damaged, or the records are not of one kind.
    """
    found = Contents()

    def records(shard: Shard) -> list[Json]:
        return read_records(output.out, record_places(shard))

    with ThreadPoolExecutor(READERS, thread_name_prefix="card") as pool:
        for start in range(0, len(output.shards), READERS):
            for read in pool.map(records, output.shards[start : start + READERS]):
                for record in read:
                    found.take(record)
    for shard in output.shards:
        found.members.update(_member_names(shard))
    return found


def _member_names(shard: Shard) -> Iterable[str]:
    import pyarrow.compute as pc

    names = shard.table.column("members").combine_chunks().flatten().field("name")
    return [str(name) for name in pc.unique(pc.replace_substring_regex(names, r"^[^.]*\.", "")).to_pylist()]
