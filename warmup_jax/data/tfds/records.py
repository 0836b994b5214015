"""Random access to the records of a prepared TFDS split."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


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
    """
    # Parses the record here: TFDS's features take longer for it than Pillow takes to decode a 32x32 image.
    from tensorflow_datasets.proto import tf_example_pb2

    found: list[list[Any]] = [[] for _ in features]
    for record in _records(folder, split).__getitems__([int(i) for i in indices]):
        feature = tf_example_pb2.Example.FromString(record).features.feature
        for values, name in zip(found, features):
            one = feature[name]
            values.append(getattr(one, one.WhichOneof("kind")).value[0])
    return found


@functools.lru_cache(maxsize=8)
def _records(folder: str, split: str) -> Any:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    return builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
