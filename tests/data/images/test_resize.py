import numpy as np
import pytest

from warmup_jax.data.images import resize


@pytest.mark.parametrize("width, height", [(50, 40), (40, 50), (16, 16), (3, 200)])
def test_centre_crop_is_its_definition(width, height):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    short = round(28 * 256 / 224)
    assert short == 32
    scale = short / min(width, height)
    resized = image.resize((round(width * scale), round(height * scale)), Image.BILINEAR)
    left, top = (resized.width - 28) // 2, (resized.height - 28) // 2
    expected = np.asarray(resized)[top : top + 28, left : left + 28]
    np.testing.assert_array_equal(np.asarray(resize.resize_and_centre_crop(image, 28)), expected)


@pytest.mark.parametrize("width, height", [(500, 375), (100, 100), (1, 1), (400, 20), (20, 400)])
def test_random_boxes_have_the_documented_area_and_shape(width, height):
    boxes = np.array(
        [
            resize.random_box(width, height, uniforms)
            for uniforms in np.random.default_rng(0).random((500, resize.DRAWS))
        ]
    )
    left, top, right, bottom = boxes.T
    assert (left >= 0).all() and (top >= 0).all()
    assert (right <= width).all() and (bottom <= height).all()
    wide, tall = right - left, bottom - top
    assert (wide >= 1).all() and (tall >= 1).all()
    if width == 500:
        share, ratio = wide * tall / (width * height), wide / tall
        assert 0.079 < share.min() < 0.12 and 0.9 < share.max() <= 1
        assert 0.74 < ratio.min() and ratio.max() < 1.35
        assert left.min() == 0 and right.max() == width
