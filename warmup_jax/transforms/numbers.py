"""Numbers that a transformation takes, from a schedule or the caller of `update`, and applies."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax.schedules import Schedule


def value_at(schedule: Schedule | ArrayLike, count: jax.Array) -> jax.Array:
    """The value of a schedule, or of a constant, at an update: float32, or float64 under jax_enable_x64.

    The schedule sees an int64 under x64: what it divides would be float32 of an int32.
    """
    return jnp.asarray(schedule(count.astype(int)) if callable(schedule) else schedule, float)


def scaled(updates, factor: jax.Array):
    """`factor * updates`, each product rounded once, to the dtype of its update."""
    return jax.tree.map(lambda u: (factor * u).astype(u.dtype), updates)


def extra_argument(name: str, extra_args: dict, what: str) -> jax.Array:
    """The scalar that the caller of `update` passed as `name=`, or a ValueError that says what is missing."""
    if name not in extra_args:
        given = ", ".join(sorted(extra_args)) or "none"
        raise ValueError(f"{what} needs the extra argument {name!r}: call update(..., {name}=...) (given: {given})")
    value = jnp.asarray(extra_args[name])
    if value.ndim:
        raise ValueError(f"{what} needs a scalar {name!r}, not one of shape {value.shape}")
    return value
