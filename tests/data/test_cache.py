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


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "bit":
        content[-7] ^= 1
    path.write_bytes({"bit": content, "cut": content[:-50], "empty": b""}[how])


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("how", ["bit", "cut", "empty", "gone", "pickle", "other"])
@pytest.mark.parametrize("file", ["train_image.npy", "test_label.npy", "checksums.json"])
def test_damaged_cache_is_rebuilt(write_toy, array_cache, tmp_path, monkeypatch, assert_same_set, how, file):
    monkeypatch.chdir(tmp_path)
    folder, arrays = write_toy()
    load(folder)
    [entry] = [path for path in array_cache.iterdir() if "moments" not in path.name]
    path = entry / file
    if how == "gone":
        path.unlink()
    elif how == "pickle":
        path.write_bytes(pickle.dumps(Hostile()))
    elif how == "other":
        path.write_bytes(b"{}")
    else:
        damage(path, how)
    assert_same_set(load(folder).train, *arrays["train"])
    assert path.is_file() and cache._load(entry) is not None
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
    # A file where the folder should be: fails for every user, the superuser included.
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot keep decoded data"):
        dataset = load(folder)
    assert_same_set(dataset.train, *arrays["train"])


def test_interrupted_writer_leaves_no_entry(array_cache, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.warns(UserWarning, match="No space left"):
        cache.arrays("entry", lambda: {"a": np.arange(3)})
    assert list(array_cache.iterdir()) == []
