"""One block of a Transformer, with the placement of normalisation as one flag.

References:
  Vaswani et al., "Attention Is All You Need", 2017 (post).
  Xiong et al., "On Layer Normalization in the Transformer Architecture", 2020 (pre).
  Kim et al., "Peri-LN: Revisiting Normalization Layer in the Transformer Architecture", 2025.
  Wang et al., "DeepNet: Scaling Transformers to 1,000 Layers", 2022.
  Bachlechner et al., "ReZero is All You Need: Fast Convergence at Large Depth", 2020.
  Liu et al., "Understanding the Difficulty of Training Transformers", 2020 (Admin).
  Huang et al., "Improving Transformer Optimization Through Better Initialization", 2020 (T-Fixup).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models.attention import Attention, Cache, causal_mask
from warmup_jax.models.initialisation import StackScales
from warmup_jax.models.intermediates import Capture, record
from warmup_jax.models.layers import FeedForward, Norm, dropout
from warmup_jax.models.positions import Rotation
from warmup_jax.models.transformer_config import TransformerConfig

AFTER = ("post", "deepnorm", "admin")  # placements that normalise the residual sum
BEFORE = ("pre", "peri")  # placements that normalise the input of a branch


class Context(NamedTuple):
    """The inputs that all blocks of a stack take besides the stream.

    mask_BxTxT: for self-attention; None: causal.
    rotation: of the positions, or None.
    memory_BxSxD, mask_BxTxS: for cross-attention, or None.
    """

    mask_BxTxT: jax.Array | None
    rotation: Rotation | None
    memory_BxSxD: jax.Array | None = None
    mask_BxTxS: jax.Array | None = None


class Memory(NamedTuple):
    """The encoder's output as decoding keeps it for one block: its keys and values, and the mask [B, 1, S]."""

    cache: Cache
    mask_Bx1xS: jax.Array


class Scale(nnx.Module):
    """A learned factor."""

    def __init__(self, value: jax.Array):
        self.scale = nnx.Param(value)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.scale[...].astype(x.dtype) * x


class Block(nnx.Module):
    """Self-attention, cross-attention if there is a memory, and the feed-forward network, each in a residual sum.

    With x the stream, f a sublayer and N a norm, each with parameters of its own:
        post: N(x + f(x));  pre: x + f(N(x));  peri: x + N'(f(N(x)));  none: x + f(x)
        deepnorm: N(alpha x + f(x)), alpha fixed by the depth
        rezero: x + a f(x), a learned scalar a that starts at 0
        admin: N(omega x + f(x)), a learned vector omega
    Dropout comes last on the branch.
    """

    def __init__(self, config: TransformerConfig, scales: StackScales, cross: bool, rngs: nnx.Rngs):
        self.norm, self.shortcut, self.dropout = config.norm, scales.shortcut, config.dropout
        self.sublayers = ("self_attention", "cross_attention", "ffn") if cross else ("self_attention", "ffn")
        for name in self.sublayers:
            module = FeedForward if name == "ffn" else Attention
            setattr(self, name, module(config, scales, rngs))
            if self.norm in AFTER + BEFORE:
                setattr(self, f"{name}_norm", Norm(config.width, config.norm_kind, config.bias))
            if self.norm == "peri":
                setattr(self, f"{name}_output_norm", Norm(config.width, config.norm_kind, config.bias))
            if self.norm == "rezero":
                setattr(self, f"{name}_gate", Scale(jnp.zeros([])))
            if self.norm == "admin":
                setattr(self, f"{name}_shortcut", Scale(jnp.ones(config.width)))

    def __call__(
        self, x_BxTxD: jax.Array, keys: jax.Array | None, context: Context, capture: Capture | None = None
    ) -> jax.Array:
        """Returns the stream after the block.

        Args:
          x_BxTxD: the stream before it.
          keys: one for each sublayer's dropout, or None for no dropout.
          context: what it takes in addition.
          capture: called with the value of each "branch", before dropout, norms and gates, and with the "relu" of the
            feed-forward network; see intermediates.py.
        """
        branches = {
            "self_attention": lambda y: self.self_attention(y, context.mask_BxTxT, context.rotation),
            "cross_attention": lambda y: self.cross_attention.cross(y, context.memory_BxSxD, context.mask_BxTxS),
            "ffn": lambda y: self.ffn(y, capture),
        }
        for i, name in enumerate(self.sublayers):
            x_BxTxD = self._add(name, branches[name], x_BxTxD, None if keys is None else keys[i], capture)
        return x_BxTxD

    def decode_step(
        self, x_Bx1xD: jax.Array, cache: Cache, position: jax.Array, rotation: Rotation | None, memory: Memory | None
    ) -> tuple[jax.Array, Cache]:
        """Returns (the stream after the block at one position, the cache with that position)."""
        appended = {}

        def self_attention(y_Bx1xD: jax.Array) -> jax.Array:
            appended.update(self.self_attention.append(y_Bx1xD, cache, position, rotation))
            return self.self_attention.decode_step(y_Bx1xD, appended, causal_mask(appended, position), rotation)

        branches = {
            "self_attention": self_attention,
            "cross_attention": lambda y: self.cross_attention.decode_step(y, *memory),
            "ffn": self.ffn,
        }
        for name in self.sublayers:
            x_Bx1xD = self._add(name, branches[name], x_Bx1xD, None, None)
        return x_Bx1xD, appended

    def _add(
        self,
        name: str,
        branch: Callable[[jax.Array], jax.Array],
        x: jax.Array,
        key: jax.Array | None,
        capture: Capture | None,
    ) -> jax.Array:
        """Returns the residual sum of x and a branch, by the placement of normalisation."""
        y = branch(getattr(self, f"{name}_norm")(x) if self.norm in BEFORE else x)
        record(capture, "branch", y)
        if self.norm == "peri":
            y = getattr(self, f"{name}_output_norm")(y)
        if self.norm == "rezero":
            y = getattr(self, f"{name}_gate")(y)
        y = dropout(y, self.dropout, key)
        if self.norm == "admin":
            x = getattr(self, f"{name}_shortcut")(x)
        if self.norm == "deepnorm":
            x = self.shortcut * x
        return getattr(self, f"{name}_norm")(x + y) if self.norm in AFTER else x + y
