"""Models by name, as pairs of pure functions: the only package that imports Flax.

`build` makes a Flax NNX module and returns `init(key)` and `apply(params, stats, inputs)` over plain nested dicts of
arrays, so that everything else uses plain `jax.*` transforms. To add a model, write its module in a file of its own,
with a dataclass of its arguments as `config_class`, and enter the class in `MODELS`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from warmup_jax import registry
from warmup_jax.models.fcn import FCN
from warmup_jax.models.intermediates import Intermediates, collector
from warmup_jax.models.resnet import ResNet
from warmup_jax.models.transformer import Decoder, Transformer

__all__ = ["MODELS", "Intermediates", "Model", "build"]

MODELS = {"fcn": FCN, "resnet": ResNet, "transformer": Transformer, "decoder": Decoder}


class Model(NamedTuple):
    """A model as pure functions.

    init: key -> (params, stats), nested dicts of arrays with str keys. It may be jitted, and mapped over keys.
    apply: (params, stats, inputs, *, train, key) -> (outputs, stats). `train` is a Python bool: when False the stats
        come back as they were. `key` is for random parts such as dropout and may be None for a model without them.
    begin: (params, inputs, *, batch_size, length) -> (memory, cache), for decoding at most `length` tokens per row;
        both are trees with leaves [B, ...]. `memory` is constant, `cache` is updated by `step`. `inputs`: what the
        model is conditioned on, or None. None for a model that does not decode.
    step: (params, memory, cache, token_B, position) -> (logits [B, V], cache): the logits after the token at
        `position`, an int32 scalar counted from 0; called for each position in turn.
    observe: (params, stats, inputs, *, train) -> Intermediates: the activations of the forward pass of `apply` with
        key=None; so a model with dropout can be observed with train=False only.
    relu: whether the model has ReLU units.
    parameters: the number of parameters.
    parameter_bytes: the size of params and stats.
    """

    init: Callable
    apply: Callable
    begin: Callable | None
    step: Callable | None
    observe: Callable
    relu: bool
    parameters: int = 0
    parameter_bytes: int = 0


def build(name: str, *, num_classes: int, input_shape: tuple[int, ...], **args: Any) -> Model:
    """Builds a model of `MODELS`.

    Args:
      name: its name there.
      num_classes: the number of classes, or of tokens of a vocabulary.
      input_shape: of one example, without the batch axis.
      **args: exactly the fields of its `config_class`.

    Raises:
      ValueError: for an unknown name, an unknown or missing argument, or a bad value.
    """
    module_class = registry.lookup("model", MODELS, name)
    registry.check_arguments(f"model {name!r}", module_class.config_class, args, ())
    config = module_class.config_class(**args)

    def make(key: jax.Array) -> nnx.Module:
        rngs = nnx.Rngs(params=key)
        return module_class(config, num_classes=num_classes, input_shape=tuple(input_shape), rngs=rngs)

    # Made here, once: bad values raise now, and tracing `apply` runs no constructor.
    made = nnx.eval_shape(lambda: make(0))
    graph, params, stats = nnx.split(made, nnx.Param, nnx.BatchStat)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    parameter_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((params, stats)))

    def init(key: jax.Array) -> tuple[Any, Any]:
        _, params, stats = nnx.split(make(key), nnx.Param, nnx.BatchStat)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    def apply(params: Any, stats: Any, inputs: Any, *, train: bool, key: jax.Array | None) -> tuple[Any, Any]:
        module = nnx.merge(graph, params, stats)
        outputs = module(inputs, train=train, key=key)
        return outputs, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    def observe(params: Any, stats: Any, inputs: Any, *, train: bool) -> Intermediates:
        intermediates, capture = collector()
        nnx.merge(graph, params, stats)(inputs, train=train, key=None, capture=capture)
        return intermediates

    def method(name: str) -> Callable | None:
        def call(params: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(nnx.merge(graph, params, {}), name)(*args, **kwargs)

        return call if hasattr(module_class, name) else None

    return Model(init, apply, method("begin"), method("step"), observe, made.relu, parameters, parameter_bytes)
