r"""Learning rates from warmup factors and decays.

.. math::
  \eta(t) = w(t)\,\bigl[d(t)\,\eta_{peak} + (1 - d(t))\,\eta_{end}\bigr] + (1 - w(t))\,\eta_{init}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Schedule, require, require_steps
from warmup_jax.schedules import adam_factors, decays, factors
from warmup_jax.schedules.fractions import composed

WARMUPS: dict[str, Callable[..., Schedule]] = {
    "none": factors.no_warmup,
    "linear": factors.linear_warmup,
    "constant": factors.constant_warmup,
    "power": factors.power_warmup,
    "cosine": factors.cosine_warmup,
    "sqrt_complement": factors.sqrt_complement_warmup,
    "exponential": factors.exponential_warmup,
    "geometric": factors.geometric_warmup,
    "logarithmic": factors.logarithmic_warmup,
    "sigmoid": factors.sigmoid_warmup,
    "untuned_linear": adam_factors.untuned_linear_warmup,
    "untuned_exponential": adam_factors.untuned_exponential_warmup,
    "radam": adam_factors.radam_warmup,
}
DECAYS: dict[str, Callable[..., Schedule]] = {
    "constant": decays.constant_decay,
    "linear": decays.linear_decay,
    "polynomial": decays.polynomial_decay,
    "cosine": decays.cosine_decay,
    "exponential": decays.exponential_decay,
    "geometric": decays.geometric_decay,
    "inverse_sqrt": decays.inverse_sqrt_decay,
    "multistep": decays.multistep_decay,
    "cooldown": decays.cooldown,
    "wsd": decays.wsd_decay,
    "one_cycle": decays.one_cycle_decay,
    "cosine_restarts": decays.cosine_restarts_decay,
}
COMBINATIONS = ("join", "multiply")


def combine(
    warmup: Schedule,
    decay: Schedule,
    *,
    peak_lr: ArrayLike,
    num_steps: ArrayLike,
    init_lr: ArrayLike = 0.0,
    end_lr: ArrayLike = 0.0,
) -> Schedule:
    r"""Combines a warmup factor and a decay into a learning rate, by the formula of this module.

    The rate is exactly `peak_lr` where both are 1, starts from `init_lr` where
    the factor is 0 and ends at `end_lr` where the decay is 0. A warmup that is as
    long as the run or longer is cut off by its end: the peak is then reached at the
    last update or not at all.

    Args:
      warmup: factor `t -> [0, 1]`.
      decay: decay `t -> [0, 1]`.
      peak_lr: the highest rate.
      num_steps: updates of the whole run; t is clamped to [0, num_steps], so
        the rate neither rises again nor changes after the end.
      init_lr: rate that the warmup starts from.
      end_lr: rate that the decay ends at.

    Returns:
      An optax schedule `t -> learning rate`.

    Raises:
      ValueError: if one of the numbers is concrete and negative or not finite.

    Examples:
      >>> rate = combine(factors.linear_warmup(2), decays.linear_decay(2, 6), peak_lr=0.4, num_steps=6)
      >>> [round(float(rate(t)), 2) for t in (0, 1, 2, 4, 6, 9)]
      [0.2, 0.4, 0.4, 0.2, 0.0, 0.0]
    """
    for name, value in (("peak_lr", peak_lr), ("init_lr", init_lr), ("end_lr", end_lr)):
        require(name, value, 0)
    require_steps("num_steps", num_steps)

    def learning_rate(t: ArrayLike) -> jax.Array:
        t = jnp.clip(jnp.asarray(t), 0, num_steps)
        w, d = warmup(t), decay(t)
        return w * (d * peak_lr + (1 - d) * end_lr) + (1 - w) * init_lr

    return learning_rate


def build(
    *,
    warmup: str,
    schedule: str,
    combination: str,
    warmup_args: Mapping[str, Any],
    schedule_args: Mapping[str, Any],
    warmup_steps: ArrayLike,
    num_steps: ArrayLike,
    peak_lr: ArrayLike,
    init_lr: ArrayLike,
    end_lr: ArrayLike,
) -> Schedule:
    """Builds the schedule that a config names.

    Args:
      warmup: a name in `WARMUPS`.
      schedule: a name in `DECAYS`.
      combination: "join" (the decay's clock starts when the warmup ends) or
        "multiply" (it starts with the run, so the warmup dampens the decay).
      warmup_args: the factor's own arguments, beside `warmup_steps`.
      schedule_args: the decay's own arguments, beside `start` and `stop`.
      warmup_steps: length of the warmup in updates.
      num_steps: length of the run in updates.
      peak_lr: the highest rate.
      init_lr: rate that the warmup starts from.
      end_lr: rate that the decay ends at.

    Returns:
      An optax schedule.

    Raises:
      ValueError: for an unknown name, an unknown or missing argument, or a
        concrete number out of its range.

    Examples:
      >>> rate = build(warmup="linear", schedule="cosine", combination="join", warmup_args={},
      ...              schedule_args={"exponent": 1.0}, warmup_steps=5, num_steps=10,
      ...              peak_lr=1.0, init_lr=0.0, end_lr=0.0)
      >>> [round(float(rate(t)), 2) for t in (0, 4, 5, 10)]
      [0.2, 1.0, 1.0, 0.0]
    """
    if combination not in COMBINATIONS:
        raise registry.unknown("combination", combination, COMBINATIONS)
    factor = registry.construct("warmup", WARMUPS, warmup, warmup_args, warmup_steps=warmup_steps)
    start = warmup_steps if combination == "join" else 0
    decay = registry.construct("schedule", DECAYS, schedule, schedule_args, start=start, stop=num_steps)
    return combine(factor, decay, peak_lr=peak_lr, num_steps=num_steps, init_lr=init_lr, end_lr=end_lr)


def delay(schedule: Schedule, steps: ArrayLike) -> Schedule:
    """Holds a schedule at its first value for `steps` updates before it begins.

    Args:
      schedule: any schedule.
      steps: updates to wait, not negative.

    Returns:
      The schedule `t -> schedule(max(t - steps, 0))`.

    Raises:
      ValueError: if `steps` is concrete and negative or not whole.

    Examples:
      >>> [float(delay(factors.linear_warmup(2), 1)(t)) for t in (0, 1, 2)]
      [0.5, 0.5, 1.0]
    """
    require_steps("steps", steps)
    return composed(lambda t: schedule(jnp.maximum(jnp.asarray(t) - steps, 0)), schedule)


def join(first: Schedule, second: Schedule, boundary: ArrayLike) -> Schedule:
    """Runs one schedule after another; the second begins its own clock at the boundary.

    Args:
      first: schedule of the updates before the boundary.
      second: schedule of the updates from the boundary on, called with t - boundary.
      boundary: the update at which the second takes over.

    Returns:
      A schedule. Both are evaluated at clamped times, so their gradients stay finite.

    Examples:
      >>> rate = join(factors.linear_warmup(4), decays.constant_decay(), 2)
      >>> [float(rate(t)) for t in (0, 1, 2)]
      [0.25, 0.5, 1.0]
    """

    def schedule(t: ArrayLike) -> jax.Array:
        t = jnp.asarray(t)
        before = first(jnp.minimum(t, boundary))
        return jnp.where(t < boundary, before, second(jnp.maximum(t - boundary, 0)))

    return composed(schedule, first, second)


def rewarm(schedule: Schedule, at: ArrayLike, warmup: Schedule) -> Schedule:
    """Warms up again into a running schedule, as after a change of data or a restart.

    Args:
      schedule: the schedule that goes on.
      at: update at which the new warmup begins.
      warmup: factor of its own clock, `t - at`.

    Returns:
      `schedule(t)` before `at`, and `warmup(t - at) * schedule(t)` from there on.

    Examples:
      >>> rate = rewarm(decays.constant_decay(), 10, factors.linear_warmup(4))
      >>> [float(rate(t)) for t in (9, 10, 11, 13)]
      [1.0, 0.25, 0.5, 1.0]

    References:
      Ibrahim et al., `Simple and Scalable Strategies to Continually Pre-train Large
      Language Models <https://arxiv.org/abs/2403.08763>`_, 2024
    """
    factor = join(decays.constant_decay(), warmup, at)
    return composed(lambda t: factor(t) * schedule(t), schedule, warmup)


def jagged_restarts(schedule: Schedule, period: ArrayLike, warmup: Schedule) -> Schedule:
    """Adds a new warmup to a schedule at every multiple of `period` but the first.

    Args:
      schedule: the schedule that goes on.
      period: updates between restarts, above 0.
      warmup: factor of the clock of each period.

    Returns:
      `warmup(t mod period) * schedule(t)`, without warmup in the first period.

    Raises:
      ValueError: if `period` is a concrete number that is not above 0.

    Examples:
      >>> rate = jagged_restarts(decays.constant_decay(), 4, factors.linear_warmup(2))
      >>> [float(rate(t)) for t in range(6)]
      [1.0, 1.0, 1.0, 1.0, 0.5, 1.0]

    References:
      Lialin et al., `ReLoRA: High-Rank Training Through Low-Rank Updates
      <https://arxiv.org/abs/2307.05695>`_, 2023
    """
    require("period", period, 0, above=True)

    def restarted(t: ArrayLike) -> jax.Array:
        t = jnp.asarray(t)
        return jnp.where(t < period, 1.0, warmup(t % period)) * schedule(t)

    return composed(restarted, schedule, warmup)
