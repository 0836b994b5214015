"""Schedulers of torch 2.13, `torch.optim.lr_scheduler`, in closed form.

`lr` is the rate of the optimizer; `scheduler.step()` follows each update. torch
computes most of them by recursion from the current rate: equal to rounding.
https://github.com/pytorch/pytorch
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Numbers, Schedule, ratio
from warmup_jax.schedules.composition import join
from warmup_jax.schedules.decays import SHAPES, cosine_decay, geometric_decay, multistep_decay, polynomial_decay
from warmup_jax.schedules.factors import constant_warmup
from warmup_jax.schedules.ports.parts import cycles, interpolate, switch, triangle

ANNEAL_STRATEGIES = {"cos": "cosine", "linear": "linear"}
MODES = ("triangular", "triangular2", "exp_range")


def LinearLR(lr: Number, start_factor: Number = 1.0 / 3, end_factor: Number = 1.0, total_iters: Number = 5) -> Schedule:
    """`LinearLR`.

    >>> [round(float(LinearLR(0.3, total_iters=4)(t)), 3) for t in (0, 2, 4)]
    [0.1, 0.2, 0.3]
    """
    return interpolate(0, total_iters, lr * start_factor, lr * end_factor)


def ConstantLR(lr: Number, factor: Number = 1.0 / 3, total_iters: Number = 5) -> Schedule:
    """`ConstantLR`; `total_iters` 0 is no warmup here, and `factor` for ever in torch.

    >>> [round(float(ConstantLR(0.3, total_iters=4)(t)), 3) for t in (0, 3, 4)]
    [0.1, 0.1, 0.3]
    """
    warm = constant_warmup(total_iters, factor)
    return lambda t: lr * warm(t)


def StepLR(lr: Number, step_size: Number, gamma: Number = 0.1) -> Schedule:
    """`StepLR`.

    >>> [round(float(StepLR(0.1, 2)(t)), 3) for t in (1, 2, 4)]
    [0.1, 0.01, 0.001]
    """
    decay = geometric_decay(0, gamma, step_size, staircase=True)
    return lambda t: lr * decay(t)


def MultiStepLR(lr: Number, milestones: Numbers, gamma: Number = 0.1) -> Schedule:
    """`MultiStepLR`.

    >>> [round(float(MultiStepLR(0.1, (2, 5))(t)), 3) for t in (1, 2, 5)]
    [0.1, 0.01, 0.001]
    """
    decay = multistep_decay(milestones, gamma)
    return lambda t: lr * decay(t)


def ExponentialLR(lr: Number, gamma: Number) -> Schedule:
    """`ExponentialLR`.

    >>> [round(float(ExponentialLR(0.8, 0.5)(t)), 3) for t in (0, 1, 3)]
    [0.8, 0.4, 0.1]
    """
    decay = geometric_decay(0, gamma, 1)
    return lambda t: lr * decay(t)


def PolynomialLR(lr: Number, total_iters: Number = 5, power: Number = 1.0) -> Schedule:
    """`PolynomialLR`.

    >>> [round(float(PolynomialLR(0.1, 4, 2.0)(t)), 3) for t in (0, 2, 4, 5)]
    [0.1, 0.025, 0.0, 0.0]
    """
    decay = polynomial_decay(0, total_iters, power)
    return lambda t: lr * decay(t)


def CosineAnnealingLR(lr: Number, T_max: Number, eta_min: Number = 0.0) -> Schedule:
    """`CosineAnnealingLR`. Differs after `T_max`, where torch's rises again: ours stays at `eta_min`.

    >>> [round(float(CosineAnnealingLR(0.1, 4)(t)), 3) for t in (0, 2, 4, 6)]
    [0.1, 0.05, 0.0, 0.0]
    """
    decay = cosine_decay(0, T_max)
    return lambda t: eta_min + (lr - eta_min) * decay(t)


def CosineAnnealingWarmRestarts(lr: Number, T_0: Number, T_mult: Number = 1, eta_min: Number = 0.0) -> Schedule:
    """`CosineAnnealingWarmRestarts`, for ever.

    >>> [round(float(CosineAnnealingWarmRestarts(0.1, 2, 2)(t)), 3) for t in (0, 1, 2, 4, 6)]
    [0.1, 0.05, 0.1, 0.05, 0.1]
    """
    position = cycles(T_0, T_mult)
    return lambda t: eta_min + (lr - eta_min) * SHAPES["cosine"](position(t)[1], None)


def SequentialLR(schedulers: Sequence[Schedule], milestones: Sequence[Number]) -> Schedule:
    """`SequentialLR`: each of the schedules begins its own clock at its milestone.

    >>> rate = SequentialLR([LinearLR(0.1, 0.1, total_iters=4), CosineAnnealingLR(0.1, 6)], [4])
    >>> [round(float(rate(t)), 3) for t in (0, 4, 7, 10)]
    [0.01, 0.1, 0.05, 0.0]
    """
    if len(milestones) != len(schedulers) - 1:
        raise ValueError(f"{len(schedulers)} schedulers need {len(schedulers) - 1} milestones, got {len(milestones)}")
    pieces = zip(schedulers[1:], milestones)
    return functools.reduce(lambda first, piece: join(first, *piece), pieces, schedulers[0])


def ChainedScheduler(lr: Number, schedulers: Sequence[Schedule]) -> Schedule:
    """`ChainedScheduler` of schedules that only multiply the rate `lr`, so with `eta_min` 0.

    >>> rate = ChainedScheduler(0.1, [ConstantLR(0.1, 0.1, 4), ExponentialLR(0.1, 0.5)])
    >>> [round(float(rate(t)), 4) for t in (0, 1, 4)]
    [0.01, 0.005, 0.0063]
    """
    return lambda t: lr * functools.reduce(jnp.multiply, [ratio(s(t), lr, 0.0) for s in schedulers])


def _one_cycle(
    total_steps: Number,
    pct_start: Number,
    anneal_strategy: str,
    three_phase: bool,
    start: Number,
    middle: Number,
    turned: Number,
    end: Number,
) -> Schedule:
    """Interpolates from start to middle, then to the end; with three phases back through `turned` before the end."""
    shape = registry.lookup("anneal_strategy", ANNEAL_STRATEGIES, anneal_strategy)
    peak, last = pct_start * total_steps - 1, total_steps - 1
    rise = interpolate(0, peak, start, middle, shape)
    if not three_phase:
        return switch(rise, interpolate(peak, last, middle, end, shape), peak)
    turn = 2 * pct_start * total_steps - 2
    rest = switch(interpolate(peak, turn, middle, turned, shape), interpolate(turn, last, turned, end, shape), turn)
    return switch(rise, rest, peak)


def OneCycleLR(
    max_lr: Number,
    total_steps: Number,
    pct_start: Number = 0.3,
    anneal_strategy: str = "cos",
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
    three_phase: bool = False,
) -> Schedule:
    """`OneCycleLR`; it ends at t = `total_steps` - 1 and stays there, where torch raises. See `OneCycleLR_momentum`.

    >>> [round(float(OneCycleLR(0.1, 20)(t)), 3) for t in (0, 5, 12, 19)]
    [0.004, 0.1, 0.05, 0.0]
    """
    start = max_lr / div_factor
    return _one_cycle(
        total_steps, pct_start, anneal_strategy, three_phase, start, max_lr, start, start / final_div_factor
    )


def OneCycleLR_momentum(
    total_steps: Number,
    pct_start: Number = 0.3,
    anneal_strategy: str = "cos",
    base_momentum: Number = 0.85,
    max_momentum: Number = 0.95,
    three_phase: bool = False,
) -> Schedule:
    """The momentum (beta1) that `OneCycleLR` sets along with the rate.

    >>> [round(float(OneCycleLR_momentum(20)(t)), 3) for t in (0, 5, 19)]
    [0.95, 0.85, 0.95]
    """
    return _one_cycle(
        total_steps, pct_start, anneal_strategy, three_phase, max_momentum, base_momentum, max_momentum, max_momentum
    )


def _cyclic(
    low: Number, high: Number, step_size_up: Number, step_size_down: Number | None, mode: str, gamma: Number
) -> Schedule:
    """Returns low + (high - low) * triangle * scale."""
    if mode not in MODES:
        raise registry.unknown("mode", mode, MODES)
    down = step_size_up if step_size_down is None else step_size_down
    wave, position = triangle(step_size_up, down), cycles(step_size_up + down)
    scales: dict[str, Callable[[ArrayLike], Number]] = {
        "triangular": lambda t: 1.0,
        "triangular2": lambda t: 0.5 ** position(t)[0],
        "exp_range": geometric_decay(0, gamma, 1),
    }
    scale = scales[mode]
    return lambda t: low + (high - low) * wave(t) * scale(t)


def CyclicLR(
    base_lr: Number,
    max_lr: Number,
    step_size_up: Number = 2000,
    step_size_down: Number | None = None,
    mode: str = "triangular",
    gamma: Number = 1.0,
) -> Schedule:
    """`CyclicLR`, for ever, without a `scale_fn` of one's own. See `CyclicLR_momentum`.

    >>> [round(float(CyclicLR(0.0, 0.1, 2, mode="triangular2")(t)), 3) for t in (0, 1, 2, 4, 6)]
    [0.0, 0.05, 0.1, 0.0, 0.05]
    """
    return _cyclic(base_lr, max_lr, step_size_up, step_size_down, mode, gamma)


def CyclicLR_momentum(
    step_size_up: Number = 2000,
    step_size_down: Number | None = None,
    mode: str = "triangular",
    gamma: Number = 1.0,
    base_momentum: Number = 0.8,
    max_momentum: Number = 0.9,
) -> Schedule:
    """The momentum (beta1) that `CyclicLR` sets along with the rate.

    >>> [round(float(CyclicLR_momentum(2)(t)), 3) for t in (0, 1, 2, 4)]
    [0.9, 0.85, 0.8, 0.9]
    """
    return _cyclic(max_momentum, base_momentum, step_size_up, step_size_down, mode, gamma)
