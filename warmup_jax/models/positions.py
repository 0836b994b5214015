"""Where a token stands: positions inside segments, sinusoids, rotations.

Sources: Vaswani et al., "Attention Is All You Need", 2017, section 3.5 (sinusoids); Su et al., "RoFormer:
Enhanced Transformer with Rotary Position Embedding", 2021.
"""

import jax
import jax.numpy as jnp
import numpy as np

BASE = 10_000.0


def positions_in_segments(segments_BxL):
    """int32 [B, L]: the distance to the start of each token's own segment."""
    index_L = jnp.arange(segments_BxL.shape[1], dtype=jnp.int32)
    starts_BxL = jnp.pad(segments_BxL[:, 1:] != segments_BxL[:, :-1], ((0, 0), (1, 0)))
    return index_L - jax.lax.cummax(jnp.where(starts_BxL, index_L, 0), axis=1)


def sinusoids(length, width):
    """float32 [length, width]: sin(p / BASE^(2i / width)) at 2i, its cosine at 2i + 1."""
    angle = np.arange(length)[:, None] * BASE ** (-np.arange(0, width, 2) / width)
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(length, -1)
    return table[:, :width].astype(np.float32)


def rotation(positions, head_width):
    """(cos, sin) [..., K / 2] of the angle p BASE^(-2i / K) of each pair i, for positions [...]."""
    angle = positions[..., None] * BASE ** (-np.arange(0, head_width, 2, dtype=np.float32) / head_width)
    return jnp.cos(angle), jnp.sin(angle)


def rotate(x_BxLxHxK, rotation):
    """Each pair (i, i + K / 2) of elements turned by its angle, in float32; a rotation of None: x itself."""
    if rotation is None:
        return x_BxLxHxK
    cos, sin = (table[..., None, :] for table in rotation)
    first, second = jnp.split(x_BxLxHxK.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x_BxLxHxK.dtype)
