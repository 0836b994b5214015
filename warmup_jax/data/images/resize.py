"""Resizing and cropping of images of any size on the host, with Pillow."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # Pillow is imported when an image is read
    from PIL import Image

# Evaluation keeps the central 224 of 256 pixels, as is customary for ImageNet.
RESIZE = 256 / 224

# Inception-style crops (Szegedy et al. 2015): share of the area, and width over height.
AREA, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10

# Uniform numbers that one random crop uses.
DRAWS = 2 * TRIES + 2


def resize_and_centre_crop(image: "Image.Image", size: int) -> "Image.Image":
    """Resizes the short side to size * 256 / 224 and cuts the centre out, [size, size]."""
    width, height = image.size
    scale = round(size * RESIZE) / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), resample=_bilinear())
    return resized.crop((left, top, left + size, top + size))


def random_resized_crop(image: "Image.Image", size: int, uniforms: np.ndarray) -> "Image.Image":
    """Cuts out the box that `random_box` draws and resizes it to [size, size].

    Args:
      image: PIL image.
      size: side of the result in pixels.
      uniforms: [DRAWS] random numbers in [0, 1).

    Returns:
      PIL image [size, size].
    """
    return image.resize((size, size), resample=_bilinear(), box=random_box(*image.size, uniforms))


def random_box(width: int, height: int, uniforms: np.ndarray) -> tuple[int, int, int, int]:
    """Turns uniform numbers [DRAWS] into a box (left, top, right, bottom) in pixels.

    Takes the first of TRIES random shapes that fits the image; if none does, the largest central box of an allowed
    ratio.
    """
    tries = np.reshape(uniforms[:-2], (TRIES, 2))
    area = width * height * (AREA[0] + (AREA[1] - AREA[0]) * tries[:, 0])
    low, high = np.log(RATIO)
    ratio = np.exp(low + (high - low) * tries[:, 1])
    widths, heights = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
    fits = (1 <= widths) & (widths <= width) & (1 <= heights) & (heights <= height)
    if fits.any():
        first = int(np.argmax(fits))
        wide, tall = int(widths[first]), int(heights[first])
        left = int(uniforms[-2] * (width - wide + 1))
        top = int(uniforms[-1] * (height - tall + 1))
    else:
        wide = min(width, max(1, round(height * RATIO[1])))
        tall = min(height, max(1, round(width / RATIO[0])))
        left, top = (width - wide) // 2, (height - tall) // 2
    return left, top, left + wide, top + tall


def _bilinear() -> "Image.Resampling":
    from PIL import Image

    return Image.Resampling.BILINEAR
