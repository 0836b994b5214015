"""Small data sets that the tests write, and the real ones that they read if present."""

import io
import os

import numpy as np
import pytest


@pytest.fixture
def array_cache(tmp_path, monkeypatch):
    """Gives the test an array cache of its own; returns its folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "warmup_jax" / "arrays"


def prepared_folder(name):
    """Returns the folder that holds a real set: $WARMUP_JAX_TEST_DATA, else TFDS's own; skips the test without it."""
    from warmup_jax.data.tfds import paths

    folder = paths.root(os.environ.get("WARMUP_JAX_TEST_DATA"))
    version = paths.find_version(name, folder)
    if version is None or not any("array_record" in path.name for path in version.iterdir()):
        pytest.skip(f"no {name} as array_record in {folder}: set WARMUP_JAX_TEST_DATA to a folder of prepared sets")
    return folder


@pytest.fixture
def real_cifar10():
    return prepared_folder("cifar10")


@pytest.fixture
def real_multi30k():
    return prepared_folder("multi30k_translate/de-en")


@pytest.fixture
def real_tiny_shakespeare():
    return prepared_folder("tiny_shakespeare")


@pytest.fixture
def write_pairs(write_set):
    """Writes a translation set from training and test pairs [(German, English)]; returns the folder."""
    import tensorflow_datasets as tfds

    def write(train, test, features=None, last="test", **options):
        features = features or tfds.features.Translation(languages=("de", "en"))
        splits = {
            split: [{"de": german, "en": english} for german, english in pairs]
            for split, pairs in (("train", train), (last, test))
        }
        return write_set(features, splits, name="pairs", **options)

    return write


@pytest.fixture
def write_documents(write_set):
    """Writes a text set from lists of training and test documents; returns the folder."""
    import tensorflow_datasets as tfds

    def write(train, test):
        splits = {split: [{"text": text} for text in texts] for split, texts in (("train", train), ("test", test))}
        return write_set(tfds.features.FeaturesDict({"text": tfds.features.Text()}), splits, name="documents")

    return write


@pytest.fixture
def write_set(tmp_path):
    """Writes a small TFDS set; returns the folder."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def write(features, splits, name="toy", config=None, version="1.0.0", **info):
        class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version(version)
            BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

            def _info(self):
                return tfds.core.DatasetInfo(builder=self, features=features, **info)

            def _split_generators(self, dl_manager):
                return {split: enumerate(examples) for split, examples in splits.items()}

            def _generate_examples(self):
                raise NotImplementedError

        Toy.name = name
        Toy(data_dir=tmp_path, file_format="array_record").download_and_prepare()
        return tmp_path

    return write


@pytest.fixture
def encode():
    """Encodes pixels [H, W, C] as PNG bytes."""
    from PIL import Image

    def png(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
        return file.getvalue()

    return png


@pytest.fixture
def assert_same_set():
    """Compares a split with images and labels, in any order."""

    def rows(image, label):
        order = np.lexsort(np.reshape(image, (len(image), -1)).T)
        return image[order], np.asarray(label)[order]

    def check(split, image, label):
        got = split.read(np.arange(split.size))
        assert got["image"].dtype == np.uint8 and got["label"].dtype == np.int32
        for ours, expected in zip(rows(got["image"], got["label"]), rows(image, label)):
            np.testing.assert_array_equal(ours, expected)

    return check


@pytest.fixture
def write_toy(write_set, encode):
    """Writes a set with unusual feature names; returns the folder, and pixels and labels by split."""
    import tensorflow_datasets as tfds

    def write(shape=(6, 5, 3), sizes=(23, 9), last="test", **options):
        generator = np.random.default_rng(0)
        features = tfds.features.FeaturesDict(
            {
                "note": tfds.features.Text(),
                "picture": tfds.features.Image(shape=shape),
                "kind": tfds.features.ClassLabel(num_classes=4),
            }
        )
        splits, arrays = {}, {}
        for split, size in zip(("train", last), sizes):
            image = generator.integers(0, 256, (size, *shape), dtype=np.uint8)
            label = generator.integers(0, 4, size)
            arrays[split] = image, label
            splits[split] = [{"note": "x", "picture": encode(one), "kind": kind} for one, kind in zip(image, label)]
        return write_set(features, splits, **options), arrays

    return write
