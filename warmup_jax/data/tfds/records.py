"""Reading the records of a prepared TFDS split: bytes on disk -> values."""

import functools


def columns(folder, split, indices, features):
    """The values of features in some records.

    Args:
      folder: the version folder. split: TFDS name.
      indices: [B].
      features: names, as in tfds.Prepared.

    Returns:
      For each feature a list [B] of what the records hold: bytes, or a number.
    """
    # The record is parsed here, not by TFDS's features, which take longer for it than
    # Pillow takes to decode a 32x32 image.
    from tensorflow_datasets.proto import tf_example_pb2

    found = [[] for _ in features]
    for record in _records(folder, split).__getitems__([int(i) for i in indices]):
        feature = tf_example_pb2.Example.FromString(record).features.feature
        for values, name in zip(found, features):
            one = feature[name]
            values.append(getattr(one, one.WhichOneof("kind")).value[0])
    return found


@functools.lru_cache(maxsize=8)
def _records(folder, split):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    return builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
