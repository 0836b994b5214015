"""pytorch-gradual-warmup-lr 7021d63, `warmup_scheduler/scheduler.py`.

https://github.com/ildoonet/pytorch-gradual-warmup-lr
"""

from __future__ import annotations

from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.composition import join
from warmup_jax.schedules.factors import linear_warmup


def GradualWarmupScheduler(lr: Number, total_epoch: Number, after_scheduler: Schedule | None = None) -> Schedule:
    """`GradualWarmupScheduler` with `multiplier` 1, called once an update.

    Quirk: the peak is used twice, at t = `total_epoch` and as the first rate of
    the scheduler after it. Other multipliers are a bug there (the rate falls
    back to `lr` after the warmup) and left out.

    >>> [round(float(GradualWarmupScheduler(0.1, 4, lambda t: 0.1 / (1 + t))(t)), 3) for t in (0, 2, 4, 5, 6)]
    [0.0, 0.05, 0.1, 0.1, 0.05]
    """
    warm = linear_warmup(total_epoch, "zero")
    after = (lambda t: lr + 0.0 * t) if after_scheduler is None else after_scheduler
    return join(lambda t: lr * warm(t), after, total_epoch + 1)
