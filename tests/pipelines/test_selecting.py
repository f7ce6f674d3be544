"""`plumbline select`: other samples of a finished run, and rejected ones as a lower threshold would have kept them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from annotators.blobs import Blobs
from annotators.ledger import open_ledger
from cli import main
from filters.balance import BalanceConfig
from pipelines.rows import refused
from pipelines.selecting import Asked, select, write_selected
from schemas.draft import ErrorClass, Source
from schemas.errors import DamageError, InputError
from schemas.judgements import Dimension
from schemas.labels import EditLabel, PairPlan, Rewrite
from schemas.references import ImageRef
from shards.commit import write_shard
from shards.copying import selection_of
from shards.manifest import read_run, write_manifest, write_run
from shards.names import ShardName
from shards.reader import Reader, Sample, read_samples
from shards.rejects import rejections
from shards.scores import histograms
from shards.verify import verify
from storage import paths
from tests.pipelines.conftest import ROOT, run
from tests.shards import labelled
from tests.shards.labelled import write_labelled
from tests.shards.made import jpeg

FILTERS = "filters={{clip: {{weights: toy, min_text: {}}}, similarity: {{}}}}"
HIGH, LOW = 0.62, 0.5


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The same plans under a high and under a low threshold, and their ledger."""
    folder = tmp_path_factory.mktemp("thresholds")
    for name, limit in (("high", HIGH), ("low", LOW)):
        settings = ["samples=16", "output.shard_samples=6", "reasonings=2", "splits={train: 0.75, test: 0.25}"]
        settings += [FILTERS.format(limit), f"ledger={folder / 'ledger'}"]
        words = ["realign", str(ROOT / "configs" / "toy.yaml"), "--out", str(folder / name)]
        main.app([*words, *(part for one in settings for part in ("--set", one))], standalone_mode=False)
    return folder / "high", folder / "low", folder / "ledger"


def samples(out: Path | str) -> dict[str, Sample]:
    return {s.id: s for split in ("train", "test") for s in Reader(str(out), split)} if _two(out) else _train(out)


def _two(out: Path | str) -> bool:
    return read_run(str(out))[1]["shards"].get("test", 0) > 0


def _train(out: Path | str) -> dict[str, Sample]:
    return {s.id: s for s in read_samples(str(out))}


