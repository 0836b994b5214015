"""Translation sets: sentence pairs as packed rows of token ids."""

import collections
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import registry
from warmup_jax.data import builtin
from warmup_jax.data.dataset import Arrays, Batch, Dataset, Texts, check_loading
from warmup_jax.data.text import token_arrays, token_cache, tokenizers
from warmup_jax.data.text.corpus import (
    Corpus,
    Example,
    TextSplit,
    iterate_chunks,
    iterate_examples,
    language_columns,
    open_pairs,
    select_columns,
)
from warmup_jax.data.text.languages import BLEU_TOKENIZERS
from warmup_jax.data.text.packing import PACKINGS, fill, one_per_row, pack
from warmup_jax.data.text.token_arrays import TokenSequences
from warmup_jax.data.text.tokenizers import BOS, EOS, PAD, Tokenizer

# Tokens in a row: every test source takes one on the host, however short it is.
LONGEST = 2**16

# Pairs that a subword vocabulary is learned from; more pairs hardly change it and need much memory.
LEARNED_PAIRS = 1_000_000

BUILTIN: dict[str, tuple[Callable[[], Corpus], tuple[str, ...]]] = {
    "number_words": (builtin.number_words, ("en", "de")),
}


def load_translation(
    *,
    name: str,
    data_dir: str | None = None,
    source: str | None = None,
    target: str | None = None,
    tokenizer: str = "char",
    vocab_size: int | None = None,
    source_length: int = 128,
    target_length: int = 128,
    packing: str = "pack",
    residency: str = "auto",
    workers: int = 0,
    test_split: str | None = None,
    bleu_tokenizer: str | None = None,
) -> Dataset:
    """Loads a translation set, without ever using the network.

    A row holds a source of S tokens and a target of T tokens. With packing, several pairs share a row and are told
    apart by segment numbers. A batch then has batch_size * T target positions, nearly all of them used. Without
    packing, batch_size counts pairs.

    Pairs with an empty side are left out. Pairs longer than a row are left out of training and of the test loss, but
    their sources are still translated, cut to the row. All of these are counted.

    Args:
      name: "number_words", or a TFDS name as in `load_images`.
      data_dir: folder of prepared sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
      source: language feature to translate from; None: the one that is not the target.
      target: language feature to translate to, likewise. If both are None, the order is that of the set's supervised
        keys, else of the features' names.
      tokenizer: "char", "byte", "bpe" or "unigram"; one vocabulary for both languages, learned from the training split.
      vocab_size: size of a "bpe" or "unigram" vocabulary, the four special tokens included; else None.
      source_length: S, tokens in a source row, EOS included.
      target_length: T, tokens in a target row, EOS included.
      packing: "pack" or "none".
      residency: "device" keeps both splits as arrays, "stream" reads while training, "auto" chooses "device" if the
        training rows take at most 1 GiB.
      workers: number of processes that read a stream; 0 reads in this one.
      test_split: TFDS split to test on; None: "test", or "validation" if there is no "test".
      bleu_tokenizer: sacrebleu's tokenizer for scores; None: the one that fits the target language, see `languages`.

    Returns:
      A Dataset. For B rows its `prepare` returns
        inputs: source and source_segments [B, S], target and target_segments [B, T];
        labels: int32 [B, T];
        weights: float32 [B, T].
      `target` is the labels shifted right within each segment, with BOS first. Its facts are train_pairs, test_pairs,
      train_rows, test_rows, dropped_empty and dropped_long (of both splits), cut_sources, unknown_tokens, train_tokens
      and test_tokens (of both sides), padding_share (of the training rows, both sides), vocab_size,
      bleu_tokenizer, and learned_from_pairs if a subword vocabulary was learned from a part of the pairs.

    Raises:
      ValueError: an argument or the set's content cannot be used.
      FileNotFoundError: the set is not on disk; the message gives the command that prepares it.
    """
    for argument, length in (("source_length", source_length), ("target_length", target_length)):
        if not 2 <= length <= LONGEST:  # one token and EOS
            raise ValueError(f"{argument}={length!r}; allowed: integers from 2 to {LONGEST}")
    registry.one_of("packing", packing, PACKINGS)
    registry.one_of("bleu_tokenizer", bleu_tokenizer, (None, *BLEU_TOKENIZERS))
    check_loading(residency, workers)
    tokenizers.check_tokenizer(tokenizer, vocab_size)
    corpus = _open(name, data_dir, source, target, test_split)
    corpus = corpus._replace(bleu_tokenize=bleu_tokenizer or corpus.bleu_tokenize)
    limits = (source_length, target_length)
    loaded = token_cache.load_or_make(
        name,
        tokenizer,
        (corpus.fingerprint, vocab_size, limits, packing),
        functools.partial(_make, name, corpus, tokenizer, vocab_size, limits, packing),
        residency,
    )
    texts, cut_sources = _texts(corpus, loaded.vocabulary, limits)
    used = loaded.facts["train_tokens"] / (loaded.train.size * sum(limits))
    facts = loaded.facts | {"cut_sources": cut_sources, "padding_share": 1 - used}
    facts["bleu_tokenizer"] = corpus.bleu_tokenize
    return Dataset(
        name,
        loaded.train,
        loaded.test,
        loaded.vocabulary.vocab_size,
        limits,
        loaded.residency,
        workers,
        prepare_rows,
        texts,
        facts,
    )


