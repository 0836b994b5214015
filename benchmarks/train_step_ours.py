"""This code's side of train_step.py: the program that training compiles, on random data."""

import itertools

import flops
import jax
import numpy as np
from train_step_rows import BATCHES, LEARNING_RATE, Side, is_text

from configs import common
from warmup_jax import data, models
from warmup_jax.data import Dataset, Split
from warmup_jax.runtime import defaults, devices, process
from warmup_jax.training import program, sizes


def set_up(task):
    """Returns the side for `task["row"]`; XLA uses the cores that the process may use."""
    row = task["row"]
    program.prepare_process(row["model"])
    process.enable_compilation_cache()
    as_trained = defaults.defaults(row["model"], task["device"]).chunk_steps
    config = common.base("adam").to_dict() | dict(
        batch_size=row["batch_size"],
        num_steps=1_000_000,
        warmup_steps=100,
        peak_lr=LEARNING_RATE,
        model=row["model"],
        label_smoothing=row["label_smoothing"],
        chunk_steps=row["chunk_steps"] or as_trained,
        eval_every=100,
        checkpoint_every=100,
    )
    dataset = random_data(row)
    mesh = devices.make_mesh(1, 1, sizes.devices_per_batch(config))
    plan = program.make_plan(config, dataset, range(1), [{}], mesh)
    group = program.Group(plan, range(1))
    knobs = group.knobs()
    planned = program.Job(config, dataset, devices.place(dataset.train.arrays, mesh, None), {}, [{}], [group])
    batches = data.train_batches(dataset, seed=0, batch_size=row["batch_size"], start=0, stop=plan.num_steps)
    program.compile_update(planned, group, knobs, next(batches))
    states = plan.init(knobs, None)
    steps = itertools.count(0, plan.chunk_steps)
    pending = []

    def run(dispatches):
        nonlocal states
        for first in itertools.islice(steps, dispatches):
            chunk = jax.tree.map(lambda *leaves: np.stack(leaves), *itertools.islice(batches, plan.chunk_steps))
            states, metrics = plan.train(states, program.chunk_inputs(planned, group, knobs, {}, chunk, first))
            pending.append(metrics)
            if len(pending) > plan.chunks_ahead:  # read behind the device, as in training
                jax.block_until_ready(pending.pop(0))
        return float(jax.block_until_ready((states, metrics))[1]["train/loss"][0, -1])

    return Side(
        parameters=sum(leaf[0].size for leaf in jax.tree.leaves(states.params)),
        about=f"adam, {plan.chunk_steps} step{'s' * (plan.chunk_steps > 1)} a dispatch",
        run=run,
        dispatch=plan.chunk_steps,
        flops=lambda: forward_flops(row, dataset),
        peak_on_gpu=peak_on_gpu,
    )


def forward_flops(row, dataset):
    """Returns the operations of the forward pass with XLA's own attention and convolutions.

    They do not depend on what the kernels of this code save or add. Causal attention counts in full. The dtype is
    bfloat16 for images because convolutions in bfloat16 are XLA's own on every device.
    """
    plain = dict(attention="xla") if is_text(row) else dict(dtype="bfloat16")
    model = models.build(**row["model"] | plain, num_classes=row["num_classes"], input_shape=row["input_shape"])
    params, stats = jax.eval_shape(model.init, jax.random.key(0))
    batch = jax.tree.map(lambda leaf: leaf[: row["batch_size"]], dataset.train.arrays)
    inputs = dataset.prepare(batch, None, True)["inputs"]
    return flops.count(
        lambda params, stats: model.apply(params, stats, inputs, train=True, key=jax.random.key(0)), params, stats
    )


def peak_on_gpu():
    return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]


def random_data(row):
    """Returns a resident data set of images or full rows, with inputs and labels in the form of real ones."""
    random = np.random.default_rng(0)
    shape, classes, examples = row["input_shape"], row["num_classes"], BATCHES * row["batch_size"]
    if not is_text(row):
        arrays = {
            "inputs": random.standard_normal((examples, *shape), np.float32),
            "labels": random.integers(0, classes, examples).astype(np.int32),
        }
        prepare = lambda batch, key, train: batch
    else:
        tokens = lambda length: random.integers(4, classes, (examples, length)).astype(np.int32)
        arrays = {
            "target": tokens(shape[-1]),
            "labels": tokens(shape[-1]),
            "weights": np.ones((examples, shape[-1]), np.float32),
        }
        prepare = lambda batch, key, train: {
            "inputs": batch["target"],
            "labels": batch["labels"],
            "weights": batch["weights"],
        }
    if len(shape) == 2:
        arrays |= {
            "source": tokens(shape[0]),
            "source_segments": np.ones((examples, shape[0]), np.int32),
            "target_segments": np.ones((examples, shape[1]), np.int32),
        }
        prepare = lambda batch, key, train: {
            "labels": batch["labels"],
            "weights": batch["weights"],
            "inputs": {key: value for key, value in batch.items() if key not in ("labels", "weights")},
        }
    # Aligned like arrays from a file, so that the device needs no copy.
    split = Split(examples, jax.tree.map(lambda each: np.asarray(jax.device_put(each)), arrays), None)
    return Dataset("random", split, split, classes, shape, "device", 0, prepare)
