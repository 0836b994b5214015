"""Products of matrices, in the formulation that is fastest where they run.

On accelerators that is XLA's own. On CPU its library multiplies rows by columns at nearly the full rate of a core, but
takes no product x^T y, whose other kernel has half of that rate where the result is wide: so there x is turned first
(benchmarks/NOTES.md).
"""

import jax
import jax.numpy as jnp

WIDE, LEAST = 512, 256  # columns of the wider side, and of y: for fewer, to turn x costs what the product saves


def linear(x_NxC, kernel_CxD):
    """x kernel, [N, D]."""
    return linear_on_cpu(x_NxC, kernel_CxD) if in_float32_on_cpu(x_NxC) else x_NxC @ kernel_CxD


@jax.custom_vjp
def linear_on_cpu(x_NxC, kernel_CxD):
    """`linear` on CPU. Its gradient can be differentiated further, forwards or backwards, but `jvp` of the function
    itself is not there, as with `convolution.on_cpu`."""
    return x_NxC @ kernel_CxD


def _forward(x_NxC, kernel_CxD):
    return x_NxC @ kernel_CxD, (x_NxC, kernel_CxD)


def _backward(saved, dy_NxD):
    x_NxC, kernel_CxD = saved
    return dy_NxD @ kernel_CxD.T, outer(x_NxC, dy_NxD)


linear_on_cpu.defvjp(_forward, _backward)


def outer(x_NxC, y_NxD):
    """x^T y, [C, D]: the sum of the outer products of the rows."""
    x_CxN = x_NxC.T
    if in_float32_on_cpu(x_NxC) and max(x_NxC.shape[1], y_NxD.shape[1]) >= WIDE and y_NxD.shape[1] >= LEAST:
        x_CxN = jax.lax.optimization_barrier(x_CxN)  # or XLA makes x^T y of the two again
    return x_CxN @ y_NxD


def in_float32_on_cpu(x):
    """Whether the formulations for CPU are for x."""
    return jax.default_backend() == "cpu" and x.dtype == jnp.float32
