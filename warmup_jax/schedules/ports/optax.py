"""The schedules of optax 0.2.8 with branch-free numbers: warmups, totals and peaks can be mapped over.

A length of 0 is an empty piece here and holds the initial value for ever there.
https://github.com/google-deepmind/optax
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax.numerics import Number, Schedule, array_module
from warmup_jax.numerics import power as power_of
from warmup_jax.schedules.composition import delay, join
from warmup_jax.schedules.decays import SHAPES, geometric_decay
from warmup_jax.schedules.ports.parts import interpolate, span, switch, truncate


def polynomial_schedule(
    init_value: Number, end_value: Number, power: Number, transition_steps: Number, transition_begin: Number = 0
) -> Schedule:
    """`polynomial_schedule`. Quirk: the power is of the distance to `end_value`, so a warmup with 2 starts fast.

    >>> [round(float(polynomial_schedule(0.0, 0.1, 2.0, 8, 2)(t)), 3) for t in (0, 2, 6, 10)]
    [0.0, 0.0, 0.075, 0.1]
    """
    progress = span(transition_begin, transition_begin + transition_steps)
    return lambda t: end_value + (init_value - end_value) * power_of(1 - progress(t), power)


def linear_schedule(
    init_value: Number, end_value: Number, transition_steps: Number, transition_begin: Number = 0
) -> Schedule:
    """`linear_schedule`.

    >>> [round(float(linear_schedule(0.0, 0.1, 4)(t)), 3) for t in (0, 2, 4)]
    [0.0, 0.05, 0.1]
    """
    return interpolate(transition_begin, transition_begin + transition_steps, init_value, end_value)


def cosine_decay_schedule(
    init_value: Number, decay_steps: Number, alpha: Number = 0.0, exponent: Number = 1.0
) -> Schedule:
    """`cosine_decay_schedule`.

    >>> [round(float(cosine_decay_schedule(0.1, 20, 0.1)(t)), 3) for t in (0, 10, 20)]
    [0.1, 0.055, 0.01]
    """
    progress = span(0, decay_steps)
    return lambda t: init_value * (alpha + (1 - alpha) * power_of(SHAPES["cosine"](progress(t), None), exponent))


def warmup_constant_schedule(init_value: Number, peak_value: Number, warmup_steps: Number) -> Schedule:
    """`warmup_constant_schedule`; with a warmup of 0 ours is at the peak, optax's at `init_value` for ever.

    >>> [round(float(warmup_constant_schedule(0.0, 0.1, 4)(t)), 3) for t in (0, 2, 4)]
    [0.0, 0.05, 0.1]
    """
    return interpolate(0, warmup_steps, init_value, peak_value)


def warmup_cosine_decay_schedule(
    init_value: Number,
    peak_value: Number,
    warmup_steps: Number,
    decay_steps: Number,
    end_value: Number = 0.0,
    exponent: Number = 1.0,
) -> Schedule:
    """`warmup_cosine_decay_schedule`; `decay_steps` includes the warmup.

    >>> [round(float(warmup_cosine_decay_schedule(0.0, 0.1, 5, 25)(t)), 3) for t in (0, 5, 15, 25)]
    [0.0, 0.1, 0.05, 0.0]
    """
    progress = span(0, decay_steps - warmup_steps)
    fall = lambda t: end_value + (peak_value - end_value) * power_of(SHAPES["cosine"](progress(t), None), exponent)
    return join(interpolate(0, warmup_steps, init_value, peak_value), fall, warmup_steps)


def exponential_decay(
    init_value: Number,
    transition_steps: Number,
    decay_rate: Number,
    transition_begin: Number = 0,
    staircase: bool = False,
    end_value: Number | None = None,
) -> Schedule:
    """`exponential_decay`; `end_value` is a floor, or with a rate above 1 a ceiling.

    >>> [round(float(exponential_decay(0.1, 4, 0.5, staircase=True)(t)), 3) for t in (0, 3, 4, 8)]
    [0.1, 0.1, 0.05, 0.025]
    """
    # The decays of this library fall: a growth by r is the inverse of a decay by 1/r.
    xp = array_module(decay_rate)
    decay = delay(
        geometric_decay(0, xp.minimum(decay_rate, 1 / decay_rate), transition_steps, staircase), transition_begin
    )

    def schedule(t: ArrayLike) -> jax.Array:
        rate = init_value * jnp.where(jnp.asarray(decay_rate) > 1, 1 / decay(t), decay(t))
        if end_value is None:
            return rate
        return jnp.where(jnp.asarray(decay_rate) > 1, jnp.minimum(rate, end_value), jnp.maximum(rate, end_value))

    return schedule


def warmup_exponential_decay_schedule(
    init_value: Number,
    peak_value: Number,
    warmup_steps: Number,
    transition_steps: Number,
    decay_rate: Number,
    transition_begin: Number = 0,
    staircase: bool = False,
    end_value: Number | None = None,
) -> Schedule:
    """`warmup_exponential_decay_schedule`.

    >>> rate = warmup_exponential_decay_schedule(0.0, 0.1, 4, 4, 0.5)
    >>> [round(float(rate(t)), 3) for t in (0, 4, 8)]
    [0.0, 0.1, 0.05]
    """
    decay = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return join(interpolate(0, warmup_steps, init_value, peak_value), decay, warmup_steps)


def cosine_onecycle_schedule(
    transition_steps: Number,
    peak_value: Number,
    pct_start: Number = 0.3,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> Schedule:
    """`cosine_onecycle_schedule`; the rise takes int(pct_start * transition_steps) updates.

    >>> [round(float(cosine_onecycle_schedule(20, 0.1)(t)), 3) for t in (0, 3, 6, 20)]
    [0.004, 0.052, 0.1, 0.0]
    """
    peak, low = truncate(pct_start * transition_steps), peak_value / div_factor
    return switch(
        interpolate(0, peak, low, peak_value, "cosine"),
        interpolate(peak, transition_steps, peak_value, low / final_div_factor, "cosine"),
        peak,
    )


def linear_onecycle_schedule(
    transition_steps: Number,
    peak_value: Number,
    pct_start: Number = 0.3,
    pct_final: Number = 0.85,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> Schedule:
    """`linear_onecycle_schedule`; back at its first rate at `pct_final`.

    >>> [round(float(linear_onecycle_schedule(20, 0.1)(t)), 3) for t in (0, 3, 6, 17, 20)]
    [0.004, 0.052, 0.1, 0.004, 0.0]
    """
    peak, back = truncate(pct_start * transition_steps), truncate(pct_final * transition_steps)
    low = peak_value / div_factor
    fall = switch(
        interpolate(peak, back, peak_value, low), interpolate(back, transition_steps, low, low / final_div_factor), back
    )
    return switch(interpolate(0, peak, low, peak_value), fall, peak)


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[Number]) -> Schedule:
    """`join_schedules`.

    >>> rate = join_schedules([linear_schedule(0.0, 0.1, 4), lambda t: 0.1 / (1 + t)], [4])
    >>> [round(float(rate(t)), 3) for t in (0, 4, 5)]
    [0.0, 0.1, 0.05]
    """
    return functools.reduce(lambda first, piece: join(first, *piece), zip(schedules[1:], boundaries), schedules[0])


def sgdr_schedule(cosine_kwargs: Sequence[Mapping[str, Any]]) -> Schedule:
    """`sgdr_schedule`: cycles of `warmup_cosine_decay_schedule`.

    >>> cycle = {"init_value": 0.0, "peak_value": 0.1, "warmup_steps": 2, "decay_steps": 10}
    >>> [round(float(sgdr_schedule([cycle, cycle])(t)), 3) for t in (0, 2, 6, 10, 12)]
    [0.0, 0.1, 0.05, 0.0, 0.1]
    """
    ends = [sum(kwargs["decay_steps"] for kwargs in cosine_kwargs[:i]) for i in range(1, len(cosine_kwargs))]
    return join_schedules([warmup_cosine_decay_schedule(**kwargs) for kwargs in cosine_kwargs], ends)
