"""why-warmup 877d887, `vision/phase-diagrams/utils/schedules_utils.py`, driven as in `train_resnet_sgd.py`.

https://github.com/dayal-kalra/why-warmup
"""

from __future__ import annotations

from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.decays import cosine_decay
from warmup_jax.schedules.factors import power_warmup
from warmup_jax.schedules.ports.parts import switch


def train_schedule(
    lr_init: Number,
    lr_trgt: Number,
    lr_min: Number,
    warmup_steps: Number,
    num_steps: Number,
    warmup_exponent: Number = 1.0,
    decay_exponent: Number = 1.0,
) -> Schedule:
    """`polynomial_warmup`, then `cosine_decay_schedule`.

    Quirks: the warmup is ((t + 1)/W)^e; the cosine is evaluated two updates
    ahead of its start, so that it ends with the last update.

    >>> rate = train_schedule(0.0, 0.1, 0.01, 8, 30, 2.0)
    >>> [round(float(rate(t)), 4) for t in (0, 3, 7, 8, 29)]
    [0.0016, 0.025, 0.1, 0.0983, 0.01]
    """
    warm, decay = (
        power_warmup(warmup_steps, warmup_exponent),
        cosine_decay(warmup_steps - 2, num_steps - 1, decay_exponent),
    )
    return switch(
        lambda t: lr_init + (lr_trgt - lr_init) * warm(t),
        lambda t: lr_min + (lr_trgt - lr_min) * decay(t),
        warmup_steps,
    )
