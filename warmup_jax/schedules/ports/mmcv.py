"""mmcv 1.7.2, `mmcv/runner/hooks/lr_updater.py:LrUpdaterHook`.

https://github.com/open-mmlab/mmcv
"""

from __future__ import annotations

from warmup_jax import registry
from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.factors import constant_warmup, geometric_warmup, linear_warmup


def get_warmup_lr(
    regular_lr: Schedule | Number, warmup: str, warmup_iters: Number, warmup_ratio: Number = 0.1
) -> Schedule:
    """`get_warmup_lr` on top of a regular rate, a number or a schedule; the warmup multiplies it.

    >>> [round(float(get_warmup_lr(0.1, "exp", 8, 0.01)(t)), 4) for t in (0, 4, 8)]
    [0.001, 0.01, 0.1]
    """
    linear = linear_warmup(warmup_iters, "zero")
    factor = registry.lookup(
        "warmup",
        {
            "constant": constant_warmup(warmup_iters, warmup_ratio),
            "linear": lambda t: warmup_ratio + (1 - warmup_ratio) * linear(t),
            "exp": geometric_warmup(warmup_iters, warmup_ratio, "zero"),
        },
        warmup,
    )
    return lambda t: factor(t) * (regular_lr(t) if callable(regular_lr) else regular_lr)
