"""Texts before tokenization: splits read in chunks, so that a large one need not fit in memory."""

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from warmup_jax.data.dataset import DataError
from warmup_jax.data.text.languages import bleu_tokenizer
from warmup_jax.data.tfds import reader, records

# Examples read at once, fewer where they have many bytes.
CHUNK, CHUNK_BYTES = 10_000, 2**24

Example = tuple[str, ...]


class TextSplit(NamedTuple):
    """One split of texts.

    Attributes:
      size: number of examples.
      read: (start, stop) -> list of the examples start to stop - 1, each a tuple with one str per column.
      chunk: number of examples to read at once, so that they fit in memory.
    """

    size: int
    read: Callable[[int, int], list[Example]]
    chunk: int = CHUNK


class Corpus(NamedTuple):
    """Training and test texts of a set.

    Attributes:
      train: training split.
      test: test split.
      fingerprint: hash that stands for the content in cache entries.
      bleu_tokenize: name of the sacrebleu tokenizer that fits the translations.
    """

    train: TextSplit
    test: TextSplit
    fingerprint: str
    bleu_tokenize: str


def iterate_chunks(split: TextSplit) -> Iterator[list[Example]]:
    """Yields all examples in order, in lists of `split.chunk`."""
    for start in range(0, split.size, split.chunk):
        yield split.read(start, min(start + split.chunk, split.size))


def iterate_examples(split: TextSplit, step: int = 1) -> Iterator[Example]:
    """Returns an iterator over every `step`-th example, in order."""
    return itertools.islice(itertools.chain.from_iterable(iterate_chunks(split)), 0, None, step)


def lazy_split(size: int, examples: Callable[[], Sequence[Example]]) -> TextSplit:
    """Returns the split of a function () -> all examples, which is called at every read."""
    return TextSplit(size, lambda start, stop: list(examples()[start:stop]))


def content_hash(*parts: object) -> str:
    """Returns a short hash of values whose repr holds all their content."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def language_columns(name: str, languages: Sequence[str], source: str | None, target: str | None) -> tuple[int, int]:
    """Returns the columns of the languages to translate from and to.

    Args:
      name: name of the set, for error messages.
      languages: names of the set's columns.
      source: language to translate from: a column's name, or its last part ("de" for "translation/de"); None: the one
        that is not the target.
      target: language to translate to, likewise. If both are None and the set has two languages, these are taken in
        order.

    Returns:
      Positions in `languages`, of the source and of the target.

    Raises:
      ValueError: a language is missing or ambiguous, or both are the same.
    """
    if source is None and target is None and len(languages) == 2:
        return 0, 1
    chosen = [
        [i for i, language in enumerate(languages) if wanted in (language, language.split("/")[-1])]
        for wanted in (source, target)
    ]
    for i, wanted in enumerate((source, target)):
        if wanted is None:
            chosen[i] = [column for column in range(len(languages)) if column not in chosen[1 - i]]
        if len(chosen[i]) != 1:
            raise ValueError(
                f"{('source', 'target')[i]}={wanted!r}; allowed for data set {name!r}: "
                f"{', '.join(map(repr, languages))}"
            )
    if chosen[0] == chosen[1]:
        raise ValueError(f"source and target must be two languages, both are {source!r}")
    return chosen[0][0], chosen[1][0]


def select_columns(corpus: Corpus, columns: tuple[int, ...]) -> Corpus:
    """Returns the corpus with these columns alone, in this order."""

    def selected(split: TextSplit) -> TextSplit:
        return split._replace(
            read=lambda start, stop: [tuple(example[i] for i in columns) for example in split.read(start, stop)]
        )

    return corpus._replace(
        train=selected(corpus.train),
        test=selected(corpus.test),
        fingerprint=content_hash(corpus.fingerprint, columns),
    )


def open_pairs(
    name: str, data_dir: str | None, source: str | None, target: str | None, test_split: str | None
) -> Corpus:
    """Opens a prepared TFDS set with the columns (source, target); see `language_columns` for None."""
    prepared = reader.open_set(name, data_dir)
    languages = prepared.languages
    if len(languages) < 2:
        raise ValueError(
            f"data set {name!r} needs two text features for translation, has {len(languages)} among: "
            f"{', '.join(prepared.features) or 'no named features'}"
        )
    columns = language_columns(name, languages, source, target)
    return _prepared(prepared, tuple(languages[column] for column in columns), test_split)


def open_documents(name: str, data_dir: str | None, test_split: str | None) -> Corpus:
    """Opens a prepared TFDS set with its text as the only column."""
    import tensorflow_datasets as tfds

    prepared = reader.open_set(name, data_dir)
    text = reader.single_feature(prepared, tfds.features.Text, "text", "language modelling")
    return _prepared(prepared, (text,), test_split)


def _prepared(prepared: reader.PreparedSet, features: tuple[str, ...], test_split: str | None) -> Corpus:
    splits = reader.choose_splits(prepared, test_split)
    train, test = (_split(prepared, splits[part], features) for part in ("train", "test"))
    fingerprint = content_hash(reader.fingerprint(prepared.folder), splits, features)
    return Corpus(train, test, fingerprint, bleu_tokenizer(features[-1].split("/")[-1]))


def _split(prepared: reader.PreparedSet, split: str, features: tuple[str, ...]) -> TextSplit:
    size = prepared.splits[split]
    chunk = CHUNK_BYTES * size // max(1, prepared.bytes[split])
    read = functools.partial(_read, prepared, split, features)
    return TextSplit(size, read, min(max(1, chunk), CHUNK))


def _read(prepared: reader.PreparedSet, split: str, features: tuple[str, ...], start: int, stop: int) -> list[Example]:
    found = records.read_columns(str(prepared.folder), split, range(start, stop), features)
    examples = []
    for number, example in enumerate(zip(*found), start):
        try:
            examples.append(tuple(text.decode() for text in example))
        except UnicodeDecodeError as error:
            raise DataError(
                f"data set {prepared.name!r} has text that is not UTF-8 in example {number} of {split}: {error}"
            ) from error
    return examples
