"""One model per process, shared by threads, fed ahead of the device; a broken image costs itself alone."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filters.base import Candidate
from filters.clip import ClipConfig, ClipFilter
from filters.clip_model import ClipModel
from filters.config import FiltersConfig, build
from filters.devices import WORKER, device_of
from filters.score import run
from filters.weights import load
from schemas.draft import Draft, Rejection
from schemas.errors import ImageError
from schemas.tasks import Role
from storage.images import encode_jpeg
from toyworld.torchvision_shim import ensure_torchvision


def fresh(weights: str) -> ClipModel:
    """A model with empty caches."""
    return ClipModel(weights, load(weights, "cpu"), "cpu")


def files(scene: Any, count: int) -> list[tuple[str, Any]]:
    made = [encode_jpeg(scene(seed, (200 + seed, 150))) for seed in range(count)]
    return [(str(i), lambda data=data: data) for i, data in enumerate(made)]


def test_many_batches_give_what_each_image_gives_alone(tiny_clip: str, scene: Any) -> None:
    images = files(scene, 19)
    together = fresh(tiny_clip).image_embeddings(images)
    assert np.array_equal(together, fresh(tiny_clip).image_embeddings(images[::-1])[::-1])
    model = fresh(tiny_clip)
    assert np.array_equal(together, np.stack([model.image_embeddings([image])[0] for image in images]))
    assert len({row.tobytes() for row in together}) == 19


def test_a_broken_image_among_many_is_told_once_the_others_are_held(tiny_clip: str, scene: Any) -> None:
    images, asked = files(scene, 30), []
    images[3] = ("3", lambda: b"no image")
    images[20] = ("20", lambda: b"nor this")
    model = fresh(tiny_clip)
    with pytest.raises(ImageError, match="unreadable"):
        model.image_embeddings(images)
    good = [image for i, image in enumerate(images) if i not in (3, 20)]
    held = model.image_embeddings([(name, lambda name=name: asked.append(name)) for name, _ in good])
    assert asked == [] and np.array_equal(held, fresh(tiny_clip).image_embeddings(good))


def test_a_broken_target_costs_its_sample_and_no_image_is_read_twice(tiny_clip: str, desk: Any, scene: Any) -> None:
    drafts = [desk.draft(scene(i), [(Role.SUBJECT, scene(50))]) for i in range(20)]
    drafts.insert(7, desk.draft(b"no image", [(Role.SUBJECT, scene(50))]))
    reads: list[str] = []

    def read(uri: str) -> bytes:
        reads.append(uri)
        return Path(uri).read_bytes()

    candidates = [Candidate.of(draft) for draft in drafts]
    for candidate in candidates:
        candidate.images._read = read
    out = run([ClipFilter(ClipConfig(weights=tiny_clip), fresh(tiny_clip))], candidates)
    assert [i for i, one in enumerate(out) if isinstance(one, Rejection)] == [7]
    assert isinstance(out[7], Rejection) and (out[7].stage, out[7].reason) == ("images", "unreadable")
    assert len(reads) == len(set(reads)) == 21
    alone = run([ClipFilter(ClipConfig(weights=tiny_clip), fresh(tiny_clip))], [Candidate.of(drafts[9])])[0]
    assert isinstance(alone, Draft) and isinstance(out[9], Draft) and out[9].scores == alone.scores


def test_threads_share_one_model_and_get_the_same_bits(tiny_clip: str, scene: Any) -> None:
    images = files(scene, 24)
    expected = fresh(tiny_clip).image_embeddings(images)
    models: list[ClipModel] = []
    found: dict[int, Any] = {}
    gate = threading.Barrier(4)

    def ask(i: int) -> None:
        gate.wait()
        models.append(ClipModel.load(tiny_clip, "cpu"))
        found[i] = models[-1].image_embeddings(images[i * 3 :])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(model) for model in models}) == 1
    assert all(np.array_equal(found[i], expected[i * 3 :]) for i in range(4))


def test_an_error_of_the_reader_is_not_swallowed(tiny_clip: str, scene: Any) -> None:
    def broken() -> bytes:
        raise ConnectionError("the bucket is gone")

    model = fresh(tiny_clip)
    with pytest.raises(ConnectionError):
        model.image_embeddings([*files(scene, 3), ("x", broken)])
    assert model.image_embeddings(files(scene, 3)).shape == (3, 32)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_has_the_same_bits_in_any_batch(precision: str, tiny_clip: str, scene: Any) -> None:
    images = files(scene, 11)
    exact = fresh(tiny_clip).image_embeddings(images)

    def model() -> ClipModel:
        return ClipModel(tiny_clip, load(tiny_clip, "cpu", precision), "cpu")

    half = model().image_embeddings(images)
    assert 0 < np.abs(half - exact).max() < 0.05
    assert np.array_equal(half, model().image_embeddings(images[::-1])[::-1])


def test_the_toys_scores_are_decoded_as_ever_and_the_precision_is_part_of_the_digest(tiny_clip: str) -> None:
    def digest(**clip: str) -> str:
        return build(FiltersConfig.model_validate({"clip": {"device": "cpu", **clip}})).digest

    assert digest(weights=tiny_clip) == digest(weights=tiny_clip, precision="auto")
    assert digest(weights=tiny_clip) != digest(weights=tiny_clip, precision="bf16")
    assert ClipModel.load("toy", "cpu", "bf16") is ClipModel.load("toy", "cpu")


def test_workers_take_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    found = []
    for worker in ("0", "1", "2", "3"):
        monkeypatch.setenv(WORKER, worker)
        found.append(device_of("auto"))
    assert found == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert (device_of("cuda:1"), device_of("cpu")) == ("cuda:1", "cpu")
    monkeypatch.delenv(WORKER)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert device_of("cuda") == "cuda:0"
    monkeypatch.setenv("LOCAL_RANK", "2")  # as torchrun says it
    assert device_of("cuda") == "cuda:2"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device_of("auto") == "cuda"


def siglip(folder: Path) -> str:
    """A folder as SigLIP's are: a timm tower, pictures squashed to a square, mean and deviation a half."""
    ensure_torchvision()
    import torch
    from open_clip.model import CustomTextCLIP
    from safetensors.torch import save_file

    config: dict[str, Any] = {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear"},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2,
                     "no_causal_mask": True, "pool_type": "last"},
    }  # fmt: skip
    made = {key: value for key, value in config.items() if key != "custom_text"}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = CustomTextCLIP(**made)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    shown = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": shown}))
    return f"local-dir:{folder}"


def test_a_siglip_from_a_folder_sees_pictures_as_open_clip_shows_them_to_it(tmp_path: Path, scene: Any) -> None:
    weights = siglip(tmp_path)
    import open_clip
    import torch
    from PIL import Image

    theirs, _, transform = open_clip.create_model_and_transforms(weights)
    images = files(scene, 5)
    pictures = torch.stack([transform(Image.open(io.BytesIO(read()))) for _, read in images])  # type: ignore[operator]
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(theirs.eval().encode_image(pictures).double(), dim=1).numpy()
    found = fresh(weights).image_embeddings(images)
    assert (found * expected).sum(axis=1).min() > 0.9999
    assert fresh(weights).text_embeddings(["a red car", "two dogs on a sofa"]).shape == (2, 64)
