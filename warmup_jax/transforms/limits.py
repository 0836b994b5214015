"""Bounds that do the work of a warmup: on the update relative to the weights, on the gradient norm."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from warmup_jax.numerics import AnySchedule, divide, norm, require, scaled, value_at


def limit_relative_update(max_ratio: ArrayLike, eps: ArrayLike = 1e-3) -> optax.GradientTransformation:
    r"""Bounds each parameter's update to :math:`\|u\| \le r \, \max(\|w\|, \epsilon)`.

    Early updates are large relative to the weights; bounding the ratio itself
    is what a warmup does through the rate. The norms are taken over each leaf
    of the tree, in float32 or better. A smaller update passes unchanged.

    Chain it last, after the learning rate: it is the applied update that is
    bounded. `optax.masked` exempts parameters, for instance biases.

    Args:
      max_ratio: the bound r, 0 or more.
      eps: norm that weights are taken to have at least, so that those which
        start at zero can move; 0 or more, and 0 holds such weights for ever.

    Returns:
      A `GradientTransformation` without state, whose `update` needs the parameters.

    Raises:
      ValueError: for a concrete number out of its range, or an `update` without parameters.

    Examples:
      >>> tx = limit_relative_update(0.1)
      >>> params = {"w": jnp.array([3.0, 4.0]), "b": jnp.zeros(2)}
      >>> updates, _ = tx.update({"w": jnp.array([0.0, 9.0]), "b": jnp.zeros(2)}, tx.init(params), params)
      >>> updates["w"].tolist(), updates["b"].tolist()
      ([0.0, 0.5], [0.0, 0.0])

    References:
      Kosson et al., `Analyzing & Reducing the Need for Learning Rate Warmup in
      GPT Training <https://arxiv.org/abs/2410.23922>`_, 2024;
      Brock et al., `High-Performance Large-Scale Image Recognition Without
      Normalization <https://arxiv.org/abs/2102.06171>`_, 2021 (the floor on the norm)
    """
    require("max_ratio", max_ratio, 0)
    require("eps", eps, 0)

    def limit(update: jax.Array, param: jax.Array) -> jax.Array:
        bound = max_ratio * jnp.maximum(norm(param), eps)
        return scaled(update, _shrink(norm(update), bound))

    def update(
        updates: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.EmptyState]:
        if params is None:
            raise ValueError("limit_relative_update needs the parameters: call update(updates, state, params)")
        return jax.tree.map(limit, updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


class ClipByGlobalNormWarmupState(NamedTuple):
    """State of `clip_by_global_norm_warmup`."""

    count: jax.Array  # type: ignore[assignment]  # int32 scalar: updates applied so far; hides tuple.count as in optax
    max_norm: jax.Array  # float scalar: threshold of the last update, 0 before the first


def clip_by_global_norm_warmup(max_norm: AnySchedule | ArrayLike) -> optax.GradientTransformation:
    r"""Clips the global norm of the gradient to a threshold :math:`\theta(t)` that follows a schedule.

    .. math::
      u \leftarrow u \, \min(1, \theta(t) / \|u\|)

    A threshold that starts low and rises, ``ramp(0.1, 1.0, 1000)``, is a warmup
    for optimizers whose step follows the gradient, and bounds the outliers of
    the first updates for Adam. With a constant it is
    `optax.clip_by_global_norm`.

    Args:
      max_norm: schedule `t -> threshold`, 0 or more and possibly infinite, or a constant.

    Returns:
      A `GradientTransformation` whose state is a `ClipByGlobalNormWarmupState`.

    Raises:
      ValueError: if `max_norm` is a concrete number that is negative or not finite.

    Examples:
      >>> tx = clip_by_global_norm_warmup(lambda t: 1.0 + t)
      >>> state = tx.init(jnp.zeros(2))
      >>> for _ in range(3):
      ...     updates, state = tx.update(jnp.array([0.0, 2.0]), state)
      ...     print(updates.tolist())
      [0.0, 1.0]
      [0.0, 2.0]
      [0.0, 2.0]

    References:
      Pascanu et al., `On the difficulty of training Recurrent Neural Networks
      <https://arxiv.org/abs/1211.5063>`_, 2013;
      Groeneveld et al., `OLMo: Accelerating the Science of Language Models
      <https://arxiv.org/abs/2402.00838>`_, 2024 (whose code has a clip warmup in one step)
    """
    if not callable(max_norm):
        require("max_norm", max_norm, 0)

    def init(params: optax.Params) -> ClipByGlobalNormWarmupState:
        del params
        return ClipByGlobalNormWarmupState(jnp.zeros([], jnp.int32), jnp.zeros([], float))

    def update(
        updates: optax.Updates, state: ClipByGlobalNormWarmupState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ClipByGlobalNormWarmupState]:
        del params
        bound = value_at(max_norm, state.count)
        updates = scaled(updates, _shrink(norm(updates), bound))
        return updates, ClipByGlobalNormWarmupState(optax.safe_increment(state.count), bound)

    return optax.GradientTransformation(init, update)


def _shrink(size: jax.Array, bound: ArrayLike) -> jax.Array:
    """Returns the factor that brings a norm down to a bound, 1 where it is within it."""
    return divide(bound, size, size > bound, 1)
