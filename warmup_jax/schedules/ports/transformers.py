"""Schedules of Hugging Face transformers 5.23.0, `optimization.py`.

`lr` is the rate of the optimizer; `last_epoch` is left out, a schedule has no state.
https://github.com/huggingface/transformers
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.composition import join
from warmup_jax.schedules.decays import (
    SHAPES,
    constant_decay,
    decay_progress,
    inverse_sqrt_decay,
    linear_decay,
    polynomial_decay,
)
from warmup_jax.schedules.factors import cosine_warmup, linear_warmup, sqrt_complement_warmup
from warmup_jax.schedules.ports.parts import cosine_waves, interpolate

WARMUP_TYPES = {"linear": linear_warmup, "cosine": cosine_warmup, "1-sqrt": sqrt_complement_warmup}
DECAY_TYPES = {"linear": "linear", "cosine": "cosine", "1-sqrt": "sqrt"}


def get_constant_schedule(lr: Number) -> Schedule:
    """`get_constant_schedule`.

    >>> float(get_constant_schedule(0.5)(3))
    0.5
    """
    return lambda t: lr * constant_decay()(t)


def get_constant_schedule_with_warmup(lr: Number, num_warmup_steps: Number) -> Schedule:
    """`get_constant_schedule_with_warmup`; the first update has the rate 0.

    >>> [round(float(get_constant_schedule_with_warmup(0.1, 5)(t)), 3) for t in (0, 1, 5)]
    [0.0, 0.02, 0.1]
    """
    warm = linear_warmup(num_warmup_steps, "zero")
    return lambda t: lr * warm(t)


def get_linear_schedule_with_warmup(lr: Number, num_warmup_steps: Number, num_training_steps: Number) -> Schedule:
    """`get_linear_schedule_with_warmup`.

    >>> [round(float(get_linear_schedule_with_warmup(0.1, 5, 30)(t)), 3) for t in (0, 5, 6, 30)]
    [0.0, 0.1, 0.096, 0.0]
    """
    left = num_training_steps - num_warmup_steps
    # A run that ends with its warmup has the rate 0 at once: the decay counts from its end.
    factor = join(
        linear_warmup(num_warmup_steps, "zero"), linear_decay(left - jnp.maximum(left, 1), left), num_warmup_steps
    )
    return lambda t: lr * factor(t)


def get_cosine_schedule_with_warmup(
    lr: Number, num_warmup_steps: Number, num_training_steps: Number, num_cycles: Number = 0.5
) -> Schedule:
    """`get_cosine_schedule_with_warmup`.

    Differs after `num_training_steps`, where the library's rises again: ours stays.

    >>> [round(float(get_cosine_schedule_with_warmup(0.1, 5, 30)(t)), 4) for t in (5, 6, 30, 40)]
    [0.1, 0.0996, 0.0, 0.0]
    """
    return get_cosine_with_min_lr_schedule_with_warmup(
        lr, num_warmup_steps, num_training_steps, num_cycles, min_lr_rate=0.0
    )


def get_cosine_with_hard_restarts_schedule_with_warmup(
    lr: Number, num_warmup_steps: Number, num_training_steps: Number, num_cycles: Number = 1
) -> Schedule:
    """`get_cosine_with_hard_restarts_schedule_with_warmup`; 0 from `num_training_steps` on.

    >>> rate = get_cosine_with_hard_restarts_schedule_with_warmup(0.1, 5, 25, 2)
    >>> [round(float(rate(t)), 3) for t in (5, 10, 15, 25)]
    [0.1, 0.05, 0.1, 0.0]
    """
    of = jnp.maximum(num_training_steps - num_warmup_steps, 1)

    def decay(t: ArrayLike) -> jax.Array:
        t = jnp.asarray(t)
        # A remainder of whole numbers: a quotient need not be exactly whole where a cycle begins.
        return jnp.where(t < of, SHAPES["cosine"]((num_cycles * t) % of / of, None), 0.0)

    factor = join(linear_warmup(num_warmup_steps, "zero"), decay, num_warmup_steps)
    return lambda t: lr * factor(t)


def get_polynomial_decay_schedule_with_warmup(
    lr: Number, num_warmup_steps: Number, num_training_steps: Number, lr_end: Number = 1e-7, power: Number = 1.0
) -> Schedule:
    """`get_polynomial_decay_schedule_with_warmup`.

    >>> [round(float(get_polynomial_decay_schedule_with_warmup(0.1, 5, 25)(t)), 3) for t in (5, 15, 25)]
    [0.1, 0.05, 0.0]
    """
    decay = polynomial_decay(0, num_training_steps - num_warmup_steps, power)
    warm = linear_warmup(num_warmup_steps, "zero")
    return join(lambda t: lr * warm(t), lambda t: lr_end + (lr - lr_end) * decay(t), num_warmup_steps)


def get_inverse_sqrt_schedule(lr: Number, num_warmup_steps: Number, timescale: Number | None = None) -> Schedule:
    """`get_inverse_sqrt_schedule`; the timescale is the warmup, or 10,000 if there is none.

    >>> [round(float(get_inverse_sqrt_schedule(0.1, 5)(t)), 3) for t in (1, 5, 20)]
    [0.02, 0.1, 0.05]
    """
    if timescale is None:
        timescale = jnp.where(jnp.asarray(num_warmup_steps) > 0, num_warmup_steps, 10_000)
    factor = join(linear_warmup(num_warmup_steps, "zero"), inverse_sqrt_decay(0, timescale), num_warmup_steps)
    return lambda t: lr * factor(t)


def get_cosine_with_min_lr_schedule_with_warmup(
    lr: Number,
    num_warmup_steps: Number,
    num_training_steps: Number,
    num_cycles: Number = 0.5,
    min_lr: Number | None = None,
    min_lr_rate: Number | None = None,
) -> Schedule:
    """`get_cosine_with_min_lr_schedule_with_warmup`.

    Differs after `num_training_steps`, where the library's rises again: ours stays.

    >>> rate = get_cosine_with_min_lr_schedule_with_warmup(0.1, 5, 25, min_lr=0.01)
    >>> [round(float(rate(t)), 3) for t in (0, 5, 15, 25)]
    [0.0, 0.1, 0.055, 0.01]
    """
    least = _least(lr, min_lr, min_lr_rate)
    decay = cosine_waves(0, num_training_steps - num_warmup_steps, num_cycles)
    factor = join(linear_warmup(num_warmup_steps, "zero"), lambda t: decay(t) * (1 - least) + least, num_warmup_steps)
    return lambda t: lr * factor(t)


def get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
    lr: Number,
    num_warmup_steps: Number,
    num_training_steps: Number,
    num_cycles: Number = 0.5,
    min_lr: Number | None = None,
    min_lr_rate: Number | None = None,
    warmup_lr_rate: Number | None = None,
) -> Schedule:
    """`get_cosine_with_min_lr_schedule_with_warmup_lr_rate`.

    Quirks: without `warmup_lr_rate` the warmup is (t + 1)/W, with it t/(W - 1);
    the decay is one update ahead of the other cosines. Differs after
    `num_training_steps - 1`, where the library's rises again: ours stays.

    >>> rate = get_cosine_with_min_lr_schedule_with_warmup_lr_rate(0.1, 5, 25, min_lr=0.01)
    >>> [round(float(rate(t)), 3) for t in (0, 4, 5, 14, 24)]
    [0.02, 0.1, 0.099, 0.055, 0.01]
    """
    least = _least(lr, min_lr, min_lr_rate)
    if warmup_lr_rate is None:
        warm = linear_warmup(num_warmup_steps)
    else:
        warm = interpolate(0, jnp.maximum(num_warmup_steps - 1, 1), warmup_lr_rate, 1.0)
    decay = cosine_waves(-1, jnp.maximum(num_training_steps - num_warmup_steps, 1) - 1, num_cycles)
    factor = join(warm, lambda t: decay(t) * (1 - least) + least, num_warmup_steps)
    return lambda t: lr * factor(t)


def get_wsd_schedule(
    lr: Number,
    num_warmup_steps: Number,
    num_decay_steps: Number,
    num_training_steps: Number | None = None,
    num_stable_steps: Number | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: Number = 0.0,
    num_cycles: Number = 0.5,
) -> Schedule:
    """`get_wsd_schedule`.

    Quirks: it warms up from `min_lr_ratio`; a warmup and a decay that together
    exceed the training make the decay begin in the middle of its curve.

    >>> rate = get_wsd_schedule(0.1, 6, 10, num_stable_steps=10, decay_type="1-sqrt", min_lr_ratio=0.1)
    >>> [round(float(rate(t)), 3) for t in (0, 6, 16, 21, 26)]
    [0.01, 0.1, 0.1, 0.036, 0.01]
    """
    if num_stable_steps is None:
        if num_training_steps is None:
            raise ValueError("get_wsd_schedule needs num_training_steps or num_stable_steps, got neither")
        num_stable_steps = num_training_steps - num_warmup_steps - num_decay_steps
    warm = registry.lookup("warmup_type", WARMUP_TYPES, warmup_type)(num_warmup_steps, "zero")
    shape = SHAPES[registry.lookup("decay_type", DECAY_TYPES, decay_type)]
    stop = num_stable_steps + num_decay_steps
    progress = decay_progress(num_stable_steps, stop)
    waves = cosine_waves(num_stable_steps, stop, num_cycles)

    def decay(t: ArrayLike) -> jax.Array:
        t = jnp.asarray(t)
        falling = waves(t) if decay_type == "cosine" else shape(progress(t), None)
        return jnp.where(t < stop, jnp.where(t < num_stable_steps, 1.0, falling), 0.0)

    factor = join(warm, decay, num_warmup_steps)
    return lambda t: lr * (min_lr_ratio + (1 - min_lr_ratio) * factor(t))


def _least(lr: Number, min_lr: Number | None, min_lr_rate: Number | None) -> Number:
    """Returns the lowest rate as a share of the optimizer's rate; exactly one of the two must be given."""
    if min_lr is None and min_lr_rate is not None:
        return min_lr_rate
    if min_lr is not None and min_lr_rate is None:
        return min_lr / lr
    raise ValueError(f"give exactly one of min_lr and min_lr_rate, got {min_lr} and {min_lr_rate}")
