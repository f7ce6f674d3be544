"""A configuration is read strictly; what is wrong is one line that names file, key and mend."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines import config as configs
from schemas.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, **changes: object) -> str:
    tree = yaml.safe_load((ROOT / "configs" / "toy.yaml").read_text())
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**tree, **changes}))
    return str(path)


SHIPPED = sorted(p.name for p in (ROOT / "configs").glob("*.yaml") if "dataset" in yaml.safe_load(p.read_text()))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_configuration_is_valid(name: str) -> None:
    loaded = configs.load(str(ROOT / "configs" / name))
    assert type(loaded) is configs.DATASETS[loaded.dataset]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sample": 5}, "sample: unknown key; did you mean samples?"),
        ({"samples": "many"}, "samples: must be a valid integer"),
        ({"samples": 0}, "samples: must be greater than or equal to 1, not 0"),
        ({"pool": None}, "pool: must be a valid string, not None"),
        ({"models": {"writer": {"provider": "offline"}, "drawer": {}}}, "models: 'drawer' is no role"),
        ({"models": {"writer": {"provider": "ofline"}}}, "models.writer.0.provider: 'ofline' is no provider"),
        ({"filters": {"clip": {"weight": "toy"}}}, "filters.clip.weight: unknown key; did you mean weights?"),
        ({"splits": {"train": 0}}, "splits"),
        ({"wording": {"style": {"poetic": 1}}}, "wording.style.poetic"),
        ({"output": {"image": {"format": "png"}}}, "output.image.format: must be 'jpeg', not 'png'"),
        ({"stress": {"share": 2}}, "stress.share: must be less than or equal to 1, not 2"),
        ({"paintings": 0}, "paintings: must be greater than or equal to 1, not 0"),
        ({"paintings": 17}, "paintings: must be less than or equal to 16, not 17"),
        ({"budget": {"usd": -1}}, "budget.usd: must be greater than 0, not -1"),
    ],
)
def test_a_wrong_value_is_one_line_with_file_and_key(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        configs.load(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: [", "line 1: not YAML"),
        ("dataset: realign\n  seed: 1\n", "line 2: not YAML"),
        ("- a\n", "a configuration is a mapping"),
        ("", "a configuration is a mapping"),
        ("dataset: pictures\n", "dataset: 'pictures' is not one of realign"),
        ("seed: 1\n", "dataset: is missing; write one of realign"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        configs.load(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: cannot be read"):
        configs.load(str(tmp_path / "nowhere.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.yaml: is not UTF-8"):
        configs.load(str(tmp_path / "binary.yaml"))


def test_settings_reach_inside_and_are_read_as_yaml(tmp_path: Path) -> None:
    settings = ["samples=7", "filters.clip.min_text=0.5", "tasks={add: 1}", "models.painter.in_flight=3", "ledger=a b"]
    loaded = configs.load(written(tmp_path), settings)
    assert loaded.samples == 7
    assert loaded.filters.clip is not None
    assert loaded.filters.clip.min_text == 0.5
    assert loaded.tasks == {"add": 1}
    assert loaded.models.painter[0].in_flight == 3
    assert loaded.ledger == "a b"


@pytest.mark.parametrize("setting", ["samples", "=5", "samples.x=1", "pool.a.b=1", "samples=[1"])
def test_a_setting_that_is_none_is_named(tmp_path: Path, setting: str) -> None:
    with pytest.raises(InputError) as caught:
        configs.load(written(tmp_path), [setting])
    assert setting in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("splits={train:1}", "YAML reads 'train:1' as one word; put a space in it: train: 1"),
        ("stress={share: 0.1, kinds: [{a:b}]}", "YAML reads 'a:b' as one word; put a space in it: a: b"),
        ("samples=many", "samples: must be a valid integer"),
        ("sampels=3", "sampels: unknown key; did you mean samples?"),
        ("models.painter.in_flight=none", "models.painter.0.in_flight: must be a valid integer"),
        ("filters.clip={weights: toy, min_text: high}", "filters.clip.min_text: must be a valid number"),
    ],
)
def test_what_a_setting_brought_in_is_said_of_the_setting(tmp_path: Path, setting: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        configs.load(written(tmp_path), ["seed=3", setting])
    assert str(caught.value).startswith(f"--set {setting}: {said}")


def test_what_the_file_says_is_said_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, samples="many")
    with pytest.raises(InputError) as caught:
        configs.load(path, ["seed=3", "tasks={add: 1}"])
    assert str(caught.value).startswith(f"{path}: samples: ")


def test_one_model_or_a_weighted_mix(tmp_path: Path) -> None:
    painters = [{"provider": "gemini", "model": "a", "weight": 3}, {"provider": "openai", "model": "b"}]
    models = {"writer": {"provider": "offline"}, "reasoner": {"provider": "offline"}, "painter": painters}
    loaded = configs.load(written(tmp_path, models=models))
    assert [m.weight for m in loaded.models.painter] == [3, 1]


def test_another_datasets_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="use `plumbline realign`"):
        configs.load(written(tmp_path), dataset="firm-edit")
