"""Batch normalisation with what follows it in a residual block, and its gradient by hand.

Source: Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", 2015.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models import waiting

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

    def __call__(self, x_BxHxWxC, *, train, relu, residual=None):
        scale_C, bias_C, mean_C, var_C = self.scale[...], self.bias[...], self.mean[...], self.var[...]
        if not train:
            return transform(x_BxHxWxC, residual, mean_C, var_C, scale_C, bias_C, relu)
        y_BxHxWxC, batch_mean_C, batch_var_C = normalize(x_BxHxWxC, residual, scale_C, bias_C, relu)
        self.mean[...] = MOMENTUM * mean_C + (1 - MOMENTUM) * batch_mean_C
        self.var[...] = MOMENTUM * var_C + (1 - MOMENTUM) * batch_var_C
        return y_BxHxWxC


def transform(x_BxHxWxC, residual_BxHxWxC, mean_C, var_C, scale_C, bias_C, relu):
    """[relu] of (x - mean) / sqrt(var + EPSILON) scale + bias [+ residual], in the dtype of x."""
    y_BxHxWxC = (x_BxHxWxC.astype(jnp.float32) - mean_C) * (jax.lax.rsqrt(var_C + EPSILON) * scale_C) + bias_C
    if residual_BxHxWxC is not None:
        y_BxHxWxC = y_BxHxWxC + residual_BxHxWxC.astype(jnp.float32)
    if relu:
        # A ReLU, but of two large operands for XLA:CPU, which would rather compute one of a single large operand again
        # wherever it is used, and with it the sums of all blocks before, than store it.
        y_BxHxWxC = jnp.where(y_BxHxWxC <= 0, 0.0, y_BxHxWxC)
    return y_BxHxWxC.astype(x_BxHxWxC.dtype)


def moments(x_BxHxWxC):
    """Mean and biased variance of each channel, in float32 and in two passes.

    The mean of squares less the squared mean would save a pass, and lose the variance of a channel
    whose mean is large beside its spread.
    """
    x_BxHxWxC, axes = x_BxHxWxC.astype(jnp.float32), tuple(range(x_BxHxWxC.ndim - 1))
    mean_C = jnp.mean(x_BxHxWxC, axes)
    return mean_C, jnp.mean(jnp.square(x_BxHxWxC - mean_C), axes)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def normalize(x_BxHxWxC, residual_BxHxWxC, scale_C, bias_C, relu):
    """`transform` by the batch's own statistics, and these: (y [B, H, W, C], mean [C], var [C]).

    The gradient by hand saves passes over the activations that automatic differentiation makes. It can
    itself be differentiated, forwards or backwards, so Hessian-vector products work as `jvp` or `grad`
    of `grad`; `jvp` of the function itself does not.
    """
    mean_C, var_C = moments(x_BxHxWxC)
    return transform(x_BxHxWxC, residual_BxHxWxC, mean_C, var_C, scale_C, bias_C, relu), mean_C, var_C


def _normalize_forward(x_BxHxWxC, residual_BxHxWxC, scale_C, bias_C, relu):
    y_BxHxWxC, mean_C, var_C = normalize.fun(x_BxHxWxC, residual_BxHxWxC, scale_C, bias_C, relu)
    # The sign of y stands for the mask of the ReLU: the next convolution keeps y in any case.
    # Of the residual only its presence and dtype are used, so its values are not kept.
    return (y_BxHxWxC, mean_C, var_C), (x_BxHxWxC, residual_BxHxWxC, y_BxHxWxC, mean_C, var_C, scale_C)


def _normalize_backward(relu, saved, cotangents):
    """With x^ = (x - mean) / std, g the cotangent of y past the ReLU and means over the batch:
    dx = scale / std (g - mean(g) - x^ mean(g x^))."""
    x_BxHxWxC, residual_BxHxWxC, y_BxHxWxC, mean_C, var_C, scale_C = saved
    g_BxHxWxC, _, _ = cotangents
    g_BxHxWxC = g_BxHxWxC.astype(jnp.float32)
    if relu:
        g_BxHxWxC = jnp.where(y_BxHxWxC > 0, g_BxHxWxC, 0.0)
    axes, count = tuple(range(x_BxHxWxC.ndim - 1)), x_BxHxWxC.size // x_BxHxWxC.shape[-1]
    inv_std_C = jax.lax.rsqrt(var_C + EPSILON)
    # The forward pass has the same difference for the variance: it would be kept beside x.
    centred_BxHxWxC = waiting.after(g_BxHxWxC, x_BxHxWxC).astype(jnp.float32) - mean_C
    dbias_C = jnp.sum(g_BxHxWxC, axes)
    dscale_C = jnp.sum(g_BxHxWxC * (centred_BxHxWxC * inv_std_C), axes)
    # The difference of two large operands comes last, so that it is stored and not computed again (see `transform`).
    factor_C = scale_C * inv_std_C
    dx_BxHxWxC = factor_C * g_BxHxWxC - (centred_BxHxWxC * (factor_C * inv_std_C * dscale_C / count)
                                         + factor_C * dbias_C / count)
    dresidual = None if residual_BxHxWxC is None else g_BxHxWxC.astype(residual_BxHxWxC.dtype)
    return dx_BxHxWxC.astype(x_BxHxWxC.dtype), dresidual, dscale_C, dbias_C


normalize.defvjp(_normalize_forward, _normalize_backward)
