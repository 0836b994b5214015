"""Small data sets that the tests write, and where the real one may be."""

import io
import pathlib

import numpy as np
import pytest

# Where the full sets lie beside a checkout that has them.
REAL = pathlib.Path(__file__).parents[1] / "../shared/data/tfds"


@pytest.fixture
def array_cache(tmp_path, monkeypatch):
    """An array cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "warmup_jax" / "arrays"


def _real(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"no prepared {name} in {REAL}")
    return REAL


@pytest.fixture
def real_cifar10():
    return _real("cifar10")


@pytest.fixture
def real_multi30k():
    return _real("multi30k_translate/de-en")


@pytest.fixture
def real_tiny_shakespeare():
    return _real("tiny_shakespeare")


@pytest.fixture
def write_pairs(write_set):
    """Writes a translation set from [(German, English)] to train and to test on; returns the folder."""
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
    """Writes a text set from lists of documents to train and to test on; returns the folder."""
    import tensorflow_datasets as tfds

    def write(train, test):
        splits = {split: [{"text": text} for text in texts] for split, texts in (("train", train), ("test", test))}
        return write_set(tfds.features.FeaturesDict({"text": tfds.features.Text()}), splits, name="documents")

    return write


@pytest.fixture
def write_set(tmp_path):
    """A function that writes a small TFDS set to a folder and returns the folder."""
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
    """Pixels [H, W, C] -> PNG bytes."""
    from PIL import Image

    def png(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
        return file.getvalue()

    return png


@pytest.fixture
def assert_same_set():
    """Compares a split with images and labels, whatever the order on disk."""

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
    """Writes a set with unusual feature names; returns the folder and its pixels, labels."""
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
