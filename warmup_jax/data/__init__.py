"""Data sets as splits addressed by example index; a batch is a function of (seed, step)."""

import functools

from warmup_jax.data import embedded, images, tfds
from warmup_jax.data.batches import eval_batches, take, train_batches
from warmup_jax.data.dataset import Dataset, Split, rows
from warmup_jax.data.known import DATASETS
from warmup_jax.data.order import batch_index

__all__ = [
    "DATASETS",
    "Dataset",
    "Split",
    "batch_index",
    "eval_batches",
    "load",
    "take",
    "train_batches",
]

RESIDENCIES = ("auto", "device", "stream")


def load(*, name, data_dir=None, residency="auto", augment="none", image_size=None, workers=0):
    """Loads an image classification set. Never touches the network.

    Args:
      name: "digits", or a TFDS name as in "cifar10", "cifar10:3.0.2", "set/config",
        prepared on disk as array_record.
      data_dir: folder of prepared sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
      residency: "device" keeps both splits as arrays, "stream" reads while training,
        "auto" chooses "device" for one image shape and at most 1 GiB of training pixels.
      augment: "none", "flip", or "crop_flip" (pad by 4, crop at random, flip).
      image_size: None keeps the stored size. A number resizes to that side in pixels:
        a random crop of random area to train on, the centre to test on; streams only.
      workers: processes that read a stream; 0 reads in this one.

    Returns:
      A Dataset.

    Raises:
      ValueError: an argument or the set's content cannot be used.
      FileNotFoundError: the set is not on disk; the message says how to prepare it.
    """
    if residency not in RESIDENCIES:
        raise ValueError(f"residency must be one of {', '.join(RESIDENCIES)}, got {residency!r}")
    if workers < 0:
        raise ValueError(f"workers must be >= 0, got {workers}")
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be None or >= 1, got {image_size}")
    images.check(augment)
    if name == "digits":
        loaded = _digits(residency, image_size)
    else:
        loaded = tfds.load(name, data_dir, residency, image_size)
    train, test, num_classes, input_shape, residency, mean, std = loaded
    prepare = images.preparation(mean, std, augment)
    return Dataset(name, train, test, num_classes, input_shape, residency, workers, prepare)


def _digits(residency, image_size):
    if image_size is not None:
        raise ValueError(f"image_size must be None for 'digits', got {image_size}")
    residency = "device" if residency == "auto" else residency
    train, test = (
        Split(
            size=len(arrays["label"]),
            arrays=arrays if residency == "device" else None,
            read=functools.partial(rows, arrays),
        )
        for arrays in embedded.digits()
    )
    known = DATASETS["digits"]
    return train, test, 10, (8, 8, 1), residency, known.mean, known.std
