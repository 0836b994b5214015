"""The arguments of the Transformer models, checked in one place."""

import math
from dataclasses import dataclass

import jax.numpy as jnp

from warmup_jax.models import ops
from warmup_jax.registry import one_of, positive_integer

ALLOWED = {
    "norm": ("post", "pre", "peri", "deepnorm", "rezero", "admin", "none"),
    "norm_kind": ("layer", "rms"),
    "activation": ("relu", "gelu", "swiglu"),
    "positions": ("sinusoidal", "learned", "rotary"),
    "init": ("xavier", "gpt2"),
    "attention": ("own", "xla", "cudnn"),
    "dtype": ("float32", "bfloat16"),
}
SIZES = ("width", "heads", "ffn_width", "max_positions")
# Beyond these no machine has the memory for a layer, and no compiler the time for the layers.
MOST_UNITS, MOST_LAYERS = 2**20, 10_000
FLAGS = ("bias", "tied", "scale_embedding", "qk_norm", "scan_layers", "remat")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The arguments that all Transformers share.

    Args:
      width: D, of the residual stream.
      heads: H, attention heads; a divisor of the width.
      ffn_width: F, of the hidden layer of the feed-forward networks.
      norm: the placement of normalisation: "post", "pre", "peri", "deepnorm", "rezero", "admin" or "none", as in
        `Block`. "post", "pre" and "peri" also normalise at the end of each stack, so that "post" and "pre" have the
        same parameter tree. "deepnorm" and "none" (T-Fixup) scale the initialisation by depth.
      norm_kind: "layer" (LayerNorm) or "rms" (RMSNorm).
      activation: "relu", "gelu" (in the tanh form) or "swiglu" (gate and up kernels of ffn_width each).
      positions: "sinusoidal" or "learned" (added to the embeddings) or "rotary" (in self-attention).
      max_positions: the longest row.
      bias: whether linear layers and LayerNorms have one.
      tied: whether the embeddings, of source and target, and the output matrix are one parameter.
      scale_embedding: multiply embeddings by sqrt(D) on the way in.
      init: "xavier" (kernels N(0, 2 / (fan in + fan out)), embeddings and output N(0, 1 / D)) or "gpt2" (all
        N(0, 0.02^2), divided by the root of the number of sublayers in the stack where a branch ends).
      dropout: rate in [0, 1), on the embeddings and at the end of each residual branch.
      qk_norm: normalise queries and keys, head by head.
      attention: "own", or jax.nn.dot_product_attention as "xla" or "cudnn" (fused; needs a GPU and bfloat16).
      scan_layers: stack the parameters of the blocks and scan over them, for a shorter compilation.
      remat: compute the inside of each block again in the backward pass, to save memory.
      dtype: "float32" or "bfloat16", of activations and matrix products. Parameters, softmax, norms and logits are
        always float32.

    Raises:
      ValueError: for a value that is not allowed, and for values that do not go together.
    """

    width: int
    heads: int
    ffn_width: int
    norm: str
    norm_kind: str
    activation: str
    positions: str
    max_positions: int
    bias: bool
    tied: bool
    scale_embedding: bool
    init: str
    dropout: float
    qk_norm: bool
    attention: str
    scan_layers: bool
    remat: bool
    dtype: str

    def __post_init__(self) -> None:
        for argument, allowed in ALLOWED.items():
            one_of(argument, getattr(self, argument), allowed)
        for argument in SIZES:
            positive_integer(argument, getattr(self, argument), MOST_UNITS)
        for argument in FLAGS:
            one_of(argument, getattr(self, argument), (False, True))
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout!r}; allowed: a number from 0 to below 1")
        if self.width % self.heads:
            divisors = ", ".join(str(n) for n in range(1, self.width + 1) if self.width % n == 0)
            raise ValueError(f"heads={self.heads}; allowed for width={self.width}: its divisors {divisors}")
        if self.positions == "rotary" and self.head_width % 2:
            allowed = f"heads of an even width, not {self.head_width}"
            raise ValueError(f"heads={self.heads}; allowed for positions='rotary' and width={self.width}: {allowed}")
        if self.attention == "cudnn":
            one_of("dtype", self.dtype, ("bfloat16",), " for attention='cudnn'")
        ops.check_attention(self.attention)

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def compute_dtype(self) -> jnp.dtype:
        return jnp.dtype(self.dtype)

    @property
    def embedding_scale(self) -> float:
        return math.sqrt(self.width) if self.scale_embedding else 1.0

    def check_length(self, argument: str, length: int) -> None:
        """Raises a ValueError for a row length that is not positive or exceeds the positions."""
        positive_integer(argument, length)
        if length > self.max_positions:
            raise ValueError(f"{argument}={length}; allowed: at most max_positions={self.max_positions}")

    def check_row_lengths(self, input_shape: tuple[int, ...], arguments: tuple[str, ...]) -> None:
        """Raises a ValueError unless `input_shape` has an allowed length for each of the named rows."""
        if len(input_shape) != len(arguments):
            raise ValueError(f"input_shape={input_shape}; allowed: ({', '.join(arguments)})")
        for argument, length in zip(arguments, input_shape):
            self.check_length(f"{argument} of input_shape", length)


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(TransformerConfig):
    """A `TransformerConfig` with the number of blocks of an encoder and of a decoder."""

    encoder_depth: int
    decoder_depth: int

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_integer("encoder_depth", self.encoder_depth, MOST_LAYERS)
        positive_integer("decoder_depth", self.decoder_depth, MOST_LAYERS)


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(TransformerConfig):
    """A `TransformerConfig` with the number of blocks of a decoder alone."""

    depth: int

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_integer("depth", self.depth, MOST_LAYERS)
