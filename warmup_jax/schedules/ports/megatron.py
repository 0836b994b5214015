"""Megatron-LM d98e8a6, `megatron/core/optimizer_param_scheduler.py:OptimizerParamScheduler`.

https://github.com/NVIDIA/Megatron-LM
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Schedule
from warmup_jax.schedules.decays import cooldown, cosine_decay, inverse_sqrt_decay, linear_decay
from warmup_jax.schedules.ports.parts import interpolate, switch

WSD_STYLES = {"linear": "linear", "cosine": "cosine", "exponential": "exponential", "minus_sqrt": "sqrt"}
DECAY_STYLES = ("constant", "linear", "cosine", "inverse-square-root", "WSD")
WD_STYLES = ("constant", "linear", "cosine")


def get_lr(
    init_lr: Number,
    max_lr: Number,
    min_lr: Number,
    lr_warmup_steps: Number,
    lr_decay_steps: Number,
    lr_decay_style: str,
    wsd_decay_steps: Number | None = None,
    lr_wsd_decay_style: str = "exponential",
) -> Schedule:
    """`OptimizerParamScheduler.get_lr`.

    Quirks: the exponential WSD decay is 2 * 0.5^q - 1; inverse-square-root drops
    to `min_lr` after `lr_decay_steps`; constant ignores the end.

    >>> [round(float(get_lr(0.0, 0.1, 0.01, 5, 25, "cosine")(t)), 3) for t in (0, 5, 15, 26)]
    [0.0, 0.1, 0.055, 0.01]
    """
    if lr_decay_style not in DECAY_STYLES:
        raise registry.unknown("lr_decay_style", lr_decay_style, DECAY_STYLES)
    warm = interpolate(0, lr_warmup_steps, init_lr, max_lr)
    # Update W itself still belongs to the warmup, even if a decay has begun earlier.
    begin = jnp.where(jnp.asarray(lr_warmup_steps) > 0, lr_warmup_steps + 1, 0)
    if lr_decay_style == "constant":
        return switch(warm, lambda t: max_lr + 0.0 * jnp.asarray(t), begin)
    if lr_decay_style == "inverse-square-root":
        root = inverse_sqrt_decay(jnp.maximum(lr_warmup_steps, 1), jnp.maximum(lr_warmup_steps, 1))

        def rate(t: ArrayLike) -> jax.Array:
            return jnp.where(jnp.asarray(t) > lr_decay_steps, min_lr, jnp.maximum(max_lr * root(t), min_lr))

        return switch(warm, rate, begin)
    if lr_decay_style == "WSD":
        if wsd_decay_steps is None:
            raise ValueError("lr_decay_style 'WSD' needs wsd_decay_steps, got None")
        shape = registry.lookup("lr_wsd_decay_style", WSD_STYLES, lr_wsd_decay_style)
        decay = cooldown(lr_decay_steps - wsd_decay_steps, lr_decay_steps, shape)
    else:
        decay = {"linear": linear_decay, "cosine": cosine_decay}[lr_decay_style](lr_warmup_steps, lr_decay_steps)
    return switch(warm, lambda t: min_lr + (max_lr - min_lr) * decay(t), begin)


def get_wd(start_wd: Number, end_wd: Number, wd_incr_steps: Number, wd_incr_style: str) -> Schedule:
    """`OptimizerParamScheduler.get_wd`: the weight decay of update t.

    >>> [round(float(get_wd(0.01, 0.1, 20, "cosine")(t)), 3) for t in (0, 10, 20, 30)]
    [0.01, 0.055, 0.1, 0.1]
    """
    if wd_incr_style not in WD_STYLES:
        raise registry.unknown("wd_incr_style", wd_incr_style, WD_STYLES)
    if wd_incr_style == "constant":
        return lambda t: end_wd + 0.0 * jnp.asarray(t)
    return interpolate(0, wd_incr_steps, start_wd, end_wd, wd_incr_style)
