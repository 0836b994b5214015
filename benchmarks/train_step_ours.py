"""This code's side of train_step.py: the program that training compiles, on random data."""

import itertools

import jax
import numpy as np
from configs import common
from train_step import EXAMPLES, RATE

from warmup_jax import data, experiment, job
from warmup_jax.data import Dataset, Split


def set_up(row, threads, peer):
    """(number of parameters, a description, steps a dispatch, function running n dispatches -> last loss)."""
    del threads, peer  # XLA takes the cores that the process may use
    experiment.enable_compilation_cache()
    config = common.base("adam").to_dict() | dict(
        batch_size=row["batch_size"], num_steps=1_000_000, warmup_steps=100, peak_lr=RATE, model=row["model"],
        label_smoothing=row["label_smoothing"], chunk_steps=job.DISPATCH["cpu", job.KINDS[row["model"]["name"]]][0],
        eval_every=100, checkpoint_every=100)
    dataset = random_data(row)
    plan = job.make_plan(config, dataset, range(1), [{}])
    knobs = job.Group(plan, range(1)).knobs()
    arrays = jax.device_put(dataset.train.arrays)
    batches = data.train_batches(dataset, seed=0, batch_size=row["batch_size"], start=0, stop=plan.num_steps)
    states = plan.init(knobs)
    count = sum(leaf[0].size for leaf in jax.tree.leaves(states.params))
    steps = itertools.count(0, plan.chunk_steps)
    key = jax.random.key(0)

    def run(dispatches):
        nonlocal states
        for first in itertools.islice(steps, dispatches):
            chunk = jax.tree.map(lambda *leaves: np.stack(leaves), *itertools.islice(batches, plan.chunk_steps))
            states, metrics = plan.train(knobs, states, arrays, chunk,
                                         np.arange(first, first + plan.chunk_steps, dtype=np.int32), key, {})
        return float(jax.block_until_ready((states, metrics))[1]["train/loss"][0, -1])
    return count, f"adam, {plan.chunk_steps} steps a dispatch", plan.chunk_steps, run


def texts(row):
    return "norm" in row["model"]


def random_data(row):
    """A resident data set of full rows, or images, with the inputs and labels that real ones have."""
    random = np.random.default_rng(0)
    shape, classes = row["input_shape"], row["num_classes"]
    if not texts(row):
        arrays = {"inputs": random.normal(size=(EXAMPLES, *shape)).astype(np.float32),
                  "labels": random.integers(0, classes, EXAMPLES).astype(np.int32)}
        prepare = lambda batch, key, train: batch
    else:
        tokens = lambda length: random.integers(4, classes, (EXAMPLES, length)).astype(np.int32)
        arrays = {"target": tokens(shape[-1]), "labels": tokens(shape[-1]),
                  "weights": np.ones((EXAMPLES, shape[-1]), np.float32)}
        prepare = lambda batch, key, train: {"inputs": batch["target"], "labels": batch["labels"],
                                             "weights": batch["weights"]}
    if len(shape) == 2:
        arrays |= {"source": tokens(shape[0]), "source_segments": np.ones((EXAMPLES, shape[0]), np.int32),
                   "target_segments": np.ones((EXAMPLES, shape[1]), np.int32)}
        prepare = lambda batch, key, train: {
            "labels": batch["labels"], "weights": batch["weights"],
            "inputs": {key: value for key, value in batch.items() if key not in ("labels", "weights")}}
    split = Split(EXAMPLES, arrays, None)
    return Dataset("random", split, split, classes, shape, "device", 0, prepare)
