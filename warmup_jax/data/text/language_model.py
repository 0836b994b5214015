"""Running text as windows of token ids, for language models."""

import collections
import functools
import math

import jax.numpy as jnp
import numpy as np

from warmup_jax.data import builtin, dataset
from warmup_jax.data.dataset import Dataset, Texts
from warmup_jax.data.text import corpus as corpora
from warmup_jax.data.text import token_arrays, token_cache, tokenizers
from warmup_jax.data.text.tokenizers import EOS, PAD

# Prompts that are cut from the test text.
_PROMPTS = 16

# Characters that a subword vocabulary is learned from: more change it little and need much memory.
_LEARN = 200_000_000

EMBEDDED = {"pydoc": builtin.pydoc}


def load(
    *,
    name,
    data_dir=None,
    tokenizer="char",
    vocab_size=None,
    length=128,
    prompt_length=32,
    residency="auto",
    workers=0,
    test_split=None,
):
    """Loads a text for language modelling. Never touches the network.

    The documents of a split are joined by EOS and cut into windows of T tokens, one after
    another; the label of a token is the one after it, so no token is predicted twice. What
    is left at the end is dropped from training and kept, as a shorter window, for the test.

    Args:
      name: "pydoc", or a TFDS name as in images.load.
      data_dir: folder of prepared sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
      tokenizer: "char", "byte", "bpe" or "unigram", of the training split.
      vocab_size: of "bpe" and "unigram", the four special tokens included; else None.
      length: T, tokens of a window.
      prompt_length: P, tokens of the prompts that are cut from the test text.
      residency: "device" keeps both splits as arrays, "stream" reads while training,
        "auto" chooses "device" for at most 1 GiB of training rows.
      workers: processes that read a stream; 0 reads in this one.
      test_split: TFDS split to test on; None: "test", or "validation" where there is none.

    Returns:
      A Dataset. Its prepare gives inputs, labels int32 [B, T] and weights float32 [B, T].
      Its facts: train_tokens, test_tokens (labels), train_rows, test_rows, dropped_tokens,
      dropped_empty (documents), unknown_tokens, padding_share, vocab_size, and
      learned_from_characters where a subword vocabulary was not learned from all.

    Raises:
      ValueError: an argument or the set's content cannot be used.
      FileNotFoundError: the set is not on disk; the message says how to prepare it.
    """
    for key, value in (("length", length), ("prompt_length", prompt_length)):
        if value < 1:
            raise ValueError(f"{key} must be >= 1, got {value}")
    dataset.check(residency, workers)
    tokenizers.check(tokenizer, vocab_size)
    corpus = _open(name, data_dir, test_split)
    loaded = token_cache.load(
        name,
        tokenizer,
        (corpus.fingerprint, vocab_size, length),
        functools.partial(_make, name, corpus, tokenizer, vocab_size, length),
        residency,
    )
    texts = _texts(name, loaded, length, prompt_length)
    facts = loaded.facts | {"padding_share": 0.0}
    return Dataset(
        name,
        loaded.train,
        loaded.test,
        loaded.vocabulary.vocab_size,
        (length,),
        loaded.residency,
        workers,
        prepare,
        texts,
        facts,
    )


def prepare(batch, key, train):
    """Windows as stored, [B, T + 1] -> inputs, labels, weights [B, T]. Pure JAX."""
    del key, train
    ids = batch["tokens"].astype(jnp.int32)
    labels = ids[:, 1:]
    weights = (labels != PAD).astype(jnp.float32)
    if "weights" in batch:
        weights *= batch["weights"][:, None]
    return {"inputs": ids[:, :-1], "labels": labels, "weights": weights}


def _open(name, data_dir, test_split):
    if name not in EMBEDDED:
        return corpora.documents(name, data_dir, test_split)
    if test_split is not None:
        raise ValueError(f"test_split must be None for {name!r}, got {test_split!r}")
    return EMBEDDED[name]()


