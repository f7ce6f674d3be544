"""Aesthetic heads and preference models: small weights made here, and what cannot be one."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from filters.base import Candidate
from filters.clip_model import ClipModel
from filters.config import FiltersConfig, build
from filters.heads import load_head
from schemas.draft import Draft, Rejection
from schemas.errors import InputError
from schemas.tasks import Role

WIDTH = 32
Scene = Callable[..., Image.Image]


def mlp(*widths: int) -> torch.nn.Sequential:
    """Layers named as LAION's are: `layers.0`, with dropout between, so that numbers are skipped."""
    torch.manual_seed(5)
    parts: list[torch.nn.Module] = []
    for before, after in pairwise(widths):
        parts += [torch.nn.Linear(before, after), torch.nn.Dropout(0.2)]
    return torch.nn.Sequential(*parts[:-1]).eval()


def saved(path: Path, net: torch.nn.Module, prefix: str = "layers.") -> str:
    state = {f"{prefix}{name}": value for name, value in net.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return f"local-dir:{path}"


@pytest.mark.parametrize("name", ["head.pth", "head.safetensors"])
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_a_head_gives_the_number_that_torch_gives(tmp_path: Path, name: str, activation: str) -> None:
    # Eleven layers, so that layers.10 must not go before layers.2.
    net = mlp(WIDTH, *([16] * 5), 1)
    weights = saved(tmp_path / name, net)
    vector = torch.nn.functional.normalize(torch.randn(WIDTH, generator=torch.Generator().manual_seed(1)), dim=0)
    between = {"none": lambda x: x, "relu": torch.relu, "gelu": torch.nn.functional.gelu}[activation]
    wanted = vector
    linear = [part for part in net if isinstance(part, torch.nn.Linear)]
    for number, layer in enumerate(linear):
        wanted = layer(between(wanted) if number else wanted)
    head = load_head(weights, activation, "here")  # type: ignore[arg-type]
    assert head.score(vector.double().numpy()) == pytest.approx(float(wanted.detach()), abs=1e-5)
    assert load_head(f"local-dir:{tmp_path}", "none", "here").width == WIDTH


def test_a_single_layer_needs_no_prefix_and_no_bias(tmp_path: Path) -> None:
    torch.save({"weight": torch.arange(4.0)[None]}, tmp_path / "linear.pt")
    assert load_head(f"local-dir:{tmp_path}/linear.pt", "none", "here").score(np.ones(4)) == 6.0


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('this ran')",)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("absent", lambda p: None, "there is no"),
        ("empty.pt", lambda p: p.write_bytes(b""), "cannot be read as weights"),
        ("text.safetensors", lambda p: p.write_bytes(b"hello"), "cannot be read as weights"),
        ("code.pt", lambda p: p.write_bytes(pickle.dumps(_Evil(), protocol=2)), "cannot be read as weights"),
        ("whole.pt", lambda p: torch.save([1, 2], p), "is no state dict"),
        ("two.pt", lambda p: torch.save({"weight": torch.ones(2, 3)}, p), "2 outputs"),
        ("conv.pt", lambda p: torch.save({"weight": torch.ones(1, 3, 3)}, p), "linear layers alone"),
        ("more.pt", lambda p: torch.save({"weight": torch.ones(1, 3), "scale": torch.ones(1)}, p), "scale belongs"),
        (
            "gap.pt",
            lambda p: torch.save({"0.weight": torch.ones(4, 3), "1.weight": torch.ones(1, 5)}, p),
            "4 outputs goes before one of 5",
        ),
        ("none.pt", lambda p: torch.save({}, p), "holds no layer"),
    ],
)
def test_what_is_no_head_is_told_in_one_line(
    tmp_path: Path, name: str, write: Callable[[Path], object], said: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=said) as error:
        load_head(f"local-dir:{tmp_path / name}", "none", "filters.aesthetic.weights")
    assert str(error.value).startswith("filters.aesthetic.weights: ") and "\n" not in str(error.value)


