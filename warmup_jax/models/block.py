"""One block of a Transformer, in which the placement of normalisation is one flag.

Sources: Vaswani et al., "Attention Is All You Need", 2017 (post); Xiong et al., "On Layer Normalization in the
Transformer Architecture", 2020 (pre); Kim et al., "Peri-LN: Revisiting Normalization Layer in the Transformer
Architecture", 2025; Wang et al., "DeepNet: Scaling Transformers to 1,000 Layers", 2022; Bachlechner et al.,
"ReZero is All You Need: Fast Convergence at Large Depth", 2020; Liu et al., "Understanding the Difficulty of
Training Transformers", 2020 (Admin); Huang et al., "Improving Transformer Optimization Through Better
Initialization", 2020 (T-Fixup).
"""

import jax.numpy as jnp
from flax import nnx

from warmup_jax.models.attention import Attention
from warmup_jax.models.intermediates import ignore
from warmup_jax.models.layers import FeedForward, Norm, drop

AFTER = ("post", "deepnorm", "admin")  # normalise the residual sum
BEFORE = ("pre", "peri")  # normalise what a branch gets


class Scale(nnx.Module):
    """A learned factor."""

    def __init__(self, value):
        self.scale = nnx.Param(value)

    def __call__(self, x):
        return self.scale[...].astype(x.dtype) * x


class Block(nnx.Module):
    """Self-attention, cross-attention where there is a memory, and the feed-forward network, each in a residual sum.

    With x the stream, f a sublayer and N a norm, each with parameters of its own:
        post: N(x + f(x));  pre: x + f(N(x));  peri: x + N'(f(N(x)));  none: x + f(x)
        deepnorm: N(alpha x + f(x)), alpha fixed by the depth
        rezero: x + a f(x), a learned scalar a that starts at 0
        admin: N(omega x + f(x)), a learned vector omega
    Dropout comes last on the branch.
    """

    def __init__(self, settings, scales, cross, rngs):
        self.norm, self.shortcut, self.dropout = settings.norm, scales.shortcut, settings.dropout
        self.sublayers = ("self_attention", "cross_attention", "ffn") if cross else ("self_attention", "ffn")
        for name in self.sublayers:
            module = FeedForward if name == "ffn" else Attention
            setattr(self, name, module(settings, scales, rngs))
            if self.norm in AFTER + BEFORE:
                setattr(self, f"{name}_norm", Norm(settings.width, settings.norm_kind, settings.bias))
            if self.norm == "peri":
                setattr(self, f"{name}_output_norm", Norm(settings.width, settings.norm_kind, settings.bias))
            if self.norm == "rezero":
                setattr(self, f"{name}_gate", Scale(jnp.zeros([])))
            if self.norm == "admin":
                setattr(self, f"{name}_shortcut", Scale(jnp.ones(settings.width)))

    def __call__(self, x_BxTxD, keys, mask_BxTxT, rotation, memory_BxSxD, mask_BxTxS, note=ignore):
        """x after the block.

        Args:
            x_BxTxD: the stream.
            keys: one for each sublayer's dropout, or None for no dropout.
            mask_BxTxT: for self-attention; None: causal.
            rotation: of the positions, or None.
            memory_BxSxD, mask_BxTxS: for cross-attention.
            note: function (kind, value) that is told the value of each "branch", before dropout, norms and gates, and
                the outputs of the "relu" in the feed-forward network.
        """
        across = lambda y: self.cross_attention.across(y, *self.cross_attention.keys_values(memory_BxSxD), mask_BxTxS)
        branches = {"self_attention": lambda y: self.self_attention(y, mask_BxTxT, rotation),
                    "cross_attention": across, "ffn": lambda y: self.ffn(y, note)}  # fmt: skip
        for i, name in enumerate(self.sublayers):
            x_BxTxD = self._add(name, branches[name], x_BxTxD, None if keys is None else keys[i], note)
        return x_BxTxD

    def step(self, x_Bx1xD, cache, position, rotation, memory):
        """(x after the block at one position, the longer cache); `memory`: what is kept of it, and the mask."""
        extended = {}

        def extend(y_Bx1xD):
            y_Bx1xD, extended["cache"] = self.self_attention.extend(y_Bx1xD, cache, position, rotation)
            return y_Bx1xD

        branches = {"self_attention": extend, "ffn": self.ffn,
                    "cross_attention": lambda y: self.cross_attention.recall(y, *memory)}  # fmt: skip
        for name in self.sublayers:
            x_Bx1xD = self._add(name, branches[name], x_Bx1xD, None, ignore)
        return x_Bx1xD, extended["cache"]

    def _add(self, name, branch, x, key, note):
        y = branch(getattr(self, f"{name}_norm")(x) if self.norm in BEFORE else x)
        note("branch", y)
        if self.norm == "peri":
            y = getattr(self, f"{name}_output_norm")(y)
        if self.norm == "rezero":
            y = getattr(self, f"{name}_gate")(y)
        y = drop(y, self.dropout, key)
        if self.norm == "admin":
            x = getattr(self, f"{name}_shortcut")(x)
        if self.norm == "deepnorm":
            x = self.shortcut * x
        return getattr(self, f"{name}_norm")(x + y) if self.norm in AFTER else x + y
