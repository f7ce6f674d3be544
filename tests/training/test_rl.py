"""RL: rollouts, what is trained on them, every algorithm and policy, and servers that go away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from schemas.errors import InputError, StoppedError
from tests.servers.reward_server import serving
from tests.training.conftest import metrics, rl_config
from training import checkpoint, flow, running
from training.backbones.toy import ToyBackbone
from training.config import Reward, RLConfig
from training.data import Batches, reader_of
from training.examples import Example, example, targets_of
from training.optimising import Weights
from training.processes import Processes, joined
from training.rewarding import ByServer, Drawn, Rollouts, rewarding
from training.rl import Group, Policies, RLRun, rl_loss, rollouts, train, weighed
from training.sft import length_of


def quiet(line: str) -> None:
    """Nobody listens."""


@pytest.fixture
def config(toy_data: str, sft_run: str, tmp_path: Path) -> RLConfig:
    return rl_config(toy_data, sft_run, tmp_path / "rl")


@pytest.fixture
def backbone(config: RLConfig) -> ToyBackbone:
    return running.open_backbone(config, lambda: iter(()))


@pytest.fixture
def batch(config: RLConfig) -> list[Example]:
    reader = reader_of(config, "rl", side=16, seed=0)
    return next(iter(Batches(reader, config.batch, length_of)))[1]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def policies_of(backbone: ToyBackbone) -> Policies:
    named = list(backbone.trained("image"))
    return Policies(backbone, Weights(named), Weights(named))


def test_with_rid_each_rollout_reasons_for_itself_and_without_a_group_shares_one(
    backbone: ToyBackbone, batch: list[Example], config: RLConfig
) -> None:
    policies = policies_of(backbone)
    own = rollouts(policies, batch, config, seeded())
    assert len(own.reasonings) == config.batch * config.group == len(own.x)
    assert len(set(own.reasonings[: config.group])) > 1
    shared = rollouts(policies, batch, config.model_copy(update={"rid": False}), seeded())
    for at in range(0, len(shared.reasonings), config.group):
        assert len(set(shared.reasonings[at : at + config.group])) == 1
        assert not torch.equal(shared.x[at], shared.x[at + 1]), "the noise is each one's own"
    assert [one.prompt.id for one in own.examples[: config.group]] == [batch[0].prompt.id] * config.group


def test_advantages_are_of_groups_and_failed_rollouts_train_nothing(config: RLConfig) -> None:
    rewards = np.array([0.1, 0.2, 0.3, 0.5, 0.5, np.nan])
    advantages, weights, statistics = weighed(rewards, config)
    assert advantages[:3].sum() == pytest.approx(0) and advantages[0] < 0 < advantages[2]
    assert advantages[3:].tolist() == [0, 0, 0] and weights.tolist() == [1, 1, 1, 1, 1, 0]
    assert statistics is not None and statistics.zero_std_ratio == 0.5
    _, telling, _ = weighed(rewards, config.model_copy(update={"informative": True}))
    assert telling.tolist() == [1, 1, 1, 0, 0, 0]
    _, all_, _ = weighed(np.full(6, 0.5), config.model_copy(update={"informative": True}))
    assert all_.tolist() == [1] * 6, "where no group tells anything, all are trained on"
    assert weighed(np.full(6, np.nan), config)[1].tolist() == [0] * 6
    # After siblings: advantages are of what is left, what is left out goes by the rewards.
    left = np.array([0.0, 0.0, 0.0, -0.2, 0.2, np.nan])
    advantages, telling, statistics = weighed(rewards, config.model_copy(update={"informative": True}), left)
    assert telling.tolist() == [1, 1, 1, 0, 0, 0] and advantages[:3].tolist() == [0, 0, 0]
    assert advantages[3] < 0 < advantages[4] and statistics is not None and statistics.zero_std_ratio == 0.5


def test_less_siblings_leaves_of_a_reward_what_was_drawn(toy_data: str, sft_run: str, tmp_path: Path) -> None:
    """What words alone are worth differs within a group, but not from what siblings are worth under the same words."""

    def words(given: Rollouts) -> Any:
        return np.array([float(len(text)) for text in given.reasonings])

    def words_and_light(given: Rollouts) -> Any:
        return words(given) + given.images.double().mean((1, 2, 3)).numpy()

    said: dict[tuple[str, bool], dict[str, float]] = {}
    for reward in (words, words_and_light):
        for less in (False, True):
            config = rl_config(
                toy_data, sft_run, tmp_path / "rl", less_siblings=less, reward=[{"kind": "clip_surrogate"}]
            )
            backbone = running.open_backbone(config, lambda: iter(()))
            reader = reader_of(config, "rl", side=16, seed=0)
            with joined() as processes:
                run = RLRun(config, backbone, reader, processes, quiet)
                run.reward, run.worded = reward, (reward if less else None)
                said[reward.__name__, less] = run.update(next(iter(run.batches))[1])
    assert said["words", False]["group_std"] > 0 == said["words", True]["group_std"]
    assert said["words", True]["zero_std_ratio"] == 1
    assert 0 < said["words_and_light", True]["group_std"] < said["words_and_light", False]["group_std"]
    for key in ("reward", "reward_std"):
        assert said["words", True][key] == said["words", False][key], "these are of the reward itself"


def test_siblings_leave_a_critic_as_it_is(toy_data: str, sft_run: str, tmp_path: Path) -> None:
    """It reads no caption."""
    said = []
    for less in (False, True):
        config = rl_config(toy_data, sft_run, tmp_path / "rl", less_siblings=less)
        reader = reader_of(config, "rl", side=16, seed=0)
        with joined() as processes:
            run = RLRun(config, running.open_backbone(config, lambda: iter(())), reader, processes, quiet)
            said.append(run.update(next(iter(run.batches))[1])["group_std"])
    assert said[0] == said[1] > 0


def test_siblings_are_for_what_draws(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="less_siblings: goes with policy: image"):
        rl_config("d", "sft", tmp_path, less_siblings=True, policy="both")


def test_a_process_without_a_scored_rollout_steps_with_the_others(toy_data: str, sft_run: str, tmp_path: Path) -> None:
    """Else its next gradients would be averaged with those of another update."""

    @dataclass(frozen=True)
    class OneOfTwo(Processes):
        """Process 0 of two; the other one has scored rollouts, and the same gradients."""

        def gathered(self, values: Tensor) -> Tensor:
            return torch.cat([values, torch.arange(len(values), dtype=values.dtype)])

        def average_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
            averaged.append(max(float(one.grad.abs().max()) for one in parameters if one.grad is not None))

    averaged: list[float] = []
    config = rl_config(toy_data, sft_run, tmp_path / "rl")
    backbone = running.open_backbone(config, lambda: iter(()))
    run = RLRun(config, backbone, reader_of(config, "rl", side=16, seed=0), OneOfTwo(), quiet)
    run.reward = lambda given: np.full(len(given.reasonings), np.nan)
    figures = run.update(next(iter(run.batches))[1])
    assert averaged == [0.0] * config.inner and figures["trained_share"] == 0.5


@pytest.mark.parametrize(
    ("algo", "policy"),
    [
        ("nft", "image"),
        ("nft", "both"),
        ("flow_grpo", "text"),
        ("flow_grpo", "both"),
        pytest.param("nft", "text", marks=pytest.mark.soak),
        pytest.param("flow_grpo", "image", marks=pytest.mark.soak),
    ],
)
def test_an_update_moves_its_policy_and_nothing_else(
    toy_data: str, sft_run: str, tmp_path: Path, algo: str, policy: str
) -> None:
    config = rl_config(toy_data, sft_run, tmp_path / "rl", algo=algo, policy=policy, steps=1)
    train(config, quiet)
    before, after = checkpoint.load_init(sft_run)["best"], checkpoint.load_init(config.out)["weights"]
    backbone = running.open_backbone(config, lambda: iter(()))
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved and moved <= {name for name, _ in backbone.trained(policy)}  # type: ignore[arg-type]
    lines = metrics(config.out)
    assert [line["step"] for line in lines] == [0, 1, 1], "before the first update, and at the end"
    assert all(key in lines[0] for key in ("eval_reward", "eval_truth", "pixel_mse", "out_caption_accuracy"))
    figures = lines[1]
    assert figures["group_std"] >= 0 and 0 <= figures["zero_std_ratio"] <= 1 and figures["trained_share"] > 0


def corner(backbone: ToyBackbone, group: Group) -> Any:
    return backbone.decode(group.x)[:, :, :4, :4].mean((1, 2, 3)).double().numpy()


def test_what_was_rewarded_becomes_likelier(backbone: ToyBackbone, batch: list[Example], config: RLConfig) -> None:
    """A reward for a bright corner: after some updates on one batch it is brighter; the reverse makes it darker."""
    bright = {}
    for sign in (1, -1):
        backbone = running.open_backbone(config, lambda: iter(()))
        now = config.model_copy(update={"group": 16, "kl": 0.0})
        named = list(backbone.trained("image"))
        policies = Policies(backbone, Weights(named), Weights(named))
        optimiser = torch.optim.Adam([one for _, one in named], lr=3e-3)
        generator = seeded()
        for _ in range(12):
            group = rollouts(policies, batch, now, generator)
            advantages, weights, _ = weighed(sign * corner(backbone, group), now)
            loss = rl_loss(policies, group, advantages, weights, now, generator)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            policies.old.follow(0.0)
        bright[sign] = float(corner(backbone, rollouts(policies, batch, now, seeded(5))).mean())
    assert bright[1] > bright[-1] + 0.02


def test_steps_and_words_that_were_rewarded_become_likelier(
    backbone: ToyBackbone, batch: list[Example], config: RLConfig
) -> None:
    now = config.model_copy(update={"algo": "flow_grpo", "policy": "both", "clip": 10.0, "text_clip": 10.0, "kl": 0.0})
    named = list(backbone.trained("both"))
    policies = Policies(backbone, Weights(named), Weights(named))
    group = rollouts(policies, batch, now, seeded())
    good = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])

    def preference() -> tuple[float, float]:
        """By how much the good ones are likelier: their steps, their words."""
        with torch.no_grad():
            context = backbone.encode(group.prompts, group.reasonings)
            assert context.logp is not None and context.tokens is not None
            words = (context.logp * context.tokens).sum(1) / context.tokens.sum(1)
            steps = torch.zeros(len(good))
            for x, to, begin, end, _ in group.path:
                velocity = backbone.velocity(x, x.new_full((len(x),), begin), context)
                steps = steps + flow.sde_step(x, velocity, begin, end, level=now.level, to=to).logp
        return float((steps * good).mean()), float((words * good).mean())

    before = preference()
    optimiser = torch.optim.SGD([one for _, one in named], lr=0.05)
    for _ in range(4):
        loss = rl_loss(policies, group, good.numpy(), np.ones(6), now, seeded())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = preference()
    assert after[0] > before[0] and after[1] > before[1]


def test_a_run_that_goes_on_has_the_weights_of_an_unbroken_one(toy_data: str, sft_run: str, tmp_path: Path) -> None:
    """The average too, which is what is evaluated and kept."""
    averaged = {"lr": 1e-3, "ema": 0.5}
    whole = rl_config(toy_data, sft_run, tmp_path / "whole", steps=3, optimiser=averaged)
    broken = rl_config(toy_data, sft_run, tmp_path / "broken", steps=3, optimiser=averaged)
    train(whole, quiet)

    def stops(line: str) -> None:
        if line.startswith("step 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(broken, stops)
    train(broken, quiet)
    one, other = checkpoint.load_init(whole.out), checkpoint.load_init(broken.out)
    for kind in ("weights", "best"):
        assert all(torch.equal(one[kind][name], other[kind][name]) for name in one[kind])
    assert any(not torch.equal(one["weights"][name], one["best"][name]) for name in one["best"])
    assert one["generators"].equal(other["generators"])


def test_a_rate_alone_leaves_the_rest_of_the_optimiser_as_rl_has_it(config: RLConfig) -> None:
    told = RLConfig.model_validate({**config.model_dump(), "optimiser": {"lr": 1e-5}}).optimiser
    assert (told.lr, told.warmup, told.cosine, told.ema) == (1e-5, 0, False, 0.0)


def test_a_critic_of_the_drawn_world_refuses_other_images(config: RLConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluating.shown", lambda target: None)  # as of a photograph
    with pytest.raises(InputError, match=r"reward.kind: qma without a url reads the drawn world alone"):
        train(config.model_copy(update={"reward": [Reward(kind="qma")]}), quiet)
    assert checkpoint.last(config.out) is None


def test_rl_begins_somewhere(toy_data: str, sft_run: str, tmp_path: Path) -> None:
    nothing = rl_config(toy_data, sft_run, tmp_path / "o").model_copy(update={"init": None})
    with pytest.raises(InputError, match="init: is missing"):
        train(nothing, quiet)
    with pytest.raises(InputError, match="holds no checkpoint"):
        train(nothing.model_copy(update={"init": str(tmp_path)}), quiet)


class TestRewards:
    @pytest.fixture
    def group(self, batch: list[Example]) -> Rollouts:
        images = torch.stack(targets_of(batch)).float() / 255
        return Rollouts(batch, [one.reasonings[0] for one in batch], images)

    def test_the_surrogate_takes_each_rollouts_own_caption(self, group: Rollouts) -> None:
        surrogate = rewarding([Reward(kind="clip_surrogate")])
        found = surrogate(group)
        assert np.isfinite(found).all() and (np.abs(found) <= 1).all()
        other = Rollouts(group.examples, group.reasonings[::-1], group.images)
        exchanged = surrogate(other)
        assert np.isnan(exchanged).any() or not np.allclose(exchanged, found)
        broken = Rollouts(group.examples, ["no tags at <all>", group.reasonings[1]], group.images)
        assert np.isnan(surrogate(broken)).tolist() == [True, False]

    def test_rewards_are_summed_by_weight(self, group: Rollouts) -> None:
        one = rewarding([Reward(kind="qma")])(group)
        both = rewarding([Reward(kind="qma", weight=2.0), Reward(kind="clip_surrogate", weight=0.5)])(group)
        surrogate = rewarding([Reward(kind="clip_surrogate")])(group)
        assert np.allclose(both, 2 * one + 0.5 * surrogate)

    @pytest.mark.parametrize("url", [None, "http://127.0.0.1:9"])
    def test_critics_of_edits_refuse_what_is_none(self, group: Rollouts, url: str | None) -> None:
        one = group.examples[0]
        references = [{**one.record["references"][0], "role": "subject"}, *one.record["references"][1:]]
        composed = replace(one, record={**one.record, "references": references})
        with pytest.raises(InputError, match="is no edit; leave its task out"):
            rewarding([Reward(kind="cme", url=url)])(replace(group, examples=[composed, *group.examples[1:]]))

    def test_weights_that_nobody_would_heed_are_refused(self) -> None:
        with pytest.raises(ValueError, match="give both, or neither"):
            Reward(kind="cme", w1=1.0)
        with pytest.raises(ValueError, match="a server has weights of its own"):
            Reward(kind="cme", w1=1.0, w2=0.0, url="http://127.0.0.1:9")
        for kind in ("clip_surrogate", "execution_only"):
            with pytest.raises(ValueError, match=f"w1 and w2: .*{kind} has one"):
                Reward.model_validate({"kind": kind, "w1": 1.0, "w2": 0.0})
        with pytest.raises(ValueError, match=r"weights: .* qma has none"):
            Reward(kind="qma", weights="ViT-B-32/openai")
        with pytest.raises(ValueError, match=r"token_env: .*; give its url"):
            Reward(kind="qma", token_env="TOKEN")

    def test_a_server_is_asked_for_what_it_serves_alone(self) -> None:
        with pytest.raises(InputError, match="weighted_sum is not served"):
            rewarding([Reward(kind="weighted_sum", url="http://127.0.0.1:9")])
        with pytest.raises(InputError, match=r"reward.token_env: NOBODYS_TOKEN is not set"):
            rewarding([Reward(kind="cme", url="http://127.0.0.1:9", token_env="NOBODYS_TOKEN")])


def test_a_server_gives_what_is_given_in_process(batch: list[Example], reward_server: str) -> None:
    images = torch.stack(targets_of(batch)).float() / 255
    group = Rollouts(batch, [batch[0].reasonings[0], "nothing that parses <"], images)
    found = rewarding([Reward(kind="clip_surrogate", url=reward_server)])(group)
    assert np.allclose(found, rewarding([Reward(kind="clip_surrogate")])(group), atol=1e-3, equal_nan=True)
    assert np.isnan(found).tolist() == [False, True]


@pytest.mark.parametrize("kind", ["cme", "qma"])
def test_critics_by_a_server_see_the_edit_and_what_was_edited(toy_data: str, config: RLConfig, kind: str) -> None:
    """The server's judge tells an edit from the image that it was made of; seen at a size that it can read."""
    reader = reader_of(config, "sft", side=256, seed=0)
    found = (example(one.sample) for one in reader.fetched(reader.rest))
    edits = [one for one in found if one.record["references"][0]["role"] == "base"][:4]
    targets = torch.stack(targets_of(edits)) / 255
    bases = torch.stack([one.prompt.images[0] for one in edits]) / 255
    judge: dict[str, Any] = {"models": {"judge": {"provider": "offline"}}, "world": "toyworld", "ledger": False}
    with serving(reward={"kind": kind}, **judge) as server:
        reward = rewarding([Reward(kind=kind, url=server.url)])  # type: ignore[arg-type]
        edited, unedited = (reward(Rollouts(edits, [""] * len(edits), images)) for images in (targets, bases))
    assert len(edited) == len(edits) == 4 and ((edited >= 0) & (edited <= 1)).all()
    assert edited.mean() > unedited.mean()


