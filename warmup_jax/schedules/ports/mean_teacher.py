"""The ramps of mean-teacher 546348f, by their published formulas (Tarvainen and Valpola, 2017).

https://github.com/CuriousAI/mean-teacher
"""

from __future__ import annotations

from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.decays import cosine_decay
from warmup_jax.schedules.factors import linear_warmup, sigmoid_warmup


def sigmoid_rampup(rampup_length: Number) -> Schedule:
    """`sigmoid_rampup`, a factor from exp(-5).

    >>> [round(float(sigmoid_rampup(8)(t)), 3) for t in (0, 4, 8)]
    [0.007, 0.287, 1.0]
    """
    return sigmoid_warmup(rampup_length, "zero")


def linear_rampup(rampup_length: Number) -> Schedule:
    """`linear_rampup`, a factor from 0.

    >>> [float(linear_rampup(8)(t)) for t in (0, 4, 8)]
    [0.0, 0.5, 1.0]
    """
    return linear_warmup(rampup_length, "zero")


def cosine_rampdown(rampdown_length: Number) -> Schedule:
    """`cosine_rampdown`, a factor to 0; it stays there, where the original raises.

    >>> [round(float(cosine_rampdown(8)(t)), 3) for t in (0, 4, 8)]
    [1.0, 0.5, 0.0]
    """
    return cosine_decay(0, rampdown_length)
