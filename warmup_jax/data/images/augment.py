"""Normalisation and augmentation of image batches, inside the compiled step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

AUGMENTS = ("none", "flip", "crop_flip")

# Pixels of zero padding on each side before the random crop (He et al. 2016).
PAD = 4


def check(augment):
    """Raises ValueError for an unknown augmentation."""
    if augment not in AUGMENTS:
        raise ValueError(f"augment must be one of {', '.join(AUGMENTS)}, got {augment!r}")


def preparation(mean, std, augment):
    """Returns prepare(batch, key, train) for these constants.

    Args:
      mean, std: per channel, of pixels scaled to [0, 1].
      augment: one of AUGMENTS, applied when train is true. "flip" mirrors half of the
        images; "crop_flip" also pads by 4 zeros (after normalisation, so the mean
        colour) and crops at random to the old size.
    """
    check(augment)
    return functools.partial(_prepare, tuple(map(float, mean)), tuple(map(float, std)), augment)


def _prepare(mean, std, augment, batch, key, train):
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


def normalise(image, mean, std):
    """uint8 [B, H, W, C] -> float32 with the training pixels' mean 0 and deviation 1."""
    mean, std = np.float32(mean), np.float32(std)
    return image.astype(jnp.float32) * (1 / (255 * std)) - mean / std


def draws(key, batch_size):
    """Random top [B], left [B] in 0..2 * PAD and mirrored [B], one key an image."""
    bits = jax.vmap(jax.random.bits)(jax.random.split(key, batch_size))
    side = 2 * PAD + 1
    choice = (bits % (2 * side * side)).astype(jnp.int32)
    return choice // (2 * side), choice // 2 % side, choice % 2 == 1


def crop_flip(image, top, left, mirrored):
    """Crops the padded image at (top, left), then mirrors it.

    Returns:
      Pixels [B, H, W, C], arbitrary in the padding, and bool [B, H, W, 1], false there.
    """
    # One gather of bytes, masked afterwards: on a CPU 0.37 ms for [128, 32, 32, 3],
    # where a vmapped dynamic_slice of the padded, normalised floats takes 0.90 ms.
    batch_size, height, width, _ = image.shape
    column = jnp.arange(width)
    column = jnp.where(mirrored[:, None], width - 1 - column, column)
    y = (top[:, None] - PAD + jnp.arange(height))[:, :, None]
    x = (left[:, None] - PAD + column)[:, None, :]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
    return image[jnp.arange(batch_size)[:, None, None], y, x], inside[..., None]


def moments(read, size):
    """Mean and standard deviation per channel of the first 10,000 examples at most.

    Args:
      read: indices -> {"image": uint8 [B, H, W, C], ...}.
      size: number of examples.

    Returns:
      Two float64 arrays [C], of pixels scaled to [0, 1].
    """
    size, chunk = min(size, 10_000), 500
    count, total, squares = 0, 0, 0
    # Integer sums are exact: the result cannot depend on how the examples are read.
    for start in range(0, size, chunk):
        image = read(np.arange(start, min(start + chunk, size)))["image"].astype(np.int64)
        count += image[..., 0].size
        total += image.sum((0, 1, 2))
        squares += np.square(image).sum((0, 1, 2))
    mean = total / count
    # At least one grey level, for a channel that never changes.
    std = np.maximum(np.sqrt(squares / count - mean**2), 1)
    return mean / 255, std / 255