def test_a_lowered_threshold_gives_what_a_run_with_it_gives(runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    high, low, _ = runs
    selected = select(str(high), Asked(f"clip_text >= {LOW}", rejected=True))
    write_selected(str(high), str(tmp_path / "out"), selected)
    assert verify(str(tmp_path / "out")) == []
    before, wanted, found = samples(high), samples(low), samples(tmp_path / "out")
    back = set(found) - set(before)
    assert back and back == set(selected.back.ids)
    assert set(found) == set(wanted)
    assert {key: found[key] for key in back} == {key: wanted[key] for key in back}, "its dropped reasonings stay out"
    assert {key: found[key] for key in before} == before, "what was kept is copied as it is"


def test_what_never_became_a_sample_and_what_has_no_score_are_counted(runs: tuple[Path, Path, Path]) -> None:
    high, _, _ = runs
    rows = [row for _, row in rejections(str(high))]
    back = select(str(high), Asked("clip_text > -1", rejected=True)).back
    filtered = sum(row["class"] == "filtered" for row in rows)
    assert back.rejected == len(rows) and back.without_draft == len(rows) - filtered
    assert back.unscored == filtered - len(back.ids) and not back.lost
    early = [row for row in rows if row["class"] == "filtered" and row["reason"] in ("no_op", "copy_paste")]
    assert back.unscored == len(early), "similarity is cheaper than CLIP and comes first"


def test_reasons_may_be_asked_about(runs: tuple[Path, Path, Path]) -> None:
    high, _, _ = runs
    found = select(str(high), Asked('reason in ("clip_text", "no_op")', rejected=True))
    assert not found.kept and found.back.ids
    assert select(str(high), Asked('reason == ""', rejected=True)).ids == select(str(high), Asked("id != ''")).ids
    with pytest.raises(InputError, match="no column `reason`"):
        select(str(high), Asked('reason == ""'))


def test_what_cannot_come_back_is_named(runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A target that is gone from the ledger, found again in another one, and one whose bytes are others now."""
    high, _, ledger = runs
    asked = Asked(f"clip_text >= {LOW}", rejected=True)
    whole = select(str(high), asked)
    sample = next(s for part in whole.back.samples.values() for s in part)
    assert sample.draft is not None
    blob, moved = Path(sample.draft.target.uri), tmp_path / "elsewhere"
    data = blob.read_bytes()
    opened = open_ledger(str(moved))
    opened.close()
    opened.blobs.put(data, sample.draft.target.media_type)
    try:
        blob.unlink()
        lost = select(str(high), asked).back
        assert list(lost.lost) == [sample.id] and lost.lost[sample.id] == f"{blob} is not there"
        assert set(lost.ids) == set(whole.back.ids) - {sample.id}
        found = select(str(high), asked, Blobs(opened.blobs.folder))
        assert found.back.ids == whole.back.ids
        write_selected(str(high), str(tmp_path / "found"), found)
        assert sample.id in samples(tmp_path / "found")
        blob.write_bytes(jpeg(3))
        manifest = write_selected(str(high), str(tmp_path / "changed"), select(str(high), asked))
        assert manifest["rejected_by_reason"] == {"changed": 1}
        assert [row["id"] for _, row in rejections(str(tmp_path / "changed"))] == [sample.id]
        assert verify(str(tmp_path / "changed")) == []
    finally:
        blob.write_bytes(data)
    assert ledger.exists()


def test_the_same_selection_has_the_same_bytes(runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    high, _, _ = runs
    for name in ("one", "other"):
        found = select(str(high), Asked(f"clip_text >= {LOW}", rejected=True))
        write_selected(str(high), str(tmp_path / name), found, 5)
    trees = [
        {n: paths.sha256_file(str(tmp_path / name / n)) for n in paths.list_files(str(tmp_path / name))}
        for name in ("one", "other")
    ]
    assert trees[0] == trees[1]
    note = selection_of(read_run(str(tmp_path / "one"))[1])["note"]
    assert note == {"where": f"clip_text >= {LOW}", "rejected": True}


@pytest.fixture
def labels(tmp_path: Path) -> str:
    write_labelled(str(tmp_path / "labels"))
    return str(tmp_path / "labels")


def test_ids_and_a_condition_and_a_balance_are_all_met(labels: str, tmp_path: Path) -> None:
    every = select(labels, Asked("id != ''")).ids
    some = frozenset(every[::2])
    found = select(labels, Asked('score >= 4 and split == "train"', ids=some))
    assert set(found.ids) <= some and found.total == 96 and found.ids
    assert all(
        s.json["score"] >= 4 and s.json["split"] == "train" for s in samples(labels).values() if s.id in found.ids
    )
    even = select(labels, Asked("tries is not None", balance=BalanceConfig(execution="uniform")))
    write_selected(labels, str(tmp_path / "even"), even)
    shape = histograms(str(tmp_path / "even"))["execution"]
    assert len(set(shape.values())) == 1
    assert len(select(labels, Asked(ids=some)).ids) == len(some)


def test_a_selection_of_a_selection_has_the_settings_of_its_run(
    runs: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    write_selected(str(runs[0]), first, select(str(runs[0]), Asked("clip_text > 0")))
    write_selected(first, second, select(first, Asked("clip_text > 0")))
    assert select(second, Asked("clip_text > 0", rejected=True)).back.rejected == 0

    monkeypatch.setattr(labelled, "RUN", {**labelled.RUN, "planning": {"seed": 41}})
    run, first, second = (str(tmp_path / name) for name in ("run", "of_run", "of_selection"))
    labelled.write_labelled(run)
    write_selected(run, first, select(run, Asked("score > 0")))
    write_selected(first, second, select(first, Asked("score > 0")))
    even = Asked("score > 0", balance=BalanceConfig(execution="uniform"))
    assert [select(out, even).note["seed"] for out in (run, first, second)] == [41] * 3


def test_a_row_of_critic_labels_comes_back(tmp_path: Path) -> None:
    """One whose score was beyond what its rewriting allows, kept with its label."""
    refs = []
    for i in range(2):
        file = tmp_path / f"{i}.jpg"
        file.write_bytes(jpeg(i, 64))
        refs.append(
            ImageRef(uri=str(file), sha256=paths.sha256_file(str(file)), width=64, height=64, media_type="image/jpeg")
        )
    pair: dict[str, Any] = {"id": "p1", "source": refs[0], "edited": refs[1], "instruction": "Make it red."}
    plan = PairPlan(id="ab" * 16, ordinal=3, seed=1, input_id="p1", pair=pair, rewrites=(Rewrite.OPPOSITE,))  # type: ignore[arg-type]
    label = EditLabel(
        id=plan.row_id(Rewrite.OPPOSITE, Dimension.EXECUTION),
        dimension=Dimension.EXECUTION,
        score=4,
        reasoning="It is red.",
        student_prompt="Score it.",
        student_answer="4",
        provenance={"judge": Source(model="offline")},
        pair=pair,  # type: ignore[arg-type]
        instruction="Make it blue.",
        rewrite=Rewrite.OPPOSITE,
        report={"obvious": "- None.", "detailed": "- None."},  # type: ignore[arg-type]
    )
    gone = refused(
        plan, "judge", "label_conflict", "beyond", Rewrite.OPPOSITE, Dimension.EXECUTION, ErrorClass.FILTERED, label
    )
    out = str(tmp_path / "out")
    from pipelines.firm_session import COLUMNS

    run_hash = write_run(out, {"dataset": "firm-edit", "shards": {"train": 1}, "output": {"shard_samples": 8}})
    write_shard(out, ShardName("train", 0, 1), [], [gone], run_hash=run_hash, planned=1, columns=COLUMNS["firm-edit"])
    write_manifest(out)
    found = select(out, Asked('reason == "label_conflict" and score > 3 and rewrite == "opposite"', rejected=True))
    write_selected(out, str(tmp_path / "back"), found)
    assert verify(str(tmp_path / "back")) == []
    (back,) = read_samples(str(tmp_path / "back"))
    assert back.json == json.loads(json.dumps(label.to_json("train"))) and set(back.images) == {"image_1", "image_2"}
    assert not select(out, Asked("score > 4", rejected=True)).ids


def plumbline(*words: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "cli.main", "select", *words])


def test_the_command_says_and_writes_what_it_found(labels: str, tmp_path: Path) -> None:
    chosen, ids = str(tmp_path / "chosen"), str(tmp_path / "ids.txt")
    done = plumbline(labels, "--where", "score <= 2", "--out", chosen, "--write-ids", ids)
    assert done.returncode == 0, done.stderr
    assert f"{labels}: 18 of 96 samples" in done.stdout and f"{chosen}: 18 samples" in done.stdout
    assert sorted(Path(ids).read_text().split()) == sorted(samples(chosen))
    assert verify(chosen) == []
    again = plumbline(labels, "--ids", ids, "--out", str(tmp_path / "again"))
    assert again.returncode == 0 and set(samples(tmp_path / "again")) == set(samples(chosen))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where", "exit(3)"], r"--where: `exit\(3\)` is a call"),
        (["--where", "scor > 3"], "no column `scor`; did you mean score"),
        (["--where", " "], "--where: is empty"),
        ([], "say what to choose"),
        (["--where", "score > 9", "--out", "OUT"], "dest: not written: no sample of .* is chosen"),
        (["--where", "score > 9", "--write-ids", "ids.txt"], r"ids\.txt: not written: no sample of .* is chosen"),
        (["--where", "score > 1", "--write-ids", "deep/ids.txt"], "deep/ids.txt: there is no folder deep; make it"),
        (["--where", "score > 1", "--out", "OUT", "--write-ids", "deep/ids.txt"], "there is no folder deep"),
        (["--where", "score > 1", "--out", "IN"], "IN: lies inside .*, which is chosen from; choose another --out"),
        (["--ids", "nothing.txt"], "nothing.txt: there is no such file"),
        (["--ids", "bad.txt"], "bad.txt: line 2: 'two words' is no id"),
        (["--ids", "unknown.txt"], "--ids: 'abc' is not in the shards"),
        (["--ids", "unknown.txt", "--where", "score > 1"], "--ids: 'abc' is not in the shards"),
        (["--ids", "unknown.txt", "--include-rejected"], "--ids: 'abc' is not in the shards and what can"),
        (["--ids", "unknown.txt", "--include-rejected", "--where", "score > 1"], "--ids: 'abc' is not in the shards"),
        (["--balance", "looks=uniform"], "--balance: looks: unknown key"),
        (["--balance", "execution"], "--balance execution: write it as DIMENSION=SHAPE"),
        (["--balance", "quality=uniform"], "--balance quality: .* has no such dimension; it has "),
    ],
)
def test_what_the_user_must_mend_is_one_line_and_nothing_is_written(
    labels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    (tmp_path / "bad.txt").write_text("one\ntwo words\n")
    (tmp_path / "unknown.txt").write_text("abc\n")
    monkeypatch.chdir(tmp_path)
    places = {"OUT": str(tmp_path / "dest"), "IN": f"{labels}/deep/IN"}
    with pytest.raises(InputError, match=message) as caught:
        main.app(["select", labels, *(places.get(word, word) for word in words)], standalone_mode=False)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    there = (tmp_path / "dest", tmp_path / "ids.txt", tmp_path / "deep", Path(labels) / "deep")
    assert not any(place.exists() for place in there)


def test_only_critic_labels_are_balanced(runs: tuple[Path, Path, Path]) -> None:
    with pytest.raises(InputError, match=r"--balance: .* has no critic labels"):
        select(str(runs[0]), Asked(balance=BalanceConfig(execution="uniform")))


def test_a_missing_index_is_damage_where_the_run_is_finished(labels: str, tmp_path: Path) -> None:
    lost = sorted((Path(labels) / "shards").glob("*.parquet"))[1]
    lost.unlink()
    done = plumbline(labels, "--where", "score <= 2", "--out", str(tmp_path / "chosen"))
    assert done.returncode == 4 and not (tmp_path / "chosen").exists()
    assert done.stderr.splitlines() == [
        f"plumbline: {lost}: is missing, though manifest.json says that the run is finished; run `verify`"
    ]
    (Path(labels) / "manifest.json").unlink()
    assert plumbline(labels, "--where", "score <= 2").returncode == 2


def test_damaged_rejects_are_named(runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    import shutil

    own = Path(shutil.copytree(runs[0], tmp_path / "own"))
    file = next((own / "rejects").iterdir())
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(DamageError, match=re.escape(file.name)):
        select(str(own), Asked("clip_text > 0", rejected=True))


def test_the_examples_of_the_page_hold(
    runs: tuple[Path, Path, Path], labels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of docs/select.md, in order, over a Re-Align output and one of critic labels."""
    (tmp_path / "realign").symlink_to(runs[0])
    (tmp_path / "firm-edit").symlink_to(labels)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "select.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in _lines(block)]
    assert len(commands) >= 5
    for line in commands:
        words = shlex.split(line, comments=True)
        assert words[0] == "plumbline"
        main.app(words[1:], standalone_mode=False)
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "docs/select.md", "exec"), {})


def _lines(block: str) -> list[str]:
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]
