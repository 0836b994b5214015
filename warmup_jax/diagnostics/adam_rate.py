"""Adam's effective rate: how it is spread, and what RAdam makes of how few gradients it rests on."""

from typing import Any

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.by_layer import metrics, wide
from warmup_jax.diagnostics.inputs import Probe

QUANTILES = {"min": 0.0, "q05": 0.05, "median": 0.5, "q95": 0.95, "max": 1.0}


def second_moment(opt_state: Any) -> tuple[Any, jax.Array]:
    """(second moment, number of updates in it) of the one Adam-like part of an optimizer state of any nesting.

    Raises:
      ValueError: if there is none, or more than one.
    """

    def is_adam(node):
        return hasattr(node, "nu") and hasattr(node, "count")

    found = [node for node in jax.tree.leaves(opt_state, is_leaf=is_adam) if is_adam(node)]
    if len(found) != 1:
        raise ValueError(f"the optimizer state holds {len(found)} second moments, expected 1")
    return found[0].nu, found[0].count


def effective_rate(nu: list, count, beta2, eps) -> list:
    """1 / (sqrt(v / (1 - beta2^t)) + eps) of each element of a list of leaves; NaN before the first update, t = 0."""
    return [1 / (jnp.sqrt(wide(v) / (1 - beta2**count)) + eps) for v in nu]


def adaptive_rate(nu: Any, count, beta2, eps, *, layers: bool) -> dict[str, jax.Array]:
    """Quantiles, mean and variance of Adam's effective rate over its elements, of all and of each layer.

    `diag/adaptive_rate_min`, `_q05`, `_median`, `_q95`, `_max`, `_mean`, `_variance`.

    Source: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2020.
    Measures: the state given. Cost: no pass; sorts every leaf.
    """

    def summary(leaves):
        rates = jnp.concatenate([rate.ravel() for rate in effective_rate(leaves, count, beta2, eps)])
        values = dict(zip(QUANTILES, jnp.quantile(rates, jnp.array(list(QUANTILES.values())))))
        return values | {"mean": rates.mean(), "variance": rates.var()}

    found = metrics("adaptive_rate", summary, nu, layers=layers)
    return {
        name.replace("adaptive_rate", f"adaptive_rate_{part}", 1): value
        for name, values in found.items()
        for part, value in values.items()
    }


def rho(count, beta2):
    """RAdam's rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t), with rho_inf = 2 / (1 - beta2) - 1.

    It is the length of the simple average that the second moment of t gradients amounts to. The formula takes a
    difference of numbers near 2 / (1 - beta2); with beta2 = exp(-u) and L(z) = coth(z) - 1/z it is
    t + L(u/2) - t L(t u/2), in which nothing large cancels.

    Source: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2020.
    """
    u = -jnp.log(jnp.asarray(beta2, float))
    return count + _langevin(u / 2) - count * _langevin(count * u / 2)


def rectifier(count, beta2):
    """RAdam's r_t = sqrt((rho_t - 4)(rho_t - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho_t)); 0 up to rho_t = 4.

    Source: as `rho`. The original code and optax wait for rho_t = 5; up to there their update is not adaptive.
    """
    u = -jnp.log(jnp.asarray(beta2, float))
    rho_t, rho_inf = rho(count, beta2), 2 / u + _langevin(u / 2)
    tractable = rho_t > 4
    rho_t, rho_inf = jnp.where(tractable, rho_t, 6), jnp.where(tractable, rho_inf, 6)
    root = jnp.sqrt((rho_t - 4) * (rho_t - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho_t))
    return jnp.where(tractable, root, 0)


def probe_adaptive_rate(probe: Probe, *, layers: bool):
    """`adaptive_rate`, `diag/rho` and `diag/rectifier` after the last update; NaN rates before the first. No pass."""
    nu, count = second_moment(probe.opt_state)
    beta2 = probe.numbers["beta2"]
    return adaptive_rate(nu, count, beta2, probe.numbers["eps"], layers=layers) | {
        "diag/rho": rho(count, beta2),
        "diag/rectifier": rectifier(count, beta2),
    }, None


def _langevin(z):
    """coth(z) - 1/z for z >= 0, by its series where the two nearly cancel."""
    small = z < 0.25
    s, large = jnp.where(small, z, 0), jnp.where(small, 1, z)
    return jnp.where(small, s / 3 - s**3 / 45 + 2 * s**5 / 945, 1 / jnp.tanh(large) - 1 / large)
