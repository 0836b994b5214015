"""Reading the records of a prepared TFDS split: bytes on disk -> examples."""

import concurrent.futures
import functools
import io
import os
from typing import NamedTuple

import numpy as np

from warmup_jax.data import crops

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# Bytes of an encoded image from which decoding it in a thread pays. Pillow releases the
# interpreter lock while it decodes, but two threads fighting for it were 0.6 times as
# fast as one on 32x32 images and 1.5 times as fast on 128x128.
_THREAD_BYTES = 8192


class Source(NamedTuple):
    """Where one split lies, small enough to send to a worker process.

    folder: the version folder. split: TFDS name. image, label: feature names.
    channels: 1, 3 or 4. image_size: side to resize to, or None to keep what is stored.
    """

    folder: str
    split: str
    image: str
    label: str
    channels: int
    image_size: int | None


def read(source, indices):
    """Examples {"image": uint8 [B, H, W, C], "label": int32 [B]} of the indices [B]."""
    return _examples(source, indices, None)


def sample(source, indices, generator):
    """Like read, with a random resized crop of each image drawn from the generator."""
    return _examples(source, indices, generator.random((len(indices), crops.DRAWS)))


def _examples(source, indices, uniforms):
    encoded, labels = _encoded(source, indices)
    decode = functools.partial(_decode, source)
    draws = [None] * len(encoded) if uniforms is None else uniforms
    if encoded and sum(map(len, encoded)) >= _THREAD_BYTES * len(encoded):
        images = list(_pool().map(decode, encoded, draws))
    else:
        images = list(map(decode, encoded, draws))
    return {"image": np.stack(images), "label": np.array(labels, np.int32)}


def _encoded(source, indices):
    # The record is parsed here, not by TFDS's features, which take longer for it than
    # Pillow takes to decode a 32x32 image.
    from tensorflow_datasets.proto import tf_example_pb2

    images, labels = [], []
    for record in _records(source.folder, source.split).__getitems__([int(i) for i in indices]):
        feature = tf_example_pb2.Example.FromString(record).features.feature
        images.append(feature[source.image].bytes_list.value[0])
        labels.append(feature[source.label].int64_list.value[0])
    return images, labels


@functools.lru_cache(maxsize=8)
def _records(folder, split):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    return builder.as_data_source(
        split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )


@functools.cache
def _pool():
    return concurrent.futures.ThreadPoolExecutor(os.cpu_count())


def _decode(source, encoded, uniforms):
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        if image.mode != _MODES[source.channels]:
            image = image.convert(_MODES[source.channels])
        if source.image_size is not None and uniforms is None:
            image = crops.centre(image, source.image_size)
        elif source.image_size is not None:
            image = crops.random(image, source.image_size, uniforms)
        array = np.asarray(image)
    return array.reshape(*array.shape[:2], source.channels)
