"""Iterators over batches, and the gather that replaces example indices by examples on the device."""

import atexit
import contextlib
import functools
import itertools
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax.data.dataset import Batch, Dataset, Split
from warmup_jax.data.sampling import CROP, batch_index, bit_generator, check_sampling

# Batches that are read ahead of the training loop: enough to hide one slow read.
PREFETCH = 4

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Rows whose labels are counted at once.
COUNTED_ROWS = 4096


def take(arrays: Mapping[str, jax.Array | np.ndarray], batch: Batch) -> Batch:
    """Replaces the indices of a resident batch by the examples. Pure JAX.

    Args:
      arrays: {key: [N, ...]} on the device.
      batch: {"index": int [B], ...}, or a batch that already holds its examples.

    Returns:
      {key: [B, ...]} and the other keys of the batch; a batch without "index" unchanged.
    """
    if "index" not in batch:
        return batch
    others = {key: value for key, value in batch.items() if key != "index"}
    return {**{key: array[batch["index"]] for key, array in arrays.items()}, **others}


def train_batches(dataset: Dataset, *, seed: int, batch_size: int, start: int, stop: int) -> Iterator[Batch]:
    """Returns the training batches of the steps start to stop - 1, which do not depend on earlier reads.

    Args:
      dataset: a Dataset.
      seed: seed of the order of examples, >= 0.
      batch_size: B, at most the number of training examples.
      start: first step.
      stop: step after the last one; if equal to `start`, there is no batch.

    Returns:
      An iterator of {"index": int32 [B]} for a resident set, and of examples {key: [B, ...]} for a streamed one. The
      same seed gives the same examples.

    Raises:
      ValueError: an argument is outside its range.
    """
    check_sampling(seed, dataset.train.size, batch_size)
    if not 0 <= start <= stop:
        raise ValueError(f"start={start}, stop={stop}; allowed: 0 <= start <= stop")
    make = functools.partial(_train_batch, seed, batch_size)
    return _batches(make, dataset.train, start, stop, dataset.workers)


def train_batch(dataset: Dataset, *, seed: int, batch_size: int, step: int) -> Batch:
    """Returns the batch that `train_batches` gives for one step."""
    check_sampling(seed, dataset.train.size, batch_size)
    return _train_batch(seed, batch_size, _indexed(dataset.train), step)


def examples(split: Split, index: np.ndarray) -> Batch:
    """Returns the examples of a split at `index` [B] as a batch for `take`."""
    return _indexed(split).read(index)


def label_counts(dataset: Dataset) -> np.ndarray:
    """Counts each label in the resident training split, padding excluded: float64 [K]."""
    if dataset.train.arrays is None:
        raise ValueError(f"residency={dataset.residency!r}; allowed for label counts: 'device'")
    prepared = jax.jit(lambda batch: _labels(dataset.prepare(batch, None, False)))  # XLA drops the unused inputs
    counts = np.zeros(dataset.num_classes)
    for start in range(0, dataset.train.size, COUNTED_ROWS):
        rows = {key: array[start : start + COUNTED_ROWS] for key, array in dataset.train.arrays.items()}
        labels, weights = (np.asarray(x).ravel() for x in prepared(rows))
        counts += np.bincount(labels, weights, minlength=dataset.num_classes)
    return counts


def _labels(prepared: Batch) -> tuple[jax.Array, jax.Array]:
    return prepared["labels"], prepared.get("weights", jnp.ones(prepared["labels"].shape))


def eval_batches(dataset: Dataset, *, batch_size: int) -> Iterator[Batch]:
    """Returns the test split in order, once.

    Args:
      dataset: a Dataset.
      batch_size: B, >= 1.

    Returns:
      An iterator of batches as in `train_batches`, with "weights" float32 [B]: 1 for an example, 0 for the padding that
      gives the last batch the shape of the others.

    Raises:
      ValueError: the batch size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r}; allowed: integers from 1")
    make = functools.partial(_eval_batch, batch_size)
    stop = math.ceil(dataset.test.size / batch_size)
    return _batches(make, dataset.test, 0, stop, dataset.workers)


def _train_batch(seed: int, batch_size: int, split: Split, step: int) -> Batch:
    index = batch_index(seed, step, split.size, batch_size)
    if split.sample is None:
        return split.read(index)
    return split.sample(index, np.random.Generator(bit_generator(seed, CROP, step)))


def _eval_batch(batch_size: int, split: Split, number: int) -> Batch:
    position = number * batch_size + np.arange(batch_size)
    inside = position < split.size
    index = np.where(inside, position, 0).astype(np.int32)
    return {**split.read(index), "weights": inside.astype(np.float32)}


def _batches(make: Callable[[Split, int], Batch], split: Split, start: int, stop: int, workers: int) -> Iterator[Batch]:
    if split.arrays is None:
        return _read_ahead(functools.partial(make, split), start, stop, workers)
    return map(functools.partial(make, _indexed(split)), range(start, stop))


def _indexed(split: Split) -> Split:
    """Makes a resident split read indices alone, for `take` to gather on the device; returns a stream unchanged."""
    return split if split.arrays is None else split._replace(read=lambda index: {"index": index}, sample=None)


def _read_ahead(make: Callable[[int], Batch], start: int, stop: int, workers: int) -> Iterator[Batch]:
    # Elements are whole batches addressed by step: neither threads nor workers can change their order, and resuming
    # needs no iterator state.
    if start == stop:
        return
    import grain

    _mark_flags_parsed()
    threads = min(PREFETCH, os.cpu_count() or 1)
    steps = grain.MapDataset.range(start, stop).map(make)
    steps = steps.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=PREFETCH))
    if workers:
        _kill_workers_at_exit()
        steps = steps.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers), worker_init_fn=_begin_worker)
    iterator = iter(steps)
    try:
        if workers:
            with _signals_blocked():
                first = list(itertools.islice(iterator, workers))  # the batch of each worker, which starts for it
            yield from first
        yield from iterator
    finally:
        iterator.close()


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Blocks the signals that end a program in this thread, and so in the threads and workers that it starts meanwhile.

    A worker that gets one before `_begin_worker` would die, and take the run with it.
    """
    resource_tracker.ensure_running()  # the thread that starts it unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(number: int, count: int) -> None:
    """Binds a worker process to the one that started it.

    A signal to the whole group of processes, such as Ctrl-C, is the parent's, which needs batches until it has saved.
    """
    del number, count
    for name in ENDING:
        signal.signal(name, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:  # after a SIGKILL of the parent Grain's workers would stay
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


@functools.cache
def _kill_workers_at_exit() -> None:
    """Registers the end of workers that an error left: they ignore the SIGTERM that Python sends them at its end."""
    atexit.register(lambda: [worker.kill() for worker in multiprocessing.active_children() if worker.daemon])


def _mark_flags_parsed() -> None:
    # Grain reads absl flags when it starts workers, and fails if the program parsed none (a notebook, a test). The
    # flags' defaults suit us.
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
