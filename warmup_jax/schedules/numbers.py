"""Numbers that may be traced: checking the concrete ones, and safe arithmetic on both."""

from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Schedule = Callable[[ArrayLike], jax.Array]


def is_concrete(*values: ArrayLike) -> bool:
    """Whether none of the values is traced."""
    return not any(isinstance(value, jax.core.Tracer) for value in values)


def library(*values: ArrayLike) -> ModuleType:
    """numpy for concrete numbers, whose arithmetic is then in double precision; else jax.numpy."""
    return np if is_concrete(*values) else jnp


def require(
    name: str, value: ArrayLike, low: float = -np.inf, high: float = np.inf, *, above: bool = False, below: bool = False
) -> None:
    """Checks a concrete number; a traced one cannot be looked at and passes.

    Args:
      name: of the argument, for the message.
      value: a number or an array of numbers, finite.
      low: lowest value; excluded if `above`.
      high: highest value; excluded if `below`.

    Raises:
      ValueError: that names the argument, the value and the bounds.
    """
    if not is_concrete(value):
        return
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be a number, got {value!r}")
    fine = np.isfinite(array) & (array > low if above else array >= low)
    fine &= array < high if below else array <= high
    if not fine.all():
        bounds = [f"{'above' if above else 'at least'} {low:g}"] if np.isfinite(low) else []
        bounds += [f"{'below' if below else 'at most'} {high:g}"] if np.isfinite(high) else []
        raise ValueError(f"{name} must be finite{''.join(f' and {b}' for b in bounds)}, got {value}")


def require_steps(name: str, value: ArrayLike) -> None:
    """Checks a concrete number of updates: whole and not negative."""
    require(name, value, 0)
    if is_concrete(value) and (np.asarray(value) != np.floor(value)).any():
        raise ValueError(f"{name} must be a whole number of updates, got {value}")


def ratio(numerator: ArrayLike, denominator: ArrayLike, otherwise: ArrayLike) -> jax.Array:
    """numerator / denominator, and `otherwise` where the denominator is not above 0; gradients stay finite."""
    denominator = jnp.asarray(denominator)
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), otherwise)


def power(base: ArrayLike, exponent: ArrayLike) -> jax.Array:
    """base ** exponent for base in [0, 1], with a gradient of 0 where the base is 0."""
    base = jnp.asarray(base)
    positive = base > 0
    return jnp.where(positive, jnp.where(positive, base, 1) ** exponent, 0)
