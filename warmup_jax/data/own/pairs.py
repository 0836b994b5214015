"""Parallel files for translation: one sentence a line, the same line in each language."""

import collections
import functools
import hashlib
import itertools
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from warmup_jax.data.dataset import DataError
from warmup_jax.data.own.store import Example, OwnSet, stamp
from warmup_jax.data.own.texts import not_text

# Part of every digest: increase it when the same files give other examples.
VERSION = 1

# Bytes of a line; a longer one is no sentence.
LONGEST_LINE = 2**20

# Without a test file, one sentence of this many is held out, and at most so many.
HELD_OUT, MOST_HELD_OUT = 20, 1000

# Pairs from whose lengths the proposed training takes its rows.
SAMPLE = 100_000

# The proposed training has rows of at least and at most so many tokens; the most is that of the models' positions.
ROWS = (32, 1024)

# The proposed training takes one subword for so many words of the text, and at most so many.
WORDS_A_PIECE, MOST_PIECES = 100, 8000

BATCH = 16  # in configs/transformer_warmup.py

Pair = tuple[str, ...]


class Counts(NamedTuple):
    """Findings of one reading of a split.

    Attributes:
      pairs: number of lines.
      empty: those with an empty side.
      smallest: the smallest hashes of its sources, sorted, each once.
    """

    pairs: int
    empty: int
    smallest: list[int]


