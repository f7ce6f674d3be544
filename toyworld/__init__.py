"""The embedded default: a drawn world whose truth is known exactly, and a tiny CLIP that reads it.

`world` says what a picture holds, `captions` puts it into words and back, `render` draws it, `oracle` reads it from
pixels alone, `pool` writes reference pools of it, and `clip/` holds the model. Nothing here is meant for photographs.
"""

from __future__ import annotations

from pathlib import Path


def clip_model_dir() -> str:
    """The folder to give open_clip as `local-dir:FOLDER`: the tiny CLIP that knows this world and nothing else."""
    return str(Path(__file__).resolve().parent / "clip")
