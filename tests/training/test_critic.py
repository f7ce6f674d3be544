"""A critic is trained on FIRM's student rows, goes on where it stopped, and judges FIRM-Bench out of its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from annotators.critics import EditCritic
from annotators.interface import Request
from cli.main import app
from cli.making import make
from pipelines.config import load as load_run
from pipelines.shares import Share
from prompts.catalogue import Catalogue
from schemas.errors import DamageError, InputError, PlumblineError, StoppedError
from schemas.judgements import Dimension
from schemas.labels import EditPair
from schemas.references import ImageRef
from shards.reader import read_samples
from tests.pipelines.firm_made import drawn, written
from tests.shards.export import outputs, tiny_qwen
from training.critic import last_checkpoint, train, trainer_of
from training.critic_config import CriticConfig, load
from training.critic_data import Rows
from training.critic_model import load_model, load_processor

CONFIGS = Path(__file__).parents[2] / "configs"
OFFLINE = {"provider": "offline"}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of so small a model only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Drawn pairs judged by the offline pipeline: 16 rows."""
    folder = tmp_path_factory.mktemp("firm")
    clean = drawn(folder / "clean.png", size=(64, 64))
    boxes = [drawn(folder / f"{n}.png", (8 * n, 10, 8 * n + 16, 30), size=(64, 64)) for n in range(4)]
    edits = [(clean, box, "Add a red square") for box in boxes] + [(box, clean, "Remove the square") for box in boxes]
    rows = [{"id": f"{n}", "instruction": t, "source_image": a, "edited_image": b} for n, (a, b, t) in enumerate(edits)]
    models = {"describer": OFFLINE, "judge": OFFLINE}
    run = {"dataset": "firm-edit", "pairs": written(folder / "pairs.jsonl", rows), "models": models, "seed": 7}
    path = folder / "run.yaml"
    path.write_text(json.dumps({**run, "ledger": str(folder / "ledger"), "output": {"shard_samples": 3}}))
    out = str(folder / "out")
    make(load_run(str(path), []), str(path), out, Share(), 1, None, [], [])
    return out


