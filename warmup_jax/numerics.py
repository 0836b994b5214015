"""Arithmetic on numbers that may be traced: checks of concrete values, safe division, norms in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Schedule = Callable[[ArrayLike], jax.Array]
# A schedule as users write it: also one of optax, or a lambda that returns a float.
AnySchedule = Callable[[Any], ArrayLike]
# A real number, concrete or traced; unlike an ArrayLike it cannot be complex, so that it has an order.
Number = float | jax.Array
Numbers = ArrayLike | Sequence[Number]

# Top-level children of a parameter tree whose leaves have a leading axis of layers, for a scan over them.
STACKED = ("encoder", "decoder")


def is_concrete(*values: Numbers) -> bool:
    """Returns True if none of the values is traced."""
    return not any(isinstance(value, jax.core.Tracer) for value in values)


def array_module(*values: ArrayLike) -> ModuleType:
    """Returns numpy for concrete numbers, which it computes in double precision, and jax.numpy for traced ones."""
    return np if is_concrete(*values) else jnp


def require(
    name: str, value: Numbers, low: float = -np.inf, high: float = np.inf, *, above: bool = False, below: bool = False
) -> None:
    """Checks the range of a concrete number; a traced number has no value yet and passes.

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
        raise ValueError(f"{name}={value!r}; allowed: numbers")
    fine = np.isfinite(array) & (array > low if above else array >= low)
    fine &= array < high if below else array <= high
    if not fine.all():
        raise ValueError(f"{name}={value}; allowed: {interval(low, high, above=above, below=below)}")


def interval(low: float = -np.inf, high: float = np.inf, *, above: bool = False, below: bool = False) -> str:
    """Returns the numbers that `require` allows in words.

    >>> interval(0, 1, below=True)
    'numbers from 0 and below 1'
    """
    bounds = [f"{'above' if above else 'from'} {low:g}"] if np.isfinite(low) else []
    bounds += [f"{'below' if below else 'up to'} {high:g}"] if np.isfinite(high) else []
    return f"{'numbers' if len(bounds) == 2 else 'finite numbers'} {' and '.join(bounds)}".rstrip()


def require_steps(name: str, value: ArrayLike) -> None:
    """Checks that a concrete number of updates is whole and not negative."""
    require(name, value, 0)
    if is_concrete(value) and (np.asarray(value) != np.floor(value)).any():
        raise ValueError(f"{name}={value}; allowed: whole numbers of updates")


def extra_argument(name: str, extra_args: Mapping[str, Any], where: str) -> jax.Array:
    """Returns the scalar that the caller of `update` passed as `name=`.

    Raises:
      ValueError: that says which transformation needs it, if it is missing or not a scalar.
    """
    if name not in extra_args:
        given = ", ".join(sorted(extra_args)) or "none"
        raise ValueError(f"{where} needs the extra argument {name!r}: call update(..., {name}=...) (given: {given})")
    value = jnp.asarray(extra_args[name])
    if value.ndim:
        raise ValueError(f"{where} needs a scalar {name!r}, not one of shape {value.shape}")
    return value


def divide(numerator: ArrayLike, denominator: ArrayLike, where: jax.Array, otherwise: ArrayLike) -> jax.Array:
    """Returns numerator / denominator where a condition holds and `otherwise` elsewhere.

    The division sees a denominator of 1 where the condition fails, so that neither the value nor the gradient is NaN.
    """
    return jnp.where(where, numerator / jnp.where(where, denominator, 1), otherwise)


def ratio(numerator: ArrayLike, denominator: ArrayLike, otherwise: ArrayLike) -> jax.Array:
    """Returns numerator / denominator, and `otherwise` where the denominator is not above 0; gradients stay finite."""
    denominator = jnp.asarray(denominator)
    return divide(numerator, denominator, denominator > 0, otherwise)


def power(base: ArrayLike, exponent: ArrayLike) -> jax.Array:
    """Returns base ** exponent for a base in [0, 1], with a gradient of 0 where the base is 0."""
    base = jnp.asarray(base)
    positive = base > 0
    return jnp.where(positive, jnp.where(positive, base, 1) ** exponent, 0)


def rectification(rho: ArrayLike, rho_inf: ArrayLike, tractable: jax.Array) -> jax.Array:
    r"""Returns RAdam's rectification :math:`r_t`, meaningful where `tractable` alone.

    .. math::
      r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2) \rho_t}}
    """
    # 6 stands in where the result is not used: no root of a negative number, no 0 / 0.
    rho, rho_inf = jnp.where(tractable, rho, 6), jnp.where(tractable, rho_inf, 6)
    return jnp.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))


def value_at(schedule: AnySchedule | ArrayLike, count: jax.Array) -> jax.Array:
    """Returns the value of a schedule, or of a constant, at an update: float32, or float64 under jax_enable_x64.

    The schedule sees an int64 under x64, because an int32 divided by a number would be float32.
    """
    return jnp.asarray(schedule(count.astype(int)) if callable(schedule) else schedule, float)


def scaled(updates: Any, factor: jax.Array) -> Any:
    """Returns `factor * updates`, each product rounded once, to the dtype of its update."""
    return jax.tree.map(lambda u: (factor * u).astype(u.dtype), updates)


def wide_dtype(x: jax.Array) -> Any:
    """Returns the dtype of x, float32 at least."""
    return jnp.promote_types(x.dtype, jnp.float32)


def wide(x: jax.Array) -> jax.Array:
    """Returns x in float32 at least."""
    return x.astype(wide_dtype(x))


def norm(tree: Any) -> jax.Array:
    """Returns the Euclidean norm over all leaves of a tree, its squares summed in float32 at least."""
    return jnp.sqrt(sum(jnp.sum(_squared_size(wide(leaf))) for leaf in jax.tree.leaves(tree)))


def dot(leaves: Sequence[jax.Array], others: Sequence[jax.Array]) -> jax.Array:
    """Returns the inner product over all leaves in float32 at least, as a sum, whose factors no accelerator rounds."""
    return jnp.asarray(sum(jnp.sum(wide(a) * wide(b)) for a, b in zip(leaves, others, strict=True)))


def _squared_size(x: jax.Array) -> jax.Array:
    return jnp.square(x.real) + jnp.square(x.imag) if jnp.iscomplexobj(x) else jnp.square(x)
