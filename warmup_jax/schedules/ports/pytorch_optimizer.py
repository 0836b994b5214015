"""pytorch_optimizer 4.1.0: its schedulers and Adafactor's relative step.

The first three set a rate with each `step()`, called before the update;
`PolyScheduler` grows after its warmup and is left out.
https://github.com/kozistr/pytorch_optimizer
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.composition import join
from warmup_jax.schedules.decays import SHAPES, decay_progress, inverse_sqrt_decay
from warmup_jax.schedules.factors import linear_warmup
from warmup_jax.schedules.ports.parts import cosine_waves, interpolate

COOLDOWN_TYPES = {"cosine": "cosine", "1-sqrt": "sqrt", "linear": "linear", "1-square": "square"}


def CosineScheduler(
    t_max: Number, max_lr: Number, min_lr: Number = 0.0, init_lr: Number = 0.0, warmup_steps: Number = 0
) -> Schedule:
    """`CosineScheduler`. Differs after `t_max`, where the library's rises again: ours stays.

    >>> [round(float(CosineScheduler(30, 0.1, 0.001, 0.0, 10)(t)), 3) for t in (0, 10, 20, 30)]
    [0.0, 0.1, 0.05, 0.001]
    """
    return join(
        interpolate(0, warmup_steps, init_lr, max_lr),
        interpolate(0, t_max - warmup_steps, max_lr, min_lr, "cosine"),
        warmup_steps,
    )


def LinearScheduler(
    t_max: Number, max_lr: Number, min_lr: Number = 0.0, init_lr: Number = 0.0, warmup_steps: Number = 0
) -> Schedule:
    """`LinearScheduler`. Differs after `t_max`, where the library's turns negative: ours stays.

    >>> [round(float(LinearScheduler(30, 0.1, 0.001, 0.0, 10)(t)), 3) for t in (0, 10, 20, 30)]
    [0.0, 0.1, 0.051, 0.001]
    """
    return join(
        interpolate(0, warmup_steps, init_lr, max_lr),
        interpolate(0, t_max - warmup_steps, max_lr, min_lr),
        warmup_steps,
    )


def get_wsd_schedule(
    lr: Number,
    num_warmup_steps: Number,
    num_stable_steps: Number,
    num_decay_steps: Number,
    min_lr_ratio: Number = 0.0,
    num_cycles: Number = 0.5,
    cooldown_type: str = "1-sqrt",
) -> Schedule:
    """`get_wsd_schedule`.

    Quirk: all cooldowns but the cosine ignore `min_lr_ratio`: they go below
    that floor and at the end jump up to it.

    >>> rate = get_wsd_schedule(0.1, 6, 10, 10, 0.1)
    >>> [round(float(rate(t)), 3) for t in (0, 6, 16, 25, 26)]
    [0.0, 0.1, 0.1, 0.005, 0.01]
    """
    shape = SHAPES[registry.lookup("cooldown_type", COOLDOWN_TYPES, cooldown_type)]
    stop = num_stable_steps + num_decay_steps
    progress, waves = decay_progress(num_stable_steps, stop), cosine_waves(num_stable_steps, stop, num_cycles)

    def decay(t: ArrayLike) -> jax.Array:
        t = jnp.asarray(t)
        falling = (
            min_lr_ratio + (1 - min_lr_ratio) * waves(t) if cooldown_type == "cosine" else shape(progress(t), None)
        )
        return jnp.where(t < stop, jnp.where(t < num_stable_steps, 1.0, falling), min_lr_ratio)

    factor = join(linear_warmup(num_warmup_steps, "zero"), decay, num_warmup_steps)
    return lambda t: lr * factor(t)


def get_relative_step_size(warmup_init: bool = False) -> Schedule:
    """`AdaFactor.get_relative_step_size`; its steps count from 1, t from 0.

    >>> [round(float(get_relative_step_size(True)(t)), 7) for t in (0, 999, 19_999)]
    [1e-06, 0.001, 0.0070711]
    """
    root = inverse_sqrt_decay(0, 1)
    if warmup_init:
        return lambda t: jnp.minimum(1e-6 * (jnp.asarray(t) + 1), root(t))
    return lambda t: jnp.minimum(1e-2, root(t))
