"""Language modelling sets: running text as windows of token ids."""

import collections
import functools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import registry
from warmup_jax.data import builtin, cache
from warmup_jax.data.dataset import Batch, Dataset, Texts, check_loading
from warmup_jax.data.text import token_arrays, token_cache, tokenizers
from warmup_jax.data.text.corpus import Corpus, TextSplit, iterate_chunks, iterate_examples, open_documents
from warmup_jax.data.text.tokenizers import EOS, PAD, Tokenizer

# Prompts cut from the test text.
PROMPTS = 16

# Characters that a subword vocabulary is learned from; more characters hardly change it and need much memory.
LEARNED_CHARACTERS = 200_000_000

BUILTIN: dict[str, Callable[[], Corpus]] = {"pydoc": builtin.pydoc}


def load_text(
    *,
    name: str,
    data_dir: str | None = None,
    tokenizer: str = "char",
    vocab_size: int | None = None,
    length: int = 128,
    prompt_length: int = 32,
    residency: str = "auto",
    workers: int = 0,
    test_split: str | None = None,
) -> Dataset:
    """Loads a text for language modelling, without ever using the network.

    The documents of a split are joined by EOS and cut into consecutive windows of T tokens. The label of a token is the
    next token, so each token is predicted once. The rest at the end is dropped from training, and kept as a shorter
    window for the test.

    Args:
      name: "pydoc", or a TFDS name as in `load_images`.
      data_dir: folder of prepared sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
      tokenizer: "char", "byte", "bpe" or "unigram", learned from the training split.
      vocab_size: size of a "bpe" or "unigram" vocabulary, the four special tokens included; else None.
      length: T, tokens in a window.
      prompt_length: P, tokens in each of the prompts that are cut from the test text.
      residency: "device" keeps both splits as arrays, "stream" reads while training, "auto" chooses "device" if the
        training rows take at most 1 GiB.
      workers: number of processes that read a stream; 0 reads in this one.
      test_split: TFDS split to test on; None: "test", or "validation" if there is no "test".

    Returns:
      A Dataset. Its `prepare` returns inputs and labels, int32 [B, T], and weights, float32 [B, T]. Its facts are
      train_tokens and test_tokens (counts of labels), train_rows, test_rows, dropped_tokens, dropped_empty (documents),
      unknown_tokens, padding_share, vocab_size, and learned_from_characters if a subword vocabulary was learned from a
      part of the text.

    Raises:
      ValueError: an argument or the set's content cannot be used.
      FileNotFoundError: the set is not on disk; the message gives the command that prepares it.
    """
    registry.positive_integer("length", length)
    registry.positive_integer("prompt_length", prompt_length)
    check_loading(residency, workers)
    tokenizers.check_tokenizer(tokenizer, vocab_size)
    corpus = _open(name, data_dir, test_split)
    loaded = token_cache.load_or_make(
        name,
        tokenizer,
        (corpus.fingerprint, vocab_size, length),
        functools.partial(_make, name, corpus, tokenizer, vocab_size, length),
        residency,
    )
    texts = _prompts(name, loaded, length, prompt_length)
    facts = loaded.facts | {"padding_share": 0.0}
    return Dataset(
        name,
        loaded.train,
        loaded.test,
        loaded.vocabulary.vocab_size,
        (length,),
        loaded.residency,
        workers,
        prepare_windows,
        texts,
        facts,
    )


def prepare_windows(batch: Batch, key: jax.Array | None, train: bool) -> Batch:
    """Turns stored windows [B, T + 1] into inputs, labels and weights [B, T]. Pure JAX."""
    del key, train
    ids = batch["tokens"].astype(jnp.int32)
    labels = ids[:, 1:]
    weights = (labels != PAD).astype(jnp.float32)
    if "weights" in batch:
        weights *= batch["weights"][:, None]
    return {"inputs": ids[:, :-1], "labels": labels, "weights": weights}


def _open(name: str, data_dir: str | None, test_split: str | None) -> Corpus:
    if name not in BUILTIN:
        return open_documents(name, data_dir, test_split)
    registry.one_of("test_split", test_split, (None,), f" for {name!r}")
    return BUILTIN[name]()


