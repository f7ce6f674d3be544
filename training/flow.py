"""The mathematics of rectified flow and of its reinforcement, as pure functions on tensors.

`x_t = (1 - t) x_0 + t ε`, velocity `v = ε - x_0`, t from 0 (data) to 1 (noise). Batches are [B, ...], times are [B].
What an update divides by, clips at or weighs is an argument; sources are named beside the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x [B, ...], t [B]) -> velocity [B, ...]."""


def interpolate(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """[B, ...] x_t on the straight way from data to noise; x0, noise: [B, ...], t: [B] in 0 to 1."""
    t = over(t, x0)
    return (1 - t) * x0 + t * noise


def flow_matching_loss(velocity: Tensor, x0: Tensor, noise: Tensor) -> Tensor:
    """[B] L_img = ‖v_θ - (ε - x_0)‖², the mean over dimensions (arXiv 2601.05124, training objectives)."""
    return (velocity - (noise - x0)).square().flatten(1).mean(1)


def min_snr_weights(t: Tensor, gamma: float) -> Tensor:
    """[B] what the loss on velocities is multiplied by so that the one on clean images weighs at most `gamma`.

    An error of the clean image counts 1 / t² in a velocity, without bound where there is next to no noise; Min-SNR
    weighting bounds it (arXiv 2303.09556): min(1 / t², γ) t².
    """
    return (gamma * t.square()).clamp(max=1)


def logit_normal_times(count: int, generator: torch.Generator, *, shift: float = 1.0) -> Tensor:
    """[count] training times: the sigmoid of a standard normal, then shifted (arXiv 2403.03206)."""
    return shifted(torch.randn(count, generator=generator).sigmoid(), shift)


def uniform_times(count: int, generator: torch.Generator, *, shift: float = 1.0) -> Tensor:
    """[count] training times: uniform from 0.04 to 1, then shifted; those near 1 are frequent.

    Rectified flow's (arXiv 2209.03003), without the end where an image is as good as clean: the velocity of a network
    that predicts clean images is not defined there.
    """
    return shifted(0.04 + 0.96 * torch.rand(count, generator=generator), shift)


def shifted(t: Tensor, shift: float) -> Tensor:
    """Times moved towards noise: s t / (1 + (s - 1) t) (arXiv 2403.03206)."""
    return shift * t / (1 + (shift - 1) * t)


def schedule(steps: int, shift: float = 1.0) -> list[float]:
    """steps + 1 times from 1 down to 0.

    Raises:
        ValueError: no step.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: at least 1 is wanted")
    inner = shifted(torch.linspace(1, 0, steps + 1, dtype=torch.float64)[1:-1], shift)
    return [1.0, *map(float, inner), 0.0]


def ode_sample(velocity: Velocity, noise: Tensor, times: list[float]) -> Tensor:
    """x at the last time, by Euler steps along `times`."""
    x = noise
    for now, then in pairwise(times):
        x = x + (then - now) * velocity(x, x.new_full((len(x),), now))
    return x


@dataclass(frozen=True)
class SDEStep:
    """One stochastic step.

    Attributes:
        next: [B, ...], where it went.
        logp: [B], the log-density of going there, the mean over dimensions (not the sum), as flow_grpo has it.
        mean: [B, ...], where the drift alone would lead.
        std: the standard deviation of the step.
    """

    next: Tensor
    logp: Tensor
    mean: Tensor
    std: float


def sde_step(
    x: Tensor,
    velocity: Tensor,
    now: float,
    then: float,
    *,
    level: float,
    noise: Tensor | None = None,
    to: Tensor | None = None,
) -> SDEStep:
    """One step of Flow-GRPO's SDE, which has the ODE's marginals (arXiv 2505.05470).

    σ = level · sqrt(t / (1 - t)), dt = then - now < 0,
    mean = x (1 + σ²/(2t) dt) + v (1 + σ²(1 - t)/(2t)) dt, next = mean + σ sqrt(-dt) ε. In σ, t = 1 is replaced by the
    time of the next step, where σ would be infinite (flow_grpo, sd3_sde_with_logprob.py).

    Args:
        x, velocity: [B, ...], at `now`.
        now, then: times, 1 >= now > then > 0.
        level: how much noise; 0.7 in flow_grpo, less where steps are few.
        noise: [B, ...]; or `to`, where the step is known to have gone, whose density is asked for. Computed in float32.

    Raises:
        ValueError: both noise and `to`, or neither; times out of order; a step to 0, which has no noise at all.
    """
    if (noise is None) == (to is None):
        raise ValueError("give noise, to take a step, or to, to have the density of one")
    if not 1 >= now > then > 0:
        raise ValueError(f"a step from {now:g} to {then:g}: 1 >= now > then > 0 is wanted")
    x, velocity = x.float(), velocity.float()
    sigma = level * math.sqrt(now / (1 - (now if now < 1 else then)))
    dt = then - now
    mean = x * (1 + sigma**2 / (2 * now) * dt) + velocity * (1 + sigma**2 * (1 - now) / (2 * now)) * dt
    std = sigma * math.sqrt(-dt)
    reached = mean + std * noise.float() if noise is not None else to.float()  # type: ignore[union-attr]
    return SDEStep(reached, gaussian_logp(reached, mean, std), mean, std)


def gaussian_logp(x: Tensor, mean: Tensor, std: float) -> Tensor:
    """[B] log-density of N(mean, std²) at x, the mean over dimensions."""
    dense = -((x - mean) ** 2) / (2 * std**2) - math.log(std) - 0.5 * math.log(2 * math.pi)
    return dense.flatten(1).mean(1)


def clipped_policy_loss(logp: Tensor, old_logp: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """[B] PPO's clipped objective, to be minimised: max(-A ρ, -A clamp(ρ, 1 - clip, 1 + clip)), ρ = exp(logp - old).

    Flow-GRPO's clip is as small as 1e-4 because its log-densities are means over dimensions.
    """
    ratio = (logp - old_logp).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))


def gaussian_kl(mean: Tensor, reference: Tensor, std: float) -> Tensor:
    """[B] KL between two steps of one standard deviation: ‖μ - μ_ref‖² / (2 std²), the mean over dimensions."""
    return ((mean - reference) ** 2).flatten(1).mean(1) / (2 * std**2)


def nft_loss(
    velocity: Tensor, old_velocity: Tensor, x0: Tensor, xt: Tensor, t: Tensor, r: Tensor, *, beta: float = 1.0
) -> Tensor:
    """[B] DiffusionNFT's contrast on the forward process (arXiv 2509.16117; FIRM, section 3.4).

    v⁺ = β v + (1 - β) v_old, v⁻ = (1 + β) v_old - β v; each predicts the clean sample, x_t - t v, and is
    r ‖x̂⁺ - x_0‖²/w⁺ + (1 - r) ‖x̂⁻ - x_0‖²/w⁻, where w is the detached mean absolute error (adaptive weighting).

    Args:
        velocity, old_velocity: [B, ...] of the policy and of the one that drew x_0; the latter without gradient.
        x0, xt: [B, ...], what was drawn, and it re-noised at t.
        t: [B].
        r: [B] in [0, 1]: `rewards.groups.nft_r`.
        beta: how far the two branches are apart.
    """
    t_ = over(t, x0)
    better = xt - t_ * (beta * velocity + (1 - beta) * old_velocity)
    worse = xt - t_ * ((1 + beta) * old_velocity - beta * velocity)
    return (r * _adaptive(better, x0) + (1 - r) * _adaptive(worse, x0)) / beta


def velocity_kl(velocity: Tensor, reference: Tensor) -> Tensor:
    """[B] ‖v - v_ref‖², the mean over dimensions: DiffusionNFT's stand-in for a KL to the reference policy."""
    return (velocity - reference).square().flatten(1).mean(1)


def token_policy_loss(logp: Tensor, old_logp: Tensor, tokens: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """[B] GRPO's clipped objective over the tokens of a reasoning, the mean over its tokens (arXiv 2402.03300).

    Args:
        logp, old_logp: [B, T].
        tokens: [B, T] booleans; a row without any gives 0.
        advantages: [B].
    """
    loss = clipped_policy_loss(logp, old_logp, advantages[:, None], clip) * tokens
    return loss.sum(1) / tokens.sum(1).clamp(min=1)


def over(t: Tensor, like: Tensor) -> Tensor:
    """[B] as [B, 1, ...], to be multiplied with [B, ...]."""
    return t.reshape(-1, *[1] * (like.dim() - 1))


def _adaptive(predicted: Tensor, x0: Tensor) -> Tensor:
    error = (predicted - x0).flatten(1)
    weight = error.detach().abs().mean(1).clamp(min=1e-5)
    return error.square().mean(1) / weight
