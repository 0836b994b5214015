"""Token sequences of many texts as one flat array and their lengths."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from warmup_jax.data.text.tokenizers import EOS, UNK, Tokenizer


class TokenSequences(NamedTuple):
    """N token sequences, each ended by EOS.

    Attributes:
      ids: [sum of lengths], one sequence after another.
      lengths: int64 [N].
    """

    ids: np.ndarray
    lengths: np.ndarray


def encode(texts: Iterable[str], tokenizer: Tokenizer) -> TokenSequences:
    """Encodes texts in the smallest integer type that holds the vocabulary."""
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    parts = [np.append(tokenizer.encode(text), EOS).astype(dtype) for text in texts]
    lengths = np.array([len(part) for part in parts], np.int64)
    return TokenSequences(np.concatenate([np.empty(0, dtype), *parts]), lengths)


def select(sequences: TokenSequences, mask: np.ndarray) -> TokenSequences:
    """Returns the sequences for which `mask`, bool [N], is true."""
    return TokenSequences(sequences.ids[np.repeat(mask, sequences.lengths)], sequences.lengths[mask])


def concatenate(parts: Iterable[TokenSequences]) -> TokenSequences:
    """Joins several TokenSequences to one."""
    ids, lengths = zip(*parts)
    return TokenSequences(np.concatenate(ids), np.concatenate(lengths))


def count_unknown(sequences: TokenSequences) -> int:
    """Counts the ids that are UNK."""
    return int((sequences.ids == UNK).sum())
