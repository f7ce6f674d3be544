"""Which format holds which dataset, and the one call that exports."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib import import_module

from schemas.counting import many
from schemas.errors import InputError
from shards.export.folder import new_folder
from shards.export.options import Options
from shards.export.source import open_source
from storage import paths

HOLDS: dict[str, dict[str, str]] = {
    "bagel": {"realign": "references, instruction, IC-CoTs and target"},
    "omnigen2": {"realign": "references, instruction and target"},
    "flowfactory": {
        "realign": "prompts with images; demonstrations; preferences among paintings",
        "firm-edit": "prompts with the source image: each pair's own instruction, once",
        "firm-gen": "prompts, each once",
    },
    "llamafactory": {
        "realign": "the reasoner's: interleaved prompt to IC-CoT, one row for each",
        "firm-edit": "the critic's: student prompt to student answer",
        "firm-gen": "the critic's: student prompt to student answer",
    },
    "trl": {
        "realign": "the reasoner's: interleaved prompt to IC-CoT, one row for each",
        "firm-edit": "the critic's: student prompt to student answer",
        "firm-gen": "the critic's: student prompt to student answer",
    },
    "editrl": {
        "realign": "samples of one reference",
        "firm-edit": "each pair's own instruction with its source image, once",
    },
    "genrl": {"firm-gen": "prompts, each once"},
    "parquet": {"realign": "everything", "firm-edit": "everything", "firm-gen": "everything"},
}
"""By format, by dataset: what of it the format holds. A dataset that is missing is not held at all."""

_OPTIONS: dict[str, tuple[str, ...]] = {
    "bagel": ("data_dir", "units", "without_iccot"),
    "omnigen2": ("data_dir",),
    "llamafactory": ("keys", "data_dir"),
}


@dataclass(frozen=True)
class Exported:
    """Attributes:
    samples: how many were read; those not left out are written.
    rows: by file, relative to the folder.
    left_out: samples by reason.
    notes: what else there is to know, each a few words.
    """

    samples: int
    rows: dict[str, int]
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def sums(self) -> str:
        """`24 samples = 6 written + 18 left out (12 rewritten, 6 same_pair)`."""
        left = sum(self.left_out.values())
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.left_out.items()))
        sums = f"{many(self.samples, 'sample')} = {self.samples - left:,} written + {left:,} left out"
        return f"{sums} ({reasons})" if reasons else sums

    def __str__(self) -> str:
        files: Counter[str] = Counter()
        for name, count in self.rows.items():
            files[name.rpartition("/part-")[0] or name] += count
        rows = ", ".join(f"{name} {count:,}" for name, count in sorted(files.items()))
        return "; ".join([self.sums, f"rows: {rows}", *self.notes])


def export(out: str, name: str, dest: str, options: Options | None = None) -> Exported:
    """Write the finished output `out` in a format, as the folder `dest`, which appears whole or not at all.

    Equal outputs give equal bytes. Memory is bounded by a few row groups, and where a format has each text or pair
    once by some 100 bytes for each.

    Raises:
        InputError: no such format; it holds nothing of this dataset, or no sample of it; an option that is not the
            format's; `out` is no finished output; `dest` holds something, lies inside `out` or cannot be written.
        DamageError: a tar of `out` is missing or not what its index says.
    """
    options = options or Options()
    _check(name, options)
    source = open_source(out)
    if source.dataset not in HOLDS[name]:
        able = " or ".join(other for other, held in HOLDS.items() if source.dataset in held)
        raise InputError(f"{out}: {name} holds nothing of {source.dataset or 'this'} data; choose {able or 'another'}")
    if paths.holds(out, dest):
        raise InputError(f"{dest}: lies inside {out}, which is exported; choose another --out")
    with new_folder(dest) as folder:
        import_module(f"shards.export.{name}").write(source, folder, options)
        found = Exported(source.samples, dict(folder.rows), dict(folder.left_out), tuple(folder.notes))
        if not any(found.rows.values()):
            raise InputError(f"{out}: {name} holds none of its samples: {found.sums}")
    return found


def _check(name: str, options: Options) -> None:
    if name not in HOLDS:
        raise InputError(f"--format {name}: there is no such format; choose {', '.join(HOLDS)}")
    for option in options.changed():
        if option not in _OPTIONS.get(name, ()):
            own = " and ".join(other for other, known in _OPTIONS.items() if option in known)
            raise InputError(f"--{option.replace('_', '-')}: is not an option of {name}; it belongs to {own}")
    if options.data_dir and name == "llamafactory" and options.keys != "swift":
        raise InputError("--data-dir: LLaMA-Factory finds images relative to its dataset_dir; leave it out")
    if options.keys not in ("llamafactory", "swift"):
        raise InputError(f"--keys {options.keys}: choose llamafactory or swift")
    if options.units < 1:
        raise InputError(f"--units {options.units}: must be 1 or more")
    if not 0 <= options.without_iccot <= 1:
        raise InputError(f"--without-iccot {options.without_iccot:g}: is a share, from 0 to 1")
