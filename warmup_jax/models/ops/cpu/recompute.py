"""Stops XLA:CPU from storing forward values that the backward pass can recompute.

Where both passes compute the same function of a value, XLA merges the two (common subexpression elimination) and keeps
the result until the backward pass, beside the value itself, which is needed anyway. That nearly doubled the memory of
an update of a ResNet (README.md).
"""

import jax


def recompute_after(dy_Bx: jax.Array, x_Bx: jax.Array) -> jax.Array:
    """Returns x with a data dependency on dy, so that XLA cannot merge the recomputation.

    The gradient is that of x alone. Both arrays have the same number of axes and the same first one. A NaN or infinity
    at the first element of an example of dy reaches that example of x.
    """
    first_Bx = dy_Bx[(slice(None), *[slice(1)] * (dy_Bx.ndim - 1))]
    return x_Bx + jax.lax.stop_gradient(0 * first_Bx)
