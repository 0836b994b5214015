"""Initial parameters of Transformers, by scheme, depth and placement of the norms.

References:
  Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010 (Xavier).
  Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (GPT-2).
  Wang et al., "DeepNet: Scaling Transformers to 1,000 Layers", 2022 (DeepNorm, figure 2).
  Huang, Perez, Ba & Volkovs, "Improving Transformer Optimization Through Better Initialization", 2020 (T-Fixup, section
    3.2).
"""

from dataclasses import dataclass

import jax

from warmup_jax.models.transformer_config import TransformerConfig

GPT2_STD = 0.02


@dataclass(frozen=True)
class StackScales:
    """The constants that the blocks of one stack share.

    shortcut: multiplies x in each residual sum (DeepNorm's alpha, else 1).
    branch: multiplies the initial kernels of the FFN and of the value and output projections.
    last: multiplies, in addition to `branch`, the initial kernels of the projections that end a residual branch.
    """

    shortcut: float
    branch: float
    last: float


def stack_scales(
    config: TransformerConfig, encoder_depth: int | None, decoder_depth: int
) -> tuple[dict[str, StackScales], float]:
    """Returns ({stack name: StackScales}, the factor on the embeddings); encoder_depth is None for a decoder alone."""
    depths = {"decoder": decoder_depth} if encoder_depth is None else dict(encoder=encoder_depth, decoder=decoder_depth)
    shortcuts, branches, embeddings = dict.fromkeys(depths, 1.0), dict.fromkeys(depths, 1.0), 1.0
    if config.norm == "deepnorm":
        shortcuts, branches = deepnorm(encoder_depth, decoder_depth)
    elif config.norm == "none":
        branches = t_fixup(encoder_depth, decoder_depth)
        embeddings = branches["decoder"]
    last = dict.fromkeys(depths, 1.0)
    if config.init == "gpt2":
        last = {name: (sublayers(name, encoder_depth) * depth) ** -0.5 for name, depth in depths.items()}
    return {name: StackScales(shortcuts[name], branches[name], last[name]) for name in depths}, embeddings


def sublayers(stack: str, encoder_depth: int | None) -> int:
    """Counts the residual sublayers of one block: a decoder with an encoder has cross-attention as its third."""
    return 3 if stack == "decoder" and encoder_depth is not None else 2


def deepnorm(encoder_depth: int | None, decoder_depth: int) -> tuple[dict[str, float], dict[str, float]]:
    """Returns DeepNorm's (alpha, beta), each by stack, for N encoder and M decoder layers; for None, one stack of M."""
    n, m = encoder_depth, decoder_depth
    if n is None:
        return {"decoder": (2 * m) ** 0.25}, {"decoder": (8 * m) ** -0.25}
    both = (n**4 * m) ** (1 / 16)
    return {"encoder": 0.81 * both, "decoder": (3 * m) ** 0.25}, {"encoder": 0.87 / both, "decoder": (12 * m) ** -0.25}


def t_fixup(encoder_depth: int | None, decoder_depth: int) -> dict[str, float]:
    """Returns T-Fixup's factor by stack; a decoder without cross-attention is like an encoder in its derivation."""
    if encoder_depth is None:
        return {"decoder": 0.67 * decoder_depth**-0.25}
    return {"encoder": 0.67 * encoder_depth**-0.25, "decoder": (9 * decoder_depth) ** -0.25}


def kernel_init(config: TransformerConfig, factor: float = 1.0) -> jax.nn.initializers.Initializer:
    """N(0, 2 / (fan in + fan out)) for "xavier", N(0, 0.02^2) for "gpt2", times a factor."""
    if config.init == "gpt2":
        return jax.nn.initializers.normal(GPT2_STD * factor)
    return jax.nn.initializers.variance_scaling(factor**2, "fan_avg", "normal")


def embedding_init(config: TransformerConfig, factor: float = 1.0) -> jax.nn.initializers.Initializer:
    """N(0, 1 / D) for "xavier", N(0, 0.02^2) for "gpt2", times a factor."""
    return jax.nn.initializers.normal((GPT2_STD if config.init == "gpt2" else config.width**-0.5) * factor)
