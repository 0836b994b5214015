"""Schedulers of timm 1.0.31, `timm.scheduler`.

`lr` is the rate of the optimizer and t is counted in what the arguments are in:
updates with `t_in_epochs=False`, else epochs. Noise is left out. For layer-wise
rates multiply by the `lr_scale` of the group.
https://github.com/huggingface/pytorch-image-models
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Numbers, Schedule
from warmup_jax.numerics import power as power_of
from warmup_jax.schedules.decays import SHAPES, geometric_decay, inverse_sqrt_decay, multistep_decay
from warmup_jax.schedules.ports.parts import cycles, interpolate, span, switch

STABLE_FNS = ("constant", "rsqrt", "power")


def _warmed(
    lr: Number,
    schedule: Schedule,
    warmup_t: Number,
    warmup_lr_init: Number,
    warmup_prefix: bool,
    target: Number | None = None,
) -> Schedule:
    """Joins a line from `warmup_lr_init` to the target and the schedule, on a new clock if the warmup is a prefix."""
    after = switch(
        interpolate(0, warmup_t, warmup_lr_init, lr if target is None else target),
        lambda t: schedule(t - warmup_t if warmup_prefix else t),
        warmup_t,
    )

    # Without warmup the first update has the rate of the optimizer, whatever the value of the schedule.
    return lambda t: jnp.where((jnp.asarray(t) == 0) & (jnp.asarray(warmup_t) == 0), lr, after(t))


def _cyclic(
    lr: Number,
    fall: Callable[[jax.Array], jax.Array],
    t_initial: Number,
    lr_min: Number,
    cycle_mul: Number,
    cycle_decay: Number,
    cycle_limit: Number,
) -> Schedule:
    """Repeats a fall from the peak to `lr_min` in cycles; `cycle_decay` lowers the peak."""
    position = cycles(t_initial, cycle_mul)

    def schedule(t: ArrayLike) -> jax.Array:
        index, progress = position(t)
        peak = lr * jnp.asarray(cycle_decay, float) ** index
        return jnp.where(index < cycle_limit, lr_min + (peak - lr_min) * fall(progress), lr_min)

    return schedule


def CosineLRScheduler(
    lr: Number,
    t_initial: Number,
    lr_min: Number = 0.0,
    cycle_mul: Number = 1.0,
    cycle_decay: Number = 1.0,
    cycle_limit: Number = 1,
    warmup_t: Number = 0,
    warmup_lr_init: Number = 0.0,
    warmup_prefix: bool = False,
    k_decay: Number = 1.0,
) -> Schedule:
    """`CosineLRScheduler`.

    Quirk: without `warmup_prefix` the cosine has run on during the warmup, so the
    rate drops at the hand-over and the rate of the optimizer is never reached.

    >>> [round(float(CosineLRScheduler(0.1, 20, warmup_t=4)(t)), 3) for t in (0, 3, 4, 10, 20)]
    [0.0, 0.075, 0.09, 0.05, 0.0]
    """
    fall = lambda q: SHAPES["cosine"](power_of(q, k_decay), None)
    schedule = _cyclic(lr, fall, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)
    return _warmed(lr, schedule, warmup_t, warmup_lr_init, warmup_prefix)


def PolyLRScheduler(
    lr: Number,
    t_initial: Number,
    power: Number = 0.5,
    lr_min: Number = 0.0,
    cycle_mul: Number = 1.0,
    cycle_decay: Number = 1.0,
    cycle_limit: Number = 1,
    warmup_t: Number = 0,
    warmup_lr_init: Number = 0.0,
    warmup_prefix: bool = False,
    k_decay: Number = 1.0,
) -> Schedule:
    """`PolyLRScheduler`; the quirk of the cosine at the hand-over applies.

    >>> [round(float(PolyLRScheduler(0.1, 20, power=2.0)(t)), 3) for t in (0, 10, 20)]
    [0.1, 0.025, 0.0]
    """
    fall = lambda q: power_of(1 - power_of(q, k_decay), power)
    schedule = _cyclic(lr, fall, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)
    return _warmed(lr, schedule, warmup_t, warmup_lr_init, warmup_prefix)


def TanhLRScheduler(
    lr: Number,
    t_initial: Number,
    lb: Number = -7.0,
    ub: Number = 3.0,
    lr_min: Number = 0.0,
    cycle_mul: Number = 1.0,
    cycle_decay: Number = 1.0,
    cycle_limit: Number = 1,
    warmup_t: Number = 0,
    warmup_lr_init: Number = 0.0,
    warmup_prefix: bool = False,
) -> Schedule:
    """`TanhLRScheduler`; without `warmup_prefix` the warmup aims at the curve's value at its end.

    >>> [round(float(TanhLRScheduler(0.1, 20)(t)), 4) for t in (0, 14, 19, 20)]
    [0.1, 0.05, 0.0007, 0.0]
    """
    fall = lambda q: (1 - jnp.tanh(lb * (1 - q) + ub * q)) / 2
    schedule = _cyclic(lr, fall, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)
    return _warmed(
        lr, schedule, warmup_t, warmup_lr_init, warmup_prefix, target=lr if warmup_prefix else schedule(warmup_t)
    )


def StepLRScheduler(
    lr: Number,
    decay_t: Number,
    decay_rate: Number = 1.0,
    warmup_t: Number = 0,
    warmup_lr_init: Number = 0.0,
    warmup_prefix: bool = True,
) -> Schedule:
    """`StepLRScheduler`.

    >>> [round(float(StepLRScheduler(0.1, 10, 0.1, warmup_t=5)(t)), 3) for t in (1, 5, 14, 15)]
    [0.02, 0.1, 0.1, 0.01]
    """
    decay = geometric_decay(0, decay_rate, decay_t, staircase=True)
    return _warmed(lr, lambda t: lr * decay(t), warmup_t, warmup_lr_init, warmup_prefix)


def MultiStepLRScheduler(
    lr: Number,
    decay_t: Numbers,
    decay_rate: Number = 1.0,
    warmup_t: Number = 0,
    warmup_lr_init: Number = 0.0,
    warmup_prefix: bool = True,
) -> Schedule:
    """`MultiStepLRScheduler`. Quirk: a milestone m takes effect at t = m - 1.

    >>> [round(float(MultiStepLRScheduler(0.1, (10, 15), 0.1)(t)), 3) for t in (8, 9, 14)]
    [0.1, 0.01, 0.001]
    """
    decay = multistep_decay(decay_t, decay_rate)
    return _warmed(lr, lambda t: lr * decay(t + 1), warmup_t, warmup_lr_init, warmup_prefix)


def WSDLRScheduler(
    lr: Number,
    t_initial: Number,
    decay_t: Number,
    lr_min: Number = 0.0,
    stable_fn: str = "constant",
    stable_timescale: Number | None = None,
    stable_power: Number = 0.5,
    decay_fn: str | Callable[[jax.Array], jax.Array] = "1-sqrt",
    decay_power: Number = 0.5,
    decay_ratio: Number = 0.1,
    warmup_t: Number = 0,
    warmup_lr_init: Number = 0.0,
) -> Schedule:
    """`WSDLRScheduler`; the warmup is a prefix to `t_initial`, and `decay_fn` may be a function of the progress.

    >>> rate = WSDLRScheduler(0.1, 24, 8, warmup_t=6, stable_fn="rsqrt", decay_fn="linear")
    >>> [round(float(rate(t)), 3) for t in (0, 6, 12, 22, 26, 30)]
    [0.0, 0.1, 0.071, 0.052, 0.024, 0.0]
    """
    if stable_fn not in STABLE_FNS:
        raise registry.unknown("stable_fn", stable_fn, STABLE_FNS)
    exponent = {"constant": 0.0, "rsqrt": 0.5, "power": stable_power}[stable_fn]
    timescale = warmup_t if stable_timescale is None else stable_timescale
    # 1 / sqrt(1 + t / s) to the power 2 e is (1 + t / s)^-e; a constant phase has no timescale.
    root = inverse_sqrt_decay(0, timescale if stable_fn != "constant" else 1)
    falls = {
        "linear": SHAPES["linear"],
        "1-sqrt": SHAPES["sqrt"],
        "cosine": SHAPES["cosine"],
        "power": lambda q, _: 1 - power_of(q, decay_power),
        "exp": SHAPES["exponential"],
    }
    fall = (lambda q, _: decay_fn(q)) if callable(decay_fn) else registry.lookup("decay_fn", falls, decay_fn)
    progress = span(t_initial - decay_t, t_initial)

    def schedule(t: ArrayLike) -> jax.Array:
        stable = jnp.maximum(lr * root(t) ** (2 * exponent), lr_min)
        return lr_min + (stable - lr_min) * fall(progress(t), decay_ratio)

    return _warmed(lr, schedule, warmup_t, warmup_lr_init, warmup_prefix=True)
