"""The small layers of a Transformer: affine maps, normalisation, the feed-forward network, dropout.

Sources: Ba, Kiros & Hinton, "Layer Normalization", 2016; Zhang & Sennrich, "Root Mean Square Layer
Normalization", 2019; Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016; Shazeer, "GLU Variants Improve
Transformer", 2020 (SwiGLU); Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
Overfitting", 2014.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models.initialisation import kernel_init
from warmup_jax.models.intermediates import ignore
from warmup_jax.models.ops.cpu import matmul

EPSILON = 1e-5


class Linear(nnx.Module):
    """x kernel [+ bias], in the dtype of x; parameters float32, the bias starts at 0."""

    def __init__(self, incoming, outgoing, bias, init, rngs):
        self.kernel = nnx.Param(init(rngs.params(), (incoming, outgoing), jnp.float32))
        if bias:
            self.bias = nnx.Param(jnp.zeros(outgoing))

    def __call__(self, x):
        # A product of two matrices: with more axes the gradient of the kernel is several times slower on CPU.
        y = matmul.linear(x.reshape(-1, x.shape[-1]), self.kernel[...].astype(x.dtype))
        y = y.reshape(*x.shape[:-1], -1)
        return y + self.bias[...].astype(x.dtype) if hasattr(self, "bias") else y


class Norm(nnx.Module):
    """LayerNorm or RMSNorm over the last axis, in float32, given back in the dtype of x.

    layer: (x - mean) / sqrt(var + EPSILON) scale [+ bias]; rms: x / sqrt(mean(x^2) + EPSILON) scale.
    """

    def __init__(self, width, kind, bias):
        self.centred = kind == "layer"
        self.scale = nnx.Param(jnp.ones(width))
        if self.centred and bias:
            self.bias = nnx.Param(jnp.zeros(width))

    def __call__(self, x):
        y = x.astype(jnp.float32)
        if self.centred:
            y = y - jnp.mean(y, -1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), -1, keepdims=True) + EPSILON) * self.scale[...]
        if hasattr(self, "bias"):
            y = y + self.bias[...]
        return y.astype(x.dtype)


class FeedForward(nnx.Module):
    """down(relu(up(x))), down(gelu(up(x))) by the tanh form, or SwiGLU's down(silu(gate(x)) up(x))."""

    def __init__(self, settings, scales, rngs):
        first, last = kernel_init(settings, scales.branch), kernel_init(settings, scales.branch * scales.last)
        width, ffn_width = settings.width, settings.ffn_width
        self.activation = settings.activation
        self.up = Linear(width, ffn_width, settings.bias, first, rngs)
        if self.activation == "swiglu":
            self.gate = Linear(width, ffn_width, settings.bias, first, rngs)
        self.down = Linear(ffn_width, width, settings.bias, last, rngs)

    def __call__(self, x_BxTxD, note=ignore):
        # A matrix until the end, and ReLU as a choice between two arrays: else XLA computes the activation again where
        # the gradient of `down` turns it, at a tenth of the speed.
        x_NxD = x_BxTxD.reshape(-1, x_BxTxD.shape[-1])
        up_NxF = self.up(x_NxD)
        if self.activation == "swiglu":
            hidden_NxF = jax.nn.silu(self.gate(x_NxD)) * up_NxF
        elif self.activation == "gelu":
            hidden_NxF = jax.nn.gelu(up_NxF)
        else:
            hidden_NxF = jnp.where(up_NxF <= 0, 0, up_NxF)  # NaN stays NaN
            note("relu", hidden_NxF.reshape(*x_BxTxD.shape[:-1], -1))
        return self.down(hidden_NxF).reshape(x_BxTxD.shape)


def drop(x, rate, key):
    """x with a share `rate` of its elements set to 0 and the others divided by 1 - rate; key None: x."""
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)
