"""Decoding of the encoded images in a prepared split to arrays of pixels."""

import concurrent.futures
import functools
import io
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from warmup_jax.data.dataset import Batch, DataError
from warmup_jax.data.images import resize
from warmup_jax.data.tfds import records

MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# Mean bytes of an encoded image from which decoding in threads pays. Pillow releases the interpreter lock while it
# decodes, but two threads contending for it ran 0.6 times as fast as one on 32x32 images, and 1.5 times as fast on
# 128x128.
THREAD_BYTES = 8192


class Source(NamedTuple):
    """The location of one split of images, small enough to send to a worker process.

    Attributes:
      folder: the version folder.
      split: TFDS name of the split.
      image: name of the image feature.
      label: name of the label feature.
      channels: 1, 3 or 4.
      image_size: side to resize to, or None to keep the stored size.
      num_classes: K; labels are 0 to K - 1.
    """

    folder: str
    split: str
    image: str
    label: str
    channels: int
    image_size: int | None
    num_classes: int


def read(source: Source, indices: np.ndarray) -> Batch:
    """Decodes the examples at indices [B]: {"image": uint8 [B, H, W, C], "label": int32 [B]}."""
    return _examples(source, indices, None)


def sample(source: Source, indices: np.ndarray, generator: np.random.Generator) -> Batch:
    """Decodes examples like `read`, each image with a random resized crop drawn from the generator."""
    return _examples(source, indices, generator.random((len(indices), resize.DRAWS)))


def check_first_labels(source: Source, count: int) -> None:
    """Raises a DataError if one of the first `count` labels is not a class; no image is decoded."""
    index = np.arange(count)
    (labels,) = records.read_columns(source.folder, source.split, index, (source.label,))
    check_labels(source, index, np.array(labels))


def check_labels(source: Source, indices: np.ndarray, labels: np.ndarray) -> None:
    """Raises a DataError for the first label that is not a class, as -1 where TFDS has none to give."""
    outside = np.flatnonzero((labels < 0) | (labels >= source.num_classes))
    if outside.size:
        first = outside[0]
        raise DataError(
            f"example {indices[first]} of the split {source.split!r} of the data set in {source.folder} has the label "
            f"{labels[first]}; allowed: 0 to {source.num_classes - 1}"
        )


def _examples(source: Source, indices: np.ndarray, uniforms: np.ndarray | None) -> Batch:
    encoded, labels = records.read_columns(source.folder, source.split, indices, (source.image, source.label))
    check_labels(source, indices, np.array(labels))
    decode_one = functools.partial(_decode, source)
    draws: Sequence | np.ndarray = [None] * len(encoded) if uniforms is None else uniforms
    if encoded and sum(map(len, encoded)) >= THREAD_BYTES * len(encoded):
        images = list(_pool().map(decode_one, indices, encoded, draws))
    else:
        images = list(map(decode_one, indices, encoded, draws))
    for number, image in zip(indices, images):
        if image.shape != images[0].shape:
            raise DataError(
                f"example {number} of the split {source.split!r} of the data set in {source.folder} has the shape "
                f"{image.shape}; allowed: that of example {indices[0]}, {images[0].shape}"
            )
    return {"image": np.stack(images), "label": np.array(labels, np.int32)}


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(os.cpu_count())


def _decode(source: Source, number: int, encoded: bytes, uniforms: np.ndarray | None) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            image: Image.Image = opened
            if image.mode != MODES[source.channels]:
                image = image.convert(MODES[source.channels])
            if source.image_size is not None:
                if uniforms is None:
                    image = resize.resize_and_centre_crop(image, source.image_size)
                else:
                    image = resize.random_resized_crop(image, source.image_size, uniforms)
            array = np.asarray(image)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and others
        raise records.unreadable(source.folder, source.split, int(number), error) from error
    return array.reshape(*array.shape[:2], source.channels)
