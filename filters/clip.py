"""CLIP: the model that scores, and the filter that asks whether each out_caption fits the target.

The paper's "Reasoning-Target Cross-Validation" (arXiv 2601.05124, data pipeline, stage e): the cosine of caption and
image embeddings, s(x, c) = E(x)·T(c) / (|E(x)| |T(c)|). Neither its model nor its threshold is published.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from filters.base import Candidate, Verdict, rounded
from filters.texts import chunks
from filters.weights import TOY, Loaded, defect_of, load
from schemas.draft import Reasoning
from schemas.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

_KEPT_IMAGES = 20_000
_KEPT_TEXTS = 20_000
"""Embeddings held, least recently used out first: about 3 KB each for ViT-L-14. A reference comes back often."""


class ClipConfig(BaseModel):
    """Which CLIP, and how well a caption must fit.

    Attributes:
        weights: `toy` (the toy world only), `NAME/PRETRAINED` of open_clip, or `local-dir:PATH` to a folder with
            open_clip_config.json and weights.
        min_text: lowest cosine of out_caption and target; a reasoning below it is dropped, a sample without any left
            is rejected (reason `clip_text`). Null scores without rejecting. It depends on the weights: see the docs.
        device: `auto` takes CUDA where there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str
    min_text: float | None = Field(default=None, ge=-1, le=1)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")

    @field_validator("weights")
    @classmethod
    def _names_weights(cls, weights: str) -> str:
        if defect := defect_of(weights):
            raise ValueError(defect)
        return weights


class ClipModel:
    """An open_clip model that gives the same bits for the same image or text, whatever it is batched with.

    Every batch has one shape, padded with zeros: on a CPU a row's result then depends on neither its place nor its
    neighbours. It may depend on the number of threads where a model convolves (ResNets), so those run on one.
    Shared by a process's threads.
    """

    def __init__(self, weights: str, loaded: Loaded, device: str) -> None:
        self.weights, self.digest, self.context_length = weights, loaded.digest, loaded.context_length
        self._loaded, self._device = loaded, device
        self._batch = 8 if device == "cpu" else 64
        self._one_thread = device == "cpu" and _convolves(loaded.model)
        self._lock = threading.Lock()
        self._images = _Recent(_KEPT_IMAGES)
        self._texts = _Recent(_KEPT_TEXTS)

    @classmethod
    def load(cls, weights: str, device: str = "auto") -> ClipModel:
        """The process's one model of these weights; see `filters.weights.load` for what it raises."""
        return _load(weights, _device(device))

    def tokens(self, text: str) -> int:
        """How many tokens `text` has, special ones included."""
        return self._loaded.count(text)

    def is_long(self, text: str) -> bool:
        """Whether `text` exceeds the context and is therefore scored in chunks."""
        return self.tokens(text) > self.context_length

    def refusal(self, text: str) -> str:
        """Why this model gives no number for `text`; empty where it does."""
        if self.weights != TOY:
            return ""
        from toyworld.tokenizer import OutOfVocabulary

        try:
            self.tokens(text)
        except OutOfVocabulary as error:
            return str(error)
        return ""

    def image_embeddings(self, images: Sequence[tuple[str, Callable[[], Image.Image]]]) -> Any:
        """Unit vectors [n, d], float64.

        Args:
            images: (sha256 of the bytes, how to decode them); decoded only where the embedding is not held.

        Raises:
            ImageError: from decoding.
        """
        import numpy as np

        wanted = dict(images)
        found = self._images.of(wanted)
        missing = [digest for digest in wanted if digest not in found]
        for start in range(0, len(missing), self._batch):
            part = missing[start : start + self._batch]
            pixels = [preprocessed(wanted[digest](), self._loaded.preprocess) for digest in part]
            for digest, vector in zip(part, self._encoded("encode_image", np.stack(pixels)), strict=True):
                found[digest] = vector
                self._images.keep(digest, vector)
        return np.stack([found[digest] for digest, _ in images])

    def text_embeddings(self, texts: Sequence[str]) -> Any:
        """Unit vectors [n, d], float64. A text beyond the context is the mean of its chunks' unit vectors, made unit.

        Raises:
            toyworld.tokenizer.OutOfVocabulary: by the toy weights; see `refusal`.
        """
        import numpy as np

        wanted = dict.fromkeys(texts)
        found = self._texts.of(wanted)
        pieces = {t: chunks(t, lambda part: not self.is_long(part)) or [t] for t in wanted if t not in found}
        flat = list(dict.fromkeys(piece for parts in pieces.values() for piece in parts))
        vectors: dict[str, Any] = {}
        for start in range(0, len(flat), self._batch):
            part = flat[start : start + self._batch]
            tokens = self._loaded.tokenize(part).numpy()
            vectors.update(zip(part, self._encoded("encode_text", tokens), strict=True))
        for text, parts in pieces.items():
            vector = vectors[parts[0]] if len(parts) == 1 else _unit(sum(vectors[part] for part in parts))
            found[text] = vector
            self._texts.keep(text, vector)
        return np.stack([found[text] for text in texts])

    def _encoded(self, method: str, rows: Any) -> Any:
        """At most a batch of inputs, as unit vectors."""
        import numpy as np
        import torch

        padded = np.zeros((self._batch, *rows.shape[1:]), dtype=rows.dtype)
        padded[: len(rows)] = rows
        with self._lock, torch.inference_mode(), _single_thread() if self._one_thread else nullcontext():
            out = getattr(self._loaded.model, method)(torch.from_numpy(padded).to(self._device))
            vectors = out[: len(rows)].double().cpu().numpy()
        return np.stack([_unit(vector) for vector in vectors])


