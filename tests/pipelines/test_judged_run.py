"""Runs whose survivors are judged: OmniContextScore, safety and the critic together, by a server's answers."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cli.calibrate import run as calibrate
from pipelines.config import load
from pipelines.estimate import Sampled, estimate
from pipelines.shown import ShownImages
from schemas.errors import ImageError, InputError
from tests.pipelines.test_network_run import KEY, config_of, run
from tests.servers.running import PracticeServer

OFFLINE = {"provider": "offline"}
CONTEXT = ("omnicontext_pf", "omnicontext_sc", "omnicontext")


@pytest.fixture(scope="module")
def served() -> Iterator[PracticeServer]:
    with PracticeServer() as server:
        yield server


@pytest.fixture
def server(served: PracticeServer, monkeypatch: pytest.MonkeyPatch) -> PracticeServer:
    served.reset()
    monkeypatch.setenv("PRACTICE_KEY", KEY)
    return served


def config(folder: Path, server: PracticeServer, filters: dict[str, Any]) -> Path:
    judge = {"provider": "openai", "model": "practice", "base_url": server.openai, "api_key_env": "PRACTICE_KEY"}
    models = {**dict.fromkeys(("writer", "reasoner", "painter"), OFFLINE), "describer": judge, "judge": judge}
    return config_of(folder, models, filters=filters, reasonings=1)


def rows_of(out: Path, folder: str) -> list[dict[str, Any]]:
    return [row for file in sorted((out / folder).glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_survivors_are_judged_in_one_step_and_a_rerun_pays_nothing(server: PracticeServer, tmp_path: Path) -> None:
    filters = {
        "omnicontext": {"min_pf": 2, "min_sc": None},
        "safety": {"reject": ["hate"]},
        "critic": {"min_execution": 2, "min_consistency": 1},
    }
    path = config(tmp_path, server, filters)
    manifest = run(path, tmp_path / "a")
    kept, lost = rows_of(tmp_path / "a", "shards"), rows_of(tmp_path / "a", "rejects")
    judged = [row for row in lost if row["stage"] == "judge"]
    reasons = Counter(row["reason"] for row in judged)
    assert kept and set(reasons) <= {"safety_hate", "omnicontext_pf", "critic_execution"} and reasons["safety_hate"]
    for row in kept:
        assert row["omnicontext_pf"] >= 2 and row["safety_hate"] == 0 and row["safety_crime"] in (0, 1)
        assert row["omnicontext"] == pytest.approx((row["omnicontext_pf"] * row["omnicontext_sc"]) ** 0.5, abs=1e-4)
    for row in judged:  # whoever was rejected first was asked nothing more
        assert ("omnicontext" in json.loads(row["scores"])) is (row["reason"] != "safety_hate")
        assert row["draft"]
    with tarfile.open(next((tmp_path / "a" / "shards").glob("*.tar"))) as tar:
        first = json.load(tar.extractfile(next(m for m in tar if m.name.endswith(".json"))))  # type: ignore[arg-type]
    assert {*CONTEXT, "safety_minors", "critic_execution"} <= set(first["scores"])
    assert {"safety/verdict", "omnicontext/prompt_following"} <= set(manifest["prompts"])
    asked = server.stats()["requests"]
    again = run(path, tmp_path / "b")
    assert server.stats()["requests"] == asked and again["counts"] == manifest["counts"]

    calibrate(str(tmp_path / "a"), 0.2, ["omnicontext_pf"], True, None, "f1")


def test_a_run_without_these_filters_has_neither_their_columns_nor_their_roles(
    server: PracticeServer, tmp_path: Path
) -> None:
    run(config(tmp_path, server, {}), tmp_path / "a")
    assert not server.stats()["requests"]
    assert not {*CONTEXT, "safety_hate"} & set(rows_of(tmp_path / "a", "shards")[0])


def test_an_estimate_counts_every_judge(server: PracticeServer, tmp_path: Path) -> None:
    calls = {}
    for name, filters in {"both": {"omnicontext": {}, "safety": {}}, "one": {"omnicontext": {}}}.items():
        path = str(config(tmp_path, server, filters))
        found = estimate(Sampled(load(path), path))
        calls[name] = next(row.calls.expected for row in found.rows if row.role == "judge")
    assert calls["both"] == pytest.approx(1.5 * calls["one"]) and not server.stats()["requests"]


@pytest.mark.parametrize("name", ["omnicontext", "safety"])
def test_the_offline_judge_has_no_rules_for_them(name: str, tmp_path: Path) -> None:
    models = dict.fromkeys(("writer", "reasoner", "painter", "judge"), OFFLINE)
    path = config_of(tmp_path, models, filters={name: {}})
    with pytest.raises(InputError, match=rf"run.yaml: models.judge.provider: offline has no rules for filters.{name};"):
        run(path, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_an_image_is_resized_once_and_kept_among_the_blobs(tmp_path: Path) -> None:
    import hashlib

    from annotators.blobs import Blobs
    from schemas.references import ImageRef
    from storage import images
    from tests.pipelines.firm_made import drawn

    file = tmp_path / drawn(tmp_path / "a.png", (10, 10, 90, 70), size=(160, 120))
    data = file.read_bytes()
    image = ImageRef(
        uri=str(file), sha256=hashlib.sha256(data).hexdigest(), width=160, height=120, media_type="image/png"
    )
    shown = ShownImages(Blobs(str(tmp_path / "blobs")))
    assert shown(image, (160, 120)) is image
    small = shown(image, (80, 64))
    assert images.decode(Path(small.uri).read_bytes()).size == (80, 64) == (small.width, small.height)
    file.unlink()
    assert shown(image, (80, 64)) == small
    with pytest.raises(ImageError):
        shown(image, (64, 64))
