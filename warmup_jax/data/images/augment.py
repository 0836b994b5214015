"""Normalisation and augmentation of image batches, inside the compiled step."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import registry
from warmup_jax.data.dataset import Batch

AUGMENTS = ("none", "flip", "crop_flip")

# Pixels of zero padding on each side before the random crop (He et al. 2016).
CROP_PADDING = 4

Constants = Sequence[float] | np.ndarray  # one number per channel


def preparation(mean: Constants, std: Constants, augment: str) -> Callable[[Batch, jax.Array | None, bool], Batch]:
    """Returns the `prepare` function of an image set.

    Args:
      mean: mean per channel of pixels scaled to [0, 1].
      std: standard deviation per channel of the same.
      augment: one of AUGMENTS, applied only when `train` is true. "flip" mirrors half of the images; "crop_flip" also
        pads by 4 zeros (after normalisation, hence in the mean colour) and crops at random to the old size.

    Returns:
      prepare(batch, key, train) -> {"inputs", "labels"}, and "weights" if the batch has them.

    Raises:
      ValueError: unknown augmentation.
    """
    registry.one_of("augment", augment, AUGMENTS)
    return functools.partial(_prepare, tuple(map(float, mean)), tuple(map(float, std)), augment)


def _prepare(mean: Constants, std: Constants, augment: str, batch: Batch, key: Any, train: bool) -> Batch:
    image = batch["image"]
    if train and augment == "crop_flip":
        image, inside = crop_flip(image, *draws(key, image.shape[0]))
        image = jnp.where(inside, normalise(image, mean, std), 0)
    elif train and augment == "flip":
        _, _, mirrored = draws(key, image.shape[0])
        image = jnp.where(mirrored[:, None, None, None], image[:, :, ::-1], image)
        image = normalise(image, mean, std)
    else:
        image = normalise(image, mean, std)
    weights = {"weights": batch["weights"]} if "weights" in batch else {}
    return {"inputs": image, "labels": batch["label"].astype(jnp.int32), **weights}


def normalise(image: jax.Array, mean: Constants, std: Constants) -> jax.Array:
    """Maps uint8 [B, H, W, C] to float32 with mean 0 and standard deviation 1 over the training pixels."""
    mean_C, std_C = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return image.astype(jnp.float32) * (1 / (255 * std_C)) - mean_C / std_C


def draws(key: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws top [B] and left [B] in 0..2 * CROP_PADDING and mirrored [B], with one key for each image."""
    bits = jax.vmap(jax.random.bits)(jax.random.split(key, batch_size))
    side = 2 * CROP_PADDING + 1
    choice = (bits % (2 * side * side)).astype(jnp.int32)
    return choice // (2 * side), choice // 2 % side, choice % 2 == 1


def crop_flip(image: jax.Array, top: jax.Array, left: jax.Array, mirrored: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Crops the padded image at (top, left), then mirrors it.

    Args:
      image: [B, H, W, C].
      top: int [B], rows of the padded image to skip.
      left: int [B], columns of the padded image to skip.
      mirrored: bool [B].

    Returns:
      Pixels [B, H, W, C], arbitrary in the padding, and bool [B, H, W, 1], false in the padding.
    """
    # One gather of bytes, masked afterwards: on a CPU 0.37 ms for [128, 32, 32, 3], against 0.90 ms for a vmapped
    # dynamic_slice of the padded, normalised floats.
    batch_size, height, width, _ = image.shape
    column = jnp.arange(width)
    column = jnp.where(mirrored[:, None], width - 1 - column, column)
    y = (top[:, None] - CROP_PADDING + jnp.arange(height))[:, :, None]
    x = (left[:, None] - CROP_PADDING + column)[:, None, :]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
    return image[jnp.arange(batch_size)[:, None, None], y, x], inside[..., None]


def moments(read: Callable[[np.ndarray], Batch], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Computes mean and standard deviation per channel of the first 10,000 examples, or of all if fewer.

    Args:
      read: indices -> {"image": uint8 [B, H, W, C], ...}.
      size: number of examples.

    Returns:
      Two float64 arrays [C], of pixels scaled to [0, 1].
    """
    size, chunk = min(size, 10_000), 500
    count = 0
    total: Any = 0
    squares: Any = 0
    # Integer sums are exact, so the result cannot depend on the order or size of the reads.
    for start in range(0, size, chunk):
        image = read(np.arange(start, min(start + chunk, size)))["image"].astype(np.int64)
        count += image[..., 0].size
        total += image.sum((0, 1, 2))
        squares += np.square(image).sum((0, 1, 2))
    mean = total / count
    # At least one grey level, for a channel that never changes.
    std = np.maximum(np.sqrt(squares / count - mean**2), 1)
    return mean / 255, std / 255
