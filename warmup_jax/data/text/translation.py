"""Sentence pairs as packed rows of token ids."""

import collections
import functools
import math

import jax.numpy as jnp
import numpy as np

from warmup_jax.data import builtin, dataset
from warmup_jax.data.dataset import Dataset, Texts
from warmup_jax.data.text import corpus as corpora
from warmup_jax.data.text import packing as packings
from warmup_jax.data.text import token_arrays, token_cache, tokenizers
from warmup_jax.data.text.tokenizers import BOS, EOS, PAD

# Pairs that a subword vocabulary is learned from: more change it little and need much memory.
_LEARN = 1_000_000

EMBEDDED = {"number_words": (builtin.number_words, ("en", "de"))}


def load(
    *,
    name,
    data_dir=None,
    source=None,
    target=None,
    tokenizer="char",
    vocab_size=None,
    source_length=128,
    target_length=128,
    packing="pack",
    residency="auto",
    workers=0,
    test_split=None,
):
    """Loads a translation set. Never touches the network.

    A row holds a source of S tokens and a target of T tokens. With packing, several pairs
    share a row, told apart by segments; batch_size counts rows, thus batch_size * T
    target tokens, about as many as there is room for. Without it, batch_size counts pairs.

    A pair with an empty side is left out. A pair longer than a row is left out of training
    and of the test loss; its source is still translated, cut to the row. All are counted.

    Args:
      name: "number_words", or a TFDS name as in images.load.
      data_dir: folder of prepared sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
      source, target: language features to translate from and to; None: the other one,
        or both in the order of the set's supervised keys, else of their names.
      tokenizer: "char", "byte", "bpe" or "unigram"; one vocabulary for both languages, of
        the training split.
      vocab_size: of "bpe" and "unigram", the four special tokens included; else None.
      source_length, target_length: S and T, tokens of a row, EOS among them.
      packing: "pack" or "none".
      residency: "device" keeps both splits as arrays, "stream" reads while training,
        "auto" chooses "device" for at most 1 GiB of training rows.
      workers: processes that read a stream; 0 reads in this one.
      test_split: TFDS split to test on; None: "test", or "validation" where there is none.

    Returns:
      A Dataset. Its prepare gives, for B rows,
        inputs: source, source_segments [B, S], target, target_segments [B, T];
        labels: int32 [B, T]; weights: float32 [B, T].
      `target` is the labels shifted right in each segment, BOS first.
      Its facts: train_pairs, test_pairs, train_rows, test_rows, dropped_empty and
      dropped_long (of both splits), cut_sources, unknown_tokens, train_tokens, test_tokens
      (of both sides), padding_share (of the training rows, both sides), vocab_size, and
      learned_from_pairs where a subword vocabulary was not learned from all.

    Raises:
      ValueError: an argument or the set's content cannot be used.
      FileNotFoundError: the set is not on disk; the message says how to prepare it.
    """
    _check(source_length, target_length, packing)
    dataset.check(residency, workers)
    tokenizers.check(tokenizer, vocab_size)
    corpus = _open(name, data_dir, source, target, test_split)
    limits = (source_length, target_length)
    loaded = token_cache.load(
        name,
        tokenizer,
        (corpus.fingerprint, vocab_size, limits, packing),
        functools.partial(_make, name, corpus, tokenizer, vocab_size, limits, packing),
        residency,
    )
    texts, cut = _texts(corpus, loaded.vocabulary, limits)
    used = loaded.facts["train_tokens"] / (loaded.train.size * sum(limits))
    facts = loaded.facts | {"cut_sources": cut, "padding_share": 1 - used}
    return Dataset(
        name,
        loaded.train,
        loaded.test,
        loaded.vocabulary.vocab_size,
        limits,
        loaded.residency,
        workers,
        prepare,
        texts,
        facts,
    )


def prepare(batch, key, train):
    """Rows as stored -> what the model and the loss take; see load. Pure JAX."""
    del key, train
    labels, segments = (batch[key].astype(jnp.int32) for key in ("target", "target_segments"))
    before = lambda x_BxT: jnp.pad(x_BxT, ((0, 0), (1, 0)))[:, :-1]
    target = jnp.where(segments == before(segments), before(labels), BOS)
    weights = (segments > 0).astype(jnp.float32)
    if "weights" in batch:
        weights *= batch["weights"][:, None]
    inputs = {
        "source": batch["source"].astype(jnp.int32),
        "source_segments": batch["source_segments"].astype(jnp.int32),
        "target": jnp.where(segments > 0, target, PAD),
        "target_segments": segments,
    }
    return {"inputs": inputs, "labels": labels, "weights": weights}


