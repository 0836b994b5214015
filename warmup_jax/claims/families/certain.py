"""Parts that claims without training share: programs that run once, and criteria about exact numbers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from warmup_jax.claims.claim import Criterion

# A number is computed once: to optimise its program takes longer than to run it.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def updates_of(tx: optax.GradientTransformation, gradients: np.ndarray) -> np.ndarray:
    """Returns the updates [T, ...] that a transformation makes of gradients [T, ...]."""
    gradients_T = jnp.asarray(gradients, jnp.float32)

    def update(state: Any, gradient: jax.Array) -> tuple[Any, jax.Array]:
        found, state = tx.update(gradient, state)
        return state, found

    return np.asarray(quick_jit(lambda g: jax.lax.scan(update, tx.init(g[0]), g)[1])(gradients_T), float)


def close(statement: str, values: str, expected: Any, **tolerance: float) -> Criterion:
    """Returns a criterion of rule E; without a tolerance the number has to be exact."""
    return Criterion(statement, "E", values, parameters={"expected": expected} | tolerance)
