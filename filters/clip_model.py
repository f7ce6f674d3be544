"""A CLIP and the embeddings that it gives: one model per process, shared by its threads, at the speed of its device."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from filters.base import WORK_SIDE
from filters.devices import device_of
from filters.pixels import prepared, preprocessed, size_of
from filters.texts import chunks
from filters.weights import KEY, TOY, Loaded, load
from schemas.errors import ImageError, InputError

if TYPE_CHECKING:
    from PIL import Image

_KEPT_IMAGES = 20_000
_KEPT_TEXTS = 20_000
"""Embeddings held, least recently used out first: 6 KB each for ViT-L-14. A reference comes back often."""
_AHEAD = 2
"""Batches that are prepared while the device computes."""
_BATCH = {"cpu": 8, "mps": 8, "cuda": 64}
_AUTO = {"cpu": "fp32", "mps": "fp32", "cuda": "fp16"}

Source = Callable[[], "bytes | Image.Image"]
"""Gives an image: its file's bytes, or pixels that somebody has decoded already."""


class ClipModel:
    """An open_clip model that gives the same bits for the same image or text, whatever it is batched with.

    Every batch has one shape, padded with zeros: a row's result then depends on neither its place nor its neighbours.
    On a CPU it may depend on the number of threads where a model convolves (ResNets), so those run on one. Devices of
    different kinds differ in the last digits.

    Shared by a process's threads: they take turns on the device, and decoding goes on meanwhile.
    """

    def __init__(self, weights: str, loaded: Loaded, device: str) -> None:
        self.weights, self.digest, self.context_length = weights, loaded.digest, loaded.context_length
        self._loaded, self._device = loaded, device
        kind = device.partition(":")[0]
        self._cuda = kind == "cuda"
        self._batch = _BATCH[kind]
        self._one_thread = kind == "cpu" and _convolves(loaded.model)
        if self._cuda:
            import torch

            loaded.model.to(memory_format=torch.channels_last)
        self._lock = threading.Lock()
        self._preparers = ThreadPoolExecutor(_preparers(self._cuda), thread_name_prefix="clip")
        self._images = _Recent(_KEPT_IMAGES)
        self._texts = _Recent(_KEPT_TEXTS)

    @classmethod
    def load(cls, weights: str, device: str = "auto", precision: str = "auto", key: str = KEY) -> ClipModel:
        """The process's one model of these weights; see `filters.weights.load` for what it raises.

        Args:
            device: see `filters.devices.device_of`.
            precision: of weights and sums: `fp32`, `fp16`, `bf16`, or `auto`: fp16 on CUDA, fp32 elsewhere. The toy
                weights are always fp32.
            key: the setting or option that names the weights, for messages.
        """
        found = device_of(device)
        if weights == TOY:
            precision = "fp32"
        try:
            return _load(weights, found, _AUTO[found.partition(":")[0]] if precision == "auto" else precision)
        except InputError as error:
            raise InputError(str(error).replace(KEY, key, 1)) from error

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

    def image_embeddings(self, images: Sequence[tuple[str, Source]]) -> Any:
        """Unit vectors [n, d], float64.

        Args:
            images: (sha256 of the bytes, what gives them); asked for, from other threads, only where the embedding is
                not held. Bytes are decoded straight to the model's size, pixels are taken as they are: a name must
                always come with the same of both.

        Raises:
            ImageError: of the first image that cannot be used; the others are held by then, so that asking again
                without it costs nothing.
            InputError: the model overflows in fp16.
        """
        import numpy as np

        wanted = dict(images)
        found = self._images.of(wanted)
        broken: list[ImageError] = []
        waiting: tuple[list[str], Any] | None = None
        for names, rows in self._batches([name for name in wanted if name not in found], wanted, broken):
            # On CUDA this only begins it: the batch before is fetched while this one computes.
            computing = (names, self._computed("encode_image", rows))
            if waiting is not None:
                found.update(self._kept(*waiting))
            waiting = computing
        if waiting is not None:
            found.update(self._kept(*waiting))
        if broken:
            raise broken[0]
        return np.stack([found[name] for name, _ in images])

    def text_embeddings(self, texts: Sequence[str]) -> Any:
        """Unit vectors [n, d], float64. A text beyond the context is the mean of its chunks' unit vectors, made unit.

        Raises:
            toyworld.tokenizer.OutOfVocabulary: by the toy weights; see `refusal`.
            InputError: the model overflows in fp16.
        """
        import numpy as np

        wanted = dict.fromkeys(texts)
        found = self._texts.of(wanted)
        pieces = {t: chunks(t, lambda part: not self.is_long(part)) or [t] for t in wanted if t not in found}
        flat = list(dict.fromkeys(piece for parts in pieces.values() for piece in parts))
        vectors: dict[str, Any] = {}
        for start in range(0, len(flat), self._batch):
            part = flat[start : start + self._batch]
            tokens = self._loaded.tokenize(part)
            rows = tokens.new_zeros((self._batch, *tokens.shape[1:]))
            rows[: len(part)] = tokens
            computed = self._computed("encode_text", rows)
            vectors.update(zip(part, self._fetched(computed, range(len(part))), strict=True))
        for text, parts in pieces.items():
            vector = vectors[parts[0]] if len(parts) == 1 else _unit(sum(vectors[part] for part in parts))
            found[text] = vector
            self._texts.keep(text, vector)
        return np.stack([found[text] for text in texts])

    def _batches(
        self, missing: Sequence[str], sources: dict[str, Source], broken: list[ImageError]
    ) -> Iterator[tuple[list[str], Any]]:
        """(the name of each row, empty for one that could not be made; padded float32 [batch, 3, h, w]), in order.

        The next ones are under way in threads while the caller computes. What is wrong with images goes to `broken`.
        """
        parts = deque(list(missing[i : i + self._batch]) for i in range(0, len(missing), self._batch))
        ahead: deque[tuple[list[str], Any, list[Future[None]]]] = deque()
        try:
            while parts or ahead:
                while parts and len(ahead) <= _AHEAD:
                    part, rows = parts.popleft(), self._rows()
                    places = zip(part, rows.numpy(), strict=False)
                    jobs = [self._preparers.submit(self._prepare, sources[name], row) for name, row in places]
                    ahead.append((part, rows, jobs))
                part, rows, jobs = ahead.popleft()
                errors = [_image_error(job) for job in jobs]
                broken += [error for error in errors if error is not None]
                yield [name if error is None else "" for name, error in zip(part, errors, strict=True)], rows
        finally:
            for _, _, jobs in ahead:
                for job in jobs:
                    job.cancel()

    def _rows(self) -> Any:
        """A batch of zeros, in memory from which CUDA copies while it computes."""
        import torch

        return torch.zeros((self._batch, 3, *size_of(self._loaded.preprocess)), pin_memory=self._cuda)

    def _prepare(self, source: Source, row: Any) -> None:
        image = source()
        if not isinstance(image, bytes):
            row[:] = preprocessed(image, self._loaded.preprocess)
        elif self.weights == TOY:
            # As its scores were made since the first release: within the filters' work size, then by Pillow.
            from storage.images import decode

            row[:] = preprocessed(decode(image, max_side=WORK_SIDE), self._loaded.preprocess)
        else:
            row[:] = prepared(image, self._loaded.preprocess)

    def _computed(self, method: str, rows: Any) -> Any:
        """What the model makes of a padded batch; on CUDA it is still under way."""
        import torch

        with self._lock, torch.inference_mode(), _single_thread() if self._one_thread else nullcontext():
            given = rows.to(self._device, non_blocking=self._cuda)
            if given.is_floating_point():
                given = given.to(getattr(torch, _TORCH[self._loaded.precision]))
                given = given.contiguous(memory_format=torch.channels_last) if self._cuda else given
            return getattr(self._loaded.model, method)(given)

    def _kept(self, names: Sequence[str], computed: Any) -> dict[str, Any]:
        """The vectors of a batch by name, in the cache as well."""
        places = [place for place, name in enumerate(names) if name]
        found = dict(zip([names[p] for p in places], self._fetched(computed, places), strict=True))
        for name, vector in found.items():
            self._images.keep(name, vector)
        return found

    def _fetched(self, computed: Any, places: Sequence[int]) -> list[Any]:
        """Unit vectors of these rows."""
        import numpy as np

        vectors = computed.double().cpu().numpy()[list(places)]
        if not np.isfinite(vectors).all():
            raise InputError(
                f"filters.clip.precision: {self.weights} overflows in {self._loaded.precision}: set bf16 or fp32"
            )
        return [_unit(vector) for vector in vectors]


def product(a: Any, b: Any) -> float:
    """The scalar product, which is the cosine of unit vectors; summed without the machine's linear algebra."""
    return float((a * b).sum())


_TORCH = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


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


_LOADING = threading.Lock()


def _load(weights: str, device: str, precision: str) -> ClipModel:
    """Two threads that ask at once get one model."""
    with _LOADING:
        return _loaded(weights, device, precision)


@lru_cache(maxsize=4)
def _loaded(weights: str, device: str, precision: str) -> ClipModel:
    return ClipModel(weights, load(weights, device, precision), device)


def _preparers(cuda: bool) -> int:
    """Threads that read and decode: beside a GPU all processors, beside a CPU's own model few."""
    return max(2, min(16, os.cpu_count() or 1)) if cuda else 2


def _image_error(job: Future[None]) -> ImageError | None:
    try:
        job.result()
    except ImageError as error:
        return error
    return None


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