@pytest.fixture(scope="module")
def tiny(firm: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random Qwen3-VL that has read nothing but knows the words of the rows."""
    from toyworld.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    texts = [sample.json["student_prompt"] + sample.json["student_answer"] for sample in read_samples(firm)]
    folder = str(tmp_path_factory.mktemp("tiny"))
    tiny_qwen.save(folder, texts)
    return folder


def config(firm: str, tiny: str, out: Path, **more: Any) -> CriticConfig:
    base = {"batch_size": 2, "learning_rate": 0.01, "log_every": 1, "save_every": 2, "recompute": False}
    return CriticConfig(**{**base, "data": [firm], "init": tiny, "out": str(out), "steps": 4, **more})


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(str(Path(folder) / "model.safetensors"))


@pytest.fixture(scope="module")
def trained(firm: str, tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A critic that has learnt the form of an answer."""
    out = tmp_path_factory.mktemp("trained") / "critic"
    train(config(firm, tiny, out, steps=40, learning_rate=0.02, save_every=40, image_side=48), lambda line: None)
    return out


def test_the_loss_falls_and_each_logged_step_is_a_line(trained: Path) -> None:
    lines = metrics(trained)
    assert [line["step"] for line in lines] == list(range(1, 41))
    assert all(line["tokens_per_s"] > 0 and line["lr"] >= 0 for line in lines)
    assert lines[0]["loss"] > 4 and sum(line["loss"] for line in lines[-5:]) / 5 < 1


def test_only_the_answer_carries_loss_and_images_come_in_order(firm: str, tiny: str, tmp_path: Path) -> None:
    wanted, rows = config(firm, tiny, tmp_path), Rows([firm])
    processor = load_processor(wanted)
    batch = trainer_of(wanted, load_model(wanted), processor, rows, None).data_collator([rows.row(n) for n in range(4)])
    samples = {sample.json["student_answer"]: sample for sample in read_samples(firm)}
    pad = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    for n, (labels, ids) in enumerate(zip(batch["labels"], batch["input_ids"], strict=True)):
        learnt = processor.tokenizer.decode(labels[labels != -100])
        answer = learnt.removesuffix("<|im_end|>\n")
        assert answer != learnt and answer in samples
        assert (ids == pad).sum() == batch["image_grid_thw"][2 * n : 2 * n + 2].prod(1).sum() // 4
    row, sample = rows.row(0), next(iter(read_samples(firm)))
    assert [image.size for image in row["images"]] == [(64, 64)] * 2
    assert row["images"][0].tobytes() != row["images"][1].tobytes()
    assert row["completion"][0]["content"][0]["text"] == sample.json["student_answer"]


def test_a_critic_is_asked_word_for_word_what_it_learnt(firm: str, tiny: str) -> None:
    """The live prompt of the `transformers` provider and the training row give the same tokens."""
    from transformers import AutoProcessor

    from annotators.local import blocks_of
    from annotators.network.showing import Shown, ShownMessage

    processor: Any = AutoProcessor.from_pretrained(tiny)
    image = ImageRef(uri="/a.png", sha256="a" * 64, width=64, height=64, media_type="image/png")
    rows = Rows([firm])
    for number, sample in enumerate(read_samples(firm)):
        row = rows.row(number)
        pair = EditPair(id="p", source=image, edited=image, instruction=sample.json["instruction"])
        dimension = Dimension(sample.json["dimension"])
        prompt = EditCritic(Catalogue({}, "firm")).student_prompt(dimension, pair, pair.instruction)
        images = iter(row["images"])
        (asked,) = prompt.messages
        parts = [
            part.text if part.type == "text" else Shown(part.label, _png(next(images)), "") for part in asked.parts
        ]
        live = [{"role": "user", "content": blocks_of(ShownMessage("user", tuple(parts)))}]
        texts = [processor.apply_chat_template(turn, tokenize=False) for turn in (live, row["prompt"])]
        assert texts[0] == texts[1]


def _png(image: Any) -> bytes:
    import io

    image.save(data := io.BytesIO(), "PNG")
    return data.getvalue()


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(firm: str, tiny: str, tmp_path: Path) -> None:
    train(config(firm, tiny, tmp_path / "whole"), lambda line: None)
    lines: list[str] = []

    def killed(line: str) -> None:
        lines.append(line)
        if line.startswith("update 3"):
            raise KeyboardInterrupt

    cut = config(firm, tiny, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        train(cut, killed)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    # A checkpoint that was being written when the process died.
    (tmp_path / "cut" / "checkpoint-3").mkdir()
    train(cut, lines.append)
    assert any("goes on from" in line and "checkpoint-2" in line for line in lines)
    assert [line["step"] for line in metrics(tmp_path / "cut")] == [1, 2, 3, 4]
    whole, after = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], after[name]) for name in whole)
    with pytest.raises(InputError, match=r"^learning_rate: .*checkpoint-4 was trained with 0.01, not 0.02"):
        train(cut.model_copy(update={"learning_rate": 0.02}), lines.append)
    with pytest.raises(InputError, match=r"has checkpoint-4; set resume: true"):
        train(cut.model_copy(update={"resume": False}), lines.append)


def test_adapters_move_the_weights_that_are_written_and_leave_the_vision_tower(
    firm: str, tiny: str, tmp_path: Path
) -> None:
    lora = {"rank": 4, "alpha": 8}
    train(
        config(firm, tiny, tmp_path, steps=2, lora=lora, freeze_vision=True, bf16=True, recompute=True),
        lambda line: None,
    )
    before, after = weights(tiny), weights(tmp_path)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name].to(torch.bfloat16), after[name])}
    assert moved and not any("visual" in name for name in moved)
    assert all(weight.dtype == torch.bfloat16 for weight in after.values())


