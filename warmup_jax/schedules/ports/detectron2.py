"""detectron2 02b5c4e, `detectron2/solver/lr_scheduler.py`, with the schedulers of fvcore 0.1.5 that it wraps.

A param scheduler is a function of `where`, the share of the training in [0, 1].
https://github.com/facebookresearch/detectron2
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Numbers, Schedule, ratio
from warmup_jax.schedules.ports.parts import interpolate, piecewise_constant

# fvcore looks this far ahead, so that rounding does not keep a piece from ending.
WHERE_EPSILON = 1e-6
WARMUP_METHODS = ("linear", "constant")


def ConstantParamScheduler(value: Number) -> Schedule:
    """fvcore's `ConstantParamScheduler`.

    >>> float(ConstantParamScheduler(0.5)(0.3))
    0.5
    """
    return interpolate(0, 1, value, value)


def LinearParamScheduler(start_value: Number, end_value: Number) -> Schedule:
    """fvcore's `LinearParamScheduler`.

    >>> float(LinearParamScheduler(1.0, 0.0)(0.25))
    0.75
    """
    return interpolate(0, 1, start_value, end_value)


def CosineParamScheduler(start_value: Number, end_value: Number) -> Schedule:
    """fvcore's `CosineParamScheduler`.

    >>> round(float(CosineParamScheduler(1.0, 0.0)(0.5)), 6)
    0.5
    """
    return interpolate(0, 1, start_value, end_value, "cosine")


def MultiStepParamScheduler(values: Numbers, num_updates: Number, milestones: Numbers) -> Schedule:
    """fvcore's `MultiStepParamScheduler`.

    >>> [round(float(MultiStepParamScheduler((1.0, 0.1), 90, (60,))(where)), 3) for where in (0.5, 60 / 90)]
    [1.0, 0.1]
    """
    steps = piecewise_constant(milestones, values)
    return lambda where: steps(jnp.floor((jnp.asarray(where) + WHERE_EPSILON) * num_updates))


def WarmupParamScheduler(
    scheduler: Schedule,
    warmup_factor: Number,
    warmup_length: Number,
    warmup_method: str = "linear",
    rescale_interval: bool = False,
) -> Schedule:
    """`WarmupParamScheduler`.

    Quirk: the warmup aims at `scheduler(warmup_length)`, not at the base rate,
    unless `rescale_interval` makes the scheduler begin when the warmup has ended.

    >>> multiplier = WarmupParamScheduler(CosineParamScheduler(1.0, 0.0), 0.001, 0.1)
    >>> [round(float(multiplier(where)), 3) for where in (0.0, 0.05, 0.1, 0.5)]
    [0.001, 0.488, 0.976, 0.5]
    """
    if warmup_method not in WARMUP_METHODS:
        raise registry.unknown("warmup_method", warmup_method, WARMUP_METHODS)
    first = warmup_factor * scheduler(0.0)
    target = scheduler(0.0) if rescale_interval else scheduler(warmup_length)
    warm = interpolate(0.0, warmup_length, first, target if warmup_method == "linear" else first)
    rest = (
        (lambda where: scheduler(ratio(where - warmup_length, 1 - warmup_length, 1.0)))
        if rescale_interval
        else scheduler
    )

    def multiplier(where: ArrayLike) -> jax.Array:
        where = jnp.asarray(where)
        # fvcore changes over at the end of the warmup itself.
        return jnp.where(where + WHERE_EPSILON > warmup_length, rest(jnp.maximum(where, warmup_length)), warm(where))

    return multiplier


def LRMultiplier(lr: Number, multiplier: Schedule, max_iter: Number) -> Schedule:
    """`LRMultiplier`: a param scheduler as a schedule of updates.

    >>> float(LRMultiplier(0.2, LinearParamScheduler(1.0, 0.0), 100)(50))
    0.10000000149011612
    """
    return lambda t: lr * multiplier(jnp.clip(jnp.asarray(t) / max_iter, 0, 1))
