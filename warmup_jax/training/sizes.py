"""What fits: the sizes of batches and models, and how many share the memory and the devices."""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from warmup_jax import data, models
from warmup_jax.runtime import defaults, process

# Examples of an evaluation batch that are allowed for the smallest test split, whose only batch is filled up to them.
MOST_EVALUATED = 2**16


def check_memory(
    config: Mapping[str, Any], model: models.Model, dataset: data.Dataset, most: float, num_lanes: int
) -> None:
    """Raises a ValueError for parameters or a batch of a run that alone take more than `most` bytes."""
    gigabytes = f"{most / 1e9:.3g} GB, the memory of {num_lanes} run{'s' if num_lanes > 1 else ''} at once"
    if model.parameter_bytes > most:
        sizes = {name: value for name, value in config["model"].items() if type(value) in (int, float)}
        raise ValueError(
            f"model={sizes} has {model.parameter_bytes / 1e9:.3g} GB of parameters; allowed: up to {gigabytes}"
        )
    most_examples = max(dataset.test.size, MOST_EVALUATED)
    if config["eval_batch_size"] > most_examples:
        raise ValueError(f"eval_batch_size={config['eval_batch_size']}; allowed: integers from 1 to {most_examples}")
    outputs = dataset.num_classes * (1 if dataset.texts is None else dataset.input_shape[-1])
    example = 4 * (math.prod(dataset.input_shape) + outputs)
    for key in ("batch_size", "eval_batch_size"):
        if config[key] * example > most * devices_per_batch(config):
            raise ValueError(
                f"{key}={config[key]} needs {config[key] * example / 1e9:.3g} GB for its inputs and outputs; "
                f"allowed: up to {gigabytes}"
            )


def devices_per_batch(config: Mapping[str, Any]) -> int:
    """Returns how many devices share each batch of a single run: a divisor of the batch size."""
    most = jax.local_device_count() if defaults.defaults(config["model"]).shares_batch else 1
    return max(n for n in range(1, most + 1) if config["batch_size"] % n == 0)


def eval_batches_at_once(config: Mapping[str, Any], dataset: data.Dataset, mesh: Mesh | None, num_lanes: int) -> int:
    """Returns how many batches of an evaluation are computed at the same time, within a bound of memory.

    The largest activation of a batch has about as many elements as the logits of texts, or 16 for each pixel of images.
    """
    default, shape = defaults.defaults(config["model"]), dataset.input_shape
    per_example = 16 * math.prod(shape[:-1]) if dataset.texts is None else shape[-1] * dataset.num_classes
    idle_cores = process.cores() // (mesh.size if mesh is not None else 1)
    fitting = default.max_eval_elements // (config["eval_batch_size"] * per_example * num_lanes)
    return max(1, min(default.max_eval_batches, idle_cores, fitting))


def batch_pixels(config: Mapping[str, Any], dataset: data.Dataset) -> int:
    """Returns the number of pixels in one training batch."""
    return config["batch_size"] * math.prod(dataset.input_shape[:-1])