def test_the_out_of_another_stage_is_called_that(toy_data: str, sft_run: str) -> None:
    with pytest.raises(InputError, match=r"holds a run of another kind \(SFTConfig\); choose another `out`"):
        train(rl_config(toy_data, sft_run, Path(sft_run)), quiet)


def test_a_run_without_any_reward_stops(toy_data: str, sft_run: str, tmp_path: Path) -> None:
    """A few steps of SFT teach no IC-CoT that parses, so the surrogate has no caption to look at."""
    config = rl_config(toy_data, sft_run, tmp_path / "rl", steps=30, reward=[{"kind": "clip_surrogate"}])
    config = config.model_copy(update={"batch": 1, "group": 2, "rollout_steps": 2, "evaluate": 30})
    with pytest.raises(
        StoppedError, match=r"no rollout of the last 20 updates had a reward; .*take an `init`"
    ) as error:
        train(config, quiet)
    assert "\n" not in str(error.value) and checkpoint.last(config.out) is not None


def test_a_reward_server_that_is_gone_stops_the_run_and_the_last_checkpoint_stays(
    toy_data: str, sft_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.rewarding.PATIENCE", 0.1)
    config = rl_config(toy_data, sft_run, tmp_path / "rl", steps=3)
    real, calls = "training.rewarding.Drawn.__call__", []

    def breaks(self: Drawn, rollouts: Rollouts) -> Any:
        calls.append(1)
        if len(calls) < 3:  # evaluated, updated, and then the server goes
            return original(self, rollouts)
        return ByServer(Reward(kind="qma", url="http://127.0.0.1:9"))(rollouts)

    original = Drawn.__call__
    monkeypatch.setattr(real, breaks)
    with pytest.raises(StoppedError, match=r"127.0.0.1:9.*mend it and run the same command to go on") as error:
        train(config, quiet)
    assert "\n" not in str(error.value)
    assert checkpoint.last(config.out) == str(tmp_path / "rl" / "checkpoints" / "step-00000001.pt")
    monkeypatch.setattr(real, original)
    train(config, quiet)
    whole = rl_config(toy_data, sft_run, tmp_path / "whole", steps=3)
    train(whole, quiet)
    one, other = checkpoint.load_init(config.out), checkpoint.load_init(whole.out)
    assert all(torch.equal(one["weights"][name], other["weights"][name]) for name in one["weights"])


@pytest.fixture
def reward_server() -> Iterator[str]:
    with serving(reward={"kind": "clip_surrogate"}, clip={"weights": "toy", "device": "cpu"}) as server:
        yield server.url
