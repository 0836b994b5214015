"""Resizing images of any size on the host, with Pillow."""

import numpy as np

# Evaluation keeps the central 224 of 256, as is customary for ImageNet.
_RESIZE = 256 / 224

# Inception-style crops: share of the area, and width over height.
_AREA, _RATIO, _TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10

# Uniform numbers that one random crop uses.
DRAWS = 2 * _TRIES + 2


def centre(image, size):
    """PIL image -> PIL image [size, size]: short side to size * 256 / 224, then the centre."""
    width, height = image.size
    scale = round(size * _RESIZE) / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), resample=_bilinear())
    return resized.crop((left, top, left + size, top + size))


def random(image, size, uniforms):
    """PIL image -> PIL image [size, size]: a random box of it, resized.

    Args:
      image: PIL image.
      size: side of the result in pixels.
      uniforms: [DRAWS] in [0, 1).
    """
    return image.resize((size, size), resample=_bilinear(), box=random_box(*image.size, uniforms))


def random_box(width, height, uniforms):
    """The box (left, top, right, bottom) in pixels that these uniform numbers choose."""
    tries = np.reshape(uniforms[:-2], (_TRIES, 2))
    area = width * height * (_AREA[0] + (_AREA[1] - _AREA[0]) * tries[:, 0])
    low, high = np.log(_RATIO)
    ratio = np.exp(low + (high - low) * tries[:, 1])
    wide, tall = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
    fits = (1 <= wide) & (wide <= width) & (1 <= tall) & (tall <= height)
    if fits.any():
        first = int(np.argmax(fits))
        wide, tall = int(wide[first]), int(tall[first])
        left = int(uniforms[-2] * (width - wide + 1))
        top = int(uniforms[-1] * (height - tall + 1))
    else:
        wide = min(width, max(1, round(height * _RATIO[1])))
        tall = min(height, max(1, round(width / _RATIO[0])))
        left, top = (width - wide) // 2, (height - tall) // 2
    return left, top, left + wide, top + tall


def _bilinear():
    from PIL import Image

    return Image.Resampling.BILINEAR
