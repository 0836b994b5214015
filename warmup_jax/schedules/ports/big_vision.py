"""big_vision 0127fb6, `big_vision/utils.py:create_learning_rate_schedule`; the original computes in float32.

https://github.com/google-research/big_vision
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from warmup_jax import registry
from warmup_jax.numerics import Number, Numbers, Schedule, array_module
from warmup_jax.schedules.composition import delay
from warmup_jax.schedules.decays import cosine_decay, inverse_sqrt_decay, linear_decay, polynomial_decay
from warmup_jax.schedules.factors import linear_warmup
from warmup_jax.schedules.ports.parts import nearest, piecewise_constant

DECAY_TYPES = ("linear", "polynomial", "cosine", "rsqrt", "stair")


def create_learning_rate_schedule(
    total_steps: Number,
    batch_size: Number | None = None,
    data_size: Number | None = None,
    base: Number = 1.0,
    decay_type: str = "stair",
    scale_with_batchsize: bool = False,
    *,
    warmup_steps: Number | None = None,
    warmup_epochs: Number | None = None,
    warmup_examples: Number | None = None,
    warmup_percent: Number | None = None,
    cooldown_steps: Number | None = None,
    cooldown_epochs: Number | None = None,
    cooldown_examples: Number | None = None,
    cooldown_percent: Number | None = None,
    power: Number = 1,
    end: Number = 0.0,
    timescale: Number = 10_000,
    timescale_examples: Number | None = None,
    shift: Number = 0,
    steps: Numbers = (),
    mults: Sequence[Number] = (),
) -> Schedule:
    """`create_learning_rate_schedule`.

    Quirks: the warmup multiplies the decay, which starts when it ends; durations
    other than steps are rounded, to at least 1 unless 0. Differs after
    `total_steps` with a cooldown, where the library's turns negative: ours stays 0.

    >>> rate = create_learning_rate_schedule(30, base=0.1, decay_type="cosine", warmup_steps=10)
    >>> [round(float(rate(t)), 3) for t in (0, 5, 10, 20, 30)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    if decay_type not in DECAY_TYPES:
        raise registry.unknown("decay_type", decay_type, DECAY_TYPES)
    sizes = (total_steps, batch_size, data_size)
    warmup = _steps("warmup", warmup_steps, warmup_epochs, warmup_examples, warmup_percent, *sizes)
    cooldown = _steps("cooldown", cooldown_steps, cooldown_epochs, cooldown_examples, cooldown_percent, *sizes)
    peak = base * _needed("batch_size", batch_size) / 256.0 if scale_with_batchsize else base
    if decay_type in ("linear", "polynomial"):
        decay = polynomial_decay(warmup, total_steps, power)
        rate = lambda t: end + (peak - end) * decay(t)
    elif decay_type == "stair":
        stairs = piecewise_constant(steps, (1.0, *mults))
        rate = lambda t: peak * stairs(t)
    else:
        if timescale_examples is not None:
            timescale = timescale_examples / _needed("batch_size", batch_size)
        decay = (
            cosine_decay(warmup, total_steps)
            if decay_type == "cosine"
            else delay(inverse_sqrt_decay(-shift, timescale), warmup)
        )
        rate = lambda t: peak * decay(t)
    up, down = linear_warmup(warmup, "zero"), linear_decay(total_steps - cooldown, total_steps)
    return lambda t: rate(t) * up(t) * jnp.where(jnp.asarray(cooldown) > 0, down(t), 1.0)


def _steps(
    name: str,
    steps: Number | None,
    epochs: Number | None,
    examples: Number | None,
    percent: Number | None,
    total_steps: Number,
    batch_size: Number | None,
    data_size: Number | None,
) -> Number:
    """Returns a duration in updates from the one unit that is given; 0 if none is."""
    given = [unit for unit in (steps, epochs, examples, percent) if unit is not None]
    if len(given) > 1:
        raise ValueError(f"give one of {name}_steps, _epochs, _examples and _percent, got {len(given)}")
    if steps is not None:
        return steps
    if percent is not None:
        exact = percent * total_steps
    elif examples is not None:
        exact = examples / _needed("batch_size", batch_size)
    elif epochs is not None:
        exact = epochs * (_needed("data_size", data_size) / _needed("batch_size", batch_size))
    else:
        return 0
    xp = array_module(exact)
    return xp.where(xp.asarray(exact) > 0, xp.maximum(nearest(exact), 1), 0)


def _needed(name: str, value: Number | None) -> Number:
    if value is None:
        raise ValueError(f"durations in epochs or examples and scaled rates need {name}, got None")
    return value
