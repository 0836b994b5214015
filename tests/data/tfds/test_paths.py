import time

import pytest

from warmup_jax import data


def load(folder, **options):
    return data.load(**{"name": "toy", "data_dir": folder, **options})


def test_newest_version_unless_the_name_gives_one(write_toy, array_cache):
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
    with pytest.raises(
        FileNotFoundError, match=r"unknown data set 'cifar1O'; did you mean 'cifar10'\? \(known: cifar10, .*toy"
    ):
        load(folder, name="cifar1O")
    with pytest.raises(FileNotFoundError, match="did you mean 'toy'"):
        load(folder, name="toys")
    with pytest.raises(FileNotFoundError, match="no prepared set"):
        load(folder / "nowhere")
