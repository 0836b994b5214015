"""MaxText e591f30, `src/maxtext/utils/maxtext_utils.py:create_learning_rate_schedule`.

https://github.com/AI-Hypercomputer/maxtext
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.composition import join
from warmup_jax.schedules.factors import linear_warmup
from warmup_jax.schedules.ports.parts import interpolate, truncate

LR_SCHEDULE_TYPES = ("cosine", "wsd")


def create_learning_rate_schedule(
    learning_rate: Number,
    steps: Number,
    lr_schedule_type: str = "cosine",
    learning_rate_final_fraction: Number = 0.1,
    wsd_decay_steps_fraction: Number = 0.1,
    wsd_decay_style: str = "linear",
    warmup_steps_fraction: Number = 0.1,
    learning_rate_schedule_steps: Number = -1,
) -> Schedule:
    """`create_learning_rate_schedule`; durations are truncated, `learning_rate_schedule_steps` -1 means `steps`.

    Quirks: a decay reaches its end one update early; after
    `learning_rate_schedule_steps` the rate is 0 if there are more `steps`. The
    cosine of "wsd" rises and falls again after the end, as in the library; that
    of "cosine" does so there, and stays here.

    >>> rate = create_learning_rate_schedule(0.1, 30, warmup_steps_fraction=0.2)
    >>> [round(float(rate(t)), 3) for t in (0, 3, 6, 29)]
    [0.0, 0.05, 0.1, 0.01]
    """
    if lr_schedule_type not in LR_SCHEDULE_TYPES:
        raise registry.unknown("lr_schedule_type", lr_schedule_type, LR_SCHEDULE_TYPES)
    total = jnp.where(jnp.asarray(learning_rate_schedule_steps) < 0, steps, learning_rate_schedule_steps)
    length = steps if isinstance(learning_rate_schedule_steps, int) and learning_rate_schedule_steps < 0 else total
    warmup = truncate(length * warmup_steps_fraction)
    final = learning_rate * learning_rate_final_fraction
    if lr_schedule_type == "cosine":
        start, decay = warmup, length - warmup
        fall = interpolate(0, jnp.maximum(decay - 1, 0), learning_rate, final, "cosine")
    else:
        decay = truncate(length * wsd_decay_steps_fraction)
        start = jnp.maximum(length - decay, warmup)
        fall = interpolate(0, jnp.maximum(decay - 1, 0), learning_rate, final, wsd_decay_style)
        if wsd_decay_style == "cosine":
            fall = _to_and_fro(fall, jnp.maximum(decay - 1, 1))
    warm = linear_warmup(warmup, "zero")
    stable = join(lambda t: learning_rate * warm(t), fall, start)

    def schedule(t: ArrayLike) -> jax.Array:
        kept = jnp.where(jnp.asarray(decay) > 0, stable(t), stable(jnp.minimum(jnp.asarray(t), start - 1)))
        return jnp.where((jnp.asarray(t) >= total) & (jnp.asarray(steps) > total), 0.0, kept)

    return schedule


def _to_and_fro(schedule: Schedule, length: Number) -> Schedule:
    """Makes a schedule run backwards after `length` updates, then forwards again, and so on for ever."""
    return lambda t: schedule(length - jnp.abs(jnp.asarray(t) % (2 * length) - length))