def test_a_trained_folder_judges_firm_bench(firm: str, trained: Path, tmp_path: Path) -> None:
    samples = list(read_samples(firm))[:4]
    with open(tmp_path / "gt.jsonl", "w") as file:
        for sample in samples:
            names = [f"{sample.id}_{n}.jpg" for n in (1, 2)]
            for n, name in enumerate(names, 1):
                (tmp_path / name).write_bytes(sample.images[f"image_{n}"])
            scored = {sample.json["dimension"]: {"score": [int(sample.json["score"])]}}
            row = {"id": sample.id, "image": names, "instruction": sample.json["instruction"], **scored}
            file.write(json.dumps(row) + "\n")
    judge = tmp_path / "judge.yaml"
    models = {"judge": {"provider": "transformers", "model": str(trained), "max_tokens": 100}}
    judge.write_text(json.dumps({"models": models, "ledger": str(tmp_path / "ledger")}))
    command = ["evaluate", "firm-bench", "--judge", str(judge), "--gt", str(tmp_path / "gt.jsonl")]
    done = CliRunner().invoke(app, [*command, "--pred", str(tmp_path / "pred.jsonl")], catch_exceptions=False)
    assert done.exit_code == 0 and "editing, pooled" in done.output and "failed" not in done.output.split("note")[1]
    told = [json.loads(line) for line in (tmp_path / "pred.jsonl").read_text().splitlines()]
    assert [row["id"] for row in told] == [sample.id for sample in samples]
    for row, sample in zip(told, samples, strict=True):
        found = row[sample.json["dimension"]]
        assert found["score"][0] in range(1, 6) and found["reasoning"]
    again = CliRunner().invoke(app, [*command, "--pred", str(tmp_path / "again.jsonl")], catch_exceptions=False)
    assert "0 asked for it, 4 from the ledger" in again.output
    # Other weights in the same folder are another judge.
    from annotators.config import ModelConfig
    from annotators.local import make as make_provider

    version = make_provider(ModelConfig(**models["judge"]), "models.judge").version
    with open(trained / "generation_config.json", "a") as file:
        file.write("\n")
    assert version != make_provider(ModelConfig(**models["judge"]), "models.judge").version


def test_image_side_stays_with_the_folder(trained: Path) -> None:
    from PIL import Image
    from transformers import AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(trained)
    grid = processor.image_processor(images=[Image.new("RGB", (512, 512))], return_tensors="pt")["image_grid_thw"]
    assert grid.prod() * 16 * 16 <= 48 * 48


@pytest.mark.parametrize(
    ("data", "ids", "said"),
    [
        ("realign", None, "is an output of `realign`, which has no student rows"),
        ("bare", None, "has no `student_answer`; a critic learns from student rows alone"),
        ("nowhere", None, "run.json: there is no such file"),
        ("edit", "deadbeef\n", "1 of 1 are in no output, such as deadbeef"),
        ("edit", "", "names no row"),
    ],
)
def test_data_without_student_rows_is_one_line(data: str, ids: str | None, said: str, tmp_path: Path) -> None:
    made = {"realign": outputs.realign, "edit": outputs.firm_edit, "bare": outputs.firm_gen}.get(data)
    out = str(tmp_path / "out") if made is None else str(made(tmp_path / "out"))
    if data == "bare":
        _without_answers(tmp_path / "out")
    file = None
    if ids is not None:
        file = str(tmp_path / "ids.txt")
        Path(file).write_text(ids)
    with pytest.raises(PlumblineError) as error:
        Rows([out], ids=file)
    assert said in str(error.value) and "\n" not in str(error.value) and error.value.exit_code == 2


def _without_answers(out: Path) -> None:
    """The same output, made by something that wrote no answers."""
    import shutil

    from shards.commit import ShardSample

    samples = []
    for sample in read_samples(str(out)):
        view = {**sample.json, "student_answer": ""}
        members = [
            *((f"{name}.jpg", data) for name, data in sample.images.items()),
            ("json", json.dumps(view).encode()),
        ]
        samples.append(ShardSample(sample.id, members))
    shutil.rmtree(out)
    outputs._labelled(out, "firm-gen", samples)


def test_ids_choose_rows_of_several_outputs(tmp_path: Path) -> None:
    outs = [str(outputs.firm_edit(tmp_path / "edit")), str(outputs.firm_gen(tmp_path / "gen"))]
    chosen = [list(read_samples(out))[1] for out in outs]
    (tmp_path / "ids.txt").write_text("".join(f"{sample.id}\n" for sample in chosen))
    rows = Rows(outs, ids=str(tmp_path / "ids.txt"))
    assert len(rows) == 2 and len(Rows(outs)) == 34
    answers = [row["completion"][0]["content"][0]["text"] for row in rows.dataset()]
    assert answers[1] == chosen[1].json["student_answer"] and len(rows.dataset()[1]["images"]) == 1


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("lerning_rate=1", "lerning_rate: unknown key; did you mean learning_rate?"),
        ("steps=0", "steps: must be greater than or equal to 1, not 0"),
        ("batch_size=two", "batch_size: must be a valid integer, not 'two'"),
        ("lora={rang: 3}", "lora.rang: unknown key; did you mean rank?"),
    ],
)
def test_a_wrong_key_is_named(setting: str, said: str) -> None:
    path = str(CONFIGS / "train-critic-tiny.yaml")
    with pytest.raises(InputError, match=f"^--set {re.escape(setting)}: ") as error:
        load(path, [setting])
    assert said in str(error.value)


