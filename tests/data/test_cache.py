import os
import pickle

import numpy as np
import pytest

from warmup_jax import data
from warmup_jax.data import cache
from warmup_jax.data.images import decode


def load(folder, **options):
    return data.load(**{"name": "toy", "data_dir": folder, **options})


def test_cache_is_written_once_and_used(write_toy, array_cache, monkeypatch, assert_same_set):
    folder, arrays = write_toy()
    load(folder)
    entries = sorted(path.name for path in array_cache.iterdir())
    assert len(entries) == 2 and entries[0].startswith("toy-1.0.0-")
    monkeypatch.setattr(decode, "_decode", None)
    dataset = load(folder)
    assert_same_set(dataset.train, *arrays["train"])
    assert isinstance(dataset.train.arrays["image"], np.memmap)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


DAMAGES = {
    "bit": lambda content: content[:-7] + bytes([content[-7] ^ 1]) + content[-6:],
    "cut": lambda content: content[:-50],
    "empty": lambda content: b"",
    "gone": None,
    "pickle": lambda content: pickle.dumps(Hostile()),
    "other": lambda content: b"{}",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["image.npy", "checksums.json"])
def test_damaged_entry_is_made_again(array_cache, tmp_path, monkeypatch, file, damage):
    monkeypatch.chdir(tmp_path)
    expected = {"image": np.arange(300, dtype=np.uint8), "label": np.arange(300)}
    calls = []

    def make():
        calls.append(1)
        return expected

    def load_and_compare():
        for key, array in cache.load_or_make("entry", make).items():
            np.testing.assert_array_equal(array, expected[key])

    load_and_compare()
    load_and_compare()
    assert len(calls) == 1
    path = array_cache / "entry" / file
    content = path.read_bytes()
    path.unlink()
    if DAMAGES[damage] is not None:
        path.write_bytes(DAMAGES[damage](content))
    load_and_compare()
    load_and_compare()
    assert len(calls) == 2 and path.read_bytes() == content
    assert not (tmp_path / "pwned").exists()


def test_changed_records_are_decoded_again(write_toy, array_cache):
    folder, _ = write_toy()
    load(folder)
    [record] = (folder / "toy" / "1.0.0").glob("*train.array_record*")
    os.utime(record, ns=(1, 1))
    load(folder)
    assert len(list(array_cache.iterdir())) == 4


def test_unwritable_cache_warns_and_works(write_toy, tmp_path, monkeypatch, assert_same_set):
    folder, arrays = write_toy()
    # A file in place of the folder: writing fails even for the superuser.
    (tmp_path / "warmup_jax").mkdir()
    (tmp_path / "warmup_jax" / "arrays").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.warns(UserWarning, match="cannot keep decoded data"):
        dataset = load(folder)
    assert_same_set(dataset.train, *arrays["train"])


def test_interrupted_writer_leaves_no_entry(array_cache, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.warns(UserWarning, match="No space left"):
        cache.load_or_make("entry", lambda: {"a": np.arange(3)})
    assert list(array_cache.iterdir()) == []


@pytest.mark.parametrize("in_memory", [cache.IN_MEMORY, 10, 0])
def test_growing_array(array_cache, monkeypatch, in_memory):
    monkeypatch.setattr(cache, "IN_MEMORY", in_memory)
    parts = [np.arange(size, dtype=np.uint16).reshape(-1, 2) for size in (4, 0, 6)]
    growing = cache.GrowingArray(np.dtype(np.uint16))
    for part in parts:
        growing.append(part)
    found = growing.array()
    np.testing.assert_array_equal(found, np.concatenate(parts).ravel())
    assert found.dtype == np.uint16 and type(found) is np.ndarray
    assert not list(array_cache.iterdir())
    assert cache.GrowingArray(np.dtype(np.uint16)).array().shape == (0,)


def test_a_growing_array_needs_no_cache(tmp_path, monkeypatch):
    (tmp_path / "warmup_jax").mkdir()
    (tmp_path / "warmup_jax" / "arrays").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "IN_MEMORY", 0)
    growing = cache.GrowingArray(np.dtype(np.uint8))
    growing.append(np.arange(3))
    assert growing.array().tolist() == [0, 1, 2]
