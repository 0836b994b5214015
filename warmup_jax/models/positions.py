"""Positions of tokens: within segments, as sinusoids, as rotations.

References:
  Vaswani et al., "Attention Is All You Need", 2017, section 3.5 (sinusoids).
  Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
"""

import jax
import jax.numpy as jnp
import numpy as np

BASE = 10_000.0

Rotation = tuple[jax.Array, jax.Array]  # cosines and sines


def positions_in_segments(segments_BxL: jax.Array) -> jax.Array:
    """Returns the distance of each token to the start of its own segment, int32 [B, L]."""
    index_L = jnp.arange(segments_BxL.shape[1], dtype=jnp.int32)
    starts_BxL = jnp.pad(segments_BxL[:, 1:] != segments_BxL[:, :-1], ((0, 0), (1, 0)))
    return index_L - jax.lax.cummax(jnp.where(starts_BxL, index_L, 0), axis=1)


def sinusoids(length: int, width: int) -> np.ndarray:
    """Returns float32 [length, width]: sin(p / BASE^(2i / width)) at column 2i, its cosine at 2i + 1."""
    angle = np.arange(length)[:, None] * BASE ** (-np.arange(0, width, 2) / width)
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(length, -1)
    return table[:, :width].astype(np.float32)


def rotation(positions: jax.Array | np.ndarray, head_width: int) -> Rotation:
    """Returns (cos, sin) [..., K / 2] of the angle p BASE^(-2i / K) of each pair i, for positions [...]."""
    angle = positions[..., None] * BASE ** (-np.arange(0, head_width, 2, dtype=np.float32) / head_width)
    return jnp.cos(angle), jnp.sin(angle)


def rotate(x_BxLxHxK: jax.Array, rotation: Rotation | None) -> jax.Array:
    """Rotates each pair (i, i + K / 2) of elements by its angle, in float32; returns x for a rotation of None."""
    if rotation is None:
        return x_BxLxHxK
    cos, sin = (table[..., None, :] for table in rotation)
    first, second = jnp.split(x_BxLxHxK.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BxLxHxK.dtype)
