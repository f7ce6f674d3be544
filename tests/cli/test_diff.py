"""`plumbline diff` says what differs between two outputs, and nothing else."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.dataset import run as make_dataset
from cli.diff import run as diff
from schemas.errors import DamageError, InputError
from shards import diff as comparing
from shards.diff import Change, compare, spread_out
from tests.pipelines.conftest import ROOT, SETTINGS
from tests.servers.commands import plumbline

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`make(name, SETTING, ...)`: the small run of the toy world, in this process."""
    folder = tmp_path_factory.mktemp("diff")

    def made(name: str, *settings: str) -> Path:
        every = [*SETTINGS, f"ledger={folder / 'ledger'}", *settings]
        make_dataset("realign", str(ROOT / "configs" / "toy.yaml"), str(folder / name), every, 1, "1/1", "", [])
        return folder / name

    return made


@pytest.fixture(scope="module")
def plain(make: Make) -> Path:
    return make("plain")


@pytest.fixture(scope="module")
def asked_otherwise(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a reasoner's prompt that looks at the light first, as the toy reasoner then does."""
    text = (ROOT / "prompts" / "realign" / "reasoner.j2").read_text()
    prompt = tmp_path_factory.mktemp("prompt") / "reasoner.j2"
    prompt.write_text(text.replace("{name: colour,", "{name: light,", 1))
    return make("prompt", f"prompts.reasoner={prompt}")


@pytest.fixture(scope="module")
def stricter(make: Make) -> Path:
    """The same with a filter that lets less through."""
    return make("stricter", "filters.similarity.max_copy_paste=0.3")


def test_another_prompt_changes_what_it_asked_for_and_nothing_else(
    plain: Path, asked_otherwise: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare(str(plain), str(asked_otherwise))
    assert found.settings == []
    assert [change.key for change in found.prompts] == ["realign/reasoner"]
    assert (found.counts["instruction"], found.counts["target"], found.counts["scores"]) == (0, 0, 0)
    assert {kind for kinds in found.kinds.values() for kind in kinds} == {"reasonings", "record"}
    assert found.pair.only_a == found.pair.only_b == []
    assert len(found.pair.both) > 10
    diff(str(plain), str(asked_otherwise), 3)
    said = capsys.readouterr().out
    assert "realign/reasoner" in said and "realign/writer" not in said and "run.json" not in said
    assert f"{sum('reasonings' in kinds for kinds in found.kinds.values())}  other reasonings\n" in said
    assert said.count(": reasonings\n") >= 2
    assert "light" in said.partition("out_caption")[2]


def test_paintings_change_targets_and_are_the_one_setting_named(plain: Path, make: Make) -> None:
    found = compare(str(plain), str(make("two", "paintings=2", "filters.similarity.max_copy_paste=0.3")))
    assert found.settings[-1] == Change("paintings", None, 2)
    assert [c.key for c in found.settings] == [
        "filters.config.similarity.max_copy_paste",
        "filters.digest",
        "paintings",
    ]
    assert found.usage["offline"][1].calls + found.usage["offline"][1].ledger_hits > found.usage["offline"][0].calls
    assert found.counts["target"] == sum("target" in kinds for kinds in found.kinds.values())


def test_what_only_one_kept_is_shown_with_the_others_reason(
    plain: Path, stricter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare(str(plain), str(stricter))
    lost = len(found.pair.only_a)
    assert lost > 0 and found.pair.only_b == []
    assert found.alike == len(found.pair.both)
    a, b = found.reasons["copy_paste"]
    assert b - a == lost
    assert sum(one.kept - other.kept for one, other in found.tasks.values()) == lost
    _, spread = found.scores["copy_paste"]
    assert spread is not None and spread.high <= 0.3
    diff(str(plain), str(stricter), 1)
    said = capsys.readouterr().out
    assert "kept in one only" in said
    assert "B  rejected, filter: copy_paste (image_" in said
    assert f"{found.alike:,} are alike to the byte, 0 differ" in said
    diff(str(stricter), str(plain), 1)
    assert "A  rejected, filter: copy_paste" in capsys.readouterr().out


def test_alike_outputs_are_compared_without_their_tars(plain: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(plain, copy)
    for tar in (copy / "shards").glob("*.tar"):
        tar.unlink()
    found = compare(str(plain), str(copy))
    assert found.alike == len(found.pair.both) > 10
    assert (found.settings, found.prompts, found.read) == ([], [], [])
    assert spread_out(found, 10) == []


def test_another_seed_has_no_common_plan_and_says_so(
    plain: Path, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    diff(str(plain), str(make("seed", "seed=8")), 10)
    said = capsys.readouterr().out
    assert "planning.seed" in said
    assert "There is no common plan" in said
    assert "kept share by task" in said


def test_an_unfinished_output_is_compared_as_far_as_it_goes(
    plain: Path, asked_otherwise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "part"
    shutil.copytree(plain, part)
    (part / "manifest.json").unlink()
    lost = sorted((part / "shards").glob("train-*.parquet"))[0]
    lost.unlink()
    diff(str(part), str(asked_otherwise), 2)
    said = capsys.readouterr().out
    assert f"unfinished: 1 of 7 shards are not finished ({lost.stem})" in said
    assert "plans: 20 in both, 0 only in A, 4 only in B" in said


def test_the_samples_are_spread_over_the_kinds_and_the_same_each_time(
    stricter: Path, asked_otherwise: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare(str(stricter), str(asked_otherwise))
    shown = spread_out(found, 3)
    assert shown == spread_out(found, 3) == spread_out(found, 10)[:3]
    assert any(key in found.pair.only_b for key in shown)
    assert any("reasonings" in found.kinds.get(key, ()) for key in shown)
    assert spread_out(found, 0) == []
    outputs = []
    for _ in range(2):
        diff(str(stricter), str(asked_otherwise), 4)
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_of_many_samples_a_part_is_read_and_the_line_says_so(
    plain: Path, asked_otherwise: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(comparing, "MOST_READ", 3)
    diff(str(plain), str(asked_otherwise), 10)
    said = capsys.readouterr().out
    assert "other reasonings of 3 read" in said
    assert said.count("\n  instruction ") == 3


def test_on_a_terminal_it_is_tables(
    plain: Path, asked_otherwise: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    diff(str(plain), str(asked_otherwise), 1)
    said = capsys.readouterr().out
    assert "│" in said and "the same" in said and "realign/reasoner" in said


def test_bad_folders_are_one_line(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json: there is no such file"):
        compare(str(plain), str(tmp_path))
    with pytest.raises(InputError, match="both folders are the same"):
        compare(str(plain), f"{plain}/")
    (tmp_path / "link").symlink_to(plain)
    with pytest.raises(InputError, match="both folders are the same"):
        compare(str(plain), str(tmp_path / "link"))
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(plain / "run.json", begun)
    with pytest.raises(InputError, match="no shard is finished yet"):
        compare(str(plain), str(begun))
    done = plumbline("diff", str(plain), str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("plumbline: ") and done.stderr.count("\n") == 1


def test_a_finished_run_without_one_of_its_indexes_is_damage(plain: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(plain, tmp_path / "copy"))
    lost = sorted((copy / "shards").glob("*.parquet"))[0]
    lost.unlink()
    with pytest.raises(DamageError, match=rf"{lost.name}: is missing, though manifest\.json says"):
        compare(str(plain), str(copy))


def test_a_damaged_index_is_named(plain: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(plain, copy)
    index = sorted((copy / "shards").glob("*.parquet"))[0]
    index.write_bytes(index.read_bytes()[:-20])
    with pytest.raises(DamageError, match=index.name):
        compare(str(plain), str(copy))
