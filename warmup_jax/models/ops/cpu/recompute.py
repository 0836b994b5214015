"""What the backward pass reads of the forward pass, so that it is kept once.

Where both passes compute the same of a value, XLA computes it once and keeps it until the end, though the backward
pass needs the value itself too and could compute the rest again. On CPU that made the memory of an update of a ResNet
nearly twice as large (benchmarks/NOTES.md); on accelerators, where such operations are fused, it is left alone.
"""

import jax

from warmup_jax.models.ops.cpu import matmul


def after(dy_Bx, x_Bx):
    """x [B, ...] itself, but not before dy [B, ...] is there: what is computed of it is not what was computed before.

    Differentiation sees x alone. Both have as many axes; a NaN or infinity in dy reaches x.
    """
    if not matmul.in_float32_on_cpu(x_Bx):
        return x_Bx
    first_Bx = dy_Bx[(slice(None), *[slice(1)] * (dy_Bx.ndim - 1))]
    return x_Bx + jax.lax.stop_gradient(0 * first_Bx)
