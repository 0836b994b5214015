import json
import pathlib
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

from warmup_jax import data
from warmup_jax.data import dataset


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


def test_residencies_agree(write_toy, array_cache):
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
    monkeypatch.setattr(dataset, "RESIDENT_BYTES", 23 * 6 * 5 * 3)
    assert load(folder).residency == "device"
    monkeypatch.setattr(dataset, "RESIDENT_BYTES", 23 * 6 * 5 * 3 - 1)
    assert load(folder).residency == "stream"
    assert load(folder, residency="device").residency == "device"


def test_newest_version_or_the_one_named(write_toy, array_cache):
    for version, size in (("2.0.0", 10), ("10.0.0", 11), ("9.0.0", 12)):
        folder, _ = write_toy(version=version, sizes=(size, 3))
    (folder / "toy" / "11.0.0").mkdir()
    (folder / "toy" / "12.0.0.incompleteABC").mkdir()
    assert load(folder).train.size == 11
    assert load(folder, name="toy:2.0.0").train.size == 10
    with pytest.raises(FileNotFoundError, match="toy:3.0.0"):
        load(folder, name="toy:3.0.0")


def test_config_and_default_folder(write_toy, array_cache, monkeypatch, assert_same_set):
    folder, arrays = write_toy(config="small")
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    assert_same_set(data.load(name="toy/small").train, *arrays["train"])


def test_known_set_that_is_absent(write_toy):
    folder, _ = write_toy()
    started = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        load(folder, name="cifar100")
    assert time.monotonic() - started < 1
    for part in ("cifar100", str(folder), "toy:1.0.0", "warmup_jax.data prepare cifar100"):
        assert part in str(error.value)


def test_unknown_name_suggests(write_toy):
    folder, _ = write_toy()
    with pytest.raises(FileNotFoundError, match="'cifar10'.*known sets: digits"):
        load(folder, name="cifar1O")
    with pytest.raises(FileNotFoundError, match="did you mean 'toy'"):
        load(folder, name="toys")
    with pytest.raises(FileNotFoundError, match="no prepared set"):
        load(folder / "nowhere")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "../toy"}, "'../toy'"),
        ({"name": "/toy"}, "NAME"),
        ({"residency": "disk"}, "auto, device, stream.*'disk'"),
        ({"augment": "cutout"}, "none, flip, crop_flip.*'cutout'"),
        ({"workers": -1}, "workers.*-1"),
        ({"image_size": 0}, "image_size.*0"),
        ({"image_size": 8, "residency": "device"}, "image_size=8.*'device'"),
    ],
)
def test_bad_arguments(write_toy, options, message):
    folder, _ = write_toy()
    with pytest.raises(ValueError, match=message):
        load(folder, **options)


def test_sets_that_are_not_image_classification(write_set, encode):
    import tensorflow_datasets as lib

    text = lib.features.FeaturesDict({"text": lib.features.Text()})
    one = [{"text": "a"}]
    folder = write_set(text, {"train": one, "test": one}, name="texts")
    with pytest.raises(ValueError, match="image feature.*text"):
        load(folder, name="texts")
    image = lib.features.FeaturesDict({"image": lib.features.Image(shape=(2, 2, 3))})
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


def test_import_is_light():
    program = (
        "import sys, warmup_jax.data; "
        "print([m for m in ('tensorflow_datasets', 'grain', 'sklearn', 'PIL', 'sentencepiece', 'num2words') "
        "if m in sys.modules])"
    )
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_cifar10_content_in_both_residencies(real_cifar10):
    dataset = data.load(name="cifar10", data_dir=real_cifar10)
    assert (dataset.train.size, dataset.test.size) == (50_000, 10_000)
    assert (dataset.input_shape, dataset.num_classes) == ((32, 32, 3), 10)
    assert dataset.residency == "device"
    for split, count in ((dataset.train, 5000), (dataset.test, 1000)):
        assert split.arrays["image"].shape == (split.size, 32, 32, 3)
        assert np.bincount(split.arrays["label"]).tolist() == [count] * 10
    # Record order is TFDS's own: train_16399 comes first.
    assert dataset.train.arrays["label"][0] == 7
    pixels = dataset.train.arrays["image"][:10_000] / np.float32(255)
    known = data.DATASETS["cifar10"]
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), known.mean, atol=3e-3)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), known.std, atol=3e-3)
    # Decoding all of it takes ten seconds: once for both checks.
    stream = data.load(name="cifar10", data_dir=real_cifar10, residency="stream")
    # 50,000 / 128: the first epoch ends in step 390.
    for start in (390, *np.random.default_rng(0).integers(0, 10_000, 3).tolist()):
        options = dict(seed=4, batch_size=128, start=start, stop=start + 2)
        indices = data.train_batches(dataset, **options)
        for ours, theirs in zip(indices, data.train_batches(stream, **options), strict=True):
            ours = data.take(dataset.train.arrays, ours)
            for key in ("image", "label"):
                np.testing.assert_array_equal(ours[key], theirs[key])


def test_cifar10_first_record_is_tfds_own(real_cifar10):
    import tensorflow_datasets as lib

    source = lib.data_source("cifar10", data_dir=real_cifar10, split="train")
    dataset = data.load(name="cifar10", data_dir=real_cifar10, residency="stream")
    assert source[0]["id"] == b"train_16399"
    for index in (0, 1, 49_999):
        got = dataset.train.read(np.array([index]))
        np.testing.assert_array_equal(got["image"][0], source[index]["image"])
        assert got["label"][0] == source[index]["label"]
