import numpy as np
import pytest

from warmup_jax import data
from warmup_jax.data import embedded


def test_digits_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    expected = np.sort(np.c_[np.round(images * 255 / 16), labels].astype(int), axis=0)
    parts = embedded.digits()
    assert [len(part["label"]) for part in parts] == [1437, 360]
    got = np.concatenate([np.c_[p["image"].reshape(-1, 64), p["label"]] for p in parts])
    np.testing.assert_array_equal(np.sort(got.astype(int), axis=0), expected)
    assert parts[0]["image"].dtype == np.uint8 and parts[0]["label"].dtype == np.int32


def test_digits_split_is_fixed_and_stratified():
    (train, test), (again, _) = embedded.digits(), embedded.digits()
    np.testing.assert_array_equal(train["image"], again["image"])
    share = np.bincount(test["label"]) / np.bincount(np.r_[train["label"], test["label"]])
    assert np.all(abs(share - 360 / 1797) < 0.01)


def test_digits_constants_are_those_of_the_training_pixels():
    image = data.load(name="digits").train.arrays["image"] / 255
    known = data.DATASETS["digits"]
    np.testing.assert_allclose((image.mean(), image.std()), known.mean + known.std, atol=1e-4)


def test_digits_residency():
    auto, device, stream = (
        data.load(name="digits", residency=residency) for residency in ("auto", "device", "stream")
    )
    assert (auto.residency, device.residency, stream.residency) == ("device", "device", "stream")
    assert stream.train.arrays is None and stream.test.arrays is None
    assert auto.input_shape == (8, 8, 1) and auto.num_classes == 10
    index = np.array([5, 0, 5])
    for key, value in stream.train.read(index).items():
        np.testing.assert_array_equal(value, auto.train.arrays[key][index])


def test_digits_has_one_size():
    with pytest.raises(ValueError, match="image_size .*16"):
        data.load(name="digits", image_size=16)
