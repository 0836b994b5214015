"""Models by name, as pairs of pure functions: the only package that knows Flax.

`build` makes a Flax NNX module and hands back `init(key)` and `apply(params, stats, inputs)`
over plain nested dicts of arrays, so that everything else uses plain `jax.*` transforms.
To add a model, write its module in a file of its own and enter the class in `MODELS`.
"""

from typing import Callable, NamedTuple

from flax import nnx

from warmup_jax import registry
from warmup_jax.models.fcn import FCN
from warmup_jax.models.intermediates import Seen, notebook
from warmup_jax.models.resnet import ResNet
from warmup_jax.models.transformer import Decoder, Transformer

__all__ = ["MODELS", "Model", "Seen", "build"]

MODELS = {"fcn": FCN, "resnet": ResNet, "transformer": Transformer, "decoder": Decoder}


class Model(NamedTuple):
    """A model without state.

    init: key -> (params, stats), nested dicts of arrays with str keys. It may be jitted, and
        mapped over keys.
    apply: (params, stats, inputs, *, train, key) -> (outputs, stats). `train` is a Python bool:
        when False the stats come back as they were. `key` feeds what is random inside the model
        and may be None for a model without such parts.
    begin: (params, inputs, *, batch_size, length) -> (memory, cache), for decoding at most `length`
        tokens a row; both are trees with leaves [B, ...]. `memory` stays, `cache` grows with `step`.
        inputs: what the model is conditioned on, or None. None for a model that does not decode.
    step: (params, memory, cache, token_B, position) -> (logits [B, V], cache): the logits after the
        token at `position`, an int32 scalar counted from 0; called for each position in turn.
    observe: (params, stats, inputs, *, train) -> Seen: what the layers make in the forward pass of `apply` with
        key=None; so a model with dropout can be observed with train=False only.
    relu: whether the model has ReLU units.
    """

    init: Callable
    apply: Callable
    begin: Callable | None
    step: Callable | None
    observe: Callable
    relu: bool


def build(name, *, num_classes, input_shape, **args) -> Model:
    """The model `name` of `MODELS` for inputs of `input_shape` (without batch), with its own `args`.

    Raises ValueError for an unknown name, an unknown or missing argument, or a bad value.
    """
    module_class = registry.lookup("model", MODELS, name)
    registry.check_arguments(
        f"model {name!r}", module_class.__init__, args, ("self", "num_classes", "input_shape", "rngs")
    )

    def make(key):
        return module_class(num_classes=num_classes, input_shape=tuple(input_shape), **args, rngs=nnx.Rngs(params=key))

    # Made here, once: bad values raise now, and tracing `apply` runs no constructor.
    made = nnx.eval_shape(lambda: make(0))
    graph, _, _ = nnx.split(made, nnx.Param, nnx.BatchStat)

    def init(key):
        _, params, stats = nnx.split(make(key), nnx.Param, nnx.BatchStat)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    def apply(params, stats, inputs, *, train, key):
        module = nnx.merge(graph, params, stats)
        outputs = module(inputs, train=train, key=key)
        return outputs, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    def observe(params, stats, inputs, *, train):
        seen, note = notebook()
        nnx.merge(graph, params, stats)(inputs, train=train, key=None, note=note)
        return seen

    def method(name):
        def call(params, *args, **kwargs):
            return getattr(nnx.merge(graph, params, {}), name)(*args, **kwargs)

        return call if hasattr(module_class, name) else None

    return Model(init, apply, method("begin"), method("step"), observe, made.relu)
