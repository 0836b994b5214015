"""The schedules of flax's examples at 18f8f31: imagenet and wmt.

https://github.com/google/flax
"""

from __future__ import annotations

import jax.numpy as jnp

from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.composition import join
from warmup_jax.schedules.decays import inverse_sqrt_decay
from warmup_jax.schedules.ports.parts import interpolate


def create_learning_rate_fn(
    warmup_epochs: Number, num_epochs: Number, base_learning_rate: Number, steps_per_epoch: Number
) -> Schedule:
    """`examples/imagenet/train.py:create_learning_rate_fn`; the cosine lasts an epoch at least.

    >>> rate = create_learning_rate_fn(5.0, 20.0, 0.1, 4)
    >>> [round(float(rate(t)), 3) for t in (0, 10, 20, 50, 80)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    warmup = warmup_epochs * steps_per_epoch
    cosine = jnp.maximum(num_epochs - warmup_epochs, 1) * steps_per_epoch
    return join(
        interpolate(0, warmup, 0.0, base_learning_rate),
        interpolate(0, cosine, base_learning_rate, 0.0, "cosine"),
        warmup,
    )


def create_learning_rate_schedule(learning_rate: Number, warmup_steps: Number) -> Schedule:
    """`examples/wmt/train.py:create_learning_rate_schedule`; a warmup of 0 is NaN and 0 there, 1/sqrt(1 + t) here.

    >>> [round(float(create_learning_rate_schedule(0.1, 10)(t)), 3) for t in (0, 10, 40)]
    [0.0, 0.1, 0.05]
    """
    root = inverse_sqrt_decay(0, jnp.maximum(warmup_steps, 1))
    return join(interpolate(0, warmup_steps, 0.0, learning_rate), lambda t: learning_rate * root(t), warmup_steps)
