"""Which license a dataset can name, given those of its references: the strictest, where one is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_CC = re.compile(r"^cc[- ]by((?:[- ](?:nc|sa|nd))*)[- ]?(\d\.\d)?$")
_FREE = re.compile(r"^(?:cc0(?:[- ]1\.0)?|cc-zero|public domain(?: mark(?: 1\.0)?)?|pdm(?:[- ]1\.0)?)$")
_PERMISSIVE = {
    "mit", "apache-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "zlib", "wtfpl", "bsl-1.0",
}  # fmt: skip
# What a remark in parentheses may say without changing the terms: which collection, author or file states them. Any
# other may be a condition ("research use only"), so the license with it is none that is known.
_SOURCE = (
    r"(?:magicbrush|geneval|pexels|unsplash|nasa|noaa|nssdc|bagel|wikimedia commons|open images|open clip art library"
    r"|tux paint contributors(?:/changes)?|djghosh13/geneval)"
)
_REMARK = re.compile(
    rf"\s*\((?:dataset|images?|photos?|as stated|(?:as redistributed in |per )?{_SOURCE}"
    rf"(?:[,/]? (?:per |as redistributed in )?{_SOURCE}|/{_SOURCE}|, as stated| pre-[\d-]+)*)\)\s*$"
)


class Verdict(NamedTuple):
    """The card's `license`, one of the hub's identifiers, and why in a sentence."""

    license: str
    why: str


def strictest(licenses: Iterable[str]) -> Verdict:
    """The license among these that asks for all that any of them asks for.

    `unknown` where a reference says none; `other` where one is not a known license, or none covers the others.
    """
    found = sorted(set(licenses))
    if not found or "" in found:
        return Verdict("unknown", "Some references come without a license.")
    plain = {license: _plain(license) for license in found}
    if strange := [license for license, name in plain.items() if not _known(name)]:
        return Verdict("other", f"Some references are under terms of their own: {'; '.join(strange[:6])}.")
    asked = {license: _conditions(name) for license, name in plain.items()}
    every = frozenset().union(*asked.values())
    fitting = [plain[license] for license in found if asked[license] == every]
    if not fitting:
        return Verdict("other", f"No single one of these licenses covers the others: {'; '.join(found[:6])}.")
    chosen = max(fitting, key=lambda name: (_version(name), name.startswith("cc"), name))
    shown = next(license for license in found if plain[license] == chosen)
    if _FREE.match(chosen) and _identifier(chosen) == "other":
        return Verdict("other", f"All references are free of rights ({'; '.join(found[:6])}); there is no word for it.")
    if _identifier(chosen) == "other":
        return Verdict("other", f"The license that asks for most, {shown}, is given without its version.")
    if len({*plain.values()}) == 1:
        return Verdict(_identifier(chosen), f"All references are under {shown}.")
    return Verdict(
        _identifier(chosen), f"{shown} is the strictest of the references' licenses; no other asks for more."
    )


def _plain(license: str) -> str:
    name = _REMARK.sub("", " ".join(license.split()).casefold())
    return name.replace("creative commons ", "cc-").replace("cc by", "cc-by").replace("_", "-")


def _known(name: str) -> bool:
    return bool(_CC.match(name) or _FREE.match(name) or name in _PERMISSIVE)


def _conditions(name: str) -> frozenset[str]:
    """`notice` of permissive licenses, `by`, `nc`, `sa` and `nd` of Creative Commons; none of the public domain."""
    if _FREE.match(name) or name == "unlicense":
        return frozenset()
    if match := _CC.match(name):
        return frozenset({"notice", "by", *re.findall("nc|sa|nd", match[1])})
    return frozenset({"notice"})


def _version(name: str) -> str:
    match = _CC.match(name)
    return (match[2] or "") if match else ""


def _identifier(name: str) -> str:
    if _FREE.match(name):
        # The hub has no word for works whose rights have ended.
        return "cc0-1.0" if name.startswith(("cc0", "cc-zero")) else "other"
    if match := _CC.match(name):
        parts = [part for part in ("nc", "nd", "sa") if part in match[1]]
        return "-".join(["cc", "by", *parts, match[2]]) if match[2] else "other"
    return name
