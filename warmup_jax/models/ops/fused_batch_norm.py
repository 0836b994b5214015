"""Batch normalisation with the residual sum and the ReLU that follow it, and a gradient written by hand.

Used on every backend: automatic differentiation of the definition makes more passes over the activations. Shaped for
XLA:CPU, which computes an operation of one large operand again inside each of its consumers (cpu/README.md).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from warmup_jax.models.ops import definitions
from warmup_jax.models.ops.cpu.recompute import recompute_after
from warmup_jax.models.ops.cpu.split_batch import SplitBatch, parts, with_parts
from warmup_jax.models.ops.switch import use_cpu_kernels

Batch = jax.Array | SplitBatch


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def batch_norm(
    x_BxHxWxC: Batch, scale_C: jax.Array, bias_C: jax.Array, residual_BxHxWxC: Batch | None, relu: bool
) -> tuple[Batch, jax.Array, jax.Array]:
    """`definitions.batch_norm`, also of a batch in two parts: the moments are those of all parts together."""
    xs_BxHxWxC = parts(x_BxHxWxC)
    mean_C, var_C = _moments(xs_BxHxWxC)
    residuals = [None] * len(xs_BxHxWxC) if residual_BxHxWxC is None else parts(residual_BxHxWxC)
    ys_BxHxWxC = [
        definitions.normalize(x, mean_C, var_C, scale_C, bias_C, residual, relu)
        for x, residual in zip(xs_BxHxWxC, residuals)
    ]
    return with_parts(ys_BxHxWxC), mean_C, var_C


def _forward(
    x_BxHxWxC: Batch, scale_C: jax.Array, bias_C: jax.Array, residual_BxHxWxC: Batch | None, relu: bool
) -> tuple[Any, Any]:
    y_BxHxWxC, mean_C, var_C = batch_norm.fun(x_BxHxWxC, scale_C, bias_C, residual_BxHxWxC, relu)
    # The sign of y is the mask of the ReLU: y is kept in any case, for the next convolution. The residual is used for
    # its presence and dtype alone, so XLA does not keep its values.
    return (y_BxHxWxC, mean_C, var_C), (x_BxHxWxC, residual_BxHxWxC, y_BxHxWxC, mean_C, var_C, scale_C)


def _backward(relu: bool, saved: Any, cotangents: Any) -> tuple[Any, ...]:
    """Returns the gradients of x, scale, bias and residual.

    With x^ = (x - mean) / std, g the cotangent of y past the ReLU and means over the batch:
    dx = scale / std (g - mean(g) - x^ mean(g x^)).
    """
    x_BxHxWxC, residual_BxHxWxC, y_BxHxWxC, mean_C, var_C, scale_C = saved
    xs_BxHxWxC = parts(x_BxHxWxC)
    gs_BxHxWxC = [g.astype(jnp.float32) for g in parts(cotangents[0])]
    if relu:
        gs_BxHxWxC = [jnp.where(y > 0, g, 0.0) for y, g in zip(parts(y_BxHxWxC), gs_BxHxWxC)]
    centred_BxHxWxC = [
        # The forward pass has the same difference, for the variance: XLA:CPU would keep it beside x.
        (recompute_after(g, x) if use_cpu_kernels(x) else x).astype(jnp.float32) - mean_C
        for x, g in zip(xs_BxHxWxC, gs_BxHxWxC)
    ]
    inv_std_C, count = jax.lax.rsqrt(var_C + definitions.EPSILON), _count(xs_BxHxWxC)
    dbias_C = _sum(gs_BxHxWxC)
    # Divided by the deviation after the sum: between both sums XLA would store that deviation for every element.
    dscale_C = inv_std_C * _sum([g * centred for g, centred in zip(gs_BxHxWxC, centred_BxHxWxC)])
    # The difference of two large operands comes last, so that XLA:CPU stores it instead of computing it again.
    factor_C = scale_C * inv_std_C
    slope_C, offset_C = factor_C * inv_std_C * dscale_C / count, factor_C * dbias_C / count
    dxs_BxHxWxC = [
        (factor_C * g - (centred * slope_C + offset_C)).astype(x.dtype)
        for x, g, centred in zip(xs_BxHxWxC, gs_BxHxWxC, centred_BxHxWxC)
    ]
    dresidual = None
    if residual_BxHxWxC is not None:
        dresidual = with_parts([g.astype(r.dtype) for g, r in zip(gs_BxHxWxC, parts(residual_BxHxWxC))])
    return with_parts(dxs_BxHxWxC), dscale_C, dbias_C, dresidual


batch_norm.defvjp(_forward, _backward)


def _moments(xs_BxHxWxC: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
    """Returns mean [C] and biased variance [C] of all parts together, in float32 and in two passes."""
    floats_BxHxWxC, count = [x.astype(jnp.float32) for x in xs_BxHxWxC], _count(xs_BxHxWxC)
    mean_C = _sum(floats_BxHxWxC) / count
    return mean_C, _sum([jnp.square(x - mean_C) for x in floats_BxHxWxC]) / count


def _sum(xs_BxHxWxC: list[jax.Array]) -> jax.Array:
    """Sums all parts over all axes but the last: [C]."""
    return sum(jnp.sum(x, tuple(range(x.ndim - 1))) for x in xs_BxHxWxC)


def _count(xs_BxHxWxC: tuple[jax.Array, ...]) -> int:
    """Returns the number of elements of one channel in all parts."""
    return sum(x.size // x.shape[-1] for x in xs_BxHxWxC)