@dataclass(frozen=True)
class ClipFilter:
    """Scores `clip_text` (the best reasoning that remains) and `long_captions` (reasonings scored in chunks).

    A caption that the toy weights refuse has no score; where a limit is set it is dropped, being vouched for by
    nothing.
    """

    config: ClipConfig
    model: ClipModel
    name: str = "clip"
    cost: int = 10
    scores: tuple[str, ...] = ("clip_text", "long_captions")

    def __call__(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        targets = self.model.image_embeddings([(c.draft.target.sha256, c.images.target) for c in candidates])
        captions = [r.iccot.out_caption for c in candidates for r in c.draft.reasonings]
        refused = {caption: self.model.refusal(caption) for caption in captions}
        sound = [caption for caption, why in refused.items() if not why]
        vectors = dict(zip(sound, self.model.text_embeddings(sound), strict=True)) if sound else {}
        return [
            self._verdict(candidate.draft.reasonings, target, vectors, refused)
            for candidate, target in zip(candidates, targets, strict=True)
        ]

    def _verdict(
        self, reasonings: Sequence[Reasoning], target: Any, vectors: dict[str, Any], refused: dict[str, str]
    ) -> Verdict:
        scored = []
        for reasoning in reasonings:
            vector = vectors.get(reasoning.iccot.out_caption)
            score = None if vector is None else rounded(product(vector, target))
            scored.append(reasoning.model_copy(update={"clip_text": score}))
        long = sum(not refused[t] and self.model.is_long(t) for t in (r.iccot.out_caption for r in reasonings))
        refusal = next((why for why in (refused[r.iccot.out_caption] for r in reasonings) if why), "")
        verdict = sifted(scored, "clip_text", "clip_text", "min_text", self.config.min_text, refusal)
        return Verdict(
            verdict.reason, verdict.detail, {**verdict.scores, "long_captions": float(long)},
            verdict.reasonings, verdict.dropped,
        )  # fmt: skip


def sifted(
    scored: Sequence[Reasoning], column: str, reason: str, key: str, limit: float | None, unscored: str | None = None
) -> Verdict:
    """The reasonings at or above `limit`; a rejection where none is.

    Args:
        column: the reasoning's attribute, which is also the sample's score: the best that remains.
        reason: of a rejection.
        key: the limit's name in the configuration.
        unscored: why a reasoning may have no score, for the detail; None keeps those without one.
    """

    def stays(score: float | None) -> bool:
        return limit is None or (unscored is None if score is None else score >= limit)

    kept = tuple(r for r in scored if stays(getattr(r, column)))
    dropped = tuple(r for r in scored if not stays(getattr(r, column)))
    known = [score for r in (kept or dropped) if (score := getattr(r, column)) is not None]
    scores = {column: max(known)} if known else {}
    if kept:
        return Verdict(scores=scores, reasonings=kept, dropped=dropped)
    best = f"the best of {len(dropped)} is {max(known):g}, below {key} {limit:g}" if known else str(unscored)
    return Verdict(reason, best, scores, kept, dropped)


def check_vocabulary(captions: Iterable[str]) -> None:
    """To be asked before a run with the toy weights: does the toy world's vocabulary hold the pool's captions?

    Raises:
        InputError: quoting the first caption it does not hold.
    """
    from toyworld.tokenizer import OutOfVocabulary, ToyTokenizer

    tokenizer = ToyTokenizer()
    for caption in captions:
        try:
            tokenizer.ids(caption)
        except OutOfVocabulary as error:
            raise InputError(
                f"filters.clip.weights: toy reads only the toy world, and the pool has the caption {caption[:80]!r} "
                f"({str(error)[:120]}): use NAME/PRETRAINED or local-dir:PATH, or pool: toyworld"
            ) from error


def product(a: Any, b: Any) -> float:
    """The scalar product, which is the cosine of unit vectors; summed without the machine's linear algebra."""
    return float((a * b).sum())


def preprocessed(image: Image.Image, settings: dict[str, Any]) -> Any:
    """What open_clip's own evaluation transform gives: float32 [3, height, width]."""
    import numpy as np
    from PIL import Image

    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    mode, filter_name = settings.get("resize_mode", "shortest"), settings.get("interpolation", "bicubic")
    resample = Image.Resampling.BILINEAR if filter_name == "bilinear" else Image.Resampling.BICUBIC
    if mode == "squash":
        resized = image.resize((width, height), resample)
    elif mode == "shortest" and width == height:
        w, h = image.size
        wide, high = (width, int(width * h / w)) if w <= h else (int(width * w / h), width)
        # Python rounds half to even, and so does the transform that trained models saw.
        left, top = round((wide - width) / 2.0), round((high - height) / 2.0)
        resized = image.resize((wide, high), resample).crop((left, top, left + width, top + height))
    else:
        import open_clip

        transform: Any = open_clip.image_transform(
            (height, width), is_train=False, mean=settings["mean"], std=settings["std"], resize_mode=mode,
            interpolation=filter_name, fill_color=settings.get("fill_color", 0),
        )  # fmt: skip
        return transform(image).numpy()
    values = np.asarray(resized.convert("RGB"), dtype=np.float32) / np.float32(255)
    normal = (values - np.asarray(settings["mean"], np.float32)) / np.asarray(settings["std"], np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))


class _Recent:
    """Vectors by name, the least recently used let go; safe among threads."""

    def __init__(self, size: int) -> None:
        self._size, self._lock = size, threading.Lock()
        self._held: OrderedDict[str, Any] = OrderedDict()

    def of(self, names: Iterable[str]) -> dict[str, Any]:
        with self._lock:
            found = {name: self._held[name] for name in names if name in self._held}
            for name in found:
                self._held.move_to_end(name)
        return found

    def keep(self, name: str, vector: Any) -> None:
        with self._lock:
            self._held[name] = vector
            self._held.move_to_end(name)
            while len(self._held) > self._size:
                self._held.popitem(last=False)


@lru_cache(maxsize=4)
def _load(weights: str, device: str) -> ClipModel:
    return ClipModel(weights, load(weights, device), device)


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _unit(vector: Any) -> Any:
    return vector / max(float((vector * vector).sum()) ** 0.5, 1e-12)


def _convolves(model: Any) -> bool:
    """Whether the image tower convolves beyond a transformer's cutting into patches."""
    import torch

    layers = (m for m in model.visual.modules() if isinstance(m, torch.nn.Conv2d))
    return any(layer.kernel_size != layer.stride for layer in layers)


@contextmanager
def _single_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