def prepare_rows(batch: Batch, key: jax.Array | None, train: bool) -> Batch:
    """Turns stored rows into inputs, labels and weights; see `load_translation`. Pure JAX."""
    del key, train
    labels, segments = (batch[key].astype(jnp.int32) for key in ("target", "target_segments"))
    shift_right = lambda x_BxT: jnp.pad(x_BxT, ((0, 0), (1, 0)))[:, :-1]
    target = jnp.where(segments == shift_right(segments), shift_right(labels), BOS)
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


def _open(name: str, data_dir: str | None, source: str | None, target: str | None, test_split: str | None) -> Corpus:
    """Opens a set with the columns (source, target)."""
    if name not in BUILTIN:
        return open_pairs(name, data_dir, source, target, test_split)
    make, languages = BUILTIN[name]
    registry.one_of("test_split", test_split, (None,), f" for {name!r}")
    return select_columns(make(), language_columns(name, languages, source, target))


def _make(
    name: str, corpus: Corpus, tokenizer: str, vocab_size: int | None, limits: tuple[int, int], packing: str
) -> token_cache.TokenizedCorpus:
    """Learns the vocabulary and fills the rows of both splits."""
    sized = tokenizers.TOKENIZERS[tokenizer].sized
    step = math.ceil(corpus.train.size / LEARNED_PAIRS) if sized else 1

    def texts() -> Iterator[str]:
        for pair in iterate_examples(corpus.train, step):
            yield from pair

    if all(map(_has_empty_side, iterate_examples(corpus.train))):
        raise _unusable(name, "train", corpus.train.size, 0, limits)
    model = tokenizers.learn(tokenizer, texts, vocab_size, prefix=True)
    vocabulary = tokenizers.build(tokenizer, model)
    rows, facts = {}, collections.Counter(dropped_empty=0, dropped_long=0, unknown_tokens=0)
    for part, split in (("train", corpus.train), ("test", corpus.test)):
        sides, counts = _fitting_pairs(split, vocabulary, limits)
        if not len(sides[0].lengths):
            raise _unusable(name, part, counts["dropped_empty"], counts["dropped_long"], limits)
        facts.update(counts)
        facts[f"{part}_pairs"] = len(sides[0].lengths)
        facts[f"{part}_tokens"] = sum(len(side.ids) for side in sides)
        rows[part] = _rows(sides, limits, packing)
    if step > 1:
        facts["learned_from_pairs"] = math.ceil(corpus.train.size / step)
    return token_cache.TokenizedCorpus(model, rows, facts)


def _unusable(name: str, part: str, empty: int, long: int, limits: tuple[int, int]) -> ValueError:
    return ValueError(
        f"data set {name!r} has no usable {part} pair: {empty} have an empty side, {long} are "
        f"longer than source_length={limits[0]}, target_length={limits[1]}"
    )


def _fitting_pairs(
    split: TextSplit, vocabulary: Tokenizer, limits: tuple[int, int]
) -> tuple[list[TokenSequences], collections.Counter]:
    """Encodes both sides of the pairs that fit a row; counts dropped pairs and unknown tokens."""
    sides: tuple[list, list] = ([], [])
    counts: collections.Counter = collections.Counter()
    for chunk in iterate_chunks(split):
        pairs = [pair for pair in chunk if not _has_empty_side(pair)]
        encoded = [token_arrays.encode((pair[i] for pair in pairs), vocabulary) for i in (0, 1)]
        fits = (encoded[0].lengths <= limits[0]) & (encoded[1].lengths <= limits[1])
        counts["dropped_empty"] += len(chunk) - len(pairs)
        counts["dropped_long"] += int((~fits).sum())
        for parts, sequences in zip(sides, encoded):
            counts["unknown_tokens"] += token_arrays.count_unknown(sequences)
            parts.append(token_arrays.select(sequences, fits))
    return [token_arrays.concatenate(parts) for parts in sides], counts


def _has_empty_side(pair: Example) -> bool:
    return not all(text.strip() for text in pair)


def _rows(sides: Sequence[TokenSequences], limits: tuple[int, int], packing: str) -> Arrays:
    lengths = np.stack([side.lengths for side in sides])
    layout = pack(lengths, limits) if packing == "pack" else one_per_row(lengths)
    arrays: Arrays = {}
    for i, key in enumerate(("source", "target")):
        ids, segments = fill(sides[i].ids, lengths[i], layout, i, limits[i])
        arrays |= {key: ids, f"{key}_segments": segments}
    return arrays


def _texts(corpus: Corpus, vocabulary: Tokenizer, limits: tuple[int, int]) -> tuple[Texts, int]:
    """Returns the test sentences for decoding, and the number of sources that were cut."""
    pairs = [pair for pair in iterate_examples(corpus.test) if not _has_empty_side(pair)]
    rows = np.full((len(pairs), limits[0]), PAD, np.int32)
    cut_sources = 0
    for row, (source, _) in zip(rows, pairs):
        ids = vocabulary.encode(source)
        cut_sources += len(ids) > limits[0] - 1
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
    ), cut_sources
