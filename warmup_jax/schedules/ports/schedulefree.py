"""schedule_free 1.4.1: the rate inside `AdamWScheduleFree` and `SGDScheduleFree`.

https://github.com/facebookresearch/schedule_free
"""

from __future__ import annotations

from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.factors import linear_warmup


def scheduled_lr(lr: Number, warmup_steps: Number = 0) -> Schedule:
    """`scheduled_lr` of the optimizers: a warmup of (t + 1)/W, then constant.

    >>> [round(float(scheduled_lr(0.1, 4)(t)), 3) for t in (0, 3, 4)]
    [0.025, 0.1, 0.1]
    """
    warm = linear_warmup(warmup_steps)
    return lambda t: lr * warm(t)
