"""Data sets that come with an installed package."""

import functools
import importlib.metadata
from collections.abc import Callable, Sequence

import numpy as np

from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.dataset import Arrays
from warmup_jax.data.text.corpus import Corpus, content_hash, lazy_split


def package_version(name: str) -> str:
    """Returns the installed version of the package that ships a data set.

    Args:
      name: key of DATASETS.

    Returns:
      The version.

    Raises:
      ValueError: the package is not installed.
    """
    package = DATASETS[name].package
    assert package is not None, name
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(f"data set {name!r} needs the package {package}: install requirements.txt") from None


def digits() -> Arrays:
    """Returns the UCI handwritten digits of scikit-learn, 1,437 for training and 360 for the test.

    The split is fixed and stratified by class.

    Returns:
      {"train_image", "test_image": uint8 [N, 8, 8, 1] in 0..255; "train_label", "test_label": int32 [N]}.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    # Spreads the levels 0..16 over 0..255, so that one rule scales the pixels of all sets.
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = labels.astype(np.int32)
    train, test = train_test_split(np.arange(len(labels)), test_size=360, stratify=labels, random_state=0)
    return {
        f"{part}_{key}": array[chosen]
        for part, chosen in (("train", train), ("test", test))
        for key, array in (("image", images), ("label", labels))
    }


# Training and test counts among the numbers with 1, 2, ... digits.
NUMBER_COUNTS = ((10, 0), (80, 10), (800, 100), (6370, 130), (6370, 130), (6370, 130))


def number_words() -> Corpus:
    """Returns numbers from 0 to 999,999 spelled out in English and German by num2words.

    There are 20,000 training pairs and 500 test pairs. No test number occurs in training: the numbers of d digits have
    a fixed random order, whose first ones are for the test and the next ones for training.

    Returns:
      A Corpus with the columns ("en", "de").

    Raises:
      ValueError: num2words is not installed.
    """
    train, test = (lazy_split(len(part), functools.partial(_spelled, tuple(part.tolist()))) for part in numbers())
    fingerprint = content_hash("number_words", NUMBER_COUNTS, package_version("number_words"))
    return Corpus(train, test, fingerprint, bleu_tokenize="char")


def numbers() -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of `number_words` in random order: training [20000] and test [500]."""
    train, test = [], []
    for length, (train_count, test_count) in enumerate(NUMBER_COUNTS, 1):
        first = 0 if length == 1 else 10 ** (length - 1)
        found = np.arange(first, 10**length, dtype=np.uint64)
        found = found[np.argsort(_splitmix64(found), kind="stable")]
        test.append(found[:test_count])
        train.append(found[test_count : test_count + train_count])
    # Mixed a second time: only the long numbers with the smallest first mixing were chosen, so an order by the first
    # mixing would begin with them.
    train_N, test_N = (
        part[np.argsort(_splitmix64(_splitmix64(part)), kind="stable")].astype(np.int64)
        for part in map(np.concatenate, (train, test))
    )
    return train_N, test_N


def _splitmix64(values: np.ndarray) -> np.ndarray:
    """Mixes the bits of uint64 values (Steele, Lea, Flood 2014), identically on every machine."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@functools.lru_cache(maxsize=2)
def _spelled(values: tuple[int, ...]) -> list[tuple[str, str]]:
    # num2words takes seconds for all numbers; spelling the thousands and the rest once each and joining them is fast.
    english, german = (_thousands_and_rest(language) for language in ("en", "de"))
    pairs = []
    for a, b in (divmod(n, 1000) for n in values):
        separator = ", " if b >= 100 else " and "
        pairs.append((separator.join(english(a, b)), "".join(german(a, b))))
    return pairs


def _thousands_and_rest(language: str) -> Callable[[int, int], Sequence[str]]:
    """Returns (a, b) -> the words of 1000 a and of b, without those that are 0; for (0, 0) the word for 0."""
    from num2words import num2words

    words = functools.cache(functools.partial(num2words, lang=language))
    return lambda a, b: [words(n) for n in (1000 * a, b) if n] or [words(0)]


def pydoc() -> Corpus:
    """Returns the texts of Python's help() topics: about 80 documents, 460,000 characters.

    The documents of pydoc_data.topics are sorted by name, and the last tenth is for the test. They differ between
    versions of Python: compare results within one version only.

    Returns:
      A Corpus with one column.
    """
    from pydoc_data.topics import topics

    texts = [(topics[name],) for name in sorted(topics)]
    first = len(texts) - len(texts) // 10
    return Corpus(
        lazy_split(first, lambda: texts[:first]),
        lazy_split(len(texts) - first, lambda: texts[first:]),
        content_hash("pydoc", texts),
        bleu_tokenize="13a",
    )
