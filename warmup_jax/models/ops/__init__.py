"""The operations that models are made of, each as plain JAX or, on CPU, as a kernel that was measured to be faster.

`definitions.py` says what every operation computes, in a few lines of plain JAX. On accelerators that is what runs. On
CPU, XLA has no fast path for some of them, and the same sums are formulated otherwise in `cpu/`, where README.md
explains each formulation. The functions below choose; no other module of `models` knows the backend.

A kernel has the signature of its definition and its result to rounding. Most have a gradient of their own, which can be
differentiated further, forwards or backwards (Hessian-vector products as `jvp` or `grad` of `grad`); `jax.jvp` of the
function itself needs `plain()`.
"""

import jax
import jax.numpy as jnp

from warmup_jax.models.ops import definitions, fused_batch_norm
from warmup_jax.models.ops.cpu import attention as cpu_attention
from warmup_jax.models.ops.cpu import convolution as cpu_convolution
from warmup_jax.models.ops.cpu import matmul as cpu_matmul
from warmup_jax.models.ops.cpu import split_batch as cpu_split_batch
from warmup_jax.models.ops.cpu.split_batch import SplitBatch, each_part
from warmup_jax.models.ops.switch import backend, plain, use_cpu_kernels, use_everywhere, use_kernels

__all__ = [
    "SplitBatch",
    "attention",
    "batch_norm",
    "causal_attention",
    "check_attention",
    "conv2d",
    "dot_product_attention",
    "each_part",
    "linear",
    "merge_batch",
    "normalize",
    "plain",
    "relu",
    "rows",
    "split_batch",
    "use_everywhere",
]


def conv2d(x_BxHxWxC: jax.Array | SplitBatch, kernel_KxKxCxD: jax.Array, stride: int = 1) -> jax.Array | SplitBatch:
    """Convolves images with K // 2 pixels of zeros on each side; K is odd.

    Args:
      x_BxHxWxC: the images.
      kernel_KxKxCxD: the kernel, in the dtype of the images.
      stride: the step between outputs, in pixels.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), D].
    """

    def of_part(x: jax.Array) -> jax.Array:
        function = cpu_convolution.conv2d if use_cpu_kernels(x) else definitions.conv2d
        return function(x, kernel_KxKxCxD, stride)

    return each_part(of_part, x_BxHxWxC)


def batch_norm(
    x_BxHxWxC: jax.Array | SplitBatch,
    scale_C: jax.Array,
    bias_C: jax.Array,
    *,
    residual: jax.Array | SplitBatch | None = None,
    relu: bool = False,
) -> tuple[jax.Array | SplitBatch, jax.Array, jax.Array]:
    """Normalises by the moments of the batch itself, as in training; may add a residual and apply a ReLU last.

    Args:
      x_BxHxWxC: activations of any dtype.
      scale_C: learned factor, float32.
      bias_C: learned offset, float32.
      residual: added to the result before the ReLU, of the form of `x_BxHxWxC`.
      relu: whether a ReLU comes last.

    Returns:
      (y in the dtype of x, mean [C], biased variance [C]); the moments are float32 and carry no gradient.
    """
    # The gradient by hand saves passes over the activations on every backend.
    function = fused_batch_norm.batch_norm if use_kernels() else definitions.batch_norm
    return function(x_BxHxWxC, scale_C, bias_C, residual, relu)


def normalize(
    x_BxHxWxC: jax.Array,
    mean_C: jax.Array,
    var_C: jax.Array,
    scale_C: jax.Array,
    bias_C: jax.Array,
    *,
    residual: jax.Array | None = None,
    relu: bool = False,
) -> jax.Array:
    """Returns [relu] of (x - mean) / sqrt(var + 1e-5) scale + bias [+ residual], in the dtype of x."""
    return definitions.normalize(x_BxHxWxC, mean_C, var_C, scale_C, bias_C, residual, relu)


def relu(x: jax.Array) -> jax.Array:
    """Returns max(x, 0), and NaN for NaN; the gradient at 0 is 0."""
    return definitions.rectify(x)


