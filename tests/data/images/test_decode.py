import numpy as np
import pytest

from warmup_jax import data
from warmup_jax.data.images import decode


def load(folder, **options):
    return data.load(**{"name": "toy", "data_dir": folder, **options})


@pytest.fixture
def varied(write_set, array_cache, encode):
    """Writes a set of images of many sizes, whose second half is large enough to be decoded in threads."""
    import tensorflow_datasets as tfds

    generator = np.random.default_rng(0)

    def examples(count):
        for number in range(count):
            low = 20 if number < count // 2 else 150
            shape = (*generator.integers(low, low + 30, 2), 3)
            pixels = generator.integers(0, 256, shape, dtype=np.uint8)
            grey = number == 1
            yield {"image": encode(pixels[..., :1] if grey else pixels), "label": number % 2}

    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)}
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
    # A batch is an epoch here: sorted by example, two batches differ in their crops alone.
    order = [np.argsort(data.batch_index(0, step, 12, 12)) for step in range(2)]
    assert not np.array_equal(whole[0][order[0]], whole[1][order[1]])


def test_threads_do_not_change_images(varied, monkeypatch):
    dataset = load(varied, image_size=16)
    expected = dataset.train.read(np.arange(12))["image"]
    for limit in (0, 10**9):
        monkeypatch.setattr(decode, "THREAD_BYTES", limit)
        np.testing.assert_array_equal(dataset.train.read(np.arange(12))["image"], expected)