def _check(source_length, target_length, chosen):
    for name, length in (("source_length", source_length), ("target_length", target_length)):
        # One token and its EOS.
        if length < 2:
            raise ValueError(f"{name} must be >= 2, got {length}")
    if chosen not in packings.PACKINGS:
        raise ValueError(f"packing must be one of {', '.join(packings.PACKINGS)}, got {chosen!r}")


def _open(name, data_dir, source, target, test_split):
    """The Corpora of a set with the columns (source, target)."""
    if name not in EMBEDDED:
        return corpora.pairs(name, data_dir, source, target, test_split)
    make, languages = EMBEDDED[name]
    if test_split is not None:
        raise ValueError(f"test_split must be None for {name!r}, got {test_split!r}")
    return corpora.columns(make(), corpora.two_of(name, languages, source, target))


def _make(name, corpus, tokenizer, vocab_size, limits, chosen):
    """The vocabulary and the rows of both splits."""
    sized = tokenizers.TOKENIZERS[tokenizer].sized
    step = math.ceil(corpus.train.size / _LEARN) if sized else 1

    def texts():
        for pair in corpora.examples(corpus.train, step):
            yield from pair

    if all(map(_empty, corpora.examples(corpus.train))):
        raise _unusable(name, "train", corpus.train.size, 0, limits)
    model = tokenizers.learn(tokenizer, texts, vocab_size, prefix=True)
    vocabulary = tokenizers.build(tokenizer, model)
    rows, facts = {}, collections.Counter(dropped_empty=0, dropped_long=0, unknown_tokens=0)
    for part, split in (("train", corpus.train), ("test", corpus.test)):
        sides, dropped = _usable(split, vocabulary, limits)
        if not len(sides[0].lengths):
            raise _unusable(name, part, dropped["dropped_empty"], dropped["dropped_long"], limits)
        facts.update(dropped)
        facts[f"{part}_pairs"] = len(sides[0].lengths)
        facts[f"{part}_tokens"] = sum(len(side.ids) for side in sides)
        rows[part] = _rows(sides, limits, chosen)
    if step > 1:
        facts["learned_from_pairs"] = math.ceil(corpus.train.size / step)
    return token_cache.Made(model, rows, facts)


def _unusable(name, part, empty, long, limits):
    return ValueError(
        f"data set {name!r} has no usable {part} pair: {empty} have an empty side, {long} are "
        f"longer than source_length={limits[0]}, target_length={limits[1]}"
    )


def _usable(corpus, vocabulary, limits):
    """Both sides of the pairs that fit a row, and counts of what was dropped or not known."""
    found, dropped = ([], []), collections.Counter()
    for chunk in corpora.chunks(corpus):
        pairs = [pair for pair in chunk if not _empty(pair)]
        sides = [token_arrays.encode((pair[i] for pair in pairs), vocabulary) for i in (0, 1)]
        fits = (sides[0].lengths <= limits[0]) & (sides[1].lengths <= limits[1])
        dropped["dropped_empty"] += len(chunk) - len(pairs)
        dropped["dropped_long"] += int((~fits).sum())
        for kept, side in zip(found, sides):
            dropped["unknown_tokens"] += token_arrays.unknown(side)
            kept.append(token_arrays.keep(side, fits))
    return [token_arrays.join(kept) for kept in found], dropped


def _empty(pair):
    return not all(text.strip() for text in pair)


def _rows(sides, limits, chosen):
    lengths = np.stack([side.lengths for side in sides])
    layout = packings.pack(lengths, limits) if chosen == "pack" else packings.one_each(lengths)
    arrays = {}
    for i, key in enumerate(("source", "target")):
        ids, segments = packings.fill(sides[i].ids, lengths[i], layout, i, limits[i])
        arrays |= {key: ids, f"{key}_segments": segments}
    return arrays


def _texts(corpus, vocabulary, limits):
    """The test sentences for decoding, and how many sources were cut."""
    pairs = [pair for pair in corpora.examples(corpus.test) if not _empty(pair)]
    rows = np.full((len(pairs), limits[0]), PAD, np.int32)
    cut = 0
    for row, (source, _) in zip(rows, pairs):
        ids = vocabulary.encode(source)
        cut += len(ids) > limits[0] - 1
        ids = ids[: limits[0] - 1]
        row[: len(ids) + 1] = [*ids, EOS]
    return Texts(
        sources=rows,
        source_texts=[source for source, _ in pairs],
        references=[reference for _, reference in pairs],
        decode=vocabulary.decode,
        bleu_tokenize=corpus.bleu_tokenize,
        fingerprint=vocabulary.fingerprint,
        max_target=limits[1],
    ), cut
