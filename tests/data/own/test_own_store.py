import fcntl
import os

import pytest

from warmup_jax.data.own import store
from warmup_jax.data.tfds import paths, records


def text_set(texts, **options):
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
    splits = {"train": lambda: ({"text": text} for text in texts)}
    return store.OwnSet("text", features, splits, "digest", [], {}, **options)


@pytest.mark.parametrize("shard_bytes, files", [(2**28, 1), (300, 4), (1, 20)])
def test_examples_keep_their_order_over_all_files(tmp_path, monkeypatch, shard_bytes, files):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(store, "SHARD_BYTES", shard_bytes)
    texts = [b"%050d" % number for number in range(20)]
    folder = tmp_path / "mine" / "1.0.0"
    store.write(text_set(texts), "mine", folder)
    assert len(list(folder.glob("mine-train.array_record-*"))) == files
    assert records.read_columns(str(folder), "train", range(20), ("text",)) == [texts]
    info = tfds.builder_from_directory(folder).info
    assert (info.name, str(info.version), info.splits["train"].num_examples) == ("mine", "1.0.0", 20)
    assert [example["text"] for example in tfds.data_source("mine", data_dir=tmp_path, split="train")] == texts
    assert store.recorded(folder) == {"task": "text", "digest": "digest"}


def test_an_error_leaves_nothing(tmp_path):
    def texts():
        yield b"x"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(text_set(texts()), "mine", tmp_path / "mine" / "1.0.0")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_gone_is_named(tmp_path):
    def texts():
        yield (tmp_path / "gone.txt").read_bytes()

    with pytest.raises(FileNotFoundError, match="gone.txt"):
        store.write(text_set(texts()), "mine", tmp_path / "mine" / "1.0.0")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_removed_and_a_living_one_stays(tmp_path):
    parent = tmp_path / "mine"
    for name in ("dead", "living"):
        (parent / f"{store.WRITING}{name}").mkdir(parents=True)
        (parent / f"{store.WRITING}{name}" / "train-0").write_text("x")
    living = os.open(parent / f"{store.WRITING}living", os.O_RDONLY)
    fcntl.flock(living, fcntl.LOCK_EX)
    store.write(text_set([b"x"]), "mine", parent / "1.0.0")
    os.close(living)
    assert sorted(path.name for path in parent.iterdir()) == [f"{store.WRITING}living", "1.0.0"]
    assert list(paths.prepared_sets(tmp_path)) == ["mine"]


def test_a_version_that_is_there_is_not_written_over(tmp_path):
    folder = tmp_path / "mine" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "precious").write_text("x")
    with pytest.raises(OSError, match="cannot write .*1.0.0: Directory not empty"):
        store.write(text_set([b"x"]), "mine", folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "1.0.0", "precious"]


def test_a_file_that_changes_while_it_is_read(tmp_path):
    path = tmp_path / "my.txt"
    path.write_text("one")
    own = text_set([b"x"], stamps={path: store.stamp(path)})
    path.write_text("two!")
    with pytest.raises(ValueError, match="my.txt was changed while it was read"):
        store.write(own, "mine", tmp_path / "mine" / "1.0.0")
    assert list(tmp_path.iterdir()) == [path]
