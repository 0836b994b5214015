r"""Warmup factors that follow from Adam's beta2 alone, so that there is no length to tune."""

from __future__ import annotations

from types import ModuleType

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax.numerics import Number, Schedule, array_module, require
from warmup_jax.schedules.factors import exponential_warmup, linear_warmup


def untuned_linear_warmup(beta2: ArrayLike) -> Schedule:
    r"""Untuned linear warmup: :math:`w = \min(1, (t + 1)(1 - \beta_2) / 2)`, for Adam.

    Its length, :math:`2 / (1 - \beta_2)` updates, is rounded to the nearest.

    Args:
      beta2: Adam's decay of the second moment, in (0, 1).

    Returns:
      A factor `t -> [0, 1]`.

    Raises:
      ValueError: if `beta2` is a concrete number outside (0, 1).

    Examples:
      >>> [round(float(untuned_linear_warmup(0.99)(t)), 3) for t in (0, 99, 199)]
      [0.005, 0.5, 1.0]

    References:
      Ma and Yarats, `On the adequacy of untuned warmup for adaptive optimization
      <https://arxiv.org/abs/1910.04209>`_, 2021
    """
    return linear_warmup(untuned_linear_steps(beta2))


def untuned_linear_steps(beta2: ArrayLike) -> Number:
    r"""Returns the length of the untuned linear warmup, :math:`2 / (1 - \beta_2)` updates, rounded to the nearest.

    Examples:
      >>> float(untuned_linear_steps(0.999))
      2000.0
    """
    require("beta2", beta2, 0, 1, above=True, below=True)
    return array_module(beta2).round(2 / (1 - beta2))


def untuned_exponential_warmup(beta2: ArrayLike) -> Schedule:
    r"""Untuned exponential warmup: :math:`w = 1 - e^{-(1 - \beta_2)(t + 1)}`, for Adam.

    Its time constant, :math:`1 / (1 - \beta_2)` updates, is rounded to the nearest.

    Args:
      beta2: Adam's decay of the second moment, in (0, 1).

    Returns:
      A factor `t -> (0, 1)`.

    Raises:
      ValueError: if `beta2` is a concrete number outside (0, 1).

    Examples:
      >>> [round(float(untuned_exponential_warmup(0.99)(t)), 3) for t in (0, 99, 999)]
      [0.01, 0.632, 1.0]

    References:
      Ma and Yarats, `On the adequacy of untuned warmup for adaptive optimization
      <https://arxiv.org/abs/1910.04209>`_, 2021
    """
    require("beta2", beta2, 0, 1, above=True, below=True)
    return exponential_warmup(array_module(beta2).round(1 / (1 - beta2)))


def radam_warmup(beta2: ArrayLike) -> Schedule:
    r"""RAdam's rectification as a factor for any Adam-like optimizer.

    .. math::
      w = \sqrt{\frac{(\rho_s - 4)(\rho_s - 2)\,\rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2)\,\rho_s}},
      \quad \rho_s = \rho_\infty - \frac{2 s \beta_2^s}{1 - \beta_2^s},
      \quad \rho_\infty = \frac{2}{1 - \beta_2} - 1

    with s = t + d, where d is the first step with :math:`\rho_d > 4`, so that
    the first update has a factor above 0.

    Args:
      beta2: Adam's decay of the second moment, above 0.6 and below 1.

    Returns:
      A factor `t -> (0, 1)`.

    Raises:
      ValueError: if `beta2` is a concrete number that is not above 0.6 and below 1.

    Examples:
      >>> [round(float(radam_warmup(0.999)(t)), 4) for t in (0, 100, 10_000)]
      [0.0173, 0.2209, 0.9998]

    References:
      Liu et al., `On the Variance of the Adaptive Learning Rate and Beyond
      <https://arxiv.org/abs/1908.03265>`_, 2020
    """
    require("beta2", beta2, 0.6, 1, above=True, below=True)
    # With beta2 = exp(-u): rho_inf = coth(u/2) and rho_s = coth(u/2) - s coth(s u/2) + s. Written with
    # L(z) = coth(z) - 1/z the large terms 2/u cancel analytically instead of in floating point.
    xp = array_module(beta2)
    u = -xp.log(beta2)

    def rho(s: Number, xp: ModuleType = jnp) -> jax.Array:
        return s + _langevin(u / 2, xp) - s * _langevin(s * u / 2, xp)

    rho_inf = 2 / u + _langevin(u / 2, xp)
    # rho passes 4 within a few tens of steps, even for a beta2 close to 0.6.
    first = 1 + (rho(xp.arange(1, 200), xp) <= 4).sum()
    above_4 = rho(first, xp) - 4  # a small difference: in double precision if beta2 is concrete

    def factor(t: ArrayLike) -> jax.Array:
        rho_s = rho(jnp.maximum(jnp.asarray(t), 0) + first)
        numerator = (above_4 + (rho_s - rho(jnp.asarray(first)))) * (rho_s - 2) * rho_inf
        return jnp.sqrt(numerator / ((rho_inf - 4) * (rho_inf - 2) * rho_s))

    return factor


def _langevin(z: Number, xp: ModuleType = jnp) -> jax.Array:
    """Returns coth(z) - 1/z for z > 0, by its series where the two nearly cancel."""
    small = z < 0.25
    s, safe = xp.where(small, z, 0.0), xp.where(small, 1.0, z)
    squared = s * s
    series = s * (
        1 / 3
        + squared
        * (
            -1 / 45
            + squared
            * (
                2 / 945
                + squared
                * (-1 / 4725 + squared * (2 / 93555 + squared * (-1382 / 638512875 + squared * (4 / 18243225))))
            )
        )
    )
    return xp.where(small, series, 1 / xp.tanh(safe) - 1 / safe)
