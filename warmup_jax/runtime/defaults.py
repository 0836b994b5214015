"""Defaults that depend on where a run computes: one row for each platform and kind of model.

Every number was measured; benchmarks/NOTES.md has the measurements. The thresholds of single CPU kernels stand with
the kernels, in models/ops/cpu/.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from warmup_jax import registry

KINDS = {"resnet": "convolutional", "fcn": "dense", "transformer": "transformer", "decoder": "transformer"}


class Defaults(NamedTuple):
    """The choices that a config may leave open, and those that it cannot make.

    Attributes:
      chunk_steps: the most updates in one dispatch, if the config says None. On CPU a convolution inside a loop loses
        its fast path; matrix products lose nothing there.
      lanes_per_device: runs that train together on one device, if the config's `runs_at_once` is None. On CPU a
        `vmap` over runs turns convolutions into slower, grouped ones.
      shares_batch: whether several devices share each batch of a single run. On CPU an all-reduce can deadlock: a
        device that waits for the others occupies a thread of the pool that they need.
      max_pixels_ahead: batches of at least this many pixels are not dispatched ahead, to bound peak memory.
      keeps_freed_memory: whether the C library keeps freed memory for the next update. The updates of convolutional
        models take and free hundreds of MB, and page faults dominate their time.
      unrolls_probes: whether probes run without loops around the model, for the reason given at `chunk_steps`.
      max_eval_batches: the most evaluation batches computed at the same time; one leaves CPU cores idle.
      max_eval_elements: the most elements in the largest activations of these batches together.
      max_level2_width: models of at most this width are compiled at XLA's optimisation level 2. Small Transformers run
        faster at level 2 than at level 3, XLA's default, and start seconds earlier; a wider one loses a twentieth on
        two cores, and a ResNet-18 an eighth.
    """

    chunk_steps: int
    lanes_per_device: int
    shares_batch: bool
    max_pixels_ahead: float
    keeps_freed_memory: bool
    unrolls_probes: bool
    max_eval_batches: int
    max_eval_elements: int
    max_level2_width: int


# One row a line, so that the columns can be compared:
# fmt: off
TABLE = {
    #                              chunk lanes shares max pixels keeps   unrolls  evaluation:        level 2
    #                              steps       batch  ahead      memory  probes   batches  elements  width
    "cpu convolutional":  Defaults(1,    1,    False, 2**15,     True,   True,    4,       2**27,    0),
    "cpu dense":          Defaults(16,   1,    False, math.inf,  False,  False,   4,       2**27,    0),
    "cpu transformer":    Defaults(10,   1,    False, math.inf,  False,  False,   4,       2**27,    32),
    "accelerator":        Defaults(100,  32,   True,  math.inf,  False,  False,   1,       2**27,    0),
}
# fmt: on
LEVEL_2 = {"xla_backend_optimization_level": 2}
# Initialisation runs once, but its random numbers are a program of their own for every shape: without optimisation a
# ResNet-20 starts seconds earlier.
LEVEL_0 = {"xla_backend_optimization_level": 0}


def kind_of(model: Mapping[str, Any]) -> str:
    """Returns the kind of a model config: "convolutional", "dense" or "transformer".

    Raises:
      ValueError: for an unknown `model["name"]`.
    """
    return registry.lookup("model", KINDS, str(model.get("name")))


def defaults(model: Mapping[str, Any], platform: str | None = None) -> Defaults:
    """Returns the row of `TABLE` for a model config.

    Args:
      model: the `model` dict of a config.
      platform: "cpu", "gpu" or "tpu"; None: that of JAX's default backend, which this initialises.

    Raises:
      ValueError: for an unknown model name.

    Examples:
      >>> defaults({"name": "resnet"}, "cpu").chunk_steps, defaults({"name": "decoder"}, "tpu").lanes_per_device
      (1, 32)
    """
    kind = kind_of(model)
    return TABLE[f"cpu {kind}" if (platform or jax.default_backend()) == "cpu" else "accelerator"]


def compiler_options(model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns XLA's options for the programs of a model; {} if JAX_DISABLE_MOST_OPTIMIZATIONS is already set."""
    if jax.config.read("jax_disable_most_optimizations"):
        return {}
    return LEVEL_2 if model.get("width", math.inf) <= defaults(model).max_level2_width else {}
