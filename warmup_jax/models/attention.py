"""Multi-head attention with masks, and with a key-value cache for decoding.

References:
  Vaswani et al., "Attention Is All You Need", 2017, section 3.2.
  Henry et al., "Query-Key Normalization for Transformers", 2020, in the form of Dehghani et al., "Scaling Vision
    Transformers to 22 Billion Parameters", 2023 (a norm with a scale on queries and on keys).
"""

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models import ops
from warmup_jax.models.initialisation import StackScales, kernel_init
from warmup_jax.models.layers import Linear, Norm
from warmup_jax.models.positions import Rotation, rotate
from warmup_jax.models.transformer_config import TransformerConfig

Cache = dict[str, jax.Array]  # keys [B, H, K, S] and values [B, H, S, K]


class Attention(nnx.Module):
    """Multi-head attention from x [B, T, D] to itself or to a memory [B, S, D]."""

    def __init__(self, config: TransformerConfig, scales: StackScales, rngs: nnx.Rngs):
        width = config.width
        self.heads, self.head_width, self.kind = config.heads, config.head_width, config.attention
        small, plain = kernel_init(config, scales.branch), kernel_init(config)
        self.query = Linear(width, width, config.bias, plain, rngs)
        self.key = Linear(width, width, config.bias, plain, rngs)
        self.value = Linear(width, width, config.bias, small, rngs)
        self.out = Linear(width, width, config.bias, kernel_init(config, scales.branch * scales.last), rngs)
        self.qk_norm = config.qk_norm
        if self.qk_norm:
            self.query_norm = Norm(self.head_width, config.norm_kind, bias=False)
            self.key_norm = Norm(self.head_width, config.norm_kind, bias=False)

    def __call__(self, x_BxTxD: jax.Array, mask_BxTxT: jax.Array | None, rotation: Rotation | None) -> jax.Array:
        """Self-attention; causal for a mask of None."""
        query_BxTxHxK = self._queries(x_BxTxD, rotation)
        return self._attend(query_BxTxHxK, *self._keys_values(x_BxTxD, rotation), mask_BxTxT)

    def cross(self, x_BxTxD: jax.Array, memory_BxSxD: jax.Array, mask_BxTxS: jax.Array) -> jax.Array:
        """Cross-attention to a memory."""
        keys_BxSxHxK, values_BxSxHxK = self._keys_values(memory_BxSxD)
        return self._attend(self._queries(x_BxTxD, None), keys_BxSxHxK, values_BxSxHxK, mask_BxTxS)

    def kv_cache(self, x_BxSxD: jax.Array, rotation: Rotation | None = None) -> Cache:
        """Returns the keys and values of x, laid out as the matrix products of each decoding step read them.

        A step that had to transpose the cache of all positions spent half of a beam search on that.
        """
        keys_BxSxHxK, values_BxSxHxK = self._keys_values(x_BxSxD, rotation)
        return {"keys": keys_BxSxHxK.transpose(0, 2, 3, 1), "values": values_BxSxHxK.swapaxes(1, 2)}

    def append(self, x_Bx1xD: jax.Array, cache: Cache, position: jax.Array, rotation: Rotation | None) -> Cache:
        """Returns the cache with the keys and values of x written at `position`."""
        new = self.kv_cache(x_Bx1xD, rotation)
        return {
            name: jax.lax.dynamic_update_slice_in_dim(cache[name], new[name], position, axis=axis)
            for name, axis in (("keys", 3), ("values", 2))
        }

    def decode_step(
        self, x_Bx1xD: jax.Array, cache: Cache, mask_Bx1xS: jax.Array, rotation: Rotation | None = None
    ) -> jax.Array:
        """Attention of a single query position to a key-value cache."""
        keys_BxSxHxK, values_BxSxHxK = cache["keys"].transpose(0, 3, 1, 2), cache["values"].swapaxes(1, 2)
        return self._attend(self._queries(x_Bx1xD, rotation), keys_BxSxHxK, values_BxSxHxK, mask_Bx1xS)

    def _keys_values(self, x_BxSxD: jax.Array, rotation: Rotation | None = None) -> tuple[jax.Array, jax.Array]:
        key_BxSxHxK = rotate(self._normed("key_norm", self._split_heads(self.key(x_BxSxD))), rotation)
        return key_BxSxHxK, self._split_heads(self.value(x_BxSxD))

    def _queries(self, x_BxTxD: jax.Array, rotation: Rotation | None) -> jax.Array:
        return rotate(self._normed("query_norm", self._split_heads(self.query(x_BxTxD))), rotation)

    def _split_heads(self, x_BxLxD: jax.Array) -> jax.Array:
        return x_BxLxD.reshape(*x_BxLxD.shape[:-1], self.heads, self.head_width)

    def _normed(self, name: str, x_BxLxHxK: jax.Array) -> jax.Array:
        return getattr(self, name)(x_BxLxHxK) if self.qk_norm else x_BxLxHxK

    def _attend(
        self,
        query_BxTxHxK: jax.Array,
        keys_BxSxHxK: jax.Array,
        values_BxSxHxK: jax.Array,
        mask_BxTxS: jax.Array | None,
    ) -> jax.Array:
        # Decoding has one query per row, which leaves a fused kernel nothing to fuse.
        kind = self.kind if query_BxTxHxK.shape[1] > 1 else "own"
        y_BxTxHxK = attend(query_BxTxHxK, keys_BxSxHxK, values_BxSxHxK, mask_BxTxS, kind)
        return self.out(y_BxTxHxK.reshape(*y_BxTxHxK.shape[:-2], -1))


def empty_cache(config: TransformerConfig, batch_size: int, length: int) -> Cache:
    """Returns an `Attention.kv_cache` of `length` positions, all 0."""
    rows, width = (batch_size, config.heads), config.head_width
    return {
        "keys": jnp.zeros((*rows, width, length), config.compute_dtype),
        "values": jnp.zeros((*rows, length, width), config.compute_dtype),
    }


def causal_mask(cache: Cache, position: jax.Array) -> jax.Array:
    """Returns the mask [1, 1, S] of the positions of a cache up to `position`."""
    return (jnp.arange(cache["keys"].shape[3]) <= position)[None, None]


def attend(
    query_BxTxHxK: jax.Array,
    key_BxSxHxK: jax.Array,
    value_BxSxHxK: jax.Array,
    mask_BxTxS: jax.Array | None,
    kind: str,
) -> jax.Array:
    """Returns softmax(q k^T / sqrt(K)) v over the keys that the mask allows, [B, T, H, K]; see `ops.attention`.

    Args:
      query_BxTxHxK: queries, in the dtype of computation.
      key_BxSxHxK: keys.
      value_BxSxHxK: values.
      mask_BxTxS: bool, True where a query may attend to a key; its first axis may be 1. None: causal, with S = T.
      kind: "own", or "xla" or "cudnn" for that implementation of `jax.nn.dot_product_attention`.
    """
    if kind != "own":
        return ops.dot_product_attention(query_BxTxHxK, key_BxSxHxK, value_BxSxHxK, mask_BxTxS, kind)
    if mask_BxTxS is None:
        return ops.causal_attention(query_BxTxHxK, key_BxSxHxK, value_BxSxHxK)
    return ops.attention(query_BxTxHxK, key_BxSxHxK, value_BxSxHxK, mask_BxTxS)
