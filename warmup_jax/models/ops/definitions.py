"""The operations of `ops` in plain JAX; `ops/__init__.py` documents their arguments.

References:
  Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift", 2015.
  Vaswani et al., "Attention Is All You Need", 2017, section 3.2.
"""

import jax
import jax.numpy as jnp
from jax import lax

LAYOUT = ("NHWC", "HWIO", "NHWC")
EPSILON = 1e-5
MASKED = -1e30  # finite: the difference of two infinities is not a number
FLOOR = -1e20  # below every real logit, far above MASKED


def conv2d(x_BxHxWxC: jax.Array, kernel_KxKxCxD: jax.Array, stride: int) -> jax.Array:
    # Not "SAME", which pads unevenly at stride 2 and so would shift the image against the weights of other libraries.
    pad = kernel_KxKxCxD.shape[0] // 2
    return lax.conv_general_dilated(
        x_BxHxWxC, kernel_KxKxCxD, (stride, stride), [(pad, pad)] * 2, dimension_numbers=LAYOUT
    )


def batch_norm(
    x_BxHxWxC: jax.Array, scale_C: jax.Array, bias_C: jax.Array, residual_BxHxWxC: jax.Array | None, relu: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    axes = tuple(range(x_BxHxWxC.ndim - 1))
    mean_C = jnp.mean(x_BxHxWxC.astype(jnp.float32), axes)
    # In two passes: the mean of squares less the squared mean would lose the variance of a channel whose mean is large
    # beside its spread.
    var_C = jnp.mean(jnp.square(x_BxHxWxC.astype(jnp.float32) - mean_C), axes)
    y_BxHxWxC = normalize(x_BxHxWxC, mean_C, var_C, scale_C, bias_C, residual_BxHxWxC, relu)
    return y_BxHxWxC, lax.stop_gradient(mean_C), lax.stop_gradient(var_C)


def normalize(
    x_BxHxWxC: jax.Array,
    mean_C: jax.Array,
    var_C: jax.Array,
    scale_C: jax.Array,
    bias_C: jax.Array,
    residual_BxHxWxC: jax.Array | None,
    relu: bool,
) -> jax.Array:
    y_BxHxWxC = (x_BxHxWxC.astype(jnp.float32) - mean_C) * (lax.rsqrt(var_C + EPSILON) * scale_C) + bias_C
    if residual_BxHxWxC is not None:
        y_BxHxWxC = y_BxHxWxC + residual_BxHxWxC.astype(jnp.float32)
    return (rectify(y_BxHxWxC) if relu else y_BxHxWxC).astype(x_BxHxWxC.dtype)


def rectify(x: jax.Array) -> jax.Array:
    # XLA:CPU fuses a ReLU of one operand, `maximum(x, 0)`, into each of its consumers and so computes x again in all of
    # them: the sums of up to four residual blocks, or the activation inside a transposed matrix product (10 times
    # slower). It stores the result of a `where` with two large operands.
    return jnp.where(x <= 0, 0.0, x)  # NaN stays NaN


def linear(x_NxC: jax.Array, kernel_CxD: jax.Array) -> jax.Array:
    return x_NxC @ kernel_CxD


def attention(
    query_BxTxHxK: jax.Array, key_BxSxHxK: jax.Array, value_BxSxHxK: jax.Array, mask_BxTxS: jax.Array
) -> jax.Array:
    query_BxTxHxK = query_BxTxHxK * query_BxTxHxK.shape[-1] ** -0.5
    logits_BxHxTxS = jnp.einsum("BTHK,BSHK->BHTS", query_BxTxHxK, key_BxSxHxK, preferred_element_type=jnp.float32)
    logits_BxHxTxS = jnp.where(mask_BxTxS[:, None], logits_BxHxTxS, MASKED)
    top_BxHxTx1 = jnp.maximum(logits_BxHxTxS.max(-1, keepdims=True), FLOOR)
    weights_BxHxTxS = jnp.exp(logits_BxHxTxS - lax.stop_gradient(top_BxHxTx1))
    # The largest weight is 1, and all are 0 for a fully masked query. The bound on their sum lies below 1, where a
    # maximum would halve the gradient, and far above 0, whose powers in second derivatives would not be finite.
    total_BxHxTx1 = jnp.maximum(weights_BxHxTxS.sum(-1, keepdims=True), 0.5)
    weights_BxHxTxS = (weights_BxHxTxS / total_BxHxTx1).astype(value_BxSxHxK.dtype)
    return jnp.einsum("BHTS,BSHK->BTHK", weights_BxHxTxS, value_BxSxHxK)


def causal_attention(query_BxTxHxK: jax.Array, key_BxTxHxK: jax.Array, value_BxTxHxK: jax.Array) -> jax.Array:
    mask_1xTxT = jnp.tri(query_BxTxHxK.shape[1], dtype=bool)[None]
    return attention(query_BxTxHxK, key_BxTxHxK, value_BxTxHxK, mask_1xTxT)
