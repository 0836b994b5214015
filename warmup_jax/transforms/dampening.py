"""Warmup as a factor on the updates of any chain, by the clock or by a measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import AnySchedule, extra_argument, require, scaled, value_at


class ScaleByWarmupState(NamedTuple):
    """State of `scale_by_warmup`."""

    count: jax.Array  # type: ignore[assignment]  # int32 scalar: updates applied so far; hides tuple.count as in optax
    factor: Any  # float scalar, or label -> one: factor of the last update, 0 before the first


def scale_by_warmup(
    factor: AnySchedule | ArrayLike | Mapping[str, AnySchedule | ArrayLike], labels: Any = None
) -> optax.GradientTransformation:
    r"""Multiplies updates by a warmup factor :math:`w(t)`: warmup for a chain that has none.

    Whatever sets the rate, a schedule that cannot be changed or a rule such as
    `optax.contrib.reduce_on_plateau`, goes on as if there were no warmup, and
    this dampens what it gives. Chain it after the optimizer: in front of a
    scale-free one such as Adam the factor would be normalised away. With
    `labels` each group of parameters has a factor of its own.

    Args:
      factor: a warmup factor `t -> [0, 1]` (see `warmup_jax.schedules`), or a
        constant; with `labels` a dict from label to factor.
      labels: a pytree of labels with the structure of the parameters, or a
        prefix of it, or a function that makes one of the parameters; as for
        `optax.partition`.

    Returns:
      A `GradientTransformation` whose state is a `ScaleByWarmupState`;
      `current_learning_rate` multiplies the rate by the factor recorded there.

    Raises:
      ValueError: if `factor` is a dict without `labels` or the other way round,
        or a label has no factor.

    Examples:
      >>> tx = scale_by_warmup({"body": lambda t: 1.0, "head": lambda t: (t + 1) / 4},
      ...                      labels={"conv": "body", "dense": "head"})
      >>> grads = {"conv": jnp.ones(()), "dense": jnp.ones(())}
      >>> updates, state = tx.update(grads, tx.init(grads))
      >>> float(updates["conv"]), float(updates["dense"])
      (1.0, 0.25)

    References:
      Ma and Yarats, `On the Adequacy of Untuned Warmup for Adaptive
      Optimization <https://arxiv.org/abs/1910.04209>`_, 2021, and its
      `pytorch_warmup <https://github.com/Tony-Y/pytorch_warmup>`_, whose
      `dampening()` this is
    """
    if isinstance(factor, Mapping) != (labels is not None):
        raise ValueError(
            "factor must be a dict from label to factor exactly when labels are given, "
            f"not factor={factor!r} with labels={labels!r}"
        )
    factors: Mapping[Any, AnySchedule | ArrayLike] = factor if isinstance(factor, Mapping) else {None: factor}

    def values(count: jax.Array, of: Callable[[AnySchedule | ArrayLike, jax.Array], jax.Array]) -> Any:
        at_count = {label: of(f, count) for label, f in factors.items()}
        return at_count if labels is not None else at_count[None]

    def init(params: optax.Params) -> ScaleByWarmupState:
        for label in jax.tree.leaves(_labels_of(labels, params)):
            registry.lookup("warmup factor of the label", factors, label)
        count = jnp.zeros([], jnp.int32)
        return ScaleByWarmupState(count, values(count, lambda f, t: jnp.zeros([], float)))

    def update(
        updates: optax.Updates, state: ScaleByWarmupState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ScaleByWarmupState]:
        del params
        now = values(state.count, value_at)
        if labels is None:
            updates = scaled(updates, now)
        else:
            updates = jax.tree.map(lambda label, group: scaled(group, now[label]), _labels_of(labels, updates), updates)
        return updates, ScaleByWarmupState(optax.safe_increment(state.count), now)

    return optax.GradientTransformation(init, update)


def _labels_of(labels: Any, params: Any) -> Any:
    return labels(params) if callable(labels) else labels


class WarmupUntilState(NamedTuple):
    """State of `warmup_until`."""

    count: jax.Array  # type: ignore[assignment]  # int32 scalar: updates applied so far; hides tuple.count as in optax
    ended: jax.Array  # bool scalar: whether the warmup is over
    ended_at: jax.Array  # int32 scalar: `count` at the first update after it, -1 while it lasts
    factor: jax.Array  # float scalar: factor of the last update, 0 before the first


PASSED = {"below": jnp.less, "above": jnp.greater}


def warmup_until(
    metric: str | Callable[[dict[str, Any]], jax.Array],
    threshold: ArrayLike | None,
    low: ArrayLike,
    high: ArrayLike,
    mode: str = "below",
) -> optax.GradientTransformationExtraArgs:
    r"""Multiplies updates by `low` until a measurement passes a threshold, and by `high` from then on.

    He et al. trained their 110-layer ResNet at a tenth of the rate "until the
    training error is below 80%", about 400 updates, "and then go back":
    ``warmup_until("error", 0.8, low=0.1, high=1.0)`` with
    ``update(..., error=training_error)``. The measurement given to an update
    counts for that update. Once over, the warmup does not come back.

    Under `optax.MultiSteps` it is the measurement of the last accumulated step
    that counts; call `MultiSteps.init` and `MultiSteps.update` themselves, since
    `MultiSteps.gradient_transformation()` drops extra arguments.

    Args:
      metric: name of the extra argument of `update` to watch, a scalar (a
        smoothed one, if one batch should not decide); or a function of the
        dict of extra arguments that returns a bool: whether to end.
      threshold: what the metric has to pass, strictly; None for a function.
      low: factor during the warmup, 0 or more.
      high: factor after it, 0 or more.
      mode: "below" ends the warmup once the metric is below the threshold,
        "above" once it is above it. A NaN metric is neither.

    Returns:
      A `GradientTransformationExtraArgs` whose state is a `WarmupUntilState`;
      `current_learning_rate` multiplies the rate by the factor recorded there.

    Raises:
      ValueError: for an unknown mode, a threshold that is missing, not finite,
        or given to a function, a negative `low` or `high`; from `update`, if
        the metric was not passed to it.

    Examples:
      >>> tx = warmup_until("error", 0.8, low=0.1, high=1.0)
      >>> state = tx.init(jnp.zeros(()))
      >>> for error in (0.9, float("nan"), 0.7, 0.9):
      ...     updates, state = tx.update(jnp.ones(()), state, error=error)
      ...     print(round(float(updates), 1), int(state.ended_at))
      0.1 -1
      0.1 -1
      1.0 2
      1.0 2

    References:
      He et al., `Deep Residual Learning for Image Recognition
      <https://arxiv.org/abs/1512.03385>`_, 2015 (section 4.2)
    """
    passed = registry.lookup("mode", PASSED, mode)
    if callable(metric) != (threshold is None):
        raise ValueError(
            f"threshold={threshold}; allowed for metric={metric!r}: {'None' if callable(metric) else 'finite numbers'}"
        )
    if threshold is not None:
        require("threshold", threshold)
    require("low", low, 0)
    require("high", high, 0)

    def ends(extra_args: dict[str, Any]) -> jax.Array:
        if callable(metric):
            return metric(extra_args)
        return passed(extra_argument(metric, extra_args, "warmup_until"), threshold)

    def init(params: optax.Params) -> WarmupUntilState:
        del params
        return WarmupUntilState(
            jnp.zeros([], jnp.int32), jnp.zeros([], bool), jnp.full([], -1, jnp.int32), jnp.zeros([], float)
        )

    def update(
        updates: optax.Updates, state: WarmupUntilState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, WarmupUntilState]:
        del params
        ended = state.ended | jnp.asarray(ends(extra_args), bool)
        ended_at = jnp.where(ended & ~state.ended, state.count, state.ended_at)
        factor = jnp.asarray(jnp.where(ended, high, low), float)
        return scaled(updates, factor), WarmupUntilState(optax.safe_increment(state.count), ended, ended_at, factor)

    return optax.GradientTransformationExtraArgs(init, update)
