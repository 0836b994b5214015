"""Schedules of fairseq 3d262bb, `fairseq/optim/lr_scheduler`, driven as its trainer does.

`lr` is the (first) rate of `--lr`; a negative `warmup_init_lr` means the default of each.
https://github.com/facebookresearch/fairseq
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax.numerics import Number, Numbers, Schedule
from warmup_jax.schedules import decays
from warmup_jax.schedules.composition import join
from warmup_jax.schedules.decays import SHAPES, decay_progress, geometric_decay, inverse_sqrt_decay
from warmup_jax.schedules.factors import linear_warmup
from warmup_jax.schedules.ports.parts import cycles, interpolate, piecewise_constant, triangle, truncate


def cosine(
    lr: Number,
    warmup_updates: Number = 0,
    warmup_init_lr: Number = -1.0,
    min_lr: Number = 0.0,
    t_mult: Number = 1.0,
    lr_period_updates: Number = -1.0,
    lr_shrink: Number = 0.1,
    max_update: Number = 0,
) -> Schedule:
    """`CosineLRSchedule`; after a period it starts the next one, both its rates shrunk by `lr_shrink`.

    >>> [round(float(cosine(0.1, 5, max_update=25)(t)), 3) for t in (0, 5, 15, 25)]
    [0.0, 0.1, 0.05, 0.01]
    """
    min_lr = jnp.minimum(min_lr, lr)
    period = jnp.where(jnp.asarray(lr_period_updates) > 0, lr_period_updates, max_update - warmup_updates)
    position = cycles(period, t_mult)

    def decay(t: ArrayLike) -> jax.Array:
        index, progress = position(t)
        shrunk = jnp.asarray(lr_shrink, float) ** index
        return shrunk * (min_lr + (lr - min_lr) * SHAPES["cosine"](progress, None))

    return join(interpolate(0, warmup_updates, _initial(warmup_init_lr, min_lr), lr), decay, warmup_updates)


def inverse_sqrt(lr: Number, warmup_updates: Number = 4000, warmup_init_lr: Number = -1.0) -> Schedule:
    """`InverseSquareRootSchedule`; it needs a warmup (without one fairseq divides by 0, ours takes W = 1).

    >>> [round(float(inverse_sqrt(0.1, 8)(t)), 3) for t in (0, 4, 8, 32)]
    [0.0, 0.05, 0.1, 0.05]
    """
    warm = interpolate(0, warmup_updates, _initial(warmup_init_lr, 0.0), lr)
    decay = inverse_sqrt_decay(0, jnp.maximum(warmup_updates, 1))
    return join(warm, lambda t: lr * decay(t), warmup_updates)


def polynomial_decay(
    lr: Number,
    warmup_updates: Number = 0,
    end_learning_rate: Number = 0.0,
    power: Number = 1.0,
    total_num_update: Number = 0,
) -> Schedule:
    """`PolynomialDecayLRSchedule` (polynomial_decay), without `force_anneal`.

    >>> [round(float(polynomial_decay(0.1, 5, total_num_update=25)(t)), 3) for t in (0, 5, 15, 25)]
    [0.0, 0.1, 0.05, 0.0]
    """
    warm = linear_warmup(warmup_updates, "zero")
    decay = decays.polynomial_decay(0, total_num_update - warmup_updates, power)
    return join(
        lambda t: lr * warm(t), lambda t: end_learning_rate + (lr - end_learning_rate) * decay(t), warmup_updates
    )


def fixed(
    lr: Numbers,
    force_anneal: Number | None = None,
    lr_shrink: Number = 0.1,
    warmup_updates: Number = 0,
    updates_per_epoch: Number | None = None,
) -> Schedule:
    """`FixedLRSchedule`; its warmup is (t + 1)/W.

    `lr` is a rate or those of the epochs, and from epoch `force_anneal` on (the
    first is 1) the last one shrinks; both need the updates of an epoch.

    >>> [round(float(fixed(0.1, warmup_updates=4)(t)), 3) for t in (0, 3, 4)]
    [0.025, 0.1, 0.1]
    """
    warm, rates = linear_warmup(warmup_updates), jnp.atleast_1d(jnp.asarray(lr, float))
    if updates_per_epoch is None:
        if force_anneal is not None or rates.size > 1:
            raise ValueError(f"lr={lr} and force_anneal={force_anneal} of epochs need updates_per_epoch, got None")
        return lambda t: warm(t) * rates[0]
    listed = piecewise_constant(jnp.arange(1, rates.size), rates)

    def rate(t: ArrayLike) -> jax.Array:
        epoch = jnp.asarray(t) // updates_per_epoch
        if force_anneal is None:
            return listed(epoch)
        shrunk = jnp.asarray(lr_shrink, float) ** jnp.maximum(epoch + 2 - force_anneal, 0)
        return jnp.where(epoch + 1 < force_anneal, listed(epoch), rates[-1] * shrunk)

    return lambda t: warm(t) * rate(t)


def step(
    lr: Number,
    warmup_updates: Number = 0,
    warmup_init_lr: Number = -1.0,
    min_lr: Number = 0.0,
    lr_deacy_period: Number = 25000,
    lr_decay: Number = 0.5,
) -> Schedule:
    """`StepLRSchedule`; `lr_deacy_period` is spelled so.

    >>> [round(float(step(0.1, 4, lr_deacy_period=8)(t)), 3) for t in (0, 4, 11, 12)]
    [0.0, 0.1, 0.1, 0.05]
    """
    decay = geometric_decay(0, lr_decay, lr_deacy_period, staircase=True)
    return join(
        interpolate(0, warmup_updates, _initial(warmup_init_lr, min_lr), lr),
        lambda t: jnp.maximum(lr * decay(t), min_lr),
        warmup_updates,
    )


def tri_stage(
    lr: Number,
    warmup_steps: Number = 0,
    hold_steps: Number = 0,
    decay_steps: Number = 0,
    phase_ratio: Sequence[Number] | None = None,
    init_lr_scale: Number = 0.01,
    final_lr_scale: Number = 0.01,
    max_update: Number = 0,
) -> Schedule:
    """`TriStageLRSchedule`: a line, a plateau and an exponential fall; `phase_ratio` of `max_update` truncates.

    >>> [round(float(tri_stage(0.1, 8, 8, 16)(t)), 3) for t in (0, 8, 16, 24, 32)]
    [0.001, 0.1, 0.1, 0.01, 0.001]
    """
    if phase_ratio is not None:
        warmup_steps, hold_steps, decay_steps = (truncate(max_update * share) for share in phase_ratio)
    progress = decay_progress(hold_steps, hold_steps + decay_steps)
    return join(
        interpolate(0, warmup_steps, init_lr_scale * lr, lr),
        lambda t: lr * jnp.asarray(final_lr_scale, float) ** progress(t),
        warmup_steps,
    )


def triangular(
    lr: Number, max_lr: Number, lr_period_updates: Number = 5000, lr_shrink: Number = 0.1, shrink_min: bool = False
) -> Schedule:
    """`TriangularLRSchedule`: from `lr` to `max_lr` and back, for ever, the peak shrinking.

    >>> [round(float(triangular(0.0, 0.1, 8)(t)), 3) for t in (0, 2, 4, 8, 12)]
    [0.0, 0.05, 0.1, 0.0, 0.01]
    """
    half = jnp.asarray(lr_period_updates) // 2
    wave, position = triangle(half, half), cycles(2 * half)

    def schedule(t: ArrayLike) -> jax.Array:
        shrunk = jnp.asarray(lr_shrink, float) ** position(t)[0]
        low = lr * shrunk if shrink_min else lr
        return low + (max_lr * shrunk - low) * wave(t)

    return schedule


def _initial(warmup_init_lr: Number, default: Number) -> jax.Array:
    return jnp.where(jnp.asarray(warmup_init_lr) < 0, default, warmup_init_lr)
