"""What a loader hands over: two splits and how to turn a batch into model inputs."""

from typing import Callable, NamedTuple

import numpy as np


class Split(NamedTuple):
    """One split, addressed by example index.

    size: number of examples N.
    arrays: the whole split as numpy arrays [N, ...] when resident, None when streamed.
    read: indices [B] -> examples {key: [B, ...]}, deterministic, for both residencies.
    sample: (indices [B], numpy Generator) -> examples, what training reads from a
      stream whose augmentation must happen on the host; None: training uses `read`.
    """

    size: int
    arrays: dict[str, np.ndarray] | None
    read: Callable[[np.ndarray], dict[str, np.ndarray]]
    sample: Callable | None = None


class Dataset(NamedTuple):
    """A loaded data set.

    input_shape: shape of one prepared example.
    residency: "device" (both splits have arrays) or "stream".
    workers: processes that read a streamed split; 0 reads in this process.
    prepare: (batch, key, train: bool) -> {"inputs": [B, ...], "labels": [B]} and, for a
      batch that has them, "weights" [B]. Pure JAX, to be traced inside the compiled step.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    input_shape: tuple[int, int, int]
    residency: str
    workers: int
    prepare: Callable


def rows(arrays, indices):
    """The given rows of every array: {key: [N, ...]}, [B] -> {key: [B, ...]}."""
    return {key: array[indices] for key, array in arrays.items()}
