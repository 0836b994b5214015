"""Layers: parameters, and the operations of `ops` on them.

References:
  Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift", 2015.
  Ba, Kiros & Hinton, "Layer Normalization", 2016.
  Zhang & Sennrich, "Root Mean Square Layer Normalization", 2019.
  Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016.
  Shazeer, "GLU Variants Improve Transformer", 2020 (SwiGLU).
  Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models import ops
from warmup_jax.models.initialisation import StackScales, kernel_init
from warmup_jax.models.intermediates import Capture, record
from warmup_jax.models.transformer_config import TransformerConfig

EPSILON = 1e-5
MOMENTUM = 0.9  # of BatchNorm's running statistics


class Conv(nnx.Module):
    """A square convolution without bias, padded alike on all sides; it computes in `dtype`, its kernel is float32."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, dtype: Any, rngs: nnx.Rngs):
        self.stride, self.dtype = stride, dtype
        init = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        shape = (kernel_size, kernel_size, in_channels, out_channels)
        self.kernel = nnx.Param(init(rngs.params(), shape, jnp.float32))

    def __call__(self, x_BxHxWxC: jax.Array) -> jax.Array:
        return ops.conv2d(x_BxHxWxC, self.kernel[...].astype(self.dtype), self.stride)


class BatchNorm(nnx.Module):
    """BatchNorm over all axes but the last; may add a residual and apply a ReLU last.

    In training it normalises by the batch's mean and biased variance and updates the running statistics,
    running <- MOMENTUM running + (1 - MOMENTUM) batch; in evaluation it normalises by the running statistics. They are
    float32 for any dtype of the input, and carry no gradient.
    """

    def __init__(self, channels: int, *, zero_scale: bool = False):
        self.scale = nnx.Param(jnp.zeros(channels) if zero_scale else jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.mean = nnx.BatchStat(jnp.zeros(channels))
        self.var = nnx.BatchStat(jnp.ones(channels))

    def __call__(
        self, x_BxHxWxC: jax.Array, *, train: bool, relu: bool = False, residual: jax.Array | None = None
    ) -> jax.Array:
        scale_C, bias_C, mean_C, var_C = self.scale[...], self.bias[...], self.mean[...], self.var[...]
        if not train:
            return ops.normalize(x_BxHxWxC, mean_C, var_C, scale_C, bias_C, residual=residual, relu=relu)
        y_BxHxWxC, batch_mean_C, batch_var_C = ops.batch_norm(x_BxHxWxC, scale_C, bias_C, residual=residual, relu=relu)
        self.mean[...] = MOMENTUM * mean_C + (1 - MOMENTUM) * batch_mean_C
        self.var[...] = MOMENTUM * var_C + (1 - MOMENTUM) * batch_var_C
        return y_BxHxWxC


def max_pool(x_BxHxWxC: jax.Array) -> jax.Array:
    """Returns the maxima over 3x3 pixels at stride 2, padded by one pixel."""
    pool = lambda x: nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    return ops.each_part(pool, x_BxHxWxC)


def mean_pool(x_BxHxWxC: jax.Array) -> jax.Array:
    """Returns the mean over all pixels, float32 [B, C]."""
    return ops.each_part(lambda x: jnp.mean(x.astype(jnp.float32), axis=(1, 2)), x_BxHxWxC)


def subsample(x_BxHxWxC: jax.Array, stride: int, channels: int) -> jax.Array:
    """Returns every `stride`-th pixel, with channels of zeros appended up to `channels`: the shortcut of option A."""
    return ops.each_part(
        lambda x: jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1]))), x_BxHxWxC
    )


class Linear(nnx.Module):
    """x kernel [+ bias], in the dtype of x; parameters are float32, the bias starts at 0."""

    def __init__(
        self, in_channels: int, out_channels: int, bias: bool, init: jax.nn.initializers.Initializer, rngs: nnx.Rngs
    ):
        self.kernel = nnx.Param(init(rngs.params(), (in_channels, out_channels), jnp.float32))
        if bias:
            self.bias = nnx.Param(jnp.zeros(out_channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = ops.linear(x, self.kernel[...].astype(x.dtype))
        return y + self.bias[...].astype(x.dtype) if hasattr(self, "bias") else y


class Norm(nnx.Module):
    """LayerNorm or RMSNorm over the last axis, computed in float32 and returned in the dtype of x.

    layer: (x - mean) / sqrt(var + EPSILON) scale [+ bias]; rms: x / sqrt(mean(x^2) + EPSILON) scale.
    """

    def __init__(self, width: int, kind: str, bias: bool):
        self.centred = kind == "layer"
        self.scale = nnx.Param(jnp.ones(width))
        if self.centred and bias:
            self.bias = nnx.Param(jnp.zeros(width))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        if self.centred:
            y = y - jnp.mean(y, -1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), -1, keepdims=True) + EPSILON) * self.scale[...]
        if hasattr(self, "bias"):
            y = y + self.bias[...]
        return y.astype(x.dtype)


class FeedForward(nnx.Module):
    """down(relu(up(x))), down(gelu(up(x))) in the tanh form, or SwiGLU's down(silu(gate(x)) up(x))."""

    def __init__(self, config: TransformerConfig, scales: StackScales, rngs: nnx.Rngs):
        first, last = kernel_init(config, scales.branch), kernel_init(config, scales.branch * scales.last)
        width, ffn_width = config.width, config.ffn_width
        self.activation = config.activation
        self.up = Linear(width, ffn_width, config.bias, first, rngs)
        if self.activation == "swiglu":
            self.gate = Linear(width, ffn_width, config.bias, first, rngs)
        self.down = Linear(ffn_width, width, config.bias, last, rngs)

    def __call__(self, x_BxTxD: jax.Array, capture: Capture | None = None) -> jax.Array:
        x_NxD = ops.rows(x_BxTxD)
        up_NxF = self.up(x_NxD)
        if self.activation == "swiglu":
            hidden_NxF = jax.nn.silu(self.gate(x_NxD)) * up_NxF
        elif self.activation == "gelu":
            hidden_NxF = jax.nn.gelu(up_NxF)
        else:
            hidden_NxF = ops.relu(up_NxF)
            record(capture, "relu", hidden_NxF.reshape(*x_BxTxD.shape[:-1], -1))
        return self.down(hidden_NxF).reshape(x_BxTxD.shape)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Returns x with a fraction `rate` of its elements set to 0 and the others divided by 1 - rate; for no key, x."""
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)
