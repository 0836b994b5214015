"""The token rows of a text set and their vocabulary: made once, kept in the cache."""

import functools
import hashlib
import json
import re
from typing import NamedTuple

import numpy as np

from warmup_jax.data import cache, dataset
from warmup_jax.data.dataset import Split
from warmup_jax.data.text import tokenizers
from warmup_jax.data.text.tokenizers import Tokenizer

# Changes when the same text gives other arrays.
_VERSION = 1


class Made(NamedTuple):
    """What a task makes of a set's texts.

    model: of the tokenizer, from tokenizers.learn.
    rows: {"train" or "test": {key: [N, ...]}}.
    facts: counts for the log.
    """

    model: bytes
    rows: dict[str, dict[str, np.ndarray]]
    facts: dict[str, int]


class Tokens(NamedTuple):
    """The two splits of a text set as rows of token ids."""

    train: Split
    test: Split
    vocabulary: Tokenizer
    residency: str
    facts: dict[str, int]


def load(name, tokenizer, depends, make, residency) -> Tokens:
    """The rows of a set, from the cache if they are there.

    Args:
      name: of the set.
      tokenizer: key of tokenizers.TOKENIZERS.
      depends: everything that the rows depend on, with a repr that says it all.
      make: () -> Made.
      residency: "auto", "device" or "stream".
    """
    digest = hashlib.sha256(repr((_VERSION, tokenizer, depends)).encode()).hexdigest()[:16]
    entry = f"{re.sub(r'[^0-9A-Za-z.]+', '-', name)}-{digest}"
    arrays = dict(cache.arrays(entry, functools.partial(_arrays, make)))
    vocabulary = tokenizers.build(tokenizer, arrays.pop("model").tobytes())
    facts = json.loads(arrays.pop("facts").tobytes())
    train_bytes = sum(array.nbytes for key, array in arrays.items() if key.startswith("train_"))
    residency = dataset.choose(residency, train_bytes)
    train, test = (dataset.stored_split(arrays, part, residency) for part in ("train", "test"))
    facts |= {"vocab_size": vocabulary.vocab_size, "train_rows": train.size, "test_rows": test.size}
    return Tokens(train, test, vocabulary, residency, facts)


def _arrays(make):
    made = make()
    rows = {f"{part}_{key}": array for part, arrays in made.rows.items() for key, array in arrays.items()}
    facts = json.dumps(made.facts).encode()
    return {"model": np.frombuffer(made.model, np.uint8), "facts": np.frombuffer(facts, np.uint8), **rows}
