"""Which licences an allow-list lets through. Licences in the wild are free text, so an entry may hold wildcards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate


class AllowList:
    """Entries match a licence as a whole, without regard to case or to runs of white space.

    `*` stands for any text: `CC-BY-4.0` lets only that through, `CC-BY-4.0*` also `CC-BY-4.0 (MagicBrush)`. Without a
    wildcard nothing is guessed: `CC-BY` does not let `CC-BY-NC-4.0` through. An empty entry lets through the images
    whose licence the source does not say.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._patterns = [re.compile(translate(_plain(entry).replace("[", "[[]"))) for entry in entries]

    def __contains__(self, license: str) -> bool:
        return any(pattern.match(_plain(license)) for pattern in self._patterns)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
