"""CLIP scores depend on picture and text alone; what cannot be scored is said, never made up."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

import toyworld
from filters.base import Candidate
from filters.clip import ClipConfig, ClipFilter, check_vocabulary
from filters.clip_model import ClipModel
from filters.config import FiltersConfig, build
from filters.pixels import preprocessed
from filters.score import run
from filters.weights import WeightsUnavailable, load
from schemas.draft import Draft, Rejection
from schemas.errors import InputError
from schemas.tasks import Role

CAPTIONS = [
    "A barn owl perched on a chair next to a desk.",
    "A woman in a leather jacket holding flowers.",
    "Two men on a sofa in a living room, black and white.",
    "A red car under palm trees at dusk.",
]
LONG = " ".join(f"In corner {i} stands a wooden table with {i} green apples on it." for i in range(12))


def fresh(weights: str) -> ClipModel:
    """A model with empty caches."""
    return ClipModel(weights, load(weights, "cpu"), "cpu")


def toy_or_skip() -> None:
    if not Path(toyworld.clip_model_dir(), "open_clip_model.safetensors").is_file():
        pytest.skip("the toy world's CLIP is not in this checkout: python -m toyworld.clip.train makes it")


def lazily(images: list[Image.Image]) -> list[tuple[str, Any]]:
    return [(str(id(image)), partial(lambda i: i, image)) for image in images]


@pytest.fixture(params=["tiny_clip", "tiny_resnet_clip"])
def weights(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def test_an_embedding_has_the_same_bits_alone_in_a_batch_and_in_any_place(weights: str, scene: Any) -> None:
    loaded = load(weights, "cpu")

    def model() -> ClipModel:
        return ClipModel(weights, loaded, "cpu")

    images = lazily([scene(seed, (96, 80)) for seed in range(11)])
    together = model().image_embeddings(images)
    alone = np.stack([model().image_embeddings([image])[0] for image in images])
    backwards = model().image_embeddings(images[::-1])[::-1]
    assert np.array_equal(together, alone) and np.array_equal(together, backwards)
    texts = [f"{CAPTIONS[i % 4]} {i}" for i in range(11)]
    together = model().text_embeddings(texts)
    assert np.array_equal(together, np.stack([model().text_embeddings([t])[0] for t in texts]))
    assert np.array_equal(together, model().text_embeddings(texts[::-1])[::-1])


def test_an_embedding_has_the_same_bits_on_any_number_of_threads(weights: str, scene: Any) -> None:
    import torch

    images, before = lazily([scene(seed, (96, 80)) for seed in range(5)]), torch.get_num_threads()
    found, loaded = [], load(weights, "cpu")
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            model = ClipModel(weights, loaded, "cpu")
            found.append((model.image_embeddings(images), model.text_embeddings(CAPTIONS)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for pictures, texts in found[1:]:
        assert np.array_equal(found[0][0], pictures) and np.array_equal(found[0][1], texts)


def test_pictures_are_prepared_as_open_clip_prepares_them(tiny_clip: str, scene: Any) -> None:
    import open_clip

    settings = load(tiny_clip, "cpu").preprocess
    for size in ((300, 200), (200, 301), (32, 32), (37, 64)):
        for mode in ("shortest", "squash", "longest"):
            theirs = open_clip.image_transform(
                settings["size"], False, settings["mean"], settings["std"], mode, settings["interpolation"]
            )(scene(1, size))
            ours = preprocessed(scene(1, size), {**settings, "resize_mode": mode})
            assert np.abs(ours - np.asarray(theirs)).max() < 1e-5


def test_a_picture_is_decoded_and_a_text_encoded_once(tiny_clip: str, scene: Any) -> None:
    model, decoded = fresh(tiny_clip), []

    def decode() -> Image.Image:
        decoded.append(1)
        return scene(1, (64, 64))

    first = model.image_embeddings([("a", decode), ("b", partial(scene, 2, (64, 64))), ("a", decode)])
    assert np.array_equal(first[0], first[2]) and np.array_equal(model.image_embeddings([("a", decode)])[0], first[0])
    assert len(decoded) == 1


def test_a_long_caption_is_the_mean_of_its_sentences_and_counted(tiny_clip: str, desk: Any, scene: Any) -> None:
    from filters.texts import chunks

    model = fresh(tiny_clip)
    assert model.is_long(LONG) and not model.is_long(CAPTIONS[0])
    parts = chunks(LONG, lambda part: not model.is_long(part))
    assert 2 <= len(parts) <= 4 and all(part.endswith(".") for part in parts)
    mean = model.text_embeddings(parts).mean(axis=0)
    assert np.allclose(model.text_embeddings([LONG])[0], mean / np.linalg.norm(mean))
    relation = ["The thing is from image_1."]
    draft = desk.draft(scene(1), [(Role.SUBJECT, scene(2))], [(LONG, relation), (CAPTIONS[0], relation)])
    out = run([ClipFilter(ClipConfig(weights=tiny_clip), model)], [Candidate.of(draft)])[0]
    assert isinstance(out, Draft) and out.scores["long_captions"] == 1.0


def test_only_the_reasoning_below_the_limit_is_dropped(tiny_clip: str, desk: Any, scene: Any) -> None:
    said = [(caption, ["The thing is from image_1."]) for caption in CAPTIONS]
    draft = desk.draft(scene(1), [(Role.SUBJECT, scene(2))], said)

    def scored(limit: float | None) -> Draft | Rejection:
        config = ClipConfig(weights=tiny_clip, min_text=limit, device="cpu")
        return run([ClipFilter(config, ClipModel.load(tiny_clip, "cpu"))], [Candidate.of(draft)])[0]

    free = scored(None)
    assert isinstance(free, Draft)
    scores = [r.clip_text for r in free.reasonings]
    order = sorted(s for s in scores if s is not None)
    assert len(order) == 4 and free.scores["clip_text"] == order[-1] == free.clip_text
    some = scored(order[2])
    assert isinstance(some, Draft) and sorted(r.clip_text for r in some.reasonings) == order[2:]
    none = scored(order[-1] + 0.01)
    assert isinstance(none, Rejection) and none.reason == "clip_text" and none.draft is not None
    assert [r.clip_text for r in none.draft.reasonings] == scores and none.scores["clip_text"] == order[-1]


def test_a_model_without_its_weights_is_refused(tmp_path: Path, tiny_clip: str) -> None:
    for text in ("ViT-B-32", "ViT-B-32/", "/openai", "hf-hub:a/b", "local-dir:", ""):
        with pytest.raises(ValidationError):
            ClipConfig(weights=text)
    bare = tmp_path / "bare"
    shutil.copytree(tiny_clip.removeprefix("local-dir:"), bare)
    (bare / "open_clip_model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights"):
        load(f"local-dir:{bare}", "cpu")
    with pytest.raises(InputError, match=r"no open_clip_config\.json"):
        load(f"local-dir:{tmp_path}", "cpu")


def test_broken_or_foreign_weights_are_refused_in_one_line(tmp_path: Path, tiny_clip: str) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_clip.removeprefix("local-dir:"), folder)
    (folder / "open_clip_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        load(f"local-dir:{folder}", "cpu")
    assert "\n" not in str(caught.value)
    shutil.copytree(tiny_clip.removeprefix("local-dir:"), tmp_path / "other")
    config = json.loads((tmp_path / "other" / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["width"] = 64
    (tmp_path / "other" / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot be loaded"):
        load(f"local-dir:{tmp_path / 'other'}", "cpu")


def test_an_unknown_model_or_tag_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="no model 'ViT-Q-99'"):
        load("ViT-Q-99/openai", "cpu")
    with pytest.raises(InputError, match="laion2b_s34b_b79k"):
        load("ViT-B-32/opnai", "cpu")


@pytest.fixture(params=["nobody", "busy", "closed"])
def hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """A weights server that is not there, that answers 503, or that refuses; gives the list of what it is asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response({"busy": 503, "closed": 403}[request.param])
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    if request.param == "nobody":
        server.server_close()
    else:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    for variable in [v for v in os.environ if v.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    yield asked
    if request.param != "nobody":
        server.shutdown()
        server.server_close()


def test_weights_that_cannot_be_had_are_not_computed_and_said_so_at_once(hub: list[str], desk: Any, scene: Any) -> None:
    clip = {"weights": "ViT-B-32/laion2b_s34b_b79k", "min_text": 0.9}
    filters = build(FiltersConfig.model_validate({"clip": clip, "relations": {}}))
    assert len(hub) <= 1  # a server that does not give them is asked once
    assert filters.filters == () and filters.score_names == ("clip_text", "long_captions", "relation_margin")
    assert set(filters.notes) == {"clip_text", "relation_margin"}
    assert "ViT-B-32/laion2b_s34b_b79k is not on this machine" in filters.notes["clip_text"]
    draft = desk.draft(scene(1), [(Role.SUBJECT, scene(2))])
    assert filters.run([draft]) == [draft]


def test_the_offline_switch_is_honoured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsUnavailable, match="HF_HUB_OFFLINE"):
        load("ViT-B-32/openai", "cpu")


