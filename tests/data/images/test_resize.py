import numpy as np
import pytest

from warmup_jax import data
from warmup_jax.data.images import decode, resize


def load(folder, **options):
    return data.load(**{"name": "toy", "data_dir": folder, **options})


@pytest.fixture
def varied(write_set, array_cache, encode):
    """The second half is large enough to be decoded in threads."""
    import tensorflow_datasets as lib

    generator = np.random.default_rng(0)

    def examples(count):
        for number in range(count):
            low = 20 if number < count // 2 else 150
            shape = (*generator.integers(low, low + 30, 2), 3)
            pixels = generator.integers(0, 256, shape, dtype=np.uint8)
            grey = number == 1
            yield {"image": encode(pixels[..., :1] if grey else pixels), "label": number % 2}

    features = lib.features.FeaturesDict(
        {"image": lib.features.Image(), "label": lib.features.ClassLabel(num_classes=2)}
    )
    splits = {"train": list(examples(12)), "test": list(examples(5))}
    return write_set(features, splits)


def test_varied_sizes_need_image_size(varied):
    with pytest.raises(ValueError, match="dataset.image_size"):
        load(varied)


def test_varied_sizes_are_streamed_at_one_size(varied):
    dataset = load(varied, image_size=16)
    assert dataset.residency == "stream" and dataset.input_shape == (16, 16, 3)
    assert dataset.train.read(np.arange(12))["image"].shape == (12, 16, 16, 3)
    [batch] = data.eval_batches(dataset, batch_size=5)
    np.testing.assert_array_equal(batch["image"], dataset.test.read(np.arange(5))["image"])


def test_random_crops_are_a_function_of_seed_and_step(varied):
    dataset = load(varied, image_size=16)

    def images(seed, start, stop):
        options = dict(seed=seed, batch_size=12, start=start, stop=stop)
        return [batch["image"] for batch in data.train_batches(dataset, **options)]

    whole = images(0, 0, 3)
    np.testing.assert_array_equal(images(0, 2, 3)[0], whole[2])
    # One batch is an epoch here: put back in order, only the crops differ.
    order = [np.argsort(data.batch_index(0, step, 12, 12)) for step in range(2)]
    assert not np.array_equal(whole[0][order[0]], whole[1][order[1]])


def test_threads_do_not_change_images(varied, monkeypatch):
    dataset = load(varied, image_size=16)
    expected = dataset.train.read(np.arange(12))["image"]
    for limit in (0, 10**9):
        monkeypatch.setattr(decode, "_THREAD_BYTES", limit)
        np.testing.assert_array_equal(dataset.train.read(np.arange(12))["image"], expected)


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
    np.testing.assert_array_equal(np.asarray(resize.centre(image, 28)), expected)


@pytest.mark.parametrize("width, height", [(500, 375), (100, 100), (1, 1), (400, 20), (20, 400)])
def test_random_boxes_have_the_area_and_shape_promised(width, height):
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
