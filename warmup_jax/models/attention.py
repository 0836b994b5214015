"""Attention with masks, and with a cache for decoding.

Sources: Vaswani et al., "Attention Is All You Need", 2017, section 3.2; Henry et al., "Query-Key Normalization
for Transformers", 2020, in the form of Dehghani et al., "Scaling Vision Transformers to 22 Billion Parameters",
2023 (a norm with a scale on queries and on keys).
"""

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models.initialisation import kernel_init
from warmup_jax.models.layers import Linear, Norm
from warmup_jax.models.positions import rotate

MASKED = -1e30  # finite: the difference of two infinities is not a number
FLOOR = -1e20  # below every real logit, far above MASKED
BLOCKS, LONG = 4, 256  # blocks of queries of causal attention, from so many tokens on


class Attention(nnx.Module):
    """Multi-head attention from x [B, T, D] to x itself or to a memory [B, S, D]."""

    def __init__(self, settings, scales, rngs):
        width = settings.width
        self.heads, self.head_width, self.kind = settings.heads, settings.head_width, settings.attention
        small, plain = kernel_init(settings, scales.branch), kernel_init(settings)
        self.query = Linear(width, width, settings.bias, plain, rngs)
        self.key = Linear(width, width, settings.bias, plain, rngs)
        self.value = Linear(width, width, settings.bias, small, rngs)
        self.out = Linear(width, width, settings.bias, kernel_init(settings, scales.branch * scales.last), rngs)
        self.qk_norm = settings.qk_norm
        if self.qk_norm:
            self.query_norm = Norm(self.head_width, settings.norm_kind, bias=False)
            self.key_norm = Norm(self.head_width, settings.norm_kind, bias=False)

    def __call__(self, x_BxTxD, mask_BxTxT, rotation):
        """Self-attention; without a mask it is causal."""
        query_BxTxHxK = self._queries(x_BxTxD, rotation)
        return self._attend(query_BxTxHxK, *self.keys_values(x_BxTxD, rotation), mask_BxTxT)

    def across(self, x_BxTxD, keys_BxSxHxK, values_BxSxHxK, mask_BxTxS):
        """Attention to the keys and values of a memory."""
        return self._attend(self._queries(x_BxTxD, None), keys_BxSxHxK, values_BxSxHxK, mask_BxTxS)

    def recall(self, x_Bx1xD, kept, mask_Bx1xS, rotation=None):
        """Attention of one position to what is `kept`."""
        keys_BxSxHxK, values_BxSxHxK = kept["keys"].transpose(0, 3, 1, 2), kept["values"].swapaxes(1, 2)
        return self._attend(self._queries(x_Bx1xD, rotation), keys_BxSxHxK, values_BxSxHxK, mask_Bx1xS)

    def extend(self, x_Bx1xD, cache, position, rotation):
        """Self-attention of one position to the cache's earlier ones and itself: (y [B, 1, D], the longer cache)."""
        new = self.kept(x_Bx1xD, rotation)
        cache = {
            name: jax.lax.dynamic_update_slice_in_dim(cache[name], new[name], position, axis=axis)
            for name, axis in (("keys", 3), ("values", 2))
        }
        mask_1x1xL = (jnp.arange(cache["keys"].shape[3]) <= position)[None, None]
        return self.recall(x_Bx1xD, cache, mask_1x1xL, rotation), cache

    def kept(self, x_BxSxD, rotation=None):
        """What decoding keeps of x, as the products of each step read it: keys [B, H, K, S] and values [B, H, S, K]."""
        keys_BxSxHxK, values_BxSxHxK = self.keys_values(x_BxSxD, rotation)
        return {"keys": keys_BxSxHxK.transpose(0, 2, 3, 1), "values": values_BxSxHxK.swapaxes(1, 2)}

    def keys_values(self, x_BxSxD, rotation=None):
        """([B, S, H, K], [B, S, H, K]): what queries meet and what they get."""
        key_BxSxHxK = rotate(self._normed("key_norm", self._split(self.key(x_BxSxD))), rotation)
        return key_BxSxHxK, self._split(self.value(x_BxSxD))

    def _queries(self, x_BxTxD, rotation):
        return rotate(self._normed("query_norm", self._split(self.query(x_BxTxD))), rotation)

    def _split(self, x_BxLxD):
        return x_BxLxD.reshape(*x_BxLxD.shape[:-1], self.heads, self.head_width)

    def _normed(self, name, x_BxLxHxK):
        return getattr(self, name)(x_BxLxHxK) if self.qk_norm else x_BxLxHxK

    def _attend(self, query_BxTxHxK, keys_BxSxHxK, values_BxSxHxK, mask_BxTxS):
        # Decoding has one query a row, which gives a fused kernel nothing to fuse.
        kind = self.kind if query_BxTxHxK.shape[1] > 1 else "own"
        y_BxTxHxK = attend(query_BxTxHxK, keys_BxSxHxK, values_BxSxHxK, mask_BxTxS, kind)
        return self.out(y_BxTxHxK.reshape(*y_BxTxHxK.shape[:-2], -1))


