"""Splits an image batch in two on CPU, where a small convolution leaves one core idle.

XLA:CPU computes a convolution of few channels on one core. The halves of a batch depend on each other only through
BatchNorm's moments and the kernels' gradients, which are sums over both: so two independent operations are always
ready, and on one core the halves are as fast as the whole (README.md).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from warmup_jax.models.ops.switch import everywhere

PIXELS = 2**15  # smallest batch, in pixels, whose gain is worth the longer compilation


class SplitBatch(NamedTuple):
    """The two halves of a batch, arrays [B / 2, ...]; a pytree."""

    first: jax.Array
    second: jax.Array


def pays(shape: tuple[int, ...]) -> bool:
    """Returns True if images [B, H, W, C] of this shape are computed faster in two halves."""
    batch, height, width, _ = shape
    return batch >= 2 and (batch * height * width >= PIXELS or everywhere())


def split_batch(x_Bx: jax.Array) -> SplitBatch:
    """Returns the two halves; the second has one example more if their number is odd."""
    half = x_Bx.shape[0] // 2
    return SplitBatch(x_Bx[:half], x_Bx[half:])


def merge_batch(x_Bx: jax.Array | SplitBatch) -> jax.Array:
    """Returns the batch as one array; an array is returned as it is."""
    return jnp.concatenate(x_Bx) if isinstance(x_Bx, SplitBatch) else x_Bx


def parts(x_Bx: jax.Array | SplitBatch) -> tuple[jax.Array, ...]:
    """Returns the arrays that hold a batch: two, or one."""
    return tuple(x_Bx) if isinstance(x_Bx, SplitBatch) else (x_Bx,)


def with_parts(arrays: Iterable[jax.Array]) -> jax.Array | SplitBatch:
    """Returns the batch that two arrays, or one, hold: the inverse of `parts`."""
    first, *others = arrays
    return SplitBatch(first, *others) if others else first


def each_part(function: Callable[[jax.Array], jax.Array], x_Bx: jax.Array | SplitBatch) -> jax.Array | SplitBatch:
    """Applies a function that treats examples alone to an array, or to each half of a split batch."""
    return with_parts([function(part) for part in parts(x_Bx)])
