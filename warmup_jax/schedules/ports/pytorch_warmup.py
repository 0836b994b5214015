"""pytorch_warmup 0.2.0: warmup factors and dampening.

The factors belong to `group["lr"]` of any torch scheduler; here `dampening`
multiplies any schedule. The README's delayed scheduler, which first steps at
iteration W, is ``dampening(delay(schedule, W - 1), LinearWarmup(W))``.
https://github.com/Tony-Y/pytorch_warmup
"""

from __future__ import annotations

from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.adam_factors import radam_warmup
from warmup_jax.schedules.factors import exponential_warmup, linear_warmup
from warmup_jax.schedules.ports.parts import truncate


def LinearWarmup(warmup_period: Number) -> Schedule:
    """`LinearWarmup`, a factor; for periods of several groups make one for each.

    >>> [float(LinearWarmup(4)(t)) for t in (0, 3, 4)]
    [0.25, 1.0, 1.0]
    """
    return linear_warmup(warmup_period)


def ExponentialWarmup(warmup_period: Number) -> Schedule:
    """`ExponentialWarmup`, a factor.

    >>> [round(float(ExponentialWarmup(4)(t)), 3) for t in (0, 3, 99)]
    [0.221, 0.632, 1.0]
    """
    return exponential_warmup(warmup_period)


def UntunedLinearWarmup(beta2: Number) -> Schedule:
    """`UntunedLinearWarmup`, a factor. Quirk: the period is truncated, 1999 and not 2000 for 0.999.

    >>> [round(float(UntunedLinearWarmup(0.9)(t)), 3) for t in (0, 9, 19)]
    [0.05, 0.5, 1.0]
    """
    return linear_warmup(truncate(2.0 / (1.0 - beta2)))


def UntunedExponentialWarmup(beta2: Number) -> Schedule:
    """`UntunedExponentialWarmup`, a factor. Quirk: the constant is truncated, 999 and not 1000 for 0.999.

    >>> [round(float(UntunedExponentialWarmup(0.9)(t)), 3) for t in (0, 9)]
    [0.095, 0.632]
    """
    return exponential_warmup(truncate(1.0 / (1.0 - beta2)))


def RAdamWarmup(beta2: Number) -> Schedule:
    """`RAdamWarmup`, a factor.

    >>> [round(float(RAdamWarmup(0.999)(t)), 4) for t in (0, 100)]
    [0.0173, 0.2209]
    """
    return radam_warmup(beta2)


def dampening(schedule: Schedule, warmup: Schedule) -> Schedule:
    """`BaseWarmup.dampening`: a schedule times a factor, both counted from the first update.

    >>> float(dampening(lambda t: 0.5, LinearWarmup(4))(1))
    0.25
    """
    return lambda t: warmup(t) * schedule(t)
