"""A batch of images as a list of arrays [B, H, W, C]: its two halves where that is faster, else itself alone.

On CPU one core computes a convolution of few channels, and the other waits. The halves of a batch do not depend on each
other but for BatchNorm's moments and the kernels' gradients, which are sums over both: so there is always work for two
cores, and on one core it is as fast as the whole (benchmarks/NOTES.md).
"""

import jax.numpy as jnp

from warmup_jax.models.intermediates import ignore
from warmup_jax.models.ops.cpu import matmul

PIXELS = 2**15  # of a batch; for fewer it is not worth its compilation


def split(image_BxHxWxC):
    """The halves of a batch, or a list of itself alone."""
    batch, height, width, _ = image_BxHxWxC.shape
    if not matmul.in_float32_on_cpu(image_BxHxWxC) or batch < 2 or batch * height * width < PIXELS:
        return [image_BxHxWxC]
    return [image_BxHxWxC[: batch // 2], image_BxHxWxC[batch // 2 :]]


def join(xs_Bx):
    """The batch [B, ...] of a list of arrays [B, ...]."""
    return jnp.concatenate(xs_Bx) if len(xs_Bx) > 1 else xs_Bx[0]


def joining(note):
    """The `note` for batches as lists: it is handed the whole, which nobody makes for `ignore`."""
    return note if note is ignore else lambda layer, kind, xs_Bx: note(layer, kind, join(xs_Bx))
