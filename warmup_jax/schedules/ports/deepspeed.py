"""DeepSpeed 38327e0, `deepspeed/runtime/lr_schedules.py`.

Quirks of the warmups: the constructor sets the lowest rate and the first step
evaluates iteration 0 again, so that every curve is one update late; W is at least 2.
https://github.com/microsoft/DeepSpeed
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Schedule, ratio
from warmup_jax.schedules.composition import delay, join
from warmup_jax.schedules.decays import cosine_decay, linear_decay
from warmup_jax.schedules.factors import linear_warmup, logarithmic_warmup
from warmup_jax.schedules.ports.parts import switch, triangle

WARMUP_TYPES = {"log": logarithmic_warmup, "linear": lambda steps: linear_warmup(steps, "zero")}


def WarmupLR(
    warmup_min_lr: Number = 0.0,
    warmup_max_lr: Number = 0.001,
    warmup_num_steps: Number = 1000,
    warmup_type: str = "log",
) -> Schedule:
    """`WarmupLR`; its rates replace that of the optimizer.

    >>> [round(float(WarmupLR(0.0, 0.1, 8, "linear")(t)), 3) for t in (0, 1, 5, 9)]
    [0.0, 0.0, 0.05, 0.1]
    """
    warm = delay(_warmup(warmup_type)(jnp.maximum(warmup_num_steps, 2)), 1)
    return lambda t: warmup_min_lr + (warmup_max_lr - warmup_min_lr) * warm(t)


def WarmupDecayLR(
    total_num_steps: Number,
    warmup_min_lr: Number = 0.0,
    warmup_max_lr: Number = 0.001,
    warmup_num_steps: Number = 1000,
    warmup_type: str = "log",
) -> Schedule:
    """`WarmupDecayLR`; the linear decay ends at `warmup_min_lr`.

    >>> [round(float(WarmupDecayLR(30, 0.0, 0.1, 10, "linear")(t)), 3) for t in (1, 6, 11, 21, 31)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    steps = jnp.maximum(warmup_num_steps, 2)
    left = total_num_steps - steps
    factor = delay(join(_warmup(warmup_type)(steps), linear_decay(left - jnp.maximum(left, 1), left), steps), 1)
    return lambda t: warmup_min_lr + (warmup_max_lr - warmup_min_lr) * factor(t)


def WarmupCosineLR(
    lr: Number,
    total_num_steps: Number,
    warmup_min_ratio: Number = 0.0,
    warmup_num_steps: Number = 1000,
    cos_min_ratio: Number = 0.0001,
    warmup_type: str = "log",
) -> Schedule:
    """`WarmupCosineLR`.

    Quirks: the first rate is 0 whatever `warmup_min_ratio` is, and the peak is
    passed over, since the cosine is one step ahead. Differs after
    `total_num_steps`, where the library's rises again: ours stays.

    >>> [round(float(WarmupCosineLR(0.1, 30, 0.0, 10, warmup_type="linear")(t)), 4) for t in (1, 6, 11, 20, 30)]
    [0.0, 0.05, 0.0994, 0.05, 0.0]
    """
    steps = jnp.maximum(warmup_num_steps, 2)
    warm, decay = _warmup(warmup_type)(steps), cosine_decay(steps - 1, total_num_steps - 1)
    factor = delay(
        switch(
            lambda t: warmup_min_ratio + (1 - warmup_min_ratio) * warm(t),
            lambda t: cos_min_ratio + (1 - cos_min_ratio) * decay(t),
            steps,
        ),
        1,
    )
    return lambda t: jnp.where(jnp.asarray(t) > 0, lr * factor(t), 0.0)


def OneCycle(
    cycle_min_lr: Number,
    cycle_max_lr: Number,
    decay_lr_rate: Number = 0.0,
    cycle_first_step_size: Number = 2000,
    cycle_second_step_size: Number | None = None,
    decay_step_size: Number = 0,
) -> Schedule:
    """`OneCycle`: one triangle, then `cycle_min_lr` / (1 + rate * updates / size); without stairs and momentum.

    >>> [round(float(OneCycle(0.01, 0.1, 1.0, 4, decay_step_size=2)(t)), 4) for t in (0, 4, 8, 10)]
    [0.01, 0.1, 0.01, 0.005]
    """
    second = cycle_first_step_size if cycle_second_step_size is None else cycle_second_step_size
    total, wave = cycle_first_step_size + second, triangle(cycle_first_step_size, second)
    cycle = lambda t: cycle_min_lr + (cycle_max_lr - cycle_min_lr) * wave(t)
    fall = lambda t: cycle_min_lr / (1 + decay_lr_rate * ratio(t - total, decay_step_size, 0.0))
    return switch(cycle, fall, total)


def _warmup(warmup_type: str) -> Callable[[ArrayLike], Schedule]:
    return registry.lookup("warmup_type", WARMUP_TYPES, warmup_type)
