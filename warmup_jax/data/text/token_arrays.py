"""Encoded texts: ids one after another, and how many belong to each text."""

from typing import NamedTuple

import numpy as np

from warmup_jax.data.text.tokenizers import EOS, UNK


class Sentences(NamedTuple):
    """N token sequences, each with EOS at its end.

    ids: [sum of lengths]. lengths: int64 [N].
    """

    ids: np.ndarray
    lengths: np.ndarray


def encode(texts, tokenizer) -> Sentences:
    """Encodes texts, an iterable of str."""
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    parts = [np.append(tokenizer.encode(text), EOS).astype(dtype) for text in texts]
    lengths = np.array([len(part) for part in parts], np.int64)
    return Sentences(np.concatenate([np.empty(0, dtype), *parts]), lengths)


def keep(sentences, wanted) -> Sentences:
    """The sentences for which bool [N] is true."""
    return Sentences(sentences.ids[np.repeat(wanted, sentences.lengths)], sentences.lengths[wanted])


def join(several) -> Sentences:
    """Many Sentences as one."""
    ids, lengths = zip(*several)
    return Sentences(np.concatenate(ids), np.concatenate(lengths))


def unknown(sentences) -> int:
    """How many ids are UNK."""
    return int((sentences.ids == UNK).sum())
