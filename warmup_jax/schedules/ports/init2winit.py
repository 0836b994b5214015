"""init2winit afd5a84, `init2winit/schedules.py` and the warmups of `projects/optlrschedule`.

The names are those of `get_schedule_fn`; any of them takes a warmup by
`prepend_polynomial_warmup`, which there is the suffix `_warmup`.
https://github.com/google/init2winit
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Numbers, Schedule
from warmup_jax.schedules.composition import combine, join
from warmup_jax.schedules.decays import cosine_decay, inverse_sqrt_decay, polynomial_decay
from warmup_jax.schedules.factors import linear_warmup, power_warmup, warmup_progress
from warmup_jax.schedules.ports.opennmt import noam_decay
from warmup_jax.schedules.ports.parts import nearest, piecewise_constant


def cosine(base_lr: Number, max_training_updates: Number) -> Schedule:
    """`cosine_schedule`. Differs after the end, where the library's rises again: ours stays 0.

    >>> [round(float(cosine(0.1, 20)(t)), 3) for t in (0, 10, 20, 30)]
    [0.1, 0.05, 0.0, 0.0]
    """
    decay = cosine_decay(0, max_training_updates)
    return lambda t: base_lr * decay(t)


def prepend_polynomial_warmup(
    schedule: Schedule, base_lr: Number, warmup_steps: Number, warmup_power: Number = 1.0
) -> Schedule:
    """`prepend_polynomial_warmup`: the schedule, made for the updates that are left, begins its clock after it.

    >>> rate = prepend_polynomial_warmup(cosine(0.1, 20), 0.1, 4, 2.0)
    >>> [round(float(rate(t)), 3) for t in (0, 2, 4, 24)]
    [0.0, 0.025, 0.1, 0.0]
    """
    warm = power_warmup(warmup_steps, warmup_power, "zero")
    return join(lambda t: base_lr * warm(t), schedule, warmup_steps)


def cosine_warmup(
    base_lr: Number,
    max_training_updates: Number,
    warmup_steps: Number | None = None,
    warmup_steps_fraction: Number | None = None,
    warmup_power: Number = 1.0,
) -> Schedule:
    """`get_schedule_fn` of "cosine_warmup"; a fraction is rounded.

    Differs after the end, where the library's rises again: ours stays 0.

    >>> rate = cosine_warmup(0.1, 30, warmup_steps_fraction=0.17)
    >>> [round(float(rate(t)), 3) for t in (0, 4, 5, 30)]
    [0.0, 0.08, 0.1, 0.0]
    """
    if warmup_steps is not None and warmup_steps_fraction is None:
        steps = warmup_steps
    elif warmup_steps is None and warmup_steps_fraction is not None:
        steps = nearest(warmup_steps_fraction * max_training_updates)
    else:
        raise ValueError(
            "give exactly one of warmup_steps and warmup_steps_fraction, "
            f"got {warmup_steps} and {warmup_steps_fraction}"
        )
    return prepend_polynomial_warmup(cosine(base_lr, max_training_updates - steps), base_lr, steps, warmup_power)


def polynomial(base_lr: Number, decay_steps: Number, end_factor: Number, power: Number) -> Schedule:
    """`polynomial_schedule`.

    >>> [round(float(polynomial(0.1, 20, 0.1, 2.0)(t)), 3) for t in (0, 10, 20)]
    [0.1, 0.032, 0.01]
    """
    decay = polynomial_decay(0, decay_steps, power)
    return lambda t: base_lr * (end_factor + (1 - end_factor) * decay(t))


def piecewise_constant_schedule(base_lr: Number, decay_events: Numbers, decay_factors: Sequence[Number]) -> Schedule:
    """`piecewise_constant_schedule` with factors of `base_lr`; quirk: an event takes effect one update late.

    >>> [round(float(piecewise_constant_schedule(0.1, (10,), (0.5,))(t)), 3) for t in (10, 11)]
    [0.1, 0.05]
    """
    factor = piecewise_constant(decay_events, (1.0, *decay_factors))
    return lambda t: base_lr * factor(jnp.asarray(t) - 1)


def rsqrt_normalized_decay(base_lr: Number, squash_steps: Number) -> Schedule:
    """`rsqrt_normalized_decay`.

    >>> [round(float(rsqrt_normalized_decay(0.1, 10)(t)), 3) for t in (0, 30)]
    [0.1, 0.05]
    """
    decay = inverse_sqrt_decay(0, squash_steps)
    return lambda t: base_lr * decay(t)


def transformer_schedule(base_lr: Number, encoder_dim: Number, warmup_steps: Number) -> Schedule:
    """`transformer_schedule`: Noam with steps that count from 1.

    >>> [round(float(transformer_schedule(2.0, 512, 10)(t)), 4) for t in (0, 9, 39)]
    [0.0028, 0.028, 0.014]
    """
    return noam_decay(base_lr, warmup_steps, encoder_dim)


def mlperf_polynomial(
    base_lr: Number,
    warmup_steps: Number,
    max_training_updates: Number,
    power: Number,
    start_lr: Number,
    end_lr: Number,
    decay_end: Number = -1,
    warmup_power: Number = 1.0,
) -> Schedule:
    """`mlperf_polynomial_schedule`; the decay ends at `max_training_updates` + 1, or the rate stays from `decay_end`.

    >>> rate = mlperf_polynomial(10.0, 6, 30, 2.0, 0.1, 1e-4)
    >>> [round(float(rate(t)), 3) for t in (0, 3, 6, 18, 31)]
    [0.1, 5.05, 10.0, 2.704, 0.0]
    """
    last = max_training_updates + 1
    rate = combine(
        power_warmup(warmup_steps, warmup_power, "zero"),
        polynomial_decay(warmup_steps, last, power),
        peak_lr=base_lr,
        num_steps=last,
        init_lr=start_lr,
        end_lr=end_lr,
    )
    stop = jnp.where(jnp.asarray(decay_end) > 0, decay_end, last)
    return lambda t: rate(jnp.minimum(jnp.asarray(t), stop))


def compound(
    factors: str, base_lr: Number = 1.0, warmup_steps: Number = 0, max_training_updates: Number | None = None
) -> Schedule:
    """`compound_schedule`: a product of constant, linear_warmup, rsqrt_decay and cosine; computed in float32 there.

    Differs after the end of a cosine, where the library's rises again: ours stays 0.

    >>> rate = compound("constant * linear_warmup * rsqrt_decay", 1.0, 4)
    >>> [round(float(rate(t)), 3) for t in (0, 2, 4, 16)]
    [0.0, 0.25, 0.5, 0.25]
    """
    steps = jnp.maximum(warmup_steps, 1)
    root = inverse_sqrt_decay(steps, steps)
    table = {
        "constant": lambda t: base_lr,
        "linear_warmup": linear_warmup(warmup_steps, "zero"),
        "rsqrt_decay": lambda t: root(t) / jnp.sqrt(steps),
    }
    if max_training_updates is not None:
        table["cosine"] = cosine_decay(warmup_steps, max_training_updates - 1)
    chosen = [registry.lookup("factor", table, name.strip()) for name in factors.split("*")]

    def schedule(t: ArrayLike) -> jax.Array:
        rate = jnp.ones_like(jnp.asarray(t), dtype=float)
        for factor in chosen:
            rate = rate * factor(t)
        return rate

    return schedule


def schedule_stretcher(schedule: Schedule, stretch_factor: Number) -> Schedule:
    """`schedule_stretcher`: each rate `stretch_factor` times, for micro-steps of accumulated gradients.

    >>> [float(schedule_stretcher(lambda t: t, 3)(t)) for t in (0, 2, 3)]
    [0.0, 0.0, 1.0]
    """
    return lambda t: schedule(jnp.asarray(t) // stretch_factor)


def exponential_warmup(warmup_steps: Number, base_lr: Number, exp_growth_rate: Number) -> Schedule:
    """optlrschedule's `exponential_warmup`. Quirk: it ends at 1 - exp(-rate), below `base_lr`.

    >>> [round(float(exponential_warmup(8, 0.1, 3.0)(t)), 3) for t in (0, 4, 8)]
    [0.0, 0.078, 0.095]
    """
    progress = warmup_progress(warmup_steps, "zero")
    return lambda t: base_lr * -jnp.expm1(-exp_growth_rate * progress(t))


def polynomial_warmup(warmup_steps: Number, base_lr: Number, poly_power: Number) -> Schedule:
    """optlrschedule's `polynomial_warmup`.

    >>> [round(float(polynomial_warmup(8, 0.1, 2.0)(t)), 3) for t in (0, 4, 8)]
    [0.0, 0.025, 0.1]
    """
    warm = power_warmup(warmup_steps, poly_power, "zero")
    return lambda t: base_lr * warm(t)