@pytest.mark.parametrize("name", ["train-critic-8b.yaml", "train-critic-tiny.yaml"])
def test_the_shipped_configurations_are_sound(name: str) -> None:
    assert load(str(CONFIGS / name), []).data


def test_an_init_that_is_no_model_is_one_line(firm: str, tiny: str, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    with pytest.raises(InputError, match=r"is no model: it has no config\.json"):
        train(config(firm, str(tmp_path / "odd"), tmp_path / "out"), print)
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"init: .*odd") as error:
        train(config(firm, str(tmp_path / "odd"), tmp_path / "out"), print)
    assert "\n" not in str(error.value)


def test_a_loss_that_is_no_number_stops_with_the_last_checkpoint(firm: str, tiny: str, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match=r"the loss of update \d+ is nan; .*checkpoint-\d+ is there\)$"):
        train(config(firm, tiny, tmp_path, steps=20, learning_rate=1e20, warmup=0.0, save_every=1), lambda line: None)
    kept = last_checkpoint(str(tmp_path))
    assert kept is not None


def test_out_of_memory_says_what_to_lower(
    firm: str, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Qwen3VLModel

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    monkeypatch.setattr(Qwen3VLModel, "forward", full)
    with pytest.raises(StoppedError, match=r"^out of memory; lower batch_size .* \(there is no checkpoint yet\)$"):
        train(config(firm, tiny, tmp_path), print)


@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_full_disk_keeps_the_checkpoint_before(share: float, firm: str, tiny: str, tmp_path: Path) -> None:
    """The limit of a file's size stands in for a disk: not even the weights fit, or the moments alone do not."""
    import resource
    import signal

    lines: list[str] = []
    room = int(share * sum(weight.numel() * 4 for weight in weights(tiny).values()))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def shrunk(line: str) -> None:
        lines.append(line)
        if line.startswith("update 3"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))

    try:
        with pytest.raises(StoppedError, match=r"checkpoint-2 is there") as error:
            train(config(firm, tiny, tmp_path / "out"), shrunk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "\n" not in str(error.value)
    assert last_checkpoint(str(tmp_path / "out")) == str(tmp_path / "out" / "checkpoint-2")


def test_a_damaged_row_is_named_in_one_line_from_a_worker_too(tiny: str, tmp_path: Path) -> None:
    out = outputs.firm_gen(tmp_path / "gen")
    (tar,) = (out / "shards").glob("*.tar")
    data = bytearray(tar.read_bytes())
    data[-3000:-2500] = bytes(500)
    tar.write_bytes(data)
    with pytest.raises(DamageError) as error:
        train(config(str(out), tiny, tmp_path / "out", workers=1, batch_size=10, steps=1), print)
    assert "\n" not in str(error.value) and tar.name in str(error.value)


def test_the_provider_refuses_what_is_no_folder_and_what_is_for_servers(tmp_path: Path) -> None:
    from annotators.config import ModelConfig
    from annotators.local import make as make_provider

    for more, said in (({}, "has no config.json"), ({"base_url": "http://x"}, "base_url: is for servers")):
        with pytest.raises(InputError, match=said):
            make_provider(ModelConfig(provider="transformers", model=str(tmp_path), **more), "models.judge")


def test_an_answer_that_was_cut_off_is_asked_again(trained: Path) -> None:
    import asyncio

    from annotators.config import ModelConfig
    from annotators.errors import RepairableError
    from annotators.local import make as make_provider
    from schemas.messages import Message, TextPart

    provider = make_provider(ModelConfig(provider="transformers", model=str(trained)), "models.judge")
    asked = (Message(speaker="user", parts=(TextPart(text="Judge."),)),)
    request = Request("judge", str(trained), asked, sampling={"max_tokens": 1})
    with pytest.raises(RepairableError, match="cut off") as error:
        asyncio.run(provider.answer(request))
    assert error.value.raw is not None and error.value.raw.tokens_out == 1
