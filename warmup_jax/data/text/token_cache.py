"""Cached token rows of a text set, and the vocabulary they were encoded with."""

import functools
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from warmup_jax.data import cache
from warmup_jax.data.dataset import Arrays, Split, resolve_residency, stored_split
from warmup_jax.data.text import tokenizers
from warmup_jax.data.text.tokenizers import Tokenizer

# Part of every entry's key: increase it when the same text gives other arrays.
VERSION = 1


class TokenizedCorpus(NamedTuple):
    """Token rows made from a corpus, and the tokenizer's model.

    Attributes:
      model: model of the tokenizer, from tokenizers.learn.
      rows: {"train" or "test": {key: [N, ...]}}.
      facts: counts for the log.
    """

    model: bytes
    rows: dict[str, Arrays]
    facts: dict[str, int]


class TokenSplits(NamedTuple):
    """Both splits of a text set as rows of token ids.

    Attributes:
      train: training split.
      test: test split.
      vocabulary: tokenizer of the rows.
      residency: "device" or "stream".
      facts: counts for the log.
    """

    train: Split
    test: Split
    vocabulary: Tokenizer
    residency: str
    facts: dict[str, Any]


def load_or_make(
    name: str, tokenizer: str, depends: object, make: Callable[[], TokenizedCorpus], residency: str
) -> TokenSplits:
    """Returns the token rows of a set; calls `make` if they are not in the cache.

    Args:
      name: name of the set.
      tokenizer: key of tokenizers.TOKENIZERS.
      depends: everything else that the rows depend on; its repr must hold all its content.
      make: () -> TokenizedCorpus.
      residency: "auto", "device" or "stream".

    Returns:
      The TokenSplits.
    """
    digest = hashlib.sha256(repr((VERSION, tokenizer, depends)).encode()).hexdigest()[:16]
    entry = f"{re.sub(r'[^0-9A-Za-z.]+', '-', name)}-{digest}"
    arrays = dict(cache.load_or_make(entry, functools.partial(_arrays, make)))
    vocabulary = tokenizers.build(tokenizer, arrays.pop("model").tobytes())
    facts = json.loads(arrays.pop("facts").tobytes())
    train_bytes = sum(array.nbytes for key, array in arrays.items() if key.startswith("train_"))
    residency = resolve_residency(residency, train_bytes)
    train, test = (stored_split(arrays, part, residency) for part in ("train", "test"))
    facts |= {"vocab_size": vocabulary.vocab_size, "train_rows": train.size, "test_rows": test.size}
    return TokenSplits(train, test, vocabulary, residency, facts)


def _arrays(make: Callable[[], TokenizedCorpus]) -> Arrays:
    made = make()
    rows = {f"{part}_{key}": array for part, arrays in made.rows.items() for key, array in arrays.items()}
    facts = json.dumps(made.facts).encode()
    return {"model": np.frombuffer(made.model, np.uint8), "facts": np.frombuffer(facts, np.uint8), **rows}
