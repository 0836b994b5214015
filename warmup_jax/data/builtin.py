"""Data sets that come with an installed library."""

import functools
import importlib.metadata

import numpy as np

from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.text import corpus


def version(name):
    """Of the package that the set comes with.

    Raises:
      ValueError: the package is not installed.
    """
    package = DATASETS[name].package
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(f"data set {name!r} needs the package {package}: install requirements.txt") from None


def digits():
    """The UCI handwritten digits of scikit-learn: 1,437 to train on, 360 to test.

    Returns:
      A dict of image uint8 [N, 8, 8, 1] in 0..255 and label int32 [N], named "train_..." and "test_...": a fixed
      split with all classes in proportion.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    # Levels 0..16 are spread over 0..255, so that one rule scales all sets.
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = labels.astype(np.int32)
    train, test = train_test_split(np.arange(len(labels)), test_size=360, stratify=labels, random_state=0)
    return {
        f"{part}_{key}": array[chosen]
        for part, chosen in (("train", train), ("test", test))
        for key, array in (("image", images), ("label", labels))
    }


# Of the numbers with 1, 2, ... digits: how many to train on and how many to test on.
_NUMBERS = ((10, 0), (80, 10), (800, 100), (6370, 130), (6370, 130), (6370, 130))


def number_words():
    """Numbers from 0 to 999,999 in English and German words, as num2words writes them.

    20,000 pairs to train on and 500 to test on. Test numbers do not occur in training:
    each number of d digits has its place in a fixed random order, the first ones are
    tested, the next ones trained on.

    Returns:
      Corpora with the columns ("en", "de").

    Raises:
      ValueError: num2words is not installed.
    """
    train, test = numbers()
    train, test = (
        corpus.in_memory(len(part), functools.partial(_in_words, tuple(part.tolist()))) for part in (train, test)
    )
    fingerprint = corpus.fingerprint("number_words", _NUMBERS, version("number_words"))
    return corpus.Corpora(train, test, fingerprint, bleu_tokenize="char")


def numbers():
    """The numbers of number_words: training [20000] and test [500], in random order."""
    train, test = [], []
    for digits, (trained, tested) in enumerate(_NUMBERS, 1):
        first = 0 if digits == 1 else 10 ** (digits - 1)
        found = np.arange(first, 10**digits, dtype=np.uint64)
        found = found[np.argsort(_mixed(found), kind="stable")]
        test.append(found[:tested])
        train.append(found[tested : tested + trained])
    # Mixed a second time: by the first order, the numbers of most digits would lead.
    return tuple(
        part[np.argsort(_mixed(_mixed(part)), kind="stable")].astype(np.int64)
        for part in map(np.concatenate, (train, test))
    )


def _mixed(values):
    """splitmix64 (Steele, Lea, Flood 2014) of uint64 values: the same on every machine."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@functools.lru_cache(maxsize=2)
def _in_words(values):
    # num2words takes seconds for all: it writes the thousands and the rest, put together here.
    english, german = (_thousands_and_rest(language) for language in ("en", "de"))
    pairs = []
    for a, b in (divmod(n, 1000) for n in values):
        joint = ", " if b >= 100 else " and "
        pairs.append(
            (
                joint.join(english(a, b)),
                "".join(german(a, b)),
            )
        )
    return pairs


def _thousands_and_rest(language):
    """(a, b) -> the words of 1000 a and of b, those that are not 0; of 0 its own."""
    from num2words import num2words

    words = functools.cache(functools.partial(num2words, lang=language))
    return lambda a, b: [words(n) for n in (1000 * a, b) if n] or [words(0)]


def pydoc():
    """The texts of Python's help() topics, pydoc_data.topics: about 80 documents, 460,000 characters.

    In the order of their names; the last tenth of them is for the test. They differ
    between versions of Python: compare results within one only.

    Returns:
      Corpora with one column.
    """
    from pydoc_data.topics import topics

    texts = [(topics[name],) for name in sorted(topics)]
    first = len(texts) - len(texts) // 10
    return corpus.Corpora(
        corpus.in_memory(first, lambda: texts[:first]),
        corpus.in_memory(len(texts) - first, lambda: texts[first:]),
        corpus.fingerprint("pydoc", texts),
        bleu_tokenize="13a",
    )
