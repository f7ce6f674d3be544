"""The file of metrics is what Prometheus reads: whole at any moment, named by its rules, and without secrets.

That of a run by workers: tests/pipelines/test_workers.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli.metrics_file import MetricsFile, check
from schemas.errors import InputError

NUMBERS = {
    "done": 40.0,
    "under_way": 7.0,
    "shards": 2.0,
    "kept": 30.0,
    "rejected": 10.0,
    **{
        f"{name}@models.{role}": value
        for role, scale in (("writer@gemini-2.5-pro", 1), ('painter@odd "name"\\\n', 2))
        for name, value in {
            "answers": 50 * scale,
            "throttled": 3,
            "tokens_in": 1000,
            "tokens_out": 500,
            "usd": 0.25,
            "in_flight": 5,
            "window": 32,
            "throttled_seconds": 1.5,
        }.items()
    },
}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(path: Path) -> tuple[Samples, dict[str, str]]:
    """({(name, labels): value}, {family: type}) of a file, by Prometheus' own reader."""
    families = list(text_string_to_metric_families(path.read_text()))
    samples = {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
    return samples, {family.name: family.type for family in families}


def value(samples: Samples, name: str, **labels: str) -> float:
    found = [v for (n, given), v in samples.items() if n == name and set(labels.items()) <= given]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def test_counts_of_models_and_of_the_run(tmp_path: Path) -> None:
    file = MetricsFile(str(tmp_path / "m.prom"), "ab12", "realign", 100)
    file.close(NUMBERS, 3)
    samples, _ = read(tmp_path / "m.prom")
    writer = {"lane": "models.writer", "model": "gemini-2.5-pro", "run": "ab12"}
    assert value(samples, "plumbline_answers_total", **writer) == 50
    assert value(samples, "plumbline_answers_total", lane="models.painter", model='odd "name"\\\n') == 100
    assert value(samples, "plumbline_tokens_total", **writer, direction="in") == 1000
    assert value(samples, "plumbline_tokens_total", **writer, direction="out") == 500
    assert value(samples, "plumbline_throttled_total", **writer) == 3
    assert value(samples, "plumbline_usd_total", **writer) == 0.25
    assert value(samples, "plumbline_paused_seconds_total", **writer) == 1.5
    assert value(samples, "plumbline_in_flight", **writer) == 5
    assert value(samples, "plumbline_window", **writer) == 32
    assert value(samples, "plumbline_plans_total", run="ab12") == 40
    assert value(samples, "plumbline_planned_samples") == 100
    assert value(samples, "plumbline_samples_total", outcome="kept") == 30
    assert value(samples, "plumbline_running") == 0
    assert value(samples, "plumbline_exit_code") == 3
    assert value(samples, "plumbline_run_info", dataset="realign") == 1


def test_names_follow_prometheus_rules(tmp_path: Path) -> None:
    MetricsFile(str(tmp_path / "m.prom"), "ab12", "realign", 100).close(NUMBERS, 0)
    _, types = read(tmp_path / "m.prom")
    text = (tmp_path / "m.prom").read_text()
    for family, kind in types.items():
        assert re.fullmatch(r"plumbline_[a-z_]+", family)
        name = f"{family}_total" if kind == "counter" else family
        assert f"# HELP {name} " in text and f"# TYPE {name} {kind}" in text
        assert kind in ("counter", "gauge")
        assert not name.endswith(("_ms", "_minutes", "_milliseconds"))
    assert types["plumbline_answers"] == "counter" and types["plumbline_window"] == "gauge"


def test_the_file_is_there_from_the_start_and_no_half_of_it_ever(tmp_path: Path) -> None:
    path = tmp_path / "m.prom"
    file = MetricsFile(str(path), "ab12", "realign", 100)
    assert value(read(path)[0], "plumbline_running") == 1
    before = path.stat().st_ino
    file.show(NUMBERS)
    assert path.stat().st_ino == before, "written again within a moment"
    file.close(NUMBERS, 0)
    assert path.stat().st_ino != before, "written in place, not renamed"
    assert [p.name for p in tmp_path.iterdir()] == ["m.prom"]


def test_a_file_that_breaks_costs_metrics_and_not_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    file = MetricsFile(str(folder / "m.prom"), "ab12", "realign", 100)
    (folder / "m.prom").unlink()
    folder.rmdir()
    file.close(NUMBERS, 0)
    file.close(NUMBERS, 0)
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_a_folder_that_is_missing_is_made_and_one_in_the_way_is_refused(tmp_path: Path) -> None:
    check(str(tmp_path / "a" / "b" / "m.prom"))
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(InputError, match="cannot be written"):
        check(str(tmp_path))
