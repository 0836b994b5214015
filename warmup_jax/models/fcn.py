"""The fully connected network on which curvature and warmup are usually studied.

Sources: He, Zhang, Ren & Sun, "Delving Deep into Rectifiers", 2015 (initialisation); Yang & Hu, "Tensor
Programs IV: Feature Learning in Infinite-Width Neural Networks", 2021 (muP); Kalra & Barkeshli, "Why Warmup
the Learning Rate? Underlying Mechanisms and Improvements", 2024 (FCN-4-512 under both, figure 1).
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models.intermediates import ignore
from warmup_jax.models.layers import Linear
from warmup_jax.registry import one_of, positive_integer

# name: (function, the numerator g of the kernels' variance g / fan_in, which keeps the scale of activations)
ACTIVATIONS = {"relu": (jax.nn.relu, 2.0), "gelu": (jax.nn.gelu, 2.0), "tanh": (jnp.tanh, 1.0)}
PARAMETRISATIONS = ("standard", "mup")


class FCN(nnx.Module):
    """head(f(layer...(f(layer1(x))))): inputs [B, ...], flattened -> logits [B, K] in float32.

    Args:
        num_classes: K.
        input_shape: of one example, whatever it is.
        depth: layers with weights, the output layer among them; from 2.
        width: units of every hidden layer.
        activation: f: "relu", "gelu" (its tanh form) or "tanh".
        parametrisation: of the initial kernels. "standard": all of them N(0, g / fan_in), g = 2 for
            "relu" (He) and "gelu", 1 for "tanh". "mup": the same but for the output layer, whose kernel
            is multiplied by 1 / sqrt(width), so N(0, g / width^2): logits start near 0 and the Hessian
            starts small. It is the initialisation of muP alone: the learning rates by layer that belong
            to muP (for SGD: input layer x width, output layer / width) are not applied, so the best
            rate still moves with the width.
        bias: whether every layer adds a bias, which starts at 0.
        dtype: "float32" or "bfloat16", of the hidden layers. Parameters, the head and the logits are
            always float32.
    """

    def __init__(self, *, num_classes, input_shape, depth, width, activation, parametrisation, bias, dtype, rngs):
        positive_integer("width", width)
        if not isinstance(depth, int) or depth < 2:
            raise ValueError(f"depth={depth!r}; allowed: integers from 2")
        one_of("activation", activation, ACTIVATIONS)
        one_of("parametrisation", parametrisation, PARAMETRISATIONS)
        one_of("bias", bias, (False, True))
        one_of("dtype", dtype, ("float32", "bfloat16"))
        self.dtype = jnp.dtype(dtype)
        self.activation, gain = ACTIVATIONS[activation]
        self.relu = activation == "relu"
        self.layer_names = tuple(f"layer{index}" for index in range(1, depth))
        incoming = math.prod(input_shape)
        for name in self.layer_names:
            setattr(self, name, Linear(incoming, width, bias, _normal(gain), rngs))
            incoming = width
        last = gain / width if parametrisation == "mup" else gain
        self.head = Linear(incoming, num_classes, bias, _normal(last), rngs)

    def __call__(self, input_BxI, *, train, key, note=ignore):
        del train, key
        x_BxD = input_BxI.reshape(input_BxI.shape[0], -1).astype(self.dtype)
        for name in self.layer_names:
            x_BxD = self.activation(getattr(self, name)(x_BxD))
            note(name, "output", x_BxD)
            if self.relu:
                note(name, "relu", x_BxD)
        logits_BxK = self.head(x_BxD.astype(jnp.float32))
        note("head", "output", logits_BxK)
        return logits_BxK


def _normal(variance):
    """N(0, variance / fan_in)."""
    return jax.nn.initializers.variance_scaling(variance, "fan_in", "normal")
