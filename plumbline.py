"""Plumbline's public API: what a trainer or a notebook imports.

from plumbline import ICCoT, read_samples

for sample in read_samples("out", split="train"):
    cot = ICCoT.parse(sample.json["reasonings"][0]["text"], references=len(sample.json["references"]))
    sample.images["target"], sample.images["image_1"]        # JPEG bytes
"""

from schemas.iccot import ICCoT, ICCoTError
from schemas.references import ImageRef, Reference
from schemas.version import VERSION as __version__
from shards.reader import Sample, read_samples

__all__ = ["ICCoT", "ICCoTError", "ImageRef", "Reference", "Sample", "__version__", "read_samples"]