def test_both_score_the_target_and_their_limits_reject(
    desk: object, scene: Scene, tiny_clip: str, tmp_path: Path
) -> None:
    weights = saved(tmp_path / "head.pt", mlp(WIDTH, 8, 1))
    draft = desk.draft(scene(1), [(Role.SUBJECT, scene(2))], [("a red ball", ["x image_1"]), ("a sea", ["x image_1"])])  # type: ignore[attr-defined]

    def outcome(**limits: float) -> Draft | Rejection:
        aesthetic = {"weights": weights, "clip": tiny_clip, **{k: v for k, v in limits.items() if "aes" in k}}
        preference = {"weights": tiny_clip, **{k: v for k, v in limits.items() if "pref" in k}}
        built = build(FiltersConfig.model_validate({"aesthetic": aesthetic, "preference": preference}))
        assert built.score_names == ("aesthetic", "preference")
        return built.run([draft])[0]

    kept = outcome()
    assert isinstance(kept, Draft)
    model = ClipModel.load(tiny_clip)
    candidate = Candidate.of(draft)
    (target,) = model.image_embeddings([(draft.target.sha256, candidate.images.target_bytes)])
    assert kept.scores["aesthetic"] == pytest.approx(load_head(weights, "none", "").score(target), abs=1e-4)
    cosines = model.text_embeddings(["a red ball", "a sea"]) @ target
    assert kept.scores["preference"] == pytest.approx(100 * max(cosines), abs=1e-3)
    for name in ("aesthetic", "preference"):
        lost = outcome(**{f"min_{name}": kept.scores[name] + 0.01})
        assert isinstance(lost, Rejection) and lost.reason == name and lost.draft is not None
        assert isinstance(outcome(**{f"min_{name}": kept.scores[name]}), Draft)


def test_a_head_for_another_clip_is_refused_and_the_weights_shape_the_run(tiny_clip: str, tmp_path: Path) -> None:
    wide = saved(tmp_path / "wide.pt", mlp(768, 1))
    with pytest.raises(InputError, match=r"takes 768 numbers, and .* gives 32"):
        build(FiltersConfig.model_validate({"aesthetic": {"weights": wide, "clip": tiny_clip}}))
    with pytest.raises(ValueError, match="add clip"):
        FiltersConfig.model_validate({"aesthetic": {"weights": wide}})
    one, other = saved(tmp_path / "a.pt", mlp(WIDTH, 1)), saved(tmp_path / "b.pt", mlp(WIDTH, 4, 1))
    digests = [
        build(FiltersConfig.model_validate({"aesthetic": {"weights": w, "clip": tiny_clip}})).digest
        for w in (one, other, one)
    ]
    assert digests[0] == digests[2] != digests[1]


def test_weights_that_cannot_be_had_leave_a_note_and_reject_nothing(
    desk: object, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filters.weights import WeightsUnavailable

    def unavailable(*_: object) -> None:
        raise WeightsUnavailable("not here")

    monkeypatch.setattr(ClipModel, "load", unavailable)
    built = build(FiltersConfig.model_validate({"preference": {"weights": "ViT-B-32/openai", "min_preference": 90}}))
    assert built.notes == {"preference": "not computed: not here"} and built.score_names == ("preference",)
    assert isinstance(built.run([desk.draft(scene(1), [(Role.SUBJECT, scene(2))])])[0], Draft)  # type: ignore[attr-defined]


def test_weights_that_cannot_be_loaded_are_told_by_their_own_key(tmp_path: Path) -> None:
    weights = saved(tmp_path / "head.pt", mlp(WIDTH, 8, 1))
    nowhere = f"local-dir:{tmp_path}"
    for name, settings, key in (
        ("preference", {"weights": nowhere}, "weights"),
        ("aesthetic", {"weights": weights, "clip": nowhere}, "clip"),
    ):
        with pytest.raises(InputError, match=rf"^filters\.{name}\.{key}: local-dir:.*: there is no open_clip_config"):
            build(FiltersConfig.model_validate({name: settings}))
