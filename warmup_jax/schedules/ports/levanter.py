"""levanter 9263f81, `src/levanter/optim/config.py:OptimizerConfig.lr_scheduler`.

https://github.com/stanford-crfm/levanter
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from warmup_jax import registry
from warmup_jax.numerics import Number, Schedule, array_module
from warmup_jax.schedules.composition import join
from warmup_jax.schedules.ports.parts import interpolate, truncate

LR_SCHEDULES = ("constant", "linear", "cosine", "inv_sqrt", "inv")
TIMESCALE = 10_000


def lr_scheduler(
    num_train_steps: Number,
    learning_rate: Number = 6e-4,
    min_lr_ratio: Number = 0.1,
    warmup: Number = 0.01,
    decay: Number | None = None,
    rewarmup: Number = 0.0,
    cooldown: Number | None = None,
    cycle_length: Number | list[Number] | tuple[Number, ...] | None = None,
    cycles: int | Sequence[Number] | None = None,
    lr_schedule: str = "cosine",
) -> Schedule:
    """`OptimizerConfig.lr_scheduler`: cycles of warmup, plateau and decay.

    Quirks: a duration of at most 1 is a fraction, of the cycle for `warmup`,
    `decay` and `rewarmup`, truncated to whole updates; so `warmup=1` is the
    whole cycle. A cycle without `rewarmup` begins at the peak again. inv_sqrt
    is flat for its first 10,000 updates. `cycles` is a number or a list of
    ends, `cycle_length` a duration or a list: the number of cycles is static.

    >>> rate = lr_scheduler(40, 0.1, 0.0, warmup=5, decay=0.25, lr_schedule="linear")
    >>> [round(float(rate(t)), 3) for t in (0, 5, 30, 35, 40)]
    [0.0, 0.1, 0.1, 0.05, 0.0]
    """
    cooldown_steps = 0 if cooldown is None else _steps(cooldown, num_train_steps)
    ends = _ends(num_train_steps - cooldown_steps, cycle_length, cycles)
    least = learning_rate * min_lr_ratio
    previous: Number = 0.0
    pieces: list[Schedule] = []
    starts: list[Number] = []
    for start, end in zip([0, *ends[:-1]], ends):
        length = end - start
        warm = _steps(rewarmup if pieces else warmup, length)
        fall = length - warm if decay is None else _steps(decay, length)
        falling = _decay(lr_schedule, learning_rate, min_lr_ratio, warm, fall)
        pieces += [
            interpolate(0, warm, previous, learning_rate),
            interpolate(0, 1, learning_rate, learning_rate),
            falling,
        ]
        starts += [start, start + warm, end - fall]
        previous = falling(fall)
    pieces.append(interpolate(0, cooldown_steps, previous, least))
    starts.append(ends[-1])
    if cooldown is None:
        pieces.pop(), starts.pop()
    return functools.reduce(lambda first, piece: join(first, *piece), zip(pieces[1:], starts[1:]), pieces[0])


def _decay(lr_schedule: str, peak: Number, min_lr_ratio: Number, warmup_steps: Number, decay_steps: Number) -> Schedule:
    """Returns the decay of one cycle, on its own clock."""
    least = peak * min_lr_ratio
    if lr_schedule == "constant":
        return interpolate(0, 1, peak, peak)
    if lr_schedule in ("linear", "cosine"):
        return interpolate(0, decay_steps, peak, least, lr_schedule)
    if lr_schedule == "inv_sqrt":
        root = lambda t: jnp.sqrt(TIMESCALE / jnp.maximum(jnp.asarray(t) + warmup_steps, TIMESCALE))
        return lambda t: jnp.maximum(peak * root(t), least)
    if lr_schedule == "inv":
        growth = (1 / min_lr_ratio - 1) / jnp.maximum(decay_steps, 1)
        return lambda t: jnp.maximum(peak / (growth * jnp.maximum(jnp.asarray(t), 1) + 1), least)
    raise registry.unknown("lr_schedule", lr_schedule, LR_SCHEDULES)


def _steps(duration: Number, of: Number) -> Number:
    """Converts a duration to updates; at most 1 is a fraction."""
    xp = array_module(duration, of)
    return xp.where(xp.asarray(duration) <= 1, truncate(duration * of), duration)


def _ends(
    num_steps: Number,
    cycle_length: Number | list[Number] | tuple[Number, ...] | None,
    cycles: int | Sequence[Number] | None,
) -> list[Number]:
    """Returns the ends of the cycles; the last is the end of the run."""
    if cycle_length is not None and cycles is not None:
        raise ValueError(f"give one of cycle_length and cycles, got {cycle_length} and {cycles}")
    if isinstance(cycles, int):
        return [truncate(num_steps / cycles * (i + 1)) for i in range(cycles - 1)] + [num_steps]
    if cycles is not None or isinstance(cycle_length, list | tuple):
        ends = list(np.cumsum(np.asarray(cycle_length)) if cycles is None else cycles)
        return ends if ends[-1] == num_steps else [*ends, num_steps]
    if cycle_length is None:
        return [num_steps]
    length = int(_steps(cycle_length, num_steps))
    return [i * length for i in range(1, int(num_steps) // length)] + [num_steps]
