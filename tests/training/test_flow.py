"""Rectified flow and its reinforcement, against torch.distributions, closed forms and finite differences."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from training import flow

SHAPE = (3, 2, 4)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_ends_of_the_way_are_data_and_noise() -> None:
    x0, noise = randn(2, *SHAPE), randn(2, *SHAPE, seed=1)
    assert torch.equal(flow.interpolate(x0, noise, torch.zeros(2)), x0)
    assert torch.equal(flow.interpolate(x0, noise, torch.ones(2)), noise)
    assert (flow.flow_matching_loss(noise - x0, x0, noise) == 0).all()


def test_an_error_of_the_clean_image_weighs_no_more_than_gamma() -> None:
    t = torch.tensor([0.05, 0.2, 0.7, 1.0])
    x0, noise = randn(4, *SHAPE), randn(4, *SHAPE, seed=1)
    wrong = x0 + 0.1  # a clean image that is off by a tenth, as the velocity that leads to it
    velocity = (flow.interpolate(x0, noise, t) - wrong) / flow.over(t, x0)
    each = flow.flow_matching_loss(velocity, x0, noise) * flow.min_snr_weights(t, 3.0)
    assert each.tolist() == pytest.approx([0.03, 0.03, 0.01 / 0.49, 0.01], rel=1e-3)


@given(st.integers(1, 40), st.floats(0.3, 5))
def test_a_schedule_falls_from_noise_to_data(steps: int, shift: float) -> None:
    times = flow.schedule(steps, shift)
    assert len(times) == steps + 1 and times[0] == 1 and times[-1] == 0
    assert all(now > then for now, then in pairwise(times))


def test_no_step_is_no_schedule() -> None:
    with pytest.raises(ValueError, match="steps is 0"):
        flow.schedule(0)


@pytest.mark.parametrize("steps", [1, 7, 16])
def test_the_ode_comes_back_to_the_data_when_the_velocity_is_exact(steps: int) -> None:
    x0, noise = randn(4, *SHAPE), randn(4, *SHAPE, seed=1)
    found = flow.ode_sample(lambda x, t: noise - x0, noise, flow.schedule(steps, 3.0))
    assert torch.allclose(found, x0, atol=1e-5)


@given(st.floats(0.1, 0.999), st.floats(0.05, 0.95), st.floats(0.1, 1.0))
def test_the_density_of_a_step_is_the_normal_one(now: float, share: float, level: float) -> None:
    then = now * share
    x, velocity, noise = randn(5, *SHAPE), randn(5, *SHAPE, seed=1), randn(5, *SHAPE, seed=2)
    step = flow.sde_step(x, velocity, now, then, level=level, noise=noise)
    dense = Normal(step.mean, step.std).log_prob(step.next).flatten(1).mean(1)
    assert torch.allclose(step.logp, dense, rtol=1e-4, atol=1e-4)
    again = flow.sde_step(x, velocity, now, then, level=level, to=step.next)
    assert torch.allclose(again.logp, step.logp, atol=1e-5) and torch.equal(again.mean, step.mean)
    other = step.mean + 0.1 * randn(5, *SHAPE, seed=3)
    exact = kl_divergence(Normal(step.mean, step.std), Normal(other, step.std)).flatten(1).mean(1)
    assert torch.allclose(flow.gaussian_kl(step.mean, other, step.std), exact, rtol=1e-3, atol=1e-5)


def test_without_noise_a_step_is_the_odes() -> None:
    x, velocity = randn(5, *SHAPE), randn(5, *SHAPE, seed=1)
    step = flow.sde_step(x, velocity, 0.6, 0.5, level=1e-6, noise=torch.zeros_like(x))
    assert torch.allclose(step.next, x - 0.1 * velocity, atol=1e-6)


def test_the_sde_keeps_the_marginals_of_the_ode() -> None:
    """Data of one point: x_t is N((1 - t) m, t²) whatever the noise level, if the steps are small."""
    m, level, generator = 1.5, 0.7, torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 1, generator=generator) * 0.9 + 0.1 * m  # at t = 0.9
    times = torch.linspace(0.9, 0.3, 121).tolist()
    for now, then in pairwise(times):
        velocity = (x - m) / now
        x = flow.sde_step(x, velocity, now, then, level=level, noise=torch.randn(x.shape, generator=generator)).next
    assert float(x.mean()) == pytest.approx(0.7 * m, abs=0.02)
    assert float(x.std()) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(
    ("now", "then", "more", "line"),
    [
        (0.5, 0.6, {"noise": torch.zeros(1, 2)}, "1 >= now > then > 0"),
        (0.5, 0.0, {"noise": torch.zeros(1, 2)}, "1 >= now > then > 0"),
        (0.5, 0.4, {}, "give noise"),
        (0.5, 0.4, {"noise": torch.zeros(1, 2), "to": torch.zeros(1, 2)}, "give noise"),
    ],
)
def test_impossible_steps_are_refused(now: float, then: float, more: dict[str, torch.Tensor], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        flow.sde_step(torch.zeros(1, 2), torch.zeros(1, 2), now, then, level=0.7, **more)


def test_the_clip_takes_the_gradient_of_what_has_gone_far_enough() -> None:
    logp = torch.tensor([0.5, 0.5, -0.5, -0.5], requires_grad=True)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    flow.clipped_policy_loss(logp, torch.zeros(4), advantages, 0.2).sum().backward()
    assert logp.grad is not None
    moved = logp.grad != 0
    assert moved.tolist() == [False, True, True, False]
    at_start = torch.zeros(4, requires_grad=True)
    flow.clipped_policy_loss(at_start, torch.zeros(4), advantages, 0.2).sum().backward()
    assert at_start.grad is not None and torch.allclose(at_start.grad, -advantages)


def test_text_is_the_mean_over_its_tokens_and_nothing_where_there_are_none() -> None:
    logp, old = randn(2, 4), randn(2, 4, seed=1)
    tokens = torch.tensor([[True, True, False, False], [False] * 4])
    found = flow.token_policy_loss(logp, old, tokens, torch.tensor([2.0, 3.0]), 0.2)
    wanted = flow.clipped_policy_loss(logp[0, :2], old[0, :2], torch.tensor(2.0), 0.2).mean()
    assert float(found[0]) == pytest.approx(float(wanted)) and found[1] == 0


class TestNFT:
    def losses(self, r: float, scale: float) -> tuple[float, torch.Tensor]:
        """(loss, gradient in v) where v starts `scale` of the way from the old velocity to the true one."""
        x0, noise, t = randn(2, *SHAPE), randn(2, *SHAPE, seed=1), torch.tensor([0.4, 0.8])
        true = noise - x0
        old = true + randn(2, *SHAPE, seed=2)
        velocity = (old + scale * (true - old)).requires_grad_(True)
        xt = flow.interpolate(x0, noise, t)
        loss = flow.nft_loss(velocity, old, x0, xt, t, torch.full((2,), r))
        (gradient,) = torch.autograd.grad(loss.sum(), velocity)
        return float(loss.detach().sum()), (gradient * (true - old)).sum()

    def test_a_good_sample_draws_the_velocity_to_itself_and_a_bad_one_drives_it_off(self) -> None:
        assert self.losses(1.0, 0.0)[1] < 0 < self.losses(0.0, 0.0)[1]

    def test_one_of_no_advantage_does_neither(self) -> None:
        assert abs(float(self.losses(0.5, 0.0)[1])) < 1e-4 * abs(float(self.losses(1.0, 0.0)[1]))

    def test_at_the_truth_a_good_sample_costs_nothing(self) -> None:
        assert self.losses(1.0, 1.0)[0] == pytest.approx(0, abs=1e-6)

    def test_it_is_the_formula(self) -> None:
        x0, noise, t = randn(3, *SHAPE), randn(3, *SHAPE, seed=1), torch.tensor([0.2, 0.5, 0.9])
        v, old, r, beta = randn(3, *SHAPE, seed=2), randn(3, *SHAPE, seed=3), torch.tensor([0.1, 0.5, 1.0]), 0.5
        xt = flow.interpolate(x0, noise, t)
        for row in range(3):
            time = float(t[row])
            plus = xt[row] - time * (beta * v[row] + (1 - beta) * old[row])
            minus = xt[row] - time * ((1 + beta) * old[row] - beta * v[row])
            parts = [((one - x0[row]) ** 2).mean() / (one - x0[row]).abs().mean() for one in (plus, minus)]
            wanted = (r[row] * parts[0] + (1 - r[row]) * parts[1]) / beta
            found = flow.nft_loss(v, old, x0, xt, t, r, beta=beta)[row]
            assert float(found) == pytest.approx(float(wanted), rel=1e-5)
        assert torch.allclose(flow.velocity_kl(v, old), (v - old).square().flatten(1).mean(1))


def test_times_are_in_the_middle_and_shifted_towards_noise(generator: torch.Generator) -> None:
    plain = flow.logit_normal_times(4000, generator)
    assert float(plain.min()) > 0 and float(plain.max()) < 1 and float(plain.mean()) == pytest.approx(0.5, abs=0.02)
    assert torch.allclose(flow.shifted(plain, 3.0), 3 * plain / (1 + 2 * plain))
    assert math.isclose(float(flow.shifted(torch.tensor(1.0), 3.0)), 1.0)
