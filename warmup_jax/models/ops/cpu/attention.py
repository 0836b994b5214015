"""Causal attention over blocks of queries, which skips the keys that a whole block may not attend to."""

import jax
import jax.numpy as jnp

from warmup_jax.models.ops import definitions
from warmup_jax.models.ops.switch import everywhere

BLOCKS = 4
LONG = 256  # tokens; for shorter rows the products are too small for blocks to pay


def pays(length: int) -> bool:
    """Returns True if rows of this length are computed faster by blocks."""
    return length >= LONG or (everywhere() and length >= BLOCKS)


def causal_attention(query_BxTxHxK: jax.Array, key_BxTxHxK: jax.Array, value_BxTxHxK: jax.Array) -> jax.Array:
    """`definitions.causal_attention`, with five eighths of its products for four blocks."""
    length = query_BxTxHxK.shape[1]
    ends = [length * block // BLOCKS for block in range(1, BLOCKS + 1)]
    blocks = [
        definitions.attention(
            query_BxTxHxK[:, start:end],
            key_BxTxHxK[:, :end],
            value_BxTxHxK[:, :end],
            jnp.tri(end - start, end, start, dtype=bool)[None],
        )
        for start, end in zip([0, *ends], ends)
    ]
    return jnp.concatenate(blocks, 1)
