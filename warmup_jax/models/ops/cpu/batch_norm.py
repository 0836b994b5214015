"""Batch normalisation with what follows it in a residual block, and its gradient by hand.

Source: Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", 2015.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models.ops.cpu import recompute

MOMENTUM = 0.9
EPSILON = 1e-5


class BatchNorm(nnx.Module):
    """BatchNorm over all axes but the last, an optional addition and an optional ReLU in one.

    In training it normalises by the batch's mean and biased variance and moves the running statistics,
    running <- MOMENTUM running + (1 - MOMENTUM) batch; otherwise it normalises by the running ones.
    Statistics are float32 whatever the dtype of the input, and carry no gradient.
    """

    def __init__(self, channels, *, zero_scale):
        self.scale = nnx.Param(jnp.zeros(channels) if zero_scale else jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.mean = nnx.BatchStat(jnp.zeros(channels))
        self.var = nnx.BatchStat(jnp.ones(channels))

    def __call__(self, xs_BxHxWxC, *, train, relu, residuals=None):
        """Of a batch as a list, see `halves`, and of as many residuals [B, H, W, C]."""
        scale_C, bias_C, mean_C, var_C = self.scale[...], self.bias[...], self.mean[...], self.var[...]
        if not train:
            return transform(xs_BxHxWxC, residuals, mean_C, var_C, scale_C, bias_C, relu)
        ys_BxHxWxC, batch_mean_C, batch_var_C = normalize(xs_BxHxWxC, residuals, scale_C, bias_C, relu)
        self.mean[...] = MOMENTUM * mean_C + (1 - MOMENTUM) * batch_mean_C
        self.var[...] = MOMENTUM * var_C + (1 - MOMENTUM) * batch_var_C
        return ys_BxHxWxC


def transform(xs_BxHxWxC, residuals, mean_C, var_C, scale_C, bias_C, relu):
    """[relu] of (x - mean) / sqrt(var + EPSILON) scale + bias [+ residual] for each x, in its dtype."""

    def of_one(x_BxHxWxC, residual_BxHxWxC):
        y_BxHxWxC = (x_BxHxWxC.astype(jnp.float32) - mean_C) * (jax.lax.rsqrt(var_C + EPSILON) * scale_C) + bias_C
        if residual_BxHxWxC is not None:
            y_BxHxWxC = y_BxHxWxC + residual_BxHxWxC.astype(jnp.float32)
        if relu:
            # A ReLU, but of two large operands for XLA:CPU, which would rather compute one of a single large operand
            # again wherever it is used, and with it the sums of all blocks before, than store it.
            y_BxHxWxC = jnp.where(y_BxHxWxC <= 0, 0.0, y_BxHxWxC)
        return y_BxHxWxC.astype(x_BxHxWxC.dtype)

    return list(map(of_one, xs_BxHxWxC, residuals or [None] * len(xs_BxHxWxC)))


def moments(xs_BxHxWxC):
    """Mean and biased variance of each channel of all x together, in float32 and in two passes.

    The mean of squares less the squared mean would save a pass, and lose the variance of a channel
    whose mean is large beside its spread.
    """
    xs_BxHxWxC, count = [x.astype(jnp.float32) for x in xs_BxHxWxC], _count(xs_BxHxWxC)
    mean_C = _sum(xs_BxHxWxC) / count
    return mean_C, _sum([jnp.square(x - mean_C) for x in xs_BxHxWxC]) / count


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def normalize(xs_BxHxWxC, residuals, scale_C, bias_C, relu):
    """`transform` by the batch's own statistics, and these: (ys, mean [C], var [C]).

    The gradient by hand saves passes over the activations that automatic differentiation makes. It can
    itself be differentiated, forwards or backwards, so Hessian-vector products work as `jvp` or `grad`
    of `grad`; `jvp` of the function itself does not.
    """
    mean_C, var_C = moments(xs_BxHxWxC)
    return transform(xs_BxHxWxC, residuals, mean_C, var_C, scale_C, bias_C, relu), mean_C, var_C


def _normalize_forward(xs_BxHxWxC, residuals, scale_C, bias_C, relu):
    ys_BxHxWxC, mean_C, var_C = normalize.fun(xs_BxHxWxC, residuals, scale_C, bias_C, relu)
    # The sign of y stands for the mask of the ReLU: the next convolution keeps y in any case.
    # Of the residuals only their presence and dtype are used, so their values are not kept.
    return (ys_BxHxWxC, mean_C, var_C), (xs_BxHxWxC, residuals, ys_BxHxWxC, mean_C, var_C, scale_C)


def _normalize_backward(relu, saved, cotangents):
    """With x^ = (x - mean) / std, g the cotangent of y past the ReLU and means over the batch:
    dx = scale / std (g - mean(g) - x^ mean(g x^))."""
    xs_BxHxWxC, residuals, ys_BxHxWxC, mean_C, var_C, scale_C = saved
    gs_BxHxWxC = [g.astype(jnp.float32) for g in cotangents[0]]
    if relu:
        gs_BxHxWxC = [jnp.where(y > 0, g, 0.0) for y, g in zip(ys_BxHxWxC, gs_BxHxWxC)]
    # The forward pass has the same difference for the variance: it would be kept beside x.
    centred_BxHxWxC = [recompute.after(g, x).astype(jnp.float32) - mean_C for x, g in zip(xs_BxHxWxC, gs_BxHxWxC)]
    inv_std_C, count = jax.lax.rsqrt(var_C + EPSILON), _count(xs_BxHxWxC)
    dbias_C = _sum(gs_BxHxWxC)
    dscale_C = inv_std_C * _sum([g * centred for g, centred in zip(gs_BxHxWxC, centred_BxHxWxC)])
    # The difference of two large operands comes last, so that it is stored and not computed again (see `transform`).
    factor_C = scale_C * inv_std_C
    of_centred_C, of_all_C = factor_C * inv_std_C * dscale_C / count, factor_C * dbias_C / count
    dxs_BxHxWxC = [
        (factor_C * g - (centred * of_centred_C + of_all_C)).astype(x.dtype)
        for x, g, centred in zip(xs_BxHxWxC, gs_BxHxWxC, centred_BxHxWxC)
    ]
    dresiduals = residuals and [g.astype(residual.dtype) for g, residual in zip(gs_BxHxWxC, residuals)]
    return dxs_BxHxWxC, dresiduals, dscale_C, dbias_C


normalize.defvjp(_normalize_forward, _normalize_backward)


def _sum(xs_BxHxWxC):
    """Of all x over all axes but the last: [C]."""
    return sum(jnp.sum(x, tuple(range(x.ndim - 1))) for x in xs_BxHxWxC)


def _count(xs_BxHxWxC):
    """The numbers of a channel in all x."""
    return sum(x.size // x.shape[-1] for x in xs_BxHxWxC)
