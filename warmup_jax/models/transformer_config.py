"""The arguments that the Transformer models share, checked in one place."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

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
FLAGS = ("bias", "tied", "scale_embedding", "qk_norm", "scan_layers", "remat")


@dataclass(frozen=True)
class Settings:
    """What every part of a Transformer may ask for; the models' docstrings describe each.

    Raises ValueError for a value that is not allowed, and for values that do not go together.
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

    def __post_init__(self):
        for argument, allowed in ALLOWED.items():
            one_of(argument, getattr(self, argument), allowed)
        for argument in SIZES:
            positive_integer(argument, getattr(self, argument))
        for argument in FLAGS:
            one_of(argument, getattr(self, argument), (False, True))
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout!r}; allowed: a number from 0 to below 1")
        if self.width % self.heads:
            divisors = ", ".join(str(n) for n in range(1, self.width + 1) if self.width % n == 0)
            raise ValueError(f"heads={self.heads}; allowed for width={self.width}: its divisors {divisors}")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(f"heads={self.heads}; allowed for positions='rotary' and width={self.width}: heads "
                             f"of an even width, not {self.head_width}")  # fmt: skip
        if self.attention == "cudnn":
            one_of("dtype", self.dtype, ("bfloat16",), " for attention='cudnn'")
            if jax.default_backend() != "gpu":
                raise ValueError(f"attention='cudnn' needs a GPU; allowed on {jax.default_backend()}: 'own', 'xla'")

    @property
    def head_width(self):
        return self.width // self.heads

    @property
    def compute_dtype(self):
        return jnp.dtype(self.dtype)

    @property
    def embedding_scale(self):
        return math.sqrt(self.width) if self.scale_embedding else 1.0

    def check_length(self, argument, length):
        """Raises ValueError for a row length that is not positive or goes beyond the positions."""
        positive_integer(argument, length)
        if length > self.max_positions:
            raise ValueError(f"{argument}={length}; allowed: at most max_positions={self.max_positions}")
