"""Encoded pictures of a prepared split -> arrays of pixels."""

import concurrent.futures
import functools
import io
import os
from typing import NamedTuple

import numpy as np

from warmup_jax.data.images import resize
from warmup_jax.data.tfds import records

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
    return _examples(source, indices, generator.random((len(indices), resize.DRAWS)))


def _examples(source, indices, uniforms):
    encoded, labels = records.columns(source.folder, source.split, indices, (source.image, source.label))
    decode = functools.partial(_decode, source)
    draws = [None] * len(encoded) if uniforms is None else uniforms
    if encoded and sum(map(len, encoded)) >= _THREAD_BYTES * len(encoded):
        images = list(_pool().map(decode, encoded, draws))
    else:
        images = list(map(decode, encoded, draws))
    return {"image": np.stack(images), "label": np.array(labels, np.int32)}


@functools.cache
def _pool():
    return concurrent.futures.ThreadPoolExecutor(os.cpu_count())


def _decode(source, encoded, uniforms):
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        if image.mode != _MODES[source.channels]:
            image = image.convert(_MODES[source.channels])
        if source.image_size is not None and uniforms is None:
            image = resize.centre(image, source.image_size)
        elif source.image_size is not None:
            image = resize.random(image, source.image_size, uniforms)
        array = np.asarray(image)
    return array.reshape(*array.shape[:2], source.channels)