def _make(
    name: str, corpus: Corpus, tokenizer: str, vocab_size: int | None, length: int
) -> token_cache.TokenizedCorpus:
    """Learns the vocabulary and cuts both splits into windows."""
    limit = LEARNED_CHARACTERS if tokenizers.TOKENIZERS[tokenizer].sized else math.inf
    learned: collections.Counter = collections.Counter()

    def texts() -> Iterator[str]:
        learned.clear()
        for (text,) in iterate_examples(corpus.train):
            if learned["characters"] >= limit:
                learned["cut"] = True
                return
            yield text
            learned["characters"] += len(text)

    if not any(text.strip() for (text,) in iterate_examples(corpus.train)):
        raise _too_short(name, "train", 0, length)
    # A document may begin in the middle of a word; without a prefix, decoded windows join to the original text.
    model = tokenizers.learn(tokenizer, texts, vocab_size, prefix=False)
    vocabulary = tokenizers.build(tokenizer, model)
    rows = {}
    facts: collections.Counter = collections.Counter()
    for part, split in (("train", corpus.train), ("test", corpus.test)):
        windows, size, counts = _windows(split, vocabulary, length, rest=part == "test")
        if size < 2 or not len(windows):
            raise _too_short(name, part, size, length)
        rows[part] = {"tokens": windows}
        if part == "train":
            facts["dropped_tokens"] = size - 1 - len(windows) * length
        facts[f"{part}_tokens"] = size - 1 if part == "test" else len(windows) * length
        facts.update(counts)
    if learned["cut"]:
        facts["learned_from_characters"] = learned["characters"]
    return token_cache.TokenizedCorpus(model, rows, facts)


def _too_short(name: str, part: str, size: int, length: int) -> ValueError:
    return ValueError(
        f"data set {name!r} has {size} {part} tokens in all: a window of length={length} and its "
        f"labels need {length + 1 if part == 'train' else 2}"
    )


def _windows(
    split: TextSplit, vocabulary: Tokenizer, length: int, rest: bool
) -> tuple[np.ndarray, int, collections.Counter]:
    """Encodes a split and cuts it into windows that share their border token.

    Args:
      split: the documents, which are read and cut in chunks: neither text nor tokens need fit in memory.
      vocabulary: its tokenizer.
      length: T.
      rest: keeps the tokens that fill no window as a padded one.

    Returns:
      The windows [N, T + 1], the number of tokens, and counts of empty documents and unknown tokens.
    """
    dtype = np.min_scalar_type(vocabulary.vocab_size - 1)
    rows = cache.GrowingArray(dtype)
    left, size = np.empty(0, dtype), 0
    counts = collections.Counter(dropped_empty=0, unknown_tokens=0)
    for chunk in iterate_chunks(split):
        written = [text for (text,) in chunk if text.strip()]
        encoded = token_arrays.encode(written, vocabulary)
        counts["dropped_empty"] += len(chunk) - len(written)
        counts["unknown_tokens"] += token_arrays.count_unknown(encoded)
        size += len(encoded.ids)
        left = _append_windows(rows, np.concatenate([left, encoded.ids]), length, keep=1)
    # EOS separates documents; the one after the last document goes.
    left = _append_windows(rows, left[:-1], length, keep=0)
    if rest and len(left) > 1:
        rows.append(np.pad(left, (0, length + 1 - len(left)), constant_values=PAD))
    return rows.array().reshape(-1, length + 1), max(0, size - 1), counts


def _append_windows(rows: cache.GrowingArray, stream: np.ndarray, length: int, keep: int) -> np.ndarray:
    """Appends the windows [length + 1] that a stream fills without its last `keep` tokens; returns what is left."""
    full = max(0, (len(stream) - keep - 1) // length)
    windows = np.empty((full, length + 1), stream.dtype)
    windows[:, :-1] = stream[: full * length].reshape(full, length)
    windows[:, 1:] = stream[1 : full * length + 1].reshape(full, length)
    rows.append(windows)
    return stream[full * length :]


def _prompts(name: str, loaded: token_cache.TokenSplits, length: int, prompt_length: int) -> Texts:
    """Cuts prompts from evenly spaced places of the test text, none across the end of a document."""
    windows = loaded.test.read(np.arange(loaded.test.size))["tokens"]
    stream = np.append(windows[:, :-1], windows[-1, -1])
    stream = stream[stream != PAD]
    ends = np.append(0, np.cumsum(stream == EOS))
    starts = np.flatnonzero(ends[prompt_length:] == ends[: max(0, len(ends) - prompt_length)])
    if not starts.size:
        raise ValueError(f"prompt_length={prompt_length} is longer than every document of the test text of {name!r}")
    count = min(PROMPTS, starts.size)
    chosen = starts[np.arange(count) * starts.size // count]
    sources = stream[chosen[:, None] + np.arange(prompt_length)].astype(np.int32)
    return Texts(
        sources=sources,
        source_texts=[loaded.vocabulary.decode(row) for row in sources],
        references=None,
        decode=loaded.vocabulary.decode,
        bleu_tokenize="13a",
        fingerprint=loaded.vocabulary.fingerprint,
        max_target=length,
    )
