"""Text files for language models, read in blocks, so that a large one need not fit in memory."""

import codecs
import functools
import hashlib
import pathlib
from collections.abc import Iterator, Mapping

from warmup_jax.data.dataset import DataError
from warmup_jax.data.own.store import Example, OwnSet, stamp

# Part of every digest: increase it when the same files give other examples.
VERSION = 1

BLOCK_BYTES = 2**20

# Characters of an example; a longer text is cut at ends of lines. The loader sees the end of a document at each cut.
PIECE = 2**22

# Without a test file, the last characters are held out: one of this many, and at most so many.
HELD_OUT, MOST_HELD_OUT = 10, 1_000_000

# Characters below which no training or no test is possible with the rows of the configs.
SHORTEST = {"train": 64, "test": 16, "validation": 16}

# Sizes in configs/lm_warmup.py.
ROW, BATCH = 32, 16


def read(files: Mapping[str, pathlib.Path]) -> OwnSet:
    """Reads text files through once.

    Args:
      files: {split: file}. Without a test or validation file, the last tenth of the training file is for the test, at
        most a million characters.

    Returns:
      The OwnSet. A text is one example up to 4 million characters, and several that end with a line beyond.

    Raises:
      DataError: a file is no UTF-8 text.
      ValueError: a text is too short.
    """
    import tensorflow_datasets as tfds

    held_out = len(files) == 1
    stamps = {path: stamp(path) for path in files.values()}
    counts, digest = {}, hashlib.sha256(repr(VERSION).encode())
    for split, path in files.items():
        counts[split] = 0
        digest.update(repr(split).encode())
        for text in characters(path):
            counts[split] += len(text)
            digest.update(text.encode())
    spans = {split: (files[split], 0, count) for split, count in counts.items()}
    if held_out:
        cut = counts["train"] - min(counts["train"] // HELD_OUT, MOST_HELD_OUT)
        spans = {"train": (files["train"], 0, cut), "test": (files["train"], cut, counts["train"])}
    for split, (path, start, stop) in spans.items():
        if stop - start < SHORTEST[split]:
            whole = "" if not held_out else " of a file that is split into train and test"
            raise ValueError(f"{path} has {stop - start} {split} characters{whole}; allowed: {SHORTEST[split]} or more")
    notes = [", ".join(f"{stop - start:,} {split}" for split, (_, start, stop) in spans.items()) + " characters"]
    if held_out:
        notes.append("no test file: the end of the text is held out")
    rows = (spans["train"][2] - 1) // ROW
    return OwnSet(
        task="text",
        features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
        splits={split: functools.partial(_examples, *span) for split, span in spans.items()},
        digest=digest.hexdigest(),
        notes=notes,
        overrides={"batch_size": rows} if rows < BATCH else {},
        stamps=stamps,
    )


def characters(path: pathlib.Path) -> Iterator[str]:
    """Yields the text of a file in blocks, without a byte order mark, with lines that end in a line feed alone."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    position, held, begun = 0, "", False
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK_BYTES)
            pending = len(decoder.getstate()[0])
            if b"\0" in block:
                raise not_text(path, position + block.index(b"\0"), "byte 0x00")
            try:
                text = held + decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise not_text(
                    path, position - pending + error.start, f"byte 0x{error.object[error.start]:02x}"
                ) from error
            position += len(block)
            if not begun and text:
                text, begun = text.removeprefix("\ufeff"), True
            text, held = (text[:-1], "\r") if block and text.endswith("\r") else (text, "")
            if text:
                yield text.replace("\r\n", "\n")
            if not block:
                return


def not_text(path: pathlib.Path, position: int, what: str, line: int | None = None) -> DataError:
    """Returns the error about a file that is not UTF-8 text."""
    where = f"at position {position}" + (f", in line {line}" if line is not None else "")
    return DataError(f"{path} is not UTF-8 text: {what} {where}; convert it, as with iconv -t UTF-8")


def _examples(path: pathlib.Path, start: int, stop: int) -> Iterator[Example]:
    """Yields the characters start to stop - 1 of a file in pieces."""
    held = ""
    for text in _between(characters(path), start, stop):
        held += text
        while len(held) > PIECE:
            ends = [held.rfind(mark, PIECE // 2, PIECE) + 1 for mark in "\n "]
            cut = ends[0] or ends[1] or PIECE
            yield {"text": held[:cut].encode()}
            held = held[cut:]
    if held:
        yield {"text": held.encode()}


def _between(blocks: Iterator[str], start: int, stop: int) -> Iterator[str]:
    position = 0
    for text in blocks:
        yield text[max(0, start - position) : max(0, stop - position)]
        position += len(text)
