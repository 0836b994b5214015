"""t5x cc342d4, `t5x/utils.py:create_learning_rate_scheduler`; the original computes in float32.

Trax, T2T and scenic use the same strings of factors.
https://github.com/google-research/t5x
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Schedule, ratio
from warmup_jax.schedules.composition import delay
from warmup_jax.schedules.decays import SHAPES, geometric_decay, inverse_sqrt_decay
from warmup_jax.schedules.factors import linear_warmup
from warmup_jax.schedules.ports.parts import cycles


def create_learning_rate_scheduler(
    factors: str = "constant * linear_warmup * rsqrt_decay",
    base_learning_rate: Number = 0.5,
    warmup_steps: Number = 1000,
    decay_factor: Number = 0.5,
    steps_per_decay: Number = 20000,
    steps_per_cycle: Number = 100000,
    step_offset: Number = 0,
    min_learning_rate: Number = 1e-8,
) -> Schedule:
    """`create_learning_rate_scheduler`: a product of factors, never below `min_learning_rate`.

    Quirks: the warmup multiplies the decay; cosine_decay is cyclic, back at the
    peak after each `steps_per_cycle`; linear_decay contains the base rate and
    its own warmup.

    >>> rate = create_learning_rate_scheduler(base_learning_rate=1.0, warmup_steps=4)
    >>> [round(float(rate(t)), 3) for t in (0, 2, 4, 16)]
    [0.0, 0.25, 0.5, 0.25]
    """
    normalized = inverse_sqrt_decay(jnp.maximum(warmup_steps, 1), jnp.maximum(warmup_steps, 1))
    warm, position = linear_warmup(warmup_steps, "zero"), cycles(steps_per_cycle)

    def line(t: ArrayLike) -> jax.Array:
        rise = ratio(t, warmup_steps, 1.0 + decay_factor * (warmup_steps - t))
        return base_learning_rate * jnp.minimum(rise, 1.0 + decay_factor * (warmup_steps - t))

    table = {
        "constant": lambda t: base_learning_rate,
        "linear_warmup": warm,
        "linear_decay": line,
        "rsqrt_decay": lambda t: normalized(t) / jnp.sqrt(jnp.maximum(warmup_steps, 1)),
        "rsqrt_normalized_decay": normalized,
        "decay_every": geometric_decay(0, decay_factor, steps_per_decay, staircase=True),
        "cosine_decay": delay(lambda t: SHAPES["cosine"](position(t)[1], None), warmup_steps),
    }
    chosen = [registry.lookup("factor", table, name.strip()) for name in factors.split("*")]

    def schedule(t: ArrayLike) -> jax.Array:
        t = jnp.maximum(jnp.asarray(t) - step_offset, 0)
        rate = jnp.ones_like(t, dtype=float)
        for factor in chosen:
            rate = rate * factor(t)
        return jnp.maximum(rate, min_learning_rate)

    return schedule
