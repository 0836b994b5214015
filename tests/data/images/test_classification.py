import json
import pickle

import numpy as np
import pytest

from warmup_jax import data


def load(folder, **options):
    return data.load(**{"name": "toy", "data_dir": folder, **options})


@pytest.mark.parametrize("residency", ["auto", "stream"])
@pytest.mark.parametrize("shape, last", [((6, 5, 3), "test"), ((4, 4, 1), "validation")])
def test_any_feature_names_and_channels(write_toy, array_cache, assert_same_set, residency, shape, last):
    folder, arrays = write_toy(shape=shape, last=last)
    dataset = load(folder, residency=residency)
    assert dataset.residency == ("device" if residency == "auto" else "stream")
    assert (dataset.num_classes, dataset.input_shape) == (4, shape)
    assert_same_set(dataset.train, *arrays["train"])
    assert_same_set(dataset.test, *arrays[last])


def test_image_residencies_agree(write_toy, array_cache):
    folder, arrays = write_toy()
    resident, stream = (load(folder, residency=r) for r in ("device", "stream"))
    for split in ("train", "test"):
        index = np.array([3, 0, 8, 3])
        ours, theirs = (getattr(d, split).read(index) for d in (resident, stream))
        for key in ("image", "label"):
            np.testing.assert_array_equal(ours[key], theirs[key])
    batch = resident.train.read(np.arange(23))
    ours, theirs = (d.prepare(batch, None, False)["inputs"] for d in (resident, stream))
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(np.mean(ours, (0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(ours, (0, 1, 2)), 1, atol=1e-5)


def test_streamed_split_travels_to_a_worker(write_toy, array_cache):
    folder, _ = write_toy()
    split = load(folder, residency="stream").train
    copy = pickle.loads(pickle.dumps(split))
    np.testing.assert_array_equal(*(s.read(np.arange(5))["image"] for s in (split, copy)))


def test_size_decides_automatic_residency(write_toy, array_cache, monkeypatch):
    folder, _ = write_toy()
    monkeypatch.setattr("warmup_jax.data.dataset.RESIDENT_BYTES", 23 * 6 * 5 * 3)
    assert load(folder).residency == "device"
    monkeypatch.setattr("warmup_jax.data.dataset.RESIDENT_BYTES", 23 * 6 * 5 * 3 - 1)
    assert load(folder).residency == "stream"
    assert load(folder, residency="device").residency == "device"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "../toy"}, "name='../toy'"),
        ({"name": "/toy"}, "name='/toy'; allowed: NAME"),
        ({"residency": "disk"}, "residency='disk'; allowed: 'auto', 'device', 'stream'"),
        ({"augment": "cutout"}, "augment='cutout'; allowed: 'none', 'flip', 'crop_flip'"),
        ({"workers": -1}, "workers=-1"),
        ({"image_size": 0}, "image_size=0"),
        ({"image_size": 8, "residency": "device"}, "residency='device'; allowed .*image_size=8"),
    ],
)
def test_bad_image_arguments(write_toy, options, message):
    folder, _ = write_toy()
    with pytest.raises(ValueError, match=message):
        load(folder, **options)


def test_sets_without_image_or_label(write_set, encode):
    import tensorflow_datasets as tfds

    text = tfds.features.FeaturesDict({"text": tfds.features.Text()})
    one = [{"text": "a"}]
    folder = write_set(text, {"train": one, "test": one}, name="texts")
    with pytest.raises(ValueError, match="image feature.*text"):
        load(folder, name="texts")
    image = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(2, 2, 3))})
    one = [{"image": encode(np.zeros((2, 2, 3), np.uint8))}]
    folder = write_set(image, {"train": one, "test": one}, name="unlabelled")
    with pytest.raises(ValueError, match="label feature"):
        load(folder, name="unlabelled")


def test_missing_test_split(write_toy):
    folder, _ = write_toy(last="extra")
    with pytest.raises(ValueError, match="test or validation.*extra"):
        load(folder)


def test_other_file_format(write_toy):
    folder, _ = write_toy()
    path = folder / "toy" / "1.0.0" / "dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match="tfrecord.*array_record"):
        load(folder)


@pytest.mark.slow
def test_cifar10_content_in_both_residencies(real_cifar10):
    dataset = data.load(name="cifar10", data_dir=real_cifar10)
    assert (dataset.train.size, dataset.test.size) == (50_000, 10_000)
    assert (dataset.input_shape, dataset.num_classes) == ((32, 32, 3), 10)
    assert dataset.residency == "device"
    for split, count in ((dataset.train, 5000), (dataset.test, 1000)):
        assert split.arrays["image"].shape == (split.size, 32, 32, 3)
        assert np.bincount(split.arrays["label"]).tolist() == [count] * 10
    # TFDS's record order, in which train_16399 comes first.
    assert dataset.train.arrays["label"][0] == 7
    pixels = dataset.train.arrays["image"][:10_000] / np.float32(255)
    info = data.DATASETS["cifar10"]
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), info.mean, atol=3e-3)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), info.std, atol=3e-3)
    stream = data.load(name="cifar10", data_dir=real_cifar10, residency="stream")
    # 50,000 / 128: the first epoch ends in step 390.
    for start in (390, *np.random.default_rng(0).integers(0, 10_000, 3).tolist()):
        options = dict(seed=4, batch_size=128, start=start, stop=start + 2)
        indices = data.train_batches(dataset, **options)
        for ours, theirs in zip(indices, data.train_batches(stream, **options), strict=True):
            ours = data.take(dataset.train.arrays, ours)
            for key in ("image", "label"):
                np.testing.assert_array_equal(ours[key], theirs[key])


def test_cifar10_records_are_those_of_tfds(real_cifar10):
    import tensorflow_datasets as tfds

    source = tfds.data_source("cifar10", data_dir=real_cifar10, split="train")
    dataset = data.load(name="cifar10", data_dir=real_cifar10, residency="stream")
    assert source[0]["id"] == b"train_16399"
    for index in (0, 1, 49_999):
        got = dataset.train.read(np.array([index]))
        np.testing.assert_array_equal(got["image"][0], source[index]["image"])
        assert got["label"][0] == source[index]["label"]
