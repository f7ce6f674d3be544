"""Lets torchvision be imported beside a torch without CUDA.

torchvision's wheels on PyPI are CUDA builds. Beside a CPU torch their compiled extension cannot be loaded, which
torchvision tolerates, except that its import registers fake kernels for two operators (`nms`, `qnms`) which only that
extension declares. Declared here first, the import succeeds; transforms and models then work, and only the compiled
operators themselves stay unavailable. Nothing here uses them.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

_declared: list[object] = []
"""The library object must live as long as the process: torch forgets its operators with it."""


def ensure_torchvision() -> None:
    """Call before the first import of open_clip, timm or transformers; does nothing where nothing is needed."""
    if _declared or "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    import torch

    if torch.version.cuda is not None or torch.version.hip is not None:
        return
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    _declared.append(library)
    for name in ("nms", "qnms"):
        try:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        except RuntimeError as error:
            # A CPU build of torchvision declares them itself.
            if "multiple times" not in str(error) and "already" not in str(error):
                raise
