"""Matrix products with a transposed operand, at the rate of plain ones.

XLA:CPU's library multiplies rows by columns at nearly the full rate of a core, but has no product x^T y; XLA's own
kernel for that has half the rate where the result is wide. So x is transposed in memory first (README.md).
"""

import jax

from warmup_jax.models.ops import definitions
from warmup_jax.models.ops.switch import everywhere

# Columns of the wider operand, and of y: below these widths the transpose costs more than the faster matmul saves.
WIDE, LEAST = 512, 256


@jax.custom_vjp
def linear(x_NxC: jax.Array, kernel_CxD: jax.Array) -> jax.Array:
    """`definitions.linear`, with the gradient of the kernel by `matmul_tn`."""
    return definitions.linear(x_NxC, kernel_CxD)


def _forward(x_NxC: jax.Array, kernel_CxD: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return definitions.linear(x_NxC, kernel_CxD), (x_NxC, kernel_CxD)


def _backward(saved: tuple[jax.Array, jax.Array], dy_NxD: jax.Array) -> tuple[jax.Array, jax.Array]:
    x_NxC, kernel_CxD = saved
    return dy_NxD @ kernel_CxD.T, matmul_tn(x_NxC, dy_NxD)


linear.defvjp(_forward, _backward)


def matmul_tn(x_NxC: jax.Array, y_NxD: jax.Array) -> jax.Array:
    """Returns x^T y, [C, D]."""
    x_CxN = x_NxC.T
    if everywhere() or (max(x_NxC.shape[1], y_NxD.shape[1]) >= WIDE and y_NxD.shape[1] >= LEAST):
        x_CxN = jax.lax.optimization_barrier(x_CxN)  # or XLA merges transpose and product into x^T y again
    return x_CxN @ y_NxD
