"""Random access to the records of a prepared TFDS split."""

import functools
import pathlib
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from warmup_jax.data.dataset import DataError

# TFDS imports its parts when they are used, each under a lock of its own. In a new worker process, whose threads all
# use it first, two of them could wait for each other for ever.
_importing = threading.Lock()


def read_columns(
    folder: str, split: str, indices: Iterable[int] | np.ndarray, features: Sequence[str]
) -> list[list[Any]]:
    """Reads the values of some features from some records.

    Args:
      folder: version folder of the set.
      split: TFDS name of the split.
      indices: [B], record numbers.
      features: feature names, as in `reader.PreparedSet`.

    Returns:
      A list [B] for each feature, of the values that the records hold: bytes or numbers.

    Raises:
      DataError: a record cannot be read, or lacks a feature.
    """
    with _importing:
        # Parses the record here: TFDS's features take longer for it than Pillow takes to decode a 32x32 image.
        from tensorflow_datasets.proto import tf_example_pb2

    numbers = [int(i) for i in indices]
    try:
        with _importing:
            source = _records(folder, split)
        records = source.__getitems__(numbers)
    except Exception as error:  # what the library raises for a damaged file is not documented
        some = f"one of {min(numbers)} to {max(numbers)}" if len(numbers) > 1 else str(*numbers)
        raise unreadable(folder, split, some, error) from error
    found: list[list[Any]] = [[] for _ in features]
    for number, record in zip(numbers, records):
        try:
            feature = tf_example_pb2.Example.FromString(record).features.feature
            for values, name in zip(found, features):
                one = feature[name]
                values.append(getattr(one, one.WhichOneof("kind")).value[0])
        except Exception as error:  # protobuf's own, or a feature without a value
            raise unreadable(folder, split, number, error) from error
    return found


def unreadable(folder: str, split: str, number: int | str, error: Exception) -> DataError:
    """Returns the error about an example that a library could not read, with the name of its set and split."""
    path = pathlib.Path(folder)
    return DataError(
        f"example {number} of the split {split!r} of the data set in {path} cannot be read: "
        f"{type(error).__name__}: {error}; prepare the set again"
    )


@functools.lru_cache(maxsize=8)
def _records(folder: str, split: str) -> Any:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    return builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
