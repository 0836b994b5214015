"""OpenNMT-py 97111d9, `onmt/utils/optimizers.py`.

https://github.com/OpenNMT/OpenNMT-py
"""

from __future__ import annotations

import jax.numpy as jnp

from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.decays import inverse_sqrt_decay
from warmup_jax.schedules.factors import linear_warmup


def noam_decay(lr: Number, warmup_steps: Number, model_size: Number) -> Schedule:
    """`noam_decay`, times `--learning_rate`; OpenNMT's steps count from 1, t from 0.

    >>> [round(float(noam_decay(2.0, 10, 512)(t)), 4) for t in (0, 9, 39)]
    [0.0028, 0.028, 0.014]
    """
    steps = jnp.maximum(warmup_steps, 1)
    warm, decay = linear_warmup(steps), inverse_sqrt_decay(steps - 1, steps)
    return lambda t: lr / jnp.sqrt(1.0 * model_size * steps) * warm(t) * decay(t)
