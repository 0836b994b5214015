"""torchtitan b5bcd76, `torchtitan/components/optimizer/lr_scheduler.py`.

https://github.com/pytorch/torchtitan
"""

from __future__ import annotations

import jax.numpy as jnp

from warmup_jax import registry
from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.composition import combine
from warmup_jax.schedules.decays import cooldown
from warmup_jax.schedules.factors import linear_warmup
from warmup_jax.schedules.ports.parts import ENDLESS, nearest

DECAY_TYPES = {"linear": "linear", "sqrt": "sqrt", "cosine": "cosine"}


def linear_warmup_stable_decay(
    lr: Number,
    warmup_steps: Number,
    stable_steps: Number,
    decay_steps: Number,
    lr_decay_type: str = "linear",
    min_lr_factor: Number = 0.0,
) -> Schedule:
    """`linear_warmup_stable_decay`, the factor times `lr`; its warmup is (t + 1)/W.

    Differs after the end, where the library's turns negative: ours stays.

    >>> rate = linear_warmup_stable_decay(0.1, 5, 16, 10, "sqrt", 0.1)
    >>> [round(float(rate(t)), 3) for t in (0, 4, 20, 21, 29)]
    [0.02, 0.1, 0.1, 0.072, 0.015]
    """
    shape = registry.lookup("lr_decay_type", DECAY_TYPES, lr_decay_type)
    start = warmup_steps + stable_steps - 1
    return combine(
        linear_warmup(warmup_steps),
        cooldown(start, start + decay_steps, shape),
        peak_lr=lr,
        num_steps=ENDLESS,
        end_lr=lr * min_lr_factor,
    )


def build_lr_schedulers(
    lr: Number,
    training_steps: Number,
    warmup_steps: Number = 200,
    decay_ratio: Number | None = None,
    decay_type: str = "linear",
    min_lr_factor: Number = 0.0,
) -> Schedule:
    """`build_lr_schedulers`: without `decay_ratio` the decay begins after the warmup.

    Quirk: one virtual last step keeps the rate from reaching its lowest.

    >>> [round(float(build_lr_schedulers(0.1, 30, 5)(t)), 3) for t in (0, 4, 5, 17, 29)]
    [0.02, 0.1, 0.1, 0.052, 0.004]
    """
    warmup = jnp.minimum(warmup_steps, training_steps)
    left = training_steps - warmup
    decay = left if decay_ratio is None else jnp.minimum(nearest(training_steps * decay_ratio), left)
    return linear_warmup_stable_decay(lr, warmup, training_steps + 1 - warmup - decay, decay, decay_type, min_lr_factor)
