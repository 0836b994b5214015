"""Ramps of hyperparameters other than the learning rate: momentum, beta2, weight decay, clip norm."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Schedule, require


def _linear(start: jax.Array, end: jax.Array, x: jax.Array) -> jax.Array:
    return start * (1 - x) + end * x


def _cosine(start: jax.Array, end: jax.Array, x: jax.Array) -> jax.Array:
    return _linear(start, end, (1 - jnp.cos(jnp.pi * x)) / 2)


def _geometric(start: jax.Array, end: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.power(start, 1 - x) * jnp.power(end, x)


def _half_life(start: jax.Array, end: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.exp(1 / _linear(1 / jnp.log(start), 1 / jnp.log(end), x))


RAMP_SHAPES = {
    "linear": _linear,
    "cosine": _cosine,
    "geometric": _geometric,
    "half_life": _half_life,
}


def ramp(start: ArrayLike, end: ArrayLike, steps: ArrayLike, shape: str = "linear") -> Schedule:
    r"""Returns a schedule from one value to another, for any number that `optax.inject_hyperparams` can schedule.

    With progress :math:`x = \min(1, t / n)` over n = `steps` updates:

    ============ ==================================================
    `linear`     :math:`(1 - x)\,a + x\,b`
    `cosine`     the same, of :math:`(1 - \cos \pi x) / 2`
    `geometric`  :math:`a^{1 - x}\,b^x`
    `half_life`  :math:`\ln v = 1 / [(1 - x) / \ln a + x / \ln b]`
    ============ ==================================================

    The last one is linear in the half-life of an exponential average, the way
    to ramp a beta2 or a beta3. Unlike a warmup factor, which must not waste its
    first update on a rate of 0, a ramp has its start value at t = 0 and its end
    value from t = n on: both values are meant to be used.

    Args:
      start: value a at t = 0; above 0 for `geometric`, in (0, 1) for `half_life`.
      end: value b from t = `steps` on, of the same range.
      steps: length n of the ramp in updates; 0 is the end value from the first update on.
      shape: one of `RAMP_SHAPES`.

    Returns:
      A schedule `t -> value`.

    Raises:
      ValueError: for an unknown shape, or a concrete number out of its range.

    Examples:
      >>> import optax
      >>> momentum = ramp(0.85, 0.95, 300)
      >>> [round(float(momentum(t)), 3) for t in (0, 150, 300, 1000)]
      [0.85, 0.9, 0.95, 0.95]
      >>> tx = optax.inject_hyperparams(optax.trace)(decay=momentum)
      >>> round(float(tx.init(jnp.zeros(2)).hyperparams["decay"]), 3)
      0.85

    References:
      Jordan et al., `modded-nanogpt <https://github.com/KellerJordan/modded-nanogpt>`_,
      2024 (momentum 0.85 to 0.95 over 300 updates);
      Pagliardini et al., `The AdEMAMix Optimizer: Better, Faster, Older
      <https://arxiv.org/abs/2409.03137>`_, 2024 (`half_life`, for its beta3)
    """
    interpolate = registry.lookup("ramp shape", RAMP_SHAPES, shape)
    low, high = {"geometric": (0, jnp.inf), "half_life": (0, 1)}.get(shape, (-jnp.inf, jnp.inf))
    for name, number in (("start", start), ("end", end)):
        require(name, number, low, high, above=True, below=True)
    require("steps", steps, 0)

    def value(t: ArrayLike) -> jax.Array:
        x = jnp.where(jnp.asarray(t) >= steps, 1, jnp.clip(t / jnp.maximum(steps, 1), 0, 1))
        return interpolate(*(jnp.asarray(number, float) for number in (start, end, x)))

    return value