def nothing_kept(settings, batch_size, length):
    """`Attention.kept` of `length` positions, all 0."""
    rows, width = (batch_size, settings.heads), settings.head_width
    return {
        "keys": jnp.zeros((*rows, width, length), settings.compute_dtype),
        "values": jnp.zeros((*rows, length, width), settings.compute_dtype),
    }


def attend(query_BxTxHxK, key_BxSxHxK, value_BxSxHxK, mask_BxTxS, kind):
    """softmax(q k^T / sqrt(K)) v over what the mask allows, [B, T, H, K]; the softmax is in float32.

    Args:
        query_BxTxHxK, key_BxSxHxK, value_BxSxHxK: in the dtype of computation.
        mask_BxTxS: bool, True where a query may look; its first axis may be 1. None: causal, with S = T.
        kind: "own", or "xla" or "cudnn" for JAX's own function of this implementation.

    A query that may look nowhere gets 0. What it may not look at has no influence: the gradient is exactly 0.
    """
    if kind != "own":
        y_BxTxHxK = jax.nn.dot_product_attention(
            query_BxTxHxK, key_BxSxHxK, value_BxSxHxK, is_causal=mask_BxTxS is None, implementation=kind,
            mask=None if mask_BxTxS is None else jnp.broadcast_to(
                mask_BxTxS, (query_BxTxHxK.shape[0], *mask_BxTxS.shape[1:]))[:, None])  # fmt: skip
        if mask_BxTxS is None:
            return y_BxTxHxK
        return jnp.where(mask_BxTxS.any(-1)[:, :, None, None], y_BxTxHxK, 0)
    if mask_BxTxS is None:
        return causal(query_BxTxHxK, key_BxSxHxK, value_BxSxHxK)
    return masked(query_BxTxHxK, key_BxSxHxK, value_BxSxHxK, mask_BxTxS)


def causal(query_BxTxHxK, key_BxTxHxK, value_BxTxHxK):
    """`attend` to what is not later. On CPU long texts go by blocks of queries, each with no key beyond its end."""
    length = query_BxTxHxK.shape[1]
    blocks = BLOCKS if length >= LONG and jax.default_backend() == "cpu" else 1
    ends = [length * block // blocks for block in range(1, blocks + 1)]
    return jnp.concatenate(
        [
            masked(
                query_BxTxHxK[:, start:end],
                key_BxTxHxK[:, :end],
                value_BxTxHxK[:, :end],
                jnp.tri(end - start, end, start, dtype=bool)[None],
            )
            for start, end in zip([0, *ends], ends)
        ],
        1,
    )


def masked(query_BxTxHxK, key_BxSxHxK, value_BxSxHxK, mask_BxTxS):
    """`attend` of kind "own" to what a mask allows."""
    query_BxTxHxK = query_BxTxHxK * query_BxTxHxK.shape[-1] ** -0.5
    logits_BxHxTxS = jnp.einsum("BTHK,BSHK->BHTS", query_BxTxHxK, key_BxSxHxK, preferred_element_type=jnp.float32)
    logits_BxHxTxS = jnp.where(mask_BxTxS[:, None], logits_BxHxTxS, MASKED)
    top_BxHxTx1 = jnp.maximum(logits_BxHxTxS.max(-1, keepdims=True), FLOOR)
    weights_BxHxTxS = jnp.exp(logits_BxHxTxS - jax.lax.stop_gradient(top_BxHxTx1))
    # The largest weight is 1, unless the query may look nowhere: then all are 0. The bound lies below 1, where a
    # maximum would halve the gradient, and far above 0, whose powers in second derivatives would not be finite.
    total_BxHxTx1 = jnp.maximum(weights_BxHxTxS.sum(-1, keepdims=True), 0.5)
    weights_BxHxTxS = (weights_BxHxTxS / total_BxHxTx1).astype(value_BxSxHxK.dtype)
    return jnp.einsum("BHTS,BSHK->BTHK", weights_BxHxTxS, value_BxSxHxK)