def read(files: Mapping[str, Mapping[str, pathlib.Path]]) -> OwnSet:
    """Reads parallel files through, to check and to count.

    Args:
      files: {split: {language: file}}, each split with the same languages. Without a test or validation split, about
        every twentieth sentence of the first language, by its hash, is for the test with its translation, at most
        1,000; when such a sentence comes again, it is left out.

    Returns:
      The OwnSet.

    Raises:
      DataError: a file is no UTF-8 text, or has a line beyond a megabyte.
      ValueError: the files of a split have different numbers of lines, or no usable pair.
    """
    import tensorflow_datasets as tfds

    languages = list(files["train"])
    stamps = {path: stamp(path) for by_language in files.values() for path in by_language.values()}
    digest = hashlib.sha256(repr((VERSION, languages)).encode())
    counts = {split: _count(split, by_language, digest) for split, by_language in files.items()}
    for split, found in counts.items():
        if found.pairs == found.empty:
            first = next(iter(files[split].values()))
            raise ValueError(f"{first} and its translation have no line that is written in both, of {found.pairs}")
    names = ", ".join(f"{found.pairs:,} {split}" for split, found in counts.items())
    notes = [f"{names} pairs of {' and '.join(languages)}"]
    if len(files) > 1:
        splits = {split: functools.partial(_examples, by_language) for split, by_language in files.items()}
        notes += _seen(files)
    else:
        smallest = counts["train"].smallest
        if len(smallest) < 2:
            raise ValueError(f"{files['train'][languages[0]]} has one sentence alone, and there is no test file")
        below = [number for number in smallest if number < 2**64 // HELD_OUT] or smallest[:1]
        held = frozenset(below[: min(MOST_HELD_OUT, len(smallest) - 1)])
        splits = {
            "train": functools.partial(_examples, files["train"], held),
            "test": functools.partial(_examples, files["train"], held, test=True),
        }
        notes.append(f"no test files: {len(held)} sentences, chosen by their hash, are held out")
    if empty := sum(found.empty for found in counts.values()):
        notes.append(f"{empty} pairs have an empty side: training leaves them out")
    return OwnSet(
        task="translation",
        features=tfds.features.Translation(languages=languages),
        splits=splits,
        digest=digest.hexdigest(),
        notes=notes,
        overrides={"dataset.source": languages[0], "dataset.target": languages[1]} | _sizes(splits["train"]()),
        stamps=stamps,
    )


def _count(split: str, files: Mapping[str, pathlib.Path], digest: "hashlib._Hash") -> Counts:
    """Reads a split through, and updates the digest with all of it."""
    digest.update(repr(split).encode())
    pairs = empty = 0
    hashes: list[int] = []
    for pair in _aligned(files):
        digest.update(repr(pair).encode())
        pairs += 1
        if not all(pair):
            empty += 1
        else:
            hashes.append(_hash(pair[0]))
            if len(hashes) > 100 * MOST_HELD_OUT:
                hashes = sorted(set(hashes))[: MOST_HELD_OUT + 1]
    return Counts(pairs, empty, sorted(set(hashes))[: MOST_HELD_OUT + 1])


def _seen(files: Mapping[str, Mapping[str, pathlib.Path]]) -> list[str]:
    """Returns a warning for each split with pairs that are in the training split too."""
    notes = []
    for split in (split for split in files if split != "train"):
        tested = collections.Counter(map(_hash, map("\n".join, _aligned(files[split]))))
        trained = {pair for pair in map(_hash, map("\n".join, _aligned(files["train"]))) if pair in tested}
        if trained:
            notes.append(f"warning: {sum(tested[pair] for pair in trained)} {split} pairs are also in train")
    return notes


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _examples(
    files: Mapping[str, pathlib.Path], held: frozenset[int] = frozenset(), test: bool = False
) -> Iterator[Example]:
    """Yields the pairs of a split; with `held`, those whose source is held out, each source once, or the others."""
    given: set[int | None] = set()
    for pair in _aligned(files):
        if held:
            source = _hash(pair[0]) if all(pair) else None
            if (source in held) != test or source in given:
                continue
            if test:
                given.add(source)
        yield {language: text.encode() for language, text in zip(files, pair)}


def _aligned(files: Mapping[str, pathlib.Path]) -> Iterator[Pair]:
    """Yields the same line of each file."""
    readers = [_lines(path) for path in files.values()]
    for number, pair in enumerate(itertools.zip_longest(*readers)):
        if None in pair:
            lengths = [number + (line is not None) + sum(1 for _ in rest) for line, rest in zip(pair, readers)]
            counted = ", ".join(f"{path} has {length}" for path, length in zip(files.values(), lengths))
            raise ValueError(f"parallel files must have the same number of lines: {counted}")
        yield pair


def _lines(path: pathlib.Path) -> Iterator[str]:
    """Yields the lines of a file, without spaces around them; a line feed alone ends a line, not U+2028."""
    position = 0
    with path.open("rb") as file:
        for number in itertools.count(1):
            line = file.readline(LONGEST_LINE + 1)
            if not line:
                return
            if len(line) > LONGEST_LINE:
                raise DataError(f"{path}: line {number} has more than {LONGEST_LINE} bytes; allowed: a sentence a line")
            if b"\0" in line:
                raise not_text(path, position + line.index(b"\0"), "byte 0x00", number)
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise not_text(path, position + error.start, f"byte 0x{line[error.start]:02x}", number) from error
            position += len(line)
            yield (text.removeprefix("\ufeff") if number == 1 else text).strip()


def _sizes(examples: Iterator[Example]) -> dict[str, object]:
    """Returns keys of a config whose rows hold nine of ten training pairs, and whose vocabulary the text can give."""
    lengths = []  # of a pair: characters of the longer side, words of each
    characters: set[str] = set()
    different: set[str] = set()
    words = 0
    for example in examples:
        source, target = [str(text, "utf-8") for text in itertools.islice(example.values(), 2)]
        if not (source and target):
            continue
        sides = source.split(), target.split()
        words += sum(map(len, sides))
        characters.update(source, target)
        if len(lengths) < SAMPLE:
            lengths.append((max(len(source), len(target)), *map(len, sides)))
            different.update(*sides)
    longer, *counts = np.array(lengths).T
    wanted = 2 ** math.ceil(math.log2(np.quantile(longer, 0.9) + 1))  # a token has one character at least, and EOS
    row = int(np.clip(wanted, *ROWS))
    found: dict[str, object] = {"dataset.source_length": row, "dataset.target_length": row}
    # Each different word can become a piece, so that half of that number is always reached.
    pieces = min(words // WORDS_A_PIECE, MOST_PIECES, (len(characters) + len(different)) // 2)
    if pieces >= 2 * len(characters):
        found |= {"dataset.tokenizer": "bpe", "dataset.vocab_size": pieces}
    else:
        found |= {"dataset.tokenizer": "char", "dataset.vocab_size": None}
    # A token has one word at most, so that there are at least so many rows.
    rows = max(1, *(math.ceil((count[longer < row] + 1).sum() / row) for count in counts))
    return found | ({"batch_size": rows} if rows < BATCH else {})
