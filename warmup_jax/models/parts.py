"""A batch of images as a list of arrays [B, H, W, C], two halves where that is faster.

On CPU one core computes a convolution of few channels, and the other waits. The halves of a batch do not depend on each
other but for BatchNorm's moments and the kernels' gradients, which are sums over both: so there is always work for two
cores, and on one core it is as fast as the whole (benchmarks/NOTES.md).
"""

import jax.numpy as jnp

from warmup_jax.models import products

PIXELS = 2**15  # of a batch; for fewer it is not worth its compilation


def split(image_BxHxWxC):
    """The batch in parts: halves, or itself alone."""
    batch, height, width, _ = image_BxHxWxC.shape
    if not products.in_float32_on_cpu(image_BxHxWxC) or batch < 2 or batch * height * width < PIXELS:
        return [image_BxHxWxC]
    return [image_BxHxWxC[:batch // 2], image_BxHxWxC[batch // 2:]]


def join(parts_Bx):
    """The batch [B, ...] of its parts [B, ...]."""
    return jnp.concatenate(parts_Bx) if len(parts_Bx) > 1 else parts_Bx[0]
