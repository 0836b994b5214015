"""Distribution of Adam's effective rate over the parameters, and RAdam's rectification of it."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.by_layer import metrics
from warmup_jax.diagnostics.inputs import Metrics, ProbeInput
from warmup_jax.numerics import Number, rectification, wide

QUANTILES = {"min": 0.0, "q05": 0.05, "median": 0.5, "q95": 0.95, "max": 1.0}


def second_moment(opt_state: Any) -> tuple[Any, jax.Array]:
    """Finds the second moment in an optimizer state of any nesting.

    Args:
      opt_state: a state with one Adam-like part.

    Returns:
      (second moment, number of updates in it).

    Raises:
      ValueError: if the state has no Adam-like part, or several.
    """

    def is_adam(node: Any) -> bool:
        return hasattr(node, "nu") and hasattr(node, "count")

    found = [node for node in jax.tree.leaves(opt_state, is_leaf=is_adam) if is_adam(node)]
    if len(found) != 1:
        raise ValueError(f"the optimizer state holds {len(found)} second moments, expected 1")
    return found[0].nu, found[0].count


def effective_rate(nu: Sequence[jax.Array], count: Number, beta2: Number, eps: Number) -> list[jax.Array]:
    """Returns 1 / (sqrt(v / (1 - beta2^t)) + eps) for each element of each leaf; NaN before the first update, t = 0."""
    return [1 / (jnp.sqrt(wide(v) / (1 - beta2**count)) + eps) for v in nu]


def adaptive_rate(nu: Any, count: Number, beta2: Number, eps: Number, *, layers: bool) -> Metrics:
    """Measures quantiles, mean and variance of Adam's effective rate over its elements, in total and by layer.

    The metrics are `diag/adaptive_rate_min`, `_q05`, `_median`, `_q95`, `_max`, `_mean` and `_variance`.
    Cost: no pass; sorts every leaf.

    Args:
      nu: the second moment, see `second_moment`.
      count: t, the updates in it.
      beta2: its decay rate.
      eps: added to the root of the second moment.
      layers: True to measure each layer too.

    Returns:
      The metrics by name.

    References:
      Liu et al., `On the Variance of the Adaptive Learning Rate and Beyond
      <https://arxiv.org/abs/1908.03265>`_, 2020
    """

    def summary(leaves: Sequence[jax.Array]) -> dict[str, jax.Array]:
        rates = jnp.concatenate([rate.ravel() for rate in effective_rate(leaves, count, beta2, eps)])
        values = dict(zip(QUANTILES, jnp.quantile(rates, jnp.array(list(QUANTILES.values()))), strict=True))
        return values | {"mean": rates.mean(), "variance": rates.var()}

    found: dict[str, Any] = metrics("adaptive_rate", summary, nu, layers=layers)
    return {
        name.replace("adaptive_rate", f"adaptive_rate_{part}", 1): value
        for name, values in found.items()
        for part, value in values.items()
    }


def rho(count: Number, beta2: Number) -> jax.Array:
    """Returns RAdam's rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t), with rho_inf = 2 / (1 - beta2) - 1.

    It is the length of the simple moving average to which the second moment of t gradients amounts. The formula takes
    a difference of numbers near 2 / (1 - beta2); with beta2 = exp(-u) and L(z) = coth(z) - 1/z it is
    t + L(u/2) - t L(t u/2), in which no large terms cancel.

    Args:
      count: t, the updates so far.
      beta2: decay rate of the second moment.

    References:
      Liu et al., `On the Variance of the Adaptive Learning Rate and Beyond
      <https://arxiv.org/abs/1908.03265>`_, 2020
    """
    u = -jnp.log(jnp.asarray(beta2, float))
    return count + _langevin(u / 2) - count * _langevin(count * u / 2)


def rectifier(count: Number, beta2: Number) -> jax.Array:
    """Returns RAdam's rectification r_t, see `numerics.rectification`; 0 up to rho_t = 4.

    The original code and optax wait for rho_t = 5; until then their update is not adaptive.

    Args:
      count: t, the updates so far.
      beta2: decay rate of the second moment.

    References:
      Liu et al., `On the Variance of the Adaptive Learning Rate and Beyond
      <https://arxiv.org/abs/1908.03265>`_, 2020
    """
    u = -jnp.log(jnp.asarray(beta2, float))
    rho_t, rho_inf = rho(count, beta2), 2 / u + _langevin(u / 2)
    tractable = rho_t > 4
    return jnp.where(tractable, rectification(rho_t, rho_inf, tractable), 0)


def probe_adaptive_rate(probe: ProbeInput, *, layers: bool) -> tuple[Metrics, None]:
    """Measures the `adaptive_rate`, `diag/rho` and `diag/rectifier` after the last update.

    The rates are NaN before the first update. Cost: no pass.
    """
    nu, count = second_moment(probe.opt_state)
    beta2 = probe.hyperparams["beta2"]
    return adaptive_rate(nu, count, beta2, probe.hyperparams["eps"], layers=layers) | {
        "diag/rho": rho(count, beta2),
        "diag/rectifier": rectifier(count, beta2),
    }, None


def _langevin(z: jax.Array) -> jax.Array:
    """Returns coth(z) - 1/z for z >= 0, by its series where the two nearly cancel.

    `schedules.adam_factors` has more terms, for numbers in double precision; these three are within 2e-7.
    """
    small = z < 0.25
    s, large = jnp.where(small, z, 0), jnp.where(small, 1, z)
    return jnp.where(small, s / 3 - s**3 / 45 + 2 * s**5 / 945, 1 / jnp.tanh(large) - 1 / large)
