"""Tokenizers: text -> token ids and back, learned from training text and never downloaded."""

import hashlib
import io
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from warmup_jax.data import cache

# The first ids of every vocabulary: padding, begin, end, a symbol that training never saw.
PAD, BOS, EOS, UNK = range(4)
SPECIALS = 4

# What an unknown symbol decodes to.
UNKNOWN_TEXT = "\ufffd"

# SentencePiece leaves out lines above 4,192 bytes without a word: longer ones go in parts.
_LINE = 1000

# SentencePiece does not learn from the names of special tokens where a text has them, and
# texts do have "<unk>". These begin with a character for private use.
_NAMES = {f"{name}_piece": f"\ue000{name}" for name in ("pad", "bos", "eos", "unk")}


class Tokenizer(NamedTuple):
    """A vocabulary and the way between text and its ids.

    encode: str -> int32 [L], without BOS and EOS; UNK where a symbol is unknown.
    decode: ids [L] -> str; stops at EOS and skips PAD and BOS.
    vocab_size: number of ids, the four special ones included.
    fingerprint: hash of the vocabulary.
    """

    encode: Callable[[str], np.ndarray]
    decode: Callable[[Iterable[int]], str]
    vocab_size: int
    fingerprint: str


class Kind(NamedTuple):
    """How a kind of tokenizer is made: learn(texts, vocab_size, prefix) -> model -> Tokenizer."""

    learn: Callable[[Iterable[str], int | None, bool], bytes]
    build: Callable[[bytes], Tokenizer]
    sized: bool


def check(kind, vocab_size):
    """Raises ValueError for an unknown kind, or a vocabulary size that it cannot have."""
    if kind not in TOKENIZERS:
        raise ValueError(f"tokenizer must be one of {', '.join(TOKENIZERS)}, got {kind!r}")
    if TOKENIZERS[kind].sized:
        if vocab_size is None or vocab_size <= SPECIALS:
            raise ValueError(f"tokenizer {kind!r} needs vocab_size > {SPECIALS}, got {vocab_size}")
    elif vocab_size is not None:
        raise ValueError(f"tokenizer {kind!r} finds its own vocab_size: it must be None, got {vocab_size}")


def learn(kind, texts, vocab_size, prefix):
    """The model of a tokenizer, bytes that `build` takes.

    A model that takes long to learn is kept in the cache under a hash of the texts and
    the parameters.

    Args:
      kind: key of TOKENIZERS.
      texts: () -> iterator of training texts, in a fixed order.
      vocab_size: of "bpe" and "unigram", specials included; None for the others.
      prefix: whether a text begins with a word, so that its first word gets the piece
        which the word has after a space.

    Raises:
      ValueError: the text does not give a vocabulary of this size.
    """
    check(kind, vocab_size)
    if not TOKENIZERS[kind].sized:
        return TOKENIZERS[kind].learn(texts(), vocab_size, prefix)
    digest = hashlib.sha256(repr((kind, vocab_size, prefix)).encode())
    for text in texts():
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    stored = cache.arrays(
        f"tokenizer-{kind}-{vocab_size}-{digest.hexdigest()[:16]}",
        lambda: {"model": np.frombuffer(TOKENIZERS[kind].learn(texts(), vocab_size, prefix), np.uint8)},
    )
    return stored["model"].tobytes()


def build(kind, model):
    """The Tokenizer of a model from `learn`."""
    return TOKENIZERS[kind].build(model)


def _learn_char(texts, vocab_size, prefix):
    del vocab_size, prefix
    seen = set()
    for text in texts:
        seen.update(text)
    return "".join(sorted(seen)).encode()


def _build_char(model):
    characters = model.decode()
    points = _code_points(characters)
    table = ["", "", "", UNKNOWN_TEXT, *characters]
    size = len(table)

    def encode(text):
        wanted = _code_points(text)
        place = np.searchsorted(points, wanted).clip(max=len(points) - 1)
        return np.where(points[place] == wanted, place + SPECIALS, UNK).astype(np.int32)

    def decode(ids):
        return "".join(table[i] for i in _ordinary(ids, size))

    return Tokenizer(encode, decode, size, _fingerprint("char", model))


def _code_points(text):
    return np.frombuffer(text.encode("utf-32-le"), np.dtype("<u4"))


def _learn_byte(texts, vocab_size, prefix):
    del texts, vocab_size, prefix
    return bytes(range(256))


def _build_byte(model):
    table = [b"", b"", b"", UNKNOWN_TEXT.encode(), *(bytes([byte]) for byte in model)]
    size = len(table)

    def encode(text):
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + SPECIALS

    def decode(ids):
        return b"".join(table[i] for i in _ordinary(ids, size)).decode(errors="replace")

    return Tokenizer(encode, decode, size, _fingerprint("byte", model))


def _pieces(model_type):
    """The Kind of a SentencePiece model. Text comes back exactly, except that U+2581 becomes a space."""

    def learn_pieces(texts, vocab_size, prefix):
        return _train_pieces(model_type, texts, vocab_size, prefix)

    return Kind(learn_pieces, _build_pieces, sized=True)


def _train_pieces(model_type, texts, vocab_size, prefix):
    import sentencepiece

    lines = [
        line[start : start + _LINE]
        for text in texts
        for line in text.split("\n")
        for start in range(0, len(line), _LINE)
    ]
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=model_type,
            vocab_size=vocab_size,
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            **_NAMES,
            unk_surface=UNKNOWN_TEXT,
            user_defined_symbols=["\n"],
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=prefix,
            character_coverage=1.0,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _unreachable(model_type, vocab_size, str(error)) from error
    return model.getvalue()


def _unreachable(model_type, vocab_size, message):
    if found := re.search(r"set it to a value <= (\d+)", message):
        bound = f"at most {found[1]}"
    elif found := re.search(r"required_chars\. \d+ vs (\d+)", message):
        bound = f"at least {found[1]}, its characters"
    else:
        bound = f"another ({' '.join(message.split())})"
    return ValueError(
        f"tokenizer {model_type!r} cannot have vocab_size={vocab_size} on this training text: it must be {bound}"
    )


def _build_pieces(model):
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = processor.vocab_size()

    def encode(text):
        return np.array(processor.encode(text), np.int32)

    def decode(ids):
        return processor.decode(_ordinary(ids, size))

    return Tokenizer(encode, decode, size, _fingerprint("pieces", model))


def _ordinary(ids, size):
    """The ids before the first EOS without PAD and BOS, as a list; all are checked."""
    ids = np.asarray(ids).reshape(-1)
    outside = ids[(ids < 0) | (ids >= size)]
    if outside.size:
        raise ValueError(f"token id {outside[0]} is outside the vocabulary of {size}")
    ends = np.flatnonzero(ids == EOS)
    ids = ids[: ends[0]] if ends.size else ids
    return ids[(ids != PAD) & (ids != BOS)].tolist()


def _fingerprint(kind, model):
    return hashlib.sha256(kind.encode() + b" " + model).hexdigest()[:16]


TOKENIZERS = {
    "char": Kind(_learn_char, _build_char, sized=False),
    "byte": Kind(_learn_byte, _build_byte, sized=False),
    "bpe": _pieces("bpe"),
    "unigram": _pieces("unigram"),
}
