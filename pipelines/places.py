"""Where this machine keeps what can be made again."""

from __future__ import annotations

import os


def cache_folder() -> str:
    """The user's cache directory for indexed pools and the drawn world; `PLUMBLINE_CACHE` names another."""
    named = os.environ.get("PLUMBLINE_CACHE")
    if named:
        return os.path.abspath(named)
    import platformdirs

    return platformdirs.user_cache_dir("plumbline")
