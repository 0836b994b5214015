"""nanodo 10aefde, `nanodo/optimizer.py:get_learning_rate_schedule`.

https://github.com/google-deepmind/nanodo
"""

from __future__ import annotations

from warmup_jax import registry
from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.composition import join
from warmup_jax.schedules.decays import inverse_sqrt_decay
from warmup_jax.schedules.ports.parts import interpolate, truncate

DECAY_TYPES = ("rsqrt", "cosine", "linear", "constant", "constant_without_warmup", "constant_linear_decay_20p")
STAIRS = "constant_linear_decay_"


def get_learning_rate_schedule(
    init_learning_rate: Number,
    peak_learning_rate: Number,
    warmup_steps: Number,
    num_train_steps: Number,
    final_learning_rate: Number = 0.0,
    decay_type: str = "cosine",
    decay_steps: Number | None = None,
) -> Schedule:
    """`get_learning_rate_schedule`; `constant_linear_decay_` takes updates, or a percentage with a final p.

    >>> rate = get_learning_rate_schedule(0.0, 0.1, 5, 25, 0.01)
    >>> [round(float(rate(t)), 3) for t in (0, 5, 15, 25)]
    [0.0, 0.1, 0.055, 0.01]
    """
    peak, final, left = peak_learning_rate, final_learning_rate, num_train_steps - warmup_steps
    constant = interpolate(0, 1, peak, peak)
    warm = interpolate(0, warmup_steps, init_learning_rate, peak)
    if decay_type == "constant_without_warmup":
        return constant
    if decay_type.startswith(STAIRS):
        amount = decay_type[len(STAIRS) :]
        decay = truncate(num_train_steps * (float(amount[:-1]) / 100)) if amount.endswith("p") else int(amount)
        return join(join(warm, constant, warmup_steps), interpolate(0, decay, peak, final), num_train_steps - decay)
    root = inverse_sqrt_decay(0, 1 + warmup_steps)
    table = {
        "rsqrt": lambda t: peak * root(t),
        "linear": interpolate(0, left, peak, final),
        "constant": constant,
        "cosine": interpolate(0, left if decay_steps is None else decay_steps, peak, final, "cosine"),
    }
    if decay_type not in table:
        raise registry.unknown("decay_type", decay_type, DECAY_TYPES)
    return join(warm, table[decay_type], warmup_steps)
