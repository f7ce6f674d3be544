"""What the drawn world gives as input, made once per version of its code and kept among what can be made again."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable


def drawn_pool(cache_dir: str) -> str:
    """The drawn world's reference pool: the path of its `pool.jsonl`."""
    from toyworld.pool import build

    return os.path.join(_made_once(cache_dir, "toyworld", build), "pool.jsonl")


def drawn_pairs(cache_dir: str) -> str:
    """Edit pairs of known truth: the path of their `pairs.jsonl`."""
    from toyworld.lists import build_pairs

    return os.path.join(_made_once(cache_dir, "toyworld-pairs", build_pairs), "pairs.jsonl")


def drawn_prompts(cache_dir: str) -> str:
    """Prompts that the drawn world has words for: the path of their `prompts.jsonl`."""
    from toyworld.lists import build_prompts

    return os.path.join(_made_once(cache_dir, "toyworld-prompts", build_prompts), "prompts.jsonl")


def _made_once(cache_dir: str, name: str, build: Callable[[str], object]) -> str:
    """The folder that `build` fills, made anew only when the drawn world's code is another."""
    folder = os.path.join(cache_dir, f"{name}-{_code()[:16]}")
    if not os.path.isdir(folder):
        unfinished = f"{folder}.{os.getpid()}"
        build(unfinished)
        try:
            os.replace(unfinished, folder)
        except OSError:  # another process was faster
            shutil.rmtree(unfinished)
    return folder


def _code() -> str:
    from importlib import resources

    code = hashlib.sha256()
    for file in sorted(resources.files("toyworld").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".py"):
            code.update(file.read_bytes())
    return code.hexdigest()