def rows(x: jax.Array) -> jax.Array:
    """Returns x [..., C] as a matrix [N, C], as position-wise networks keep it until their end.

    With a reshape between two layers XLA:CPU computes the activation again inside the transposed product of the second
    one's gradient, at a tenth of the speed.
    """
    return x.reshape(-1, x.shape[-1])


def linear(x: jax.Array, kernel_CxD: jax.Array) -> jax.Array:
    """Multiplies x [..., C] by a kernel of its dtype: [..., D]."""
    # A product of two matrices: XLA:CPU computes the kernel's gradient several times slower with more axes.
    function = cpu_matmul.linear if use_cpu_kernels(x) else definitions.linear
    return function(rows(x), kernel_CxD).reshape(*x.shape[:-1], -1)


def attention(
    query_BxTxHxK: jax.Array, key_BxSxHxK: jax.Array, value_BxSxHxK: jax.Array, mask_BxTxS: jax.Array
) -> jax.Array:
    """Returns softmax(q k^T / sqrt(K)) v over the keys that a mask allows, [B, T, H, K]; the softmax is in float32.

    Fully masked queries output 0; masked keys get exactly zero gradient.

    Args:
      query_BxTxHxK: queries, in the dtype of computation.
      key_BxSxHxK: keys.
      value_BxSxHxK: values.
      mask_BxTxS: bool, True where a query may attend to a key; its first axis may be 1.
    """
    return definitions.attention(query_BxTxHxK, key_BxSxHxK, value_BxSxHxK, mask_BxTxS)


def causal_attention(query_BxTxHxK: jax.Array, key_BxTxHxK: jax.Array, value_BxTxHxK: jax.Array) -> jax.Array:
    """Returns `attention` of each query to the keys up to its own position."""
    by_blocks = use_cpu_kernels() and cpu_attention.pays(query_BxTxHxK.shape[1])
    function = cpu_attention.causal_attention if by_blocks else definitions.causal_attention
    return function(query_BxTxHxK, key_BxTxHxK, value_BxTxHxK)


def dot_product_attention(
    query_BxTxHxK: jax.Array,
    key_BxSxHxK: jax.Array,
    value_BxSxHxK: jax.Array,
    mask_BxTxS: jax.Array | None,
    implementation: str,
) -> jax.Array:
    """Returns the same as `attention`, or for a mask of None `causal_attention`, by `jax.nn.dot_product_attention`.

    Args:
      query_BxTxHxK: queries.
      key_BxSxHxK: keys.
      value_BxSxHxK: values.
      mask_BxTxS: as in `attention`; None: causal, with S = T.
      implementation: "xla", or "cudnn" on a GPU.
    """
    arguments = query_BxTxHxK, key_BxSxHxK, value_BxSxHxK
    if mask_BxTxS is None:
        return jax.nn.dot_product_attention(*arguments, is_causal=True, implementation=implementation)
    mask_Bx1xTxS = jnp.broadcast_to(mask_BxTxS, (query_BxTxHxK.shape[0], *mask_BxTxS.shape[1:]))[:, None]
    y_BxTxHxK = jax.nn.dot_product_attention(*arguments, mask=mask_Bx1xTxS, implementation=implementation)
    return jnp.where(mask_BxTxS.any(-1)[:, :, None, None], y_BxTxHxK, 0)


def check_attention(implementation: str) -> None:
    """Raises a ValueError if an implementation of attention does not run on this machine."""
    if implementation == "cudnn" and backend() != "gpu":
        raise ValueError(f"attention='cudnn' needs a GPU; allowed on {backend()}: 'own', 'xla'")


def split_batch(x_BxHxWxC: jax.Array) -> jax.Array | SplitBatch:
    """Returns the two halves of a batch of images where that is faster, else the batch as it is.

    `conv2d`, `batch_norm` and functions called by `each_part` take the result in the place of an array.
    """
    if use_cpu_kernels(x_BxHxWxC) and cpu_split_batch.pays(x_BxHxWxC.shape):
        return cpu_split_batch.split_batch(x_BxHxWxC)
    return x_BxHxWxC


def merge_batch(x_Bx: jax.Array | SplitBatch) -> jax.Array:
    """Returns the batch [B, ...] that was split."""
    return cpu_split_batch.merge_batch(x_Bx)
