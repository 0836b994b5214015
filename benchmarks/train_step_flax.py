"""Flax's side of train_step.py: the model modules of Flax's own examples, loaded from a checkout, on random data.

The step has the form of the examples: value_and_grad, then `apply_gradients` of a `TrainState`, jitted with the state
donated. Adam, the loss and the compilation cache are those of this code. The models of wmt and lm1b are Pre-LN with
ReLU and have no biases in their attention, whatever the row says.
"""

import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import flops
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state
from train_step_ours import peak_on_gpu
from train_step_rows import BATCHES, LEARNING_RATE, Side, flax_example

from warmup_jax.losses import cross_entropy
from warmup_jax.runtime import process


class TrainState(train_state.TrainState):
    batch_stats: Any


def set_up(task):
    """Returns the side for `task["row"]`, with the examples under `task["flax_examples"]`."""
    row = task["row"]
    process.enable_compilation_cache()
    folder = flax_example(row)
    model, about = build(row, load(Path(task["flax_examples"], folder, "models.py")))
    batches = [jax.device_put(batch) for batch in random_batches(row)]
    variables = nn.unbox(jax.jit(model.init)(jax.random.key(0), *batches[0][0]))
    apply = of_one_device(model)
    state = TrainState.create(
        apply_fn=apply,
        params=variables["params"],
        tx=optax.adam(LEARNING_RATE),
        batch_stats=variables.get("batch_stats", {}),
    )
    step = jax.jit(lambda state, batch: train_step(state, batch, row["label_smoothing"]), donate_argnums=0)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    feed = itertools.cycle(batches)

    def run(steps):
        nonlocal state
        for batch in itertools.islice(feed, steps):
            state, metrics = step(state, batch)
        return float(jax.block_until_ready((state, metrics))[1]["loss"])

    return Side(
        parameters=parameters,
        about=f"examples/{folder}: {about}",
        dispatch=1,
        run=run,
        flops=lambda: flops.count(apply, variables_of(state), batches[0][0]),
        peak_on_gpu=peak_on_gpu,
    )


def load(path):
    """Imports a file as a module: the folders of the examples are not packages, and all have a `models`."""
    name = f"flax_{path.parent.name}_models"
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up here
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def build(row, models):
    """Returns the example's model, as close to the row as its arguments allow, and how it differs."""
    args, classes = row["model"], row["num_classes"]
    dtype = jnp.dtype(args["dtype"])
    if args["name"] == "resnet":
        make = getattr(models, f"ResNet{args['depth']}")
        return make(num_classes=classes, num_filters=round(64 * args["width"]), dtype=dtype), "zero-gamma"
    translates = args["name"] == "transformer"
    learned = args["positions"] == "learned"
    config = models.TransformerConfig(
        vocab_size=classes,
        output_vocab_size=classes,
        share_embeddings=True,
        logits_via_embedding=True,
        dtype=dtype,
        emb_dim=args["width"],
        num_heads=args["heads"],
        qkv_dim=args["width"],
        mlp_dim=args["ffn_width"],
        num_layers=args["encoder_depth" if translates else "depth"],
        max_len=args["max_positions"],
        dropout_rate=0.0,
        attention_dropout_rate=0.0,
        deterministic=True,
        posemb_init=nn.initializers.normal(0.02) if learned else None,
    )
    model = models.Transformer(config) if translates else models.TransformerLM(config)
    return model, "Pre-LN, ReLU, no biases in attention"


def of_one_device(model):
    """Returns `model.apply` inside an axis "batch" of length 1, over which the examples' BatchNorm averages.

    The examples map whole steps over devices. On CPU, XLA would keep the all-reduces even for a single device.
    """

    def apply(variables, inputs):
        call = lambda inputs: model.apply(variables, *inputs, mutable=["batch_stats"])
        outputs = jax.vmap(call, axis_name="batch")(jax.tree.map(lambda leaf: leaf[None], inputs))
        return jax.tree.map(lambda leaf: leaf[0], outputs)

    return apply


def variables_of(state):
    return {"params": state.params, "batch_stats": state.batch_stats}


def train_step(state, batch, label_smoothing):
    """Returns the state after one update, and the loss and accuracy before it."""
    inputs, labels = batch

    def objective(params):
        logits, changed = state.apply_fn(variables_of(state.replace(params=params)), inputs)
        logits = logits.astype(jnp.float32)
        return cross_entropy(logits, labels, label_smoothing).mean(), (logits, changed.get("batch_stats", {}))

    (loss, (logits, stats)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    metrics = {"loss": loss, "accuracy": (logits.argmax(-1) == labels).mean()}
    return state.apply_gradients(grads=grads, batch_stats=stats), metrics


def random_batches(row):
    """Returns [(arguments of the model, labels)] of images or full rows, whose labels the Transformers shift."""
    random = np.random.default_rng(0)
    batch, shape, classes = row["batch_size"], row["input_shape"], row["num_classes"]

    def one():
        if row["model"]["name"] == "resnet":
            return (random.standard_normal((batch, *shape), np.float32),), random.integers(0, classes, batch)
        *source, target = [random.integers(4, classes, (batch, length)).astype(np.int32) for length in shape]
        if not source:
            return (target,), target
        positions = [np.broadcast_to(np.arange(length, dtype=np.int32), (batch, length)) for length in shape]
        segments = [np.ones((batch, length), np.int32) for length in shape]
        return (*source, target, *positions, *segments), target

    return [one() for _ in range(BATCHES)]
