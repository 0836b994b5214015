"""nanoGPT 3adf61e, `train.py:get_lr`.

https://github.com/karpathy/nanoGPT
"""

from __future__ import annotations

from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.decays import cosine_decay
from warmup_jax.schedules.factors import linear_warmup
from warmup_jax.schedules.ports.parts import switch


def get_lr(
    warmup_iters: Number = 2000, lr_decay_iters: Number = 600000, learning_rate: Number = 6e-4, min_lr: Number = 6e-5
) -> Schedule:
    """`get_lr`; its warmup is (t + 1)/(W + 1).

    >>> [round(float(get_lr(4, 24, 0.1, 0.01)(t)), 3) for t in (0, 3, 4, 14, 24)]
    [0.02, 0.08, 0.1, 0.055, 0.01]
    """
    warm, decay = linear_warmup(warmup_iters, "one_over"), cosine_decay(warmup_iters, lr_decay_iters)
    return switch(
        lambda t: learning_rate * warm(t), lambda t: min_lr + (learning_rate - min_lr) * decay(t), warmup_iters
    )