def test_weights_given_as_a_file_are_loaded_from_it(tmp_path: Path, tiny_clip: str, scene: Any) -> None:
    import open_clip

    folder = Path(tiny_clip.removeprefix("local-dir:"))
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    (tmp_path / "tiny-of-a-test.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-of-a-test.json")
    named, model = fresh(f"tiny-of-a-test/{folder / 'open_clip_model.safetensors'}"), fresh(tiny_clip)
    assert np.array_equal(named.text_embeddings(CAPTIONS), model.text_embeddings(CAPTIONS))
    with pytest.raises(InputError, match="no such file"):
        load(f"tiny-of-a-test/{tmp_path / 'gone.pt'}", "cpu")


def test_the_digest_follows_the_weights_not_their_folder(tmp_path: Path, tiny_clip: str, tiny_resnet_clip: str) -> None:
    shutil.copytree(tiny_clip.removeprefix("local-dir:"), tmp_path / "copy")

    def digest(weights: str, **more: object) -> str:
        return build(FiltersConfig.model_validate({"clip": {"weights": weights, "device": "cpu", **more}})).digest

    assert digest(tiny_clip) == digest(f"local-dir:{tmp_path / 'copy'}") != digest(tiny_resnet_clip)
    assert digest(tiny_clip) != digest(tiny_clip, min_text=0.2)


