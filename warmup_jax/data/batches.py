"""Iterators over batches, and the gather that turns a resident one into examples."""

import functools
import math
import os

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax.data.sampling import CROP, batch_index, bit_generator, check

# Batches that are ready ahead of the training loop: enough to hide one slow read.
_AHEAD = 4

# Rows whose labels are counted at once.
_COUNTED = 4096


def take(arrays, batch):
    """Replaces the indices of a resident batch by the examples. Pure JAX.

    Args:
      arrays: {key: [N, ...]} on the device.
      batch: {"index": int [B], ...} or a batch that already holds its examples.

    Returns:
      {key: [B, ...]} and the other keys of the batch, or the batch unchanged.
    """
    if "index" not in batch:
        return batch
    others = {key: value for key, value in batch.items() if key != "index"}
    return {**{key: array[batch["index"]] for key, array in arrays.items()}, **others}


def train_batches(dataset, *, seed, batch_size, start, stop):
    """Training batches of the steps start to stop - 1, whatever was read before.

    Args:
      dataset: a Dataset.
      seed: of the order of examples, >= 0.
      batch_size: B, at most the number of training examples.
      start, stop: steps; equal ones give no batch.

    Returns:
      An iterator of {"index": int32 [B]} for a resident set, of examples
      {key: [B, ...]} for a streamed one: the same examples for the same seed.
    """
    check(seed, dataset.train.size, batch_size)
    if not 0 <= start <= stop:
        raise ValueError(f"steps must have 0 <= start <= stop, got {start} and {stop}")
    make = functools.partial(_train_batch, seed, batch_size)
    return _batches(make, dataset.train, start, stop, dataset.workers)


def train_batch(dataset, *, seed, batch_size, step):
    """The one training batch that `train_batches` gives for a step."""
    check(seed, dataset.train.size, batch_size)
    return _train_batch(seed, batch_size, _indexed(dataset.train), step)


def examples(split, index):
    """The examples of a split with these indices, as a batch for `take`."""
    return _indexed(split).read(index)


def label_counts(dataset):
    """How often each label occurs in the resident training split, float64 [K]; padding not counted."""
    prepared = jax.jit(lambda batch: _labels(dataset.prepare(batch, None, False)))  # labels alone: the rest is dropped
    counts = np.zeros(dataset.num_classes)
    for start in range(0, dataset.train.size, _COUNTED):
        rows = {key: array[start : start + _COUNTED] for key, array in dataset.train.arrays.items()}
        labels, weights = (np.asarray(x).ravel() for x in prepared(rows))
        counts += np.bincount(labels, weights, minlength=dataset.num_classes)
    return counts


def _labels(prepared):
    return prepared["labels"], prepared.get("weights", jnp.ones(prepared["labels"].shape))


def eval_batches(dataset, *, batch_size):
    """The test split in order, once.

    Returns:
      An iterator of batches as in train_batches with "weights" float32 [B]: 1 for an
      example and 0 for the padding of the last batch, so that all have one shape.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    make = functools.partial(_eval_batch, batch_size)
    stop = math.ceil(dataset.test.size / batch_size)
    return _batches(make, dataset.test, 0, stop, dataset.workers)


def _train_batch(seed, batch_size, split, step):
    index = batch_index(seed, step, split.size, batch_size)
    if split.sample is None:
        return split.read(index)
    return split.sample(index, np.random.Generator(bit_generator(seed, CROP, step)))


def _eval_batch(batch_size, split, number):
    position = number * batch_size + np.arange(batch_size)
    inside = position < split.size
    index = np.where(inside, position, 0).astype(np.int32)
    return {**split.read(index), "weights": inside.astype(np.float32)}


def _batches(make, split, start, stop, workers):
    if split.arrays is None:
        return _stream(functools.partial(make, split), start, stop, workers)
    return map(functools.partial(make, _indexed(split)), range(start, stop))


def _indexed(split):
    """A resident split whose examples are on the device already, where `take` reads them; another as it is."""
    return split if split.arrays is None else split._replace(read=lambda index: {"index": index}, sample=None)


def _stream(make, start, stop, workers):
    # Elements are whole batches addressed by step, so neither threads nor workers
    # can change their order, and resuming needs no iterator state.
    if start == stop:
        return
    import grain

    _mark_flags_parsed()
    threads = min(_AHEAD, os.cpu_count() or 1)
    steps = grain.MapDataset.range(start, stop).map(make)
    steps = steps.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_AHEAD))
    if workers:
        steps = steps.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    iterator = iter(steps)
    try:
        yield from iterator
    finally:
        iterator.close()


def _mark_flags_parsed():
    # Grain reads absl flags when it starts workers and fails where nobody parsed any
    # (a notebook, a test). Their defaults are right there.
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
