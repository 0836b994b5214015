"""Learning rates that are applied and recorded in one place."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from warmup_jax.numerics import AnySchedule, extra_argument, ratio, require, scaled, value_at
from warmup_jax.schedules.fractions import not_a_rate


class RecordedLearningRateState(NamedTuple):
    """State of `scale_by_recorded_learning_rate` and `cap_by_sharpness`."""

    count: jax.Array  # type: ignore[assignment]  # int32 scalar: updates applied so far; hides tuple.count as in optax
    learning_rate: jax.Array  # float scalar: rate of the last update, 0 before the first


def scale_by_recorded_learning_rate(schedule: AnySchedule | ArrayLike) -> optax.GradientTransformation:
    r"""Multiplies updates by :math:`-\eta(t)` and keeps the rate that it applied in its state.

    The logged rate is thereby read, not recomputed: it cannot be off by one
    update. The rate is float32 (float64 under `jax_enable_x64`) and the product
    is rounded once to the dtype of the update, so that low-precision updates do
    not quantise the schedule. `current_learning_rate` reads it.

    Args:
      schedule: an optax schedule `t -> learning rate`, or a constant rate.

    Returns:
      A `GradientTransformation` whose state is a `RecordedLearningRateState`. A
      warmup factor or decay in the place of the schedule is a warning.

    Examples:
      >>> tx = scale_by_recorded_learning_rate(lambda t: 0.5 / (t + 1))
      >>> state = tx.init({"w": jnp.zeros(2)})
      >>> updates, state = tx.update({"w": jnp.ones(2)}, state)
      >>> updates["w"].tolist(), float(state.learning_rate)
      ([-0.5, -0.5], 0.5)
    """
    _warn_of_fraction(schedule, "scale_by_recorded_learning_rate")

    def update(
        updates: optax.Updates, state: RecordedLearningRateState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RecordedLearningRateState]:
        del params
        return _apply(updates, state, value_at(schedule, state.count))

    return optax.GradientTransformation(_init, update)


def cap_by_sharpness(schedule: AnySchedule | ArrayLike, c: ArrayLike) -> optax.GradientTransformationExtraArgs:
    r"""Multiplies updates by :math:`-\min(\eta(t), c / \lambda)`, with the measured sharpness :math:`\lambda`.

    Gradient descent is stable on a quadratic while the rate is below
    :math:`2 / \lambda`, the largest eigenvalue of the Hessian (of the
    preconditioned one for Adam). A warmup keeps the rate there while training
    lowers the sharpness; with the sharpness at hand it can be kept there
    directly. It takes the schedule itself, in place of
    `scale_by_recorded_learning_rate`, so that the rate that
    `current_learning_rate` reads is the capped one, as applied.

    `update` takes the extra argument `sharpness`, a scalar. It is the caller
    who measures it, as often as can be afforded, and passes the latest value on
    every update. A sharpness that is not above 0, NaN included, is no cap.

    Args:
      schedule: an optax schedule `t -> learning rate`, or a constant rate.
      c: the bound on rate times sharpness, above 0; 2 is the edge of stability
        of gradient descent, :math:`2 (1 + \beta)` that of heavy-ball momentum,
        :math:`2 (1 + \beta_1) / (1 - \beta_1)` that of Adam.

    Returns:
      A `GradientTransformationExtraArgs` whose state is a `RecordedLearningRateState`.

    Raises:
      ValueError: if `c` is a concrete number that is not above 0, or `update`
        is not given the sharpness.

    Examples:
      >>> tx = cap_by_sharpness(0.5, c=2.0)
      >>> state = tx.init(jnp.zeros(2))
      >>> [round(float(tx.update(jnp.ones(2), state, sharpness=s)[1].learning_rate), 3) for s in (100, 4, 1, 0)]
      [0.02, 0.5, 0.5, 0.5]

    References:
      Gilmer et al., `A Loss Curvature Perspective on Training Instability in
      Deep Learning <https://arxiv.org/abs/2110.04369>`_, 2021;
      Kalra and Barkeshli, `Why Warmup the Learning Rate? Underlying Mechanisms
      and Improvements <https://arxiv.org/abs/2406.09405>`_, 2024;
      Cohen et al., `Adaptive Gradient Methods at the Edge of Stability
      <https://arxiv.org/abs/2207.14484>`_, 2022
    """
    require("c", c, 0, above=True)
    _warn_of_fraction(schedule, "cap_by_sharpness")

    def update(
        updates: optax.Updates, state: RecordedLearningRateState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, RecordedLearningRateState]:
        del params
        rate = value_at(schedule, state.count)
        sharpness = extra_argument("sharpness", extra_args, "cap_by_sharpness").astype(rate.dtype)
        return _apply(updates, state, jnp.minimum(rate, ratio(c, sharpness, jnp.inf)).astype(rate.dtype))

    return optax.GradientTransformationExtraArgs(_init, update)


def _warn_of_fraction(schedule: AnySchedule | ArrayLike, where: str) -> None:
    if callable(schedule) and (found := not_a_rate(schedule)) is not None:
        warnings.warn(f"{where}: {found}", stacklevel=3)


def _init(params: optax.Params) -> RecordedLearningRateState:
    del params
    return RecordedLearningRateState(jnp.zeros([], jnp.int32), jnp.zeros([], float))


def _apply(
    updates: optax.Updates, state: RecordedLearningRateState, rate: jax.Array
) -> tuple[optax.Updates, RecordedLearningRateState]:
    return scaled(updates, -rate), RecordedLearningRateState(optax.safe_increment(state.count), rate)
