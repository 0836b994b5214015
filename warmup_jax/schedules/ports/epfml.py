"""epfml/schedules-and-scaling 17e78d6, `src/optim/utils.py`; the multipliers there, times `lr` here.

https://github.com/epfml/schedules-and-scaling
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Schedule, power
from warmup_jax.schedules.decays import SHAPES
from warmup_jax.schedules.ports.parts import interpolate, span, switch, truncate

DECAY_TYPES = {
    "linear": "linear",
    "cosine": "cosine",
    "miror_cosine": "mirror_cosine",
    "square": "square",
    "sqrt": "sqrt",
}


def cos_inf_schedule(
    lr: Number, n_iterations: Number, n_warmup: Number, div_factor: Number, final_div_factor: Number, n_inf: Number
) -> Schedule:
    """`cos_inf_schedule`: the cosine ends `n_inf` updates early, at 1/(div_factor * final_div_factor).

    >>> rate = cos_inf_schedule(0.1, 30, 4, 10, 1, 6)
    >>> [round(float(rate(t)), 3) for t in (0, 4, 14, 24, 29)]
    [0.01, 0.1, 0.055, 0.01, 0.01]
    """
    final = lr / div_factor / final_div_factor
    return switch(
        interpolate(0, n_warmup, lr / div_factor, lr),
        interpolate(n_warmup, n_iterations - n_inf, lr, final, "cosine"),
        n_warmup,
    )


def wsd_schedule(
    lr: Number,
    n_iterations: Number,
    final_lr_factor: Number = 0.0,
    n_warmup: Number = 1000,
    init_div_factor: Number = 100,
    fract_decay: Number = 0.1,
    decay_type: str = "linear",
) -> Schedule:
    """`wsd_schedule`; `miror_cosine` is spelled so, and the decay takes int(fract_decay * n_iterations) updates.

    >>> rate = wsd_schedule(0.1, 40, 0.0, 5, fract_decay=0.25, decay_type="sqrt")
    >>> [round(float(rate(t)), 3) for t in (0, 5, 30, 35, 40)]
    [0.001, 0.1, 0.1, 0.029, 0.0]
    """
    if decay_type != "exp":
        registry.lookup("decay_type", {**DECAY_TYPES, "exp": None}, decay_type)
    hold = n_iterations - truncate(fract_decay * n_iterations)
    progress = span(hold, n_iterations)

    def multiplier(t: ArrayLike) -> jax.Array:
        q = progress(t)
        if decay_type == "exp":
            return jnp.where(q > 0, power(final_lr_factor, q), 1.0)
        left = SHAPES[DECAY_TYPES[decay_type]](q, None)
        return final_lr_factor + (1 - final_lr_factor) * left

    return switch(interpolate(0, n_warmup, lr / init_div_factor, lr), lambda t: lr * multiplier(t), n_warmup)
