"""SFT: what it learns from, that it goes on bit for bit, and that whatever ends it is one line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from schemas.errors import InputError, StoppedError
from schemas.iccot import ICCoT
from shards.reader import Reader
from storage.objects import StoreError
from tests.training.conftest import ROOT, TINY, made, metrics, sft_config
from training import checkpoint, sft
from training import running as running_module
from training.backbone import Context, Prompt
from training.data import Batches, reader_of
from training.evaluating import held_out_set
from training.examples import Example
from training.processes import Processes
from training.sft import SFTRun, chosen, free_form, length_of, train, understanding_losses
from training.truth import is_true, out_caption


def quiet(line: str) -> None:
    """Nobody listens."""


def weights(out: Path | str) -> dict[str, torch.Tensor]:
    address = checkpoint.last(str(out))
    assert address is not None
    found = checkpoint.load(address)
    return {**found["weights"], **{f"best {name}": value for name, value in found["best"].items()}}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def part_of(data: str, part: Any, *, seed: int | None = 3, **more: Any) -> Reader:
    return reader_of(sft_config(data, Path("out"), **more), part, side=16, seed=seed)


def test_the_parts_of_the_data_are_disjoint_and_together_all(toy_data: str) -> None:
    parts = [[one.id for one in part_of(toy_data, part)] for part in ("sft", "rl", "test")]
    assert all(parts) and len(set().union(*parts)) == sum(map(len, parts))
    everything = [one.id for one in part_of(toy_data, "sft", held_out={"rl": 0, "test": 0})]
    assert set(everything) == set().union(*parts)


def test_tasks_and_references_narrow_every_part_and_one_that_is_not_there_is_refused(
    toy_data: str, tmp_path: Path
) -> None:
    for part in ("sft", "rl", "test"):
        every = list(part_of(toy_data, part, seed=None))
        task = every[0].json["task"]
        some = part_of(toy_data, part, seed=None, tasks=[task])
        assert {one.id for one in some} == {one.id for one in every if one.json["task"] == task} != set()
        assert some.samples < len(every)
        few = part_of(toy_data, part, seed=None, max_references=2)
        assert {one.id for one in few} == {one.id for one in every if len(one.json["references"]) <= 2}
        assert few.samples < len(every)
    with pytest.raises(InputError, match=r"tasks: .* has no sample of juggle; it has add, "):
        train(sft_config(toy_data, tmp_path / "out", tasks=["juggle"]), quiet)


def test_splits_of_the_output_come_before_shares(tmp_path: Path) -> None:
    out = made(tmp_path, samples=30, splits={"train": 0.6, "rl": 0.2, "test": 0.2})
    for part, split in (("sft", "train"), ("rl", "rl"), ("test", "test")):
        reader = part_of(out, part, seed=None)
        assert {one.json["split"] for one in reader} == {split}


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 5), st.integers(0, 11), st.booleans())
def test_batches_give_each_sample_once_an_epoch_and_resume_anywhere(
    toy_data: str, size: int, taken: int, keep: bool
) -> None:
    def fresh() -> Batches:
        return Batches(part_of(toy_data, "sft"), size, length_of, keep=keep)

    batches, per_epoch = iter(fresh()), fresh().reader.samples // size
    given_ = [next(batches) for _ in range(per_epoch + 3)]
    first = [one.prompt.id for epoch, batch in given_ if epoch == 0 for one in batch]
    assert len(first) == len(set(first)) == per_epoch * size
    begun = fresh()
    running = iter(begun)
    for _ in range(min(taken, per_epoch + 2)):
        next(running)
    again = fresh()
    again.load_state_dict(begun.state_dict())
    epoch, batch = next(iter(again))
    wanted = given_[min(taken, per_epoch + 2)]
    assert (epoch, [one.prompt.id for one in batch]) == (wanted[0], [one.prompt.id for one in wanted[1]])


def test_decoding_ahead_or_keeping_changes_nothing(toy_data: str) -> None:
    def run(**more: Any) -> list[str]:
        batches = iter(Batches(part_of(toy_data, "sft"), 4, length_of, **more))
        return [one.prompt.id for _ in range(9) for one in next(batches)[1]]

    assert run() == run(keep=True) == run(workers=1)


def test_every_reasoning_is_used_in_turn(toy_data: str, tmp_path: Path) -> None:
    batches = Batches(part_of(toy_data, "sft"), 4, length_of)
    one = next(example for _, batch in batches for example in batch if len(set(example.reasonings)) > 1)
    config = sft_config(toy_data, tmp_path)
    assert {chosen(one, epoch, config) for epoch in range(2)} == set(one.reasonings)
    first = config.model_copy(update={"reasonings": "first"})
    assert {chosen(one, epoch, first) for epoch in range(4)} == {one.reasonings[0]}
    assert chosen(None, 0, config) == "" == chosen(one, 0, config.model_copy(update={"form": "none"}))
    free = chosen(one, 0, first.model_copy(update={"form": "free"}))
    count = len(one.prompt.images)
    assert free == free_form(one.reasonings[0], count) and "<" not in free
    assert ICCoT.parse(one.reasonings[0], count).out_caption.rstrip(".") in free


def test_references_are_described_and_samples_reasoned_about_in_turn(tmp_path: Path) -> None:
    class Said:
        """Keeps what it is asked, and gives every token the probability 1/e."""

        def encode(self, prompts: list[Prompt], reasonings: list[str]) -> Context:
            asked.extend((prompt.text, prompt.images, text) for prompt, text in zip(prompts, reasonings, strict=True))
            there = torch.ones(len(prompts), 3, dtype=torch.bool)
            return Context(None, -torch.ones(len(prompts), 3), there)

    config = sft_config("", tmp_path)
    images = tuple(torch.full((3, 4, 4), number, dtype=torch.uint8) for number in range(2))
    record = {"references": [{"caption": "a red star"}, {"caption": ""}]}
    one = Example(Prompt("one", "<image_1> <image_2> Both.", images), ("because", "thus"), images[0], record)
    asked: list[tuple[str, Any, str]] = []
    losses = [
        tuple(map(float, understanding_losses(Said(), [one], epoch, config)))  # type: ignore[arg-type]
        for epoch in range(8)
    ]
    assert sorted(losses[:4]) == [(0, 0), (0, 1), (0, 1), (1, 0)], "the second reference has nothing to tell"
    assert losses[4:] == losses[:4]
    described = [(shown, text) for prompt, shown, text in asked if prompt == "<image_1>"]
    assert [text for _, text in described] == ["a red star"] * 2 and torch.equal(described[0][0][0], images[0])
    assert {text for prompt, _, text in asked if prompt == one.prompt.text} == {"because", "thus"}


def test_no_caption_is_held_to_what_a_painter_got_wrong(toy_data: str, tmp_path: Path) -> None:
    held = held_out_set(sft_config(toy_data, tmp_path, held_out={"rl": 0, "test": 0.9}, eval_samples=500), 16)
    right, wrong = 0, 0
    for one, picture in zip(held.examples, held.shown, strict=True):
        captions = [ICCoT.parse(text, len(one.prompt.images)).out_caption for text in one.reasonings]
        right += picture is not None and all(is_true(caption, picture) for caption in captions)
        wrong += picture is None
    assert right == len(held.drawn) > 0 and wrong > 0


def test_a_run_learns_and_leaves_metrics_checkpoints_and_grids(toy_data: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(
        sft_config(toy_data, out, steps=30, optimiser={"lr": 5e-3, "warmup": 2}, evaluate=15, save=10, understand=1),
        quiet,
    )
    lines = metrics(out)
    losses = [line for line in lines if "ce" in line]
    assert [line["step"] for line in losses] == list(range(1, 31))
    assert losses[-1]["ce"] < 0.7 * losses[0]["ce"]
    assert losses[-1]["ce_described"] < 0.7 * losses[0]["ce_described"]
    evaluated = [line for line in lines if "out_caption_accuracy" in line]
    assert [line["step"] for line in evaluated] == [15, 30]
    assert all(0 <= line["eval_truth"] <= 1 and line["pixel_mse"] > 0 for line in evaluated)
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["step-00000020.pt", "step-00000030.pt"]
    grid = Image.open(out / "grids" / "step-00000030.png")
    assert grid.width > 4 * 16 and len(set(grid.convert("RGB").getdata())) > 10


@pytest.mark.parametrize("keep", [True, pytest.param(False, marks=pytest.mark.soak)])
def test_a_run_that_goes_on_has_the_weights_of_an_unbroken_one(toy_data: str, tmp_path: Path, keep: bool) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    # One task is trained on and all are described: two positions in the data, of which each is kept.
    more: dict[str, Any] = {
        "batch": 4,
        "tasks": ["scene", "add", "replace"],
        "understand": 1.0,
        "lessons": 6,
        "keep_decoded": keep,
    }
    train(sft_config(toy_data, whole, steps=8, save=4, evaluate=8, **more), quiet)

    def stops(line: str) -> None:
        if line.startswith("step 6"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(sft_config(toy_data, broken, steps=8, save=4, evaluate=8, **more), stops)
    assert checkpoint.last(str(broken)) == str(broken / "checkpoints" / "step-00000004.pt")
    train(sft_config(toy_data, broken, steps=8, save=4, evaluate=8, **more), quiet)
    assert same(weights(broken), weights(whole))
    assert [line["step"] for line in metrics(broken)] == [line["step"] for line in metrics(whole)]


def test_lessons_are_as_many_as_are_asked_for(toy_data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(backbone: Any, batch: list[Example], *more: Any) -> Any:
        sizes.append(len(batch))
        return understanding_losses(backbone, batch, *more)

    monkeypatch.setattr(sft, "understanding_losses", counted)
    for out, more in (("six", {"lessons": 6}), ("as-many", {})):
        train(sft_config(toy_data, tmp_path / out, steps=1, evaluate=9, understand=1.0, **more), quiet)
    assert sizes == [6, 4]


def command(config: Path, *settings_: str) -> list[str]:
    words = [sys.executable, "-m", "cli.main", "train", "sft", str(config)]
    return [*words, *(part for one in settings_ for part in ("--set", one))]


def test_kill_9_and_the_same_command_give_the_weights_of_an_unbroken_run(toy_data: str, tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(sft_config(toy_data, tmp_path / "broken", steps=16, save=2, evaluate=100).model_dump_json())
    running = subprocess.Popen(command(path), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    folder = tmp_path / "broken" / "checkpoints"
    while running.poll() is None and not list(folder.glob("step-*04.pt")):
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -9, running.stdout.read() if running.stdout else ""
    done = subprocess.run(command(path), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "goes on from" in done.stdout, done.stderr
    train(sft_config(toy_data, tmp_path / "whole", steps=16, save=2, evaluate=100), quiet)
    assert same(weights(tmp_path / "broken"), weights(tmp_path / "whole"))


def refused(line: str, work: Callable[[], None]) -> None:
    with pytest.raises(InputError, match=line) as error:
        work()
    assert "\n" not in str(error.value)


def test_bad_data_is_one_line(toy_data: str, tmp_path: Path) -> None:
    refused(
        r"nowhere/run.json: there is no such file",
        lambda: train(sft_config(str(tmp_path / "nowhere"), tmp_path / "o"), quiet),
    )
    refused(
        r"batch: 400 a process, and there are \d+ samples",
        lambda: train(sft_config(toy_data, tmp_path / "o", batch=400), quiet),
    )
    everything = {"rl": 0.5, "test": 0.4999999}
    refused("no sample for sft", lambda: train(sft_config(toy_data, tmp_path / "o", held_out=everything), quiet))
    assert not (tmp_path / "o").exists()


def test_a_checkpoint_of_another_configuration_is_named_and_kept(sft_run: str, toy_data: str) -> None:
    before = weights(sft_run)
    refused(
        r"was made with optimiser.lr = 0.001, not 0.5",
        lambda: train(sft_config(toy_data, Path(sft_run), optimiser={"lr": 0.5}), quiet),
    )
    refused(r"holds a run already", lambda: train(sft_config(toy_data, Path(sft_run), resume=False), quiet))
    refused(
        r"init: .* has backbone.width = 32, not 48",
        lambda: train(
            sft_config(toy_data, Path(sft_run + "2"), init=sft_run, backbone={**TINY["backbone"], "width": 48}), quiet
        ),
    )
    assert same(weights(sft_run), before)


def test_a_setting_that_an_older_checkpoint_lacks_hides_no_other(sft_run: str) -> None:
    now = checkpoint.load_init(sft_run)["config"]
    older = {key: value for key, value in now.items() if key != "snr_gamma"}
    with pytest.raises(InputError, match=r"was made with understand = 0.5, not 0.0"):
        checkpoint.refuse_another("a", {**older, "understand": 0.5}, {**now, "understand": 0.0, "snr_gamma": None})
    checkpoint.refuse_another("a", older, {**now, "snr_gamma": None})
    with pytest.raises(InputError, match=r"was made with snr_gamma = None, not 2.0"):
        checkpoint.refuse_another("a", older, {**now, "snr_gamma": 2.0})
    with pytest.raises(InputError, match=r"describe = 0.5, a setting that is gone; choose another `out`"):
        checkpoint.refuse_another("a", {**now, "describe": 0.5}, now)
    # What RL stays near to is its `init`; SFT has taken the weights over and is free of it.
    for kind, refuses in (("RLConfig", True), ("SFTConfig", False)):
        one, other = ({**now, "kind": kind, "init": name} for name in ("a", "b"))
        if refuses:
            with pytest.raises(InputError, match="was made with init = 'a', not 'b'"):
                checkpoint.refuse_another("a", one, other)
        else:
            checkpoint.refuse_another("a", one, other)


def test_what_is_done_while_the_clock_is_stopped_slows_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, cpu = [0.0], [0.0]
    clocks = SimpleNamespace(perf_counter=lambda: wall[0], process_time=lambda: cpu[0])
    monkeypatch.setattr(running_module, "time", clocks)
    clock = running_module.Clock()
    with clock.waiting():
        wall[0] += 1
    wall[0], cpu[0], clock.steps = wall[0] + 3, cpu[0] + 5, 10
    with clock.stopped():
        wall[0], cpu[0] = wall[0] + 100, cpu[0] + 100
    assert clock.figures() == {"steps_per_s": 2.5, "steps_per_cpu_s": 2.0, "waiting": 0.25}
    assert clock.steps == 0


def test_a_caption_without_tags_counts_where_it_was_asked_for() -> None:
    text = "A red star on the left. It is from image_1."
    assert out_caption(text, 1) is None, "somebody who chats has not reasoned"
    assert out_caption(text, 1, free=True) == "A red star on the left"


def test_metrics_are_json_whatever_a_figure_is(tmp_path: Path) -> None:
    told = running_module.Metrics(str(tmp_path), 0, quiet, writes=True)
    told.write(1, reward=float("nan"), each={"reward": [1.0, float("nan")], "truth": [float("inf")]})
    line = metrics(tmp_path)[0]
    assert line == {"step": 1, "reward": None, "each": {"reward": [1.0, None], "truth": [None]}}


def test_a_loss_that_is_no_number_stops_and_the_last_checkpoint_stays(toy_data: str, tmp_path: Path) -> None:
    config = sft_config(
        toy_data, tmp_path / "o", steps=40, save=1, evaluate=100, optimiser={"lr": 1e6, "warmup": 0, "clip": 1e12}
    )
    with pytest.raises(
        StoppedError, match=r"the loss of step \d+ is (nan|inf); the last checkpoint is .*; take a lower optimiser.lr"
    ) as error:
        train(config, quiet)
    assert "\n" not in str(error.value)
    assert weights(tmp_path / "o")


def test_out_of_memory_is_one_line(toy_data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("training.sft.sft_losses", no_room)
    with pytest.raises(StoppedError, match=r"out of memory; no checkpoint had been made; take a smaller batch"):
        train(sft_config(toy_data, tmp_path / "o"), quiet)


def test_what_the_cpus_allocator_says_is_one_line_too(
    toy_data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.sft.sft_losses", lambda *_: torch.empty(10**15))
    with pytest.raises(StoppedError, match=r"out of memory; no checkpoint had been made; take a smaller batch"):
        train(sft_config(toy_data, tmp_path / "o"), quiet)


def test_a_store_that_refuses_is_no_damaged_checkpoint(sft_run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(address: str) -> bytes:
        raise StoreError(f"{address}: access is denied")

    monkeypatch.setattr("training.checkpoint.paths.read_bytes", refuses)
    with pytest.raises(StoreError, match="access is denied"):
        checkpoint.load_init(sft_run)


def test_what_is_killed_in_an_evaluation_has_kept_its_steps_and_evaluates_again(
    toy_data: str, sft_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    config = sft_config(toy_data, tmp_path / "o")
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr("training.sft.evaluate", killed)
        train(config, quiet)
    assert checkpoint.load_init(config.out)["step"] == 2
    train(config, quiet)
    assert [line["step"] for line in metrics(config.out) if "pixel_mse" in line] == [2, 4]
    assert same(weights(config.out), weights(sft_run))


@pytest.mark.parametrize("below", ["", "/sub"])
def test_an_out_that_cannot_be_written_is_said_before_the_first_step(toy_data: str, tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("in the way")
    config = sft_config(toy_data, Path(f"{tmp_path}/file{below}"))
    refused(r"out: .*/file(/sub)? cannot be written: ", lambda: train(config, quiet))


def test_a_run_says_where_its_weights_are_and_that_it_is_done(toy_data: str, tmp_path: Path) -> None:
    said: list[str] = []
    config = sft_config(toy_data, tmp_path / "o", steps=1, evaluate=9, save=9, eval_samples=1)
    train(config, said.append)
    assert said[-1] == f"{config.out}: 1 steps are done; weights: {checkpoint.last(config.out)}"
    train(config, said.append)
    assert said[-2].endswith("step-00000001.pt") and said[-1].startswith(f"{config.out}: 1 steps are done")


def test_a_run_that_begins_with_another_takes_its_parts(sft_run: str, toy_data: str, tmp_path: Path) -> None:
    config = sft_config(toy_data, tmp_path / "o", init=sft_run, held_out={"rl": 0.3, "test": 0.1})
    refused(r"init: .* has held_out = .*'test': 0.2}, not .*'test': 0.1}; take its own", lambda: train(config, quiet))


def test_as_many_samples_go_without_their_reasoning_as_are_asked_for(sft_run: str) -> None:
    run = SimpleNamespace(generator=torch.Generator().manual_seed(0), config=SimpleNamespace(without_reasoning=0.1))
    shown = list(SFTRun._shown(run, [object()] * 10_000))  # type: ignore[arg-type, list-item]
    assert 900 < shown.count(None) < 1100


def test_too_few_samples_for_the_processes_are_refused(toy_data: str, tmp_path: Path) -> None:
    config = sft_config(toy_data, tmp_path / "o")
    refused(
        r"\d+ samples for sft do not go round among 1000 processes",
        lambda: reader_of(config, "sft", side=16, seed=0, rank=0, world=1000),
    )
    with pytest.raises(InputError, match=r"batch: 4 samples do not go round among 3 processes"):
        SFTRun(config, None, None, None, Processes(rank=0, world=3), quiet)  # type: ignore[arg-type]


def test_a_damaged_checkpoint_is_named(sft_run: str, toy_data: str, tmp_path: Path) -> None:
    import shutil

    own = tmp_path / "own"
    shutil.copytree(sft_run, own)
    address = checkpoint.last(str(own))
    assert address is not None
    Path(address).write_bytes(Path(address).read_bytes()[:1000])
    refused(
        r"is no checkpoint \(.*\); delete it, and the one before is taken, if any",
        lambda: train(sft_config(toy_data, own), quiet),
    )
    Path(address).unlink()
    train(sft_config(toy_data, own), quiet)
    assert same(weights(own), weights(sft_run))
