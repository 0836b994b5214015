"""The order of training examples, a pure function of seed and step."""

import functools

import numpy as np

# Streams of random numbers that one seed feeds; the second is used by batches.py.
SHUFFLE, CROP = 0, 1

# Examples of a set whose permutations are kept for up to 512 epochs, in 32 MiB at most.
_SMALL = 2**14


def bit_generator(seed, stream, number):
    """A Philox generator keyed by (seed, stream, number), independent of any other key."""
    return np.random.Philox(np.random.SeedSequence(seed, spawn_key=(stream, number)))


def _permutation(seed, epoch, size):
    # The runs of a sweep go through the same epochs, which for small sets are many.
    return (_kept_long if size <= _SMALL else _kept)(seed, epoch, size)


def _shuffled(seed, epoch, size):
    # Sorting raw bits, because numpy promises them for ever but not
    # Generator.permutation: old runs stay resumable under a newer numpy.
    bits = bit_generator(seed, SHUFFLE, epoch).random_raw(size)
    order = np.argsort(bits, kind="stable").astype(np.int32)
    order.flags.writeable = False
    return order


_kept = functools.lru_cache(maxsize=4)(_shuffled)
_kept_long = functools.lru_cache(maxsize=512)(_shuffled)


def check(seed, size, batch_size):
    """Raises ValueError for a seed or batch size that has no order."""
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    if not 1 <= batch_size <= size:
        raise ValueError(f"batch_size must be between 1 and the {size} training examples, got {batch_size}")


def batch_index(seed: int, step: int, size: int, batch_size: int) -> np.ndarray:
    """Indices of the training examples of one step.

    The example stream is one permutation of range(size) after another, one an epoch;
    step takes its positions step * B to step * B + B - 1. Batches cross epoch borders,
    so nothing is dropped.

    Args:
      seed: of the shuffle, >= 0.
      step: updates applied before this batch, >= 0.
      size: number of training examples.
      batch_size: B, 1 to size.

    Returns:
      int32 [B].
    """
    check(seed, size, batch_size)
    if step < 0:
        raise ValueError(f"step must be >= 0, got {step}")
    epoch, first = divmod(step * batch_size, size)
    index = _permutation(seed, epoch, size)[first : first + batch_size]
    missing = batch_size - len(index)
    if missing:
        index = np.concatenate([index, _permutation(seed, epoch + 1, size)[:missing]])
    return index
