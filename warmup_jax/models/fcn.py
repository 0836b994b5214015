"""The fully connected network on which curvature and warmup are usually studied.

References:
  He, Zhang, Ren & Sun, "Delving Deep into Rectifiers", 2015 (initialisation).
  Yang & Hu, "Tensor Programs IV: Feature Learning in Infinite-Width Neural Networks", 2021 (muP).
  Kalra & Barkeshli, "Why Warmup the Learning Rate? Underlying Mechanisms and Improvements", 2024 (FCN-4-512 under both,
    figure 1).
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models.intermediates import Capture, record
from warmup_jax.models.layers import Linear
from warmup_jax.registry import one_of, positive_integer

# name: (function, the numerator g of the kernels' variance g / fan_in, which keeps the scale of activations)
ACTIVATIONS = {"relu": (jax.nn.relu, 2.0), "gelu": (jax.nn.gelu, 2.0), "tanh": (jnp.tanh, 1.0)}
PARAMETRISATIONS = ("standard", "mup")


@dataclass(frozen=True, kw_only=True)
class FCNConfig:
    """The arguments of a fully connected network.

    Args:
      depth: layers with weights, the output layer included; from 2.
      width: units of every hidden layer.
      activation: f: "relu", "gelu" (in the tanh form) or "tanh".
      parametrisation: of the initial kernels. "standard": all of them N(0, g / fan_in), g = 2 for "relu" (He) and
        "gelu", 1 for "tanh". "mup": the same but for the output layer, whose kernel is multiplied by 1 / sqrt(width),
        so N(0, g / width^2): logits start near 0 and the Hessian starts small. This is the initialisation of muP alone:
        the learning rates by layer that belong to muP (for SGD: input layer x width, output layer / width) are not
        applied, so the best rate still moves with the width.
      bias: whether every layer adds a bias, which starts at 0.
      dtype: "float32" or "bfloat16", of the hidden layers. Parameters, the head and the logits are always float32.

    Raises:
      ValueError: for a value that is not allowed.
    """

    depth: int
    width: int
    activation: str
    parametrisation: str
    bias: bool
    dtype: str

    def __post_init__(self) -> None:
        positive_integer("width", self.width, 2**20)
        if not isinstance(self.depth, int) or not 2 <= self.depth <= 10_000:
            raise ValueError(f"depth={self.depth!r}; allowed: integers from 2 to 10000")
        one_of("activation", self.activation, ACTIVATIONS)
        one_of("parametrisation", self.parametrisation, PARAMETRISATIONS)
        one_of("bias", self.bias, (False, True))
        one_of("dtype", self.dtype, ("float32", "bfloat16"))


class FCN(nnx.Module):
    """head(f(layer...(f(layer1(x))))): inputs [B, ...], flattened -> logits float32 [B, K].

    Args:
      config: see `FCNConfig`.
      num_classes: K.
      input_shape: of one example; any.
      rngs: of the initial parameters.
    """

    config_class = FCNConfig

    def __init__(self, config: FCNConfig, *, num_classes: int, input_shape: tuple[int, ...], rngs: nnx.Rngs):
        self.dtype = jnp.dtype(config.dtype)
        self.activation, gain = ACTIVATIONS[config.activation]
        self.relu = config.activation == "relu"
        self.layer_names = tuple(f"layer{index}" for index in range(1, config.depth))
        in_channels = math.prod(input_shape)
        for name in self.layer_names:
            setattr(self, name, Linear(in_channels, config.width, config.bias, _normal(gain), rngs))
            in_channels = config.width
        last = gain / config.width if config.parametrisation == "mup" else gain
        self.head = Linear(in_channels, num_classes, config.bias, _normal(last), rngs)

    def __call__(
        self, input_BxI: jax.Array, *, train: bool, key: jax.Array | None, capture: Capture | None = None
    ) -> jax.Array:
        del train, key
        x_BxD = input_BxI.reshape(input_BxI.shape[0], -1).astype(self.dtype)
        for name in self.layer_names:
            x_BxD = self.activation(getattr(self, name)(x_BxD))
            record(capture, f"{name}/output", x_BxD)
            if self.relu:
                record(capture, f"{name}/relu", x_BxD)
        logits_BxK = self.head(x_BxD.astype(jnp.float32))
        record(capture, "head/output", logits_BxK)
        return logits_BxK


def _normal(variance: float) -> jax.nn.initializers.Initializer:
    """N(0, variance / fan_in)."""
    return jax.nn.initializers.variance_scaling(variance, "fan_in", "normal")