def _make(name, corpus, tokenizer, vocab_size, length):
    """The vocabulary and the windows of both splits."""
    limit = _LEARN if tokenizers.TOKENIZERS[tokenizer].sized else math.inf
    learned = collections.Counter()

    def texts():
        learned.clear()
        for (text,) in corpora.examples(corpus.train):
            if learned["characters"] >= limit:
                learned["cut"] = True
                return
            yield text
            learned["characters"] += len(text)

    if not any(text.strip() for (text,) in corpora.examples(corpus.train)):
        raise _too_short(name, "train", 0, length)
    # A document is no beginning of a word in particular: no prefix, so that texts join.
    model = tokenizers.learn(tokenizer, texts, vocab_size, prefix=False)
    vocabulary = tokenizers.build(tokenizer, model)
    rows, facts = {}, collections.Counter()
    for part, split in (("train", corpus.train), ("test", corpus.test)):
        stream, found = _stream(split, vocabulary)
        full = (len(stream) - 1) // length
        rest = len(stream) - 1 - full * length
        if len(stream) < 2 or (part == "train" and not full):
            raise _too_short(name, part, len(stream), length)
        if part == "train":
            facts["dropped_tokens"], rest = rest, 0
        rows[part] = {"tokens": _windows(stream, length, full, rest)}
        facts[f"{part}_tokens"] = full * length + rest
        facts.update(found)
    if learned["cut"]:
        facts["learned_from_characters"] = learned["characters"]
    return token_cache.Made(model, rows, facts)


def _too_short(name, part, size, length):
    return ValueError(
        f"data set {name!r} has {size} {part} tokens in all: a window of length={length} and its "
        f"labels need {length + 1 if part == 'train' else 2}"
    )


def _stream(corpus, vocabulary):
    """All tokens of a split [N], and counts of what was empty or not known."""
    parts, found = [], collections.Counter(dropped_empty=0, unknown_tokens=0)
    for chunk in corpora.chunks(corpus):
        written = [text for (text,) in chunk if text.strip()]
        parts.append(token_arrays.encode(written, vocabulary))
        found["dropped_empty"] += len(chunk) - len(written)
        found["unknown_tokens"] += token_arrays.unknown(parts[-1])
    # EOS stands between documents, not behind the last.
    return token_arrays.join(parts).ids[:-1], found


def _windows(stream, length, full, rest):
    """Windows [full, length + 1] that share their border token, and a padded one for the rest."""
    windows = np.empty((full + (rest > 0), length + 1), stream.dtype)
    windows[:full, :-1] = stream[: full * length].reshape(full, length)
    windows[:full, 1:] = stream[1 : full * length + 1].reshape(full, length)
    if rest:
        windows[full] = PAD
        windows[full, : rest + 1] = stream[full * length :]
    return windows


def _texts(name, loaded, length, prompt_length):
    """Prompts from evenly spaced places of the test text, none with the end of a document in it."""
    windows = loaded.test.read(np.arange(loaded.test.size))["tokens"]
    stream = np.append(windows[:, :-1], windows[-1, -1])
    stream = stream[stream != PAD]
    ended = np.append(0, np.cumsum(stream == EOS))
    whole = np.flatnonzero(ended[prompt_length:] == ended[: max(0, len(ended) - prompt_length)])
    if not whole.size:
        raise ValueError(f"prompt_length={prompt_length} is longer than every document of the test text of {name!r}")
    count = min(_PROMPTS, whole.size)
    starts = whole[np.arange(count) * whole.size // count]
    sources = stream[starts[:, None] + np.arange(prompt_length)].astype(np.int32)
    return Texts(
        sources=sources,
        source_texts=[loaded.vocabulary.decode(row) for row in sources],
        references=None,
        decode=loaded.vocabulary.decode,
        bleu_tokenize="13a",
        fingerprint=loaded.vocabulary.fingerprint,
        max_target=length,
    )
