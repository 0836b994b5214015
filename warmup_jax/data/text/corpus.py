"""Texts before they become tokens: splits read in chunks, so that a large one need not fit in memory."""

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from warmup_jax.data.tfds import reader, records

# Examples read at once.
_CHUNK = 10_000


class Corpus(NamedTuple):
    """One split of texts.

    size: number of examples.
    read: (start, stop) -> list of the examples from start to stop - 1, each a tuple of
      str, one for each column.
    """

    size: int
    read: Callable[[int, int], list[tuple[str, ...]]]


class Corpora(NamedTuple):
    """The two splits of a set, and what stands for their content in a cache.

    bleu_tokenize: the sacrebleu tokenizer that fits its translations.
    """

    train: Corpus
    test: Corpus
    fingerprint: str
    bleu_tokenize: str


def chunks(corpus: Corpus) -> Iterator[list[tuple[str, ...]]]:
    """All examples in order, as many at once as are read at once."""
    for start in range(0, corpus.size, _CHUNK):
        yield corpus.read(start, min(start + _CHUNK, corpus.size))


def examples(corpus: Corpus, step: int = 1) -> Iterator[tuple[str, ...]]:
    """Every example, or every step-th, in order."""
    return itertools.islice(itertools.chain.from_iterable(chunks(corpus)), 0, None, step)


def in_memory(size, texts) -> Corpus:
    """The corpus of a function () -> list of examples, which is called when they are wanted."""
    return Corpus(size, lambda start, stop: texts()[start:stop])


def fingerprint(*parts) -> str:
    """A short hash of anything with a repr that says it all."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def two_of(name, languages, source, target) -> tuple[int, int]:
    """The places of the languages to translate from and to among those that a set has.

    None stands for the other one; for both, the first and the second of two.

    Raises:
      ValueError: not two different ones of them.
    """
    if source is None and target is None and len(languages) == 2:
        return 0, 1
    chosen = [
        [i for i, language in enumerate(languages) if wanted in (language, language.split("/")[-1])]
        for wanted in (source, target)
    ]
    for i, wanted in enumerate((source, target)):
        if wanted is None:
            chosen[i] = [place for place in range(len(languages)) if place not in chosen[1 - i]]
        if len(chosen[i]) != 1:
            raise ValueError(
                f"{('source', 'target')[i]} must be one of the languages of data set {name!r}, "
                f"{', '.join(languages)}, got {wanted!r}"
            )
    if chosen[0] == chosen[1]:
        raise ValueError(f"source and target must be two languages, both are {source!r}")
    return chosen[0][0], chosen[1][0]


def columns(sets: Corpora, places: tuple[int, ...]) -> Corpora:
    """The same sets with these columns only, in this order."""

    def chosen(corpus):
        return Corpus(
            corpus.size, lambda start, stop: [tuple(example[i] for i in places) for example in corpus.read(start, stop)]
        )

    return sets._replace(
        train=chosen(sets.train), test=chosen(sets.test), fingerprint=fingerprint(sets.fingerprint, places)
    )


def pairs(name, data_dir, source, target, test_split) -> Corpora:
    """A prepared TFDS set with the columns (source, target), None for the other or both."""
    prepared = reader.open_set(name, data_dir)
    languages = prepared.languages
    if len(languages) < 2:
        raise ValueError(
            f"data set {name!r} needs two text features for translation, has {len(languages)} among: "
            f"{', '.join(prepared.features) or 'no named features'}"
        )
    places = two_of(name, languages, source, target)
    return _prepared(prepared, tuple(languages[place] for place in places), test_split)


def documents(name, data_dir, test_split) -> Corpora:
    """A prepared TFDS set with its text as the only column."""
    import tensorflow_datasets as lib

    prepared = reader.open_set(name, data_dir)
    text = reader.only(prepared, lib.features.Text, "text", "language modelling")
    return _prepared(prepared, (text,), test_split)


def _prepared(prepared, features, test_split):
    splits = reader.parts(prepared, test_split)
    train, test = (
        Corpus(prepared.splits[splits[part]], functools.partial(_read, prepared, splits[part], features))
        for part in ("train", "test")
    )
    stands_for = fingerprint(reader.fingerprint(prepared.folder), splits, features)
    return Corpora(train, test, stands_for, bleu_tokenize="13a")


def _read(prepared, split, features, start, stop):
    found = records.columns(str(prepared.folder), split, range(start, stop), features)
    try:
        return [tuple(text.decode() for text in example) for example in zip(*found)]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"data set {prepared.name!r} has text that is not UTF-8 among the examples {start} to "
            f"{stop - 1} of {split}: {error}"
        ) from error