def test_the_toy_weights_refuse_a_pool_of_photographs() -> None:
    check_vocabulary(["a small red star", "a snow background"])
    with pytest.raises(InputError, match=r"'a photo of a corgi'.*local-dir:PATH") as caught:
        check_vocabulary(["a red star", "a photo of a corgi"])
    assert "\n" not in str(caught.value)


def test_toy_scores_tell_true_captions_from_false_ones(desk: Any) -> None:
    toy_or_skip()
    from toyworld.render import render
    from toyworld.world import Picture, Thing

    filters = build(FiltersConfig.model_validate({"clip": {"weights": "toy", "device": "cpu"}}))
    assert filters.vocabulary is check_vocabulary
    target = render(Picture((Thing("star", "red", "big", "left"),), "snow", "clear"))
    relation = ["the red star is from image_1"]
    texts = [
        "a big red star on the left with a snow background",
        "a big blue tree on the left with a night background",
        "A photo of a corgi.",
    ]
    draft = desk.draft(target.convert("RGB"), [(Role.SUBJECT, target.convert("RGB"))], [(t, relation) for t in texts])
    out = filters.run([draft])[0]
    assert isinstance(out, Draft)
    true, false, outside = (r.clip_text for r in out.reasonings)
    assert true is not None and false is not None and true > false + 0.1
    assert outside is None
