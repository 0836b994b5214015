import hashlib
import importlib.metadata

import numpy as np
import pytest

from warmup_jax import data
from warmup_jax.data import builtin


def test_digits_match_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    expected = np.sort(np.c_[np.round(images * 255 / 16), labels].astype(int), axis=0)
    parts = builtin.digits()
    assert [len(parts[f"{part}_label"]) for part in ("train", "test")] == [1437, 360]
    got = np.concatenate(
        [np.c_[parts[f"{part}_image"].reshape(-1, 64), parts[f"{part}_label"]] for part in ("train", "test")]
    )
    np.testing.assert_array_equal(np.sort(got.astype(int), axis=0), expected)
    assert parts["train_image"].dtype == np.uint8 and parts["train_label"].dtype == np.int32


def test_digits_split_is_fixed_and_stratified():
    parts, again = builtin.digits(), builtin.digits()
    np.testing.assert_array_equal(parts["train_image"], again["train_image"])
    share = np.bincount(parts["test_label"]) / np.bincount(np.r_[parts["test_label"], parts["train_label"]])
    assert np.all(abs(share - 360 / 1797) < 0.01)


def test_digits_are_cached(array_cache, monkeypatch):
    first = data.load(name="digits").train.arrays
    monkeypatch.setattr(builtin, "digits", None)
    for residency in ("device", "stream"):
        found = data.load(name="digits", residency=residency).train.read(np.arange(1437))
        assert sorted(found) == ["image", "label"]
        for key, array in found.items():
            np.testing.assert_array_equal(array, first[key])


def test_digits_constants_are_those_of_the_training_pixels():
    image = data.load(name="digits").train.arrays["image"] / 255
    info = data.DATASETS["digits"]
    np.testing.assert_allclose((image.mean(), image.std()), info.mean + info.std, atol=1e-4)


def test_digits_residency():
    auto, device, stream = (data.load(name="digits", residency=residency) for residency in ("auto", "device", "stream"))
    assert (auto.residency, device.residency, stream.residency) == ("device", "device", "stream")
    assert stream.train.arrays is None and stream.test.arrays is None
    assert auto.input_shape == (8, 8, 1) and auto.num_classes == 10
    index = np.array([5, 0, 5])
    for key, value in stream.train.read(index).items():
        np.testing.assert_array_equal(value, auto.train.arrays[key][index])


def test_digits_cannot_be_resized():
    with pytest.raises(ValueError, match="image_size=16; allowed for 'digits': None"):
        data.load(name="digits", image_size=16)


def test_training_and_test_numbers_are_disjoint_and_of_every_length():
    train, test = builtin.numbers()
    assert (len(train), len(test)) == (20_000, 500) == (len(set(train)), len(set(test)))
    assert not set(train) & set(test) and min(train) == 0 and max(train) < 10**6
    for part, least in ((train, 10), (test, 0)):
        digits = np.bincount([len(str(n)) for n in part], minlength=7)[1:]
        assert digits[0] == least and (digits[1:] >= 10).all() and (digits[2:] >= 100).all()
        # The first ones are not all of one length.
        assert len({len(str(n)) for n in part[:20]}) > 2
    # Golden: runs of different machines are compared on these numbers.
    assert hashlib.sha256(np.concatenate([train, test]).astype("<i8").tobytes()).hexdigest()[:16] == "d520ea03f060d0ac"


def test_number_words_are_those_of_num2words():
    num2words = pytest.importorskip("num2words").num2words
    corpus = builtin.number_words()
    for split, values in zip((corpus.train, corpus.test), builtin.numbers()):
        assert split.size == len(values)
        for i in (0, 1, len(values) - 1):
            assert split.read(i, i + 1) == [tuple(num2words(int(values[i]), lang=lang) for lang in ("en", "de"))]
    words = repr(corpus.test.read(0, 500) + corpus.train.read(0, 500))
    assert hashlib.sha256(words.encode()).hexdigest()[:16] == "9b0642487d360bde"
    assert builtin.number_words().train.read(0, 20_000) == corpus.train.read(0, 20_000)


def test_number_words_as_a_set():
    dataset = data.load(
        task="translation", name="number_words", tokenizer="bpe", vocab_size=256, source_length=64, target_length=32
    )
    assert (dataset.facts["train_pairs"], dataset.facts["test_pairs"]) == (20_000, 500)
    assert dataset.facts["padding_share"] < 0.1 and dataset.facts["unknown_tokens"] == 0
    assert dataset.facts["dropped_long"] == dataset.facts["cut_sources"] == 0
    assert dataset.texts.bleu_tokenize == "char"
    back = data.load(task="translation", name="number_words", source="de", target="en")
    assert back.texts.source_texts == dataset.texts.references


@pytest.mark.parametrize(
    "task, name, package", [("images", "digits", "scikit-learn"), ("translation", "number_words", "num2words")]
)
def test_without_the_package_of_a_set(task, name, package, monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(ValueError, match=f"{name}.*needs the package {package}"):
        data.load(task=task, name=name)


def test_pydoc_is_the_documentation_of_this_python():
    from pydoc_data.topics import topics

    corpus = builtin.pydoc()
    texts = [text for split in (corpus.train, corpus.test) for (text,) in split.read(0, split.size)]
    assert texts == [topics[name] for name in sorted(topics)] and corpus.test.size == len(texts) // 10
    dataset = data.load(task="text", name="pydoc", length=64)
    assert dataset.facts["train_rows"] > 5000 and dataset.num_classes > 90
    window = dataset.texts.decode(dataset.train.arrays["tokens"][0])
    assert texts[0].startswith(window)
