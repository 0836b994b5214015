"""The order of training examples, a pure function of seed and step."""

import functools

import numpy as np

# Independent streams of random numbers drawn from one seed; batches.py uses the second.
SHUFFLE, CROP = 0, 1

# Sets of up to this many examples keep the permutations of 512 epochs: at most 32 MiB.
SMALL = 2**14


def bit_generator(seed: int, stream: int, number: int) -> np.random.Philox:
    """Returns a Philox generator keyed by (seed, stream, number), independent of every other key."""
    return np.random.Philox(np.random.SeedSequence(seed, spawn_key=(stream, number)))


def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    # All runs of a sweep go through the same epochs, and small sets have many.
    return (_cached_long if size <= SMALL else _cached)(seed, epoch, size)


def _shuffled(seed: int, epoch: int, size: int) -> np.ndarray:
    # Sorts raw bits: numpy guarantees their values for ever, but not those of Generator.permutation, and old runs must
    # resume under a newer numpy.
    bits = bit_generator(seed, SHUFFLE, epoch).random_raw(size)
    order = np.argsort(bits, kind="stable").astype(np.int32)
    order.flags.writeable = False
    return order


_cached = functools.lru_cache(maxsize=4)(_shuffled)
_cached_long = functools.lru_cache(maxsize=512)(_shuffled)


def check_sampling(seed: int, size: int, batch_size: int) -> None:
    """Raises ValueError for a negative seed, or a batch size outside 1 to `size`."""
    if seed < 0:
        raise ValueError(f"seed={seed!r}; allowed: integers from 0")
    if not 1 <= batch_size <= size:
        raise ValueError(f"batch_size={batch_size!r}; allowed: 1 to {size}, the number of training examples")


def batch_index(seed: int, step: int, size: int, batch_size: int) -> np.ndarray:
    """Returns the indices of the training examples of one step.

    The example stream is a sequence of permutations of range(size), one per epoch. A step takes the positions
    step * B to step * B + B - 1. Batches cross epoch borders, so no example is dropped.

    Args:
      seed: seed of the shuffle, >= 0.
      step: number of updates applied before this batch, >= 0.
      size: number of training examples.
      batch_size: B, 1 to size.

    Returns:
      int32 [B].

    Raises:
      ValueError: an argument is outside its range.

    Examples:
      >>> batch_index(seed=0, step=0, size=10, batch_size=4)
      array([7, 6, 8, 3], dtype=int32)
    """
    check_sampling(seed, size, batch_size)
    if step < 0:
        raise ValueError(f"step={step!r}; allowed: integers from 0")
    epoch, first = divmod(step * batch_size, size)
    index = _permutation(seed, epoch, size)[first : first + batch_size]
    missing = batch_size - len(index)
    if missing:
        index = np.concatenate([index, _permutation(seed, epoch + 1, size)[:missing]])
    return index
