r"""Learning-rate schedules with warmup, as optax schedules.

A **warmup factor** `w` and a **decay** `d` are functions of `t`, the number of
updates already applied (0 at the first update, optax's count), with values in
[0, 1]. `combine` makes a learning rate of the two; `warmup_cosine` and its kin
are the usual ones in one line; `RECIPES` are the published combinations by
name; `ports` has the schedules of other libraries under their own argument
names, number for number.

Every function is branch-free in its numbers, so that each of them (the peak,
the length of the warmup, the end of the decay) can be a float, a traced scalar
or the axis of a `jax.vmap`: a sweep over warmup lengths is one program.

>>> import jax, jax.numpy as jnp
>>> rate = lambda peak, warmup_steps: combine(
...     linear_warmup(warmup_steps), cosine_decay(warmup_steps, 100),
...     peak_lr=peak, num_steps=100)
>>> rates = jax.vmap(lambda w: rate(0.1, w)(0))(jnp.array([0, 1, 10]))
>>> [round(float(r), 3) for r in rates]
[0.1, 0.1, 0.01]
"""

from warmup_jax.numerics import Schedule
from warmup_jax.schedules.adam_factors import radam_warmup, untuned_exponential_warmup, untuned_linear_warmup
from warmup_jax.schedules.composition import (
    COMBINATIONS,
    DECAYS,
    WARMUPS,
    build,
    combine,
    delay,
    jagged_restarts,
    join,
    rewarm,
)
from warmup_jax.schedules.decays import (
    SHAPES,
    constant_decay,
    cooldown,
    cosine_decay,
    cosine_restarts_decay,
    decay_progress,
    exponential_decay,
    geometric_decay,
    inverse_sqrt_decay,
    linear_decay,
    multistep_decay,
    one_cycle_decay,
    polynomial_decay,
    wsd_decay,
)
from warmup_jax.schedules.durations import warmup_steps_from
from warmup_jax.schedules.factors import (
    COUNTS,
    constant_warmup,
    cosine_warmup,
    exponential_warmup,
    geometric_warmup,
    linear_warmup,
    logarithmic_warmup,
    no_warmup,
    power_warmup,
    sigmoid_warmup,
    sqrt_complement_warmup,
    warmup_progress,
)
from warmup_jax.schedules.inspection import effective_warmup, lint, values
from warmup_jax.schedules.one_line import (
    warmup_constant,
    warmup_cosine,
    warmup_inverse_sqrt,
    warmup_linear,
    warmup_wsd,
)
from warmup_jax.schedules.picture import plot
from warmup_jax.schedules.recipes import RECIPES, goyal, gpt, inverse_sqrt, noam, one_cycle, resnet110, trapezoid, wsd

__all__ = [
    "COMBINATIONS",
    "COUNTS",
    "DECAYS",
    "RECIPES",
    "SHAPES",
    "WARMUPS",
    "build",
    "combine",
    "constant_decay",
    "constant_warmup",
    "cooldown",
    "cosine_decay",
    "cosine_restarts_decay",
    "cosine_warmup",
    "decay_progress",
    "delay",
    "effective_warmup",
    "exponential_decay",
    "exponential_warmup",
    "geometric_decay",
    "geometric_warmup",
    "goyal",
    "gpt",
    "inverse_sqrt",
    "inverse_sqrt_decay",
    "jagged_restarts",
    "join",
    "linear_decay",
    "linear_warmup",
    "lint",
    "logarithmic_warmup",
    "multistep_decay",
    "no_warmup",
    "noam",
    "one_cycle",
    "one_cycle_decay",
    "plot",
    "polynomial_decay",
    "power_warmup",
    "radam_warmup",
    "resnet110",
    "rewarm",
    "Schedule",
    "sigmoid_warmup",
    "sqrt_complement_warmup",
    "trapezoid",
    "untuned_exponential_warmup",
    "untuned_linear_warmup",
    "values",
    "warmup_constant",
    "warmup_cosine",
    "warmup_inverse_sqrt",
    "warmup_linear",
    "warmup_progress",
    "warmup_steps_from",
    "warmup_wsd",
    "wsd",
    "wsd_decay",
]
