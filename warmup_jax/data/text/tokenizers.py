"""Tokenizers, learned from the training text: text to token ids and back."""

import hashlib
import io
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from warmup_jax import registry
from warmup_jax.data import cache

# The first ids of every vocabulary: padding, begin, end, a symbol that the training text lacks.
PAD, BOS, EOS, UNK = range(4)
SPECIALS = 4

# Text that UNK decodes to.
UNKNOWN_TEXT = "\ufffd"

# Characters in a line to learn from; SentencePiece silently skips lines above 4,192 bytes, so longer ones are cut.
MAX_LINE = 1000

# Names of the special tokens. SentencePiece does not learn from text that equals such a name, and texts do contain the
# default "<unk>"; these names begin with a character for private use.
SPECIAL_NAMES: dict[str, Any] = {f"{name}_piece": f"\ue000{name}" for name in ("pad", "bos", "eos", "unk")}


class Tokenizer(NamedTuple):
    """A vocabulary, with the functions between text and its ids.

    Attributes:
      encode: str -> int32 [L], without BOS and EOS; UNK for an unknown symbol.
      decode: ids [L] -> str; stops at EOS and skips PAD and BOS.
      vocab_size: number of ids, the four special ones included.
      fingerprint: hash of the vocabulary.
    """

    encode: Callable[[str], np.ndarray]
    decode: Callable[[Iterable[int]], str]
    vocab_size: int
    fingerprint: str


class TokenizerKind(NamedTuple):
    """The two steps that make a tokenizer of one kind.

    Attributes:
      learn: (texts, vocab_size, prefix) -> model.
      build: model -> Tokenizer.
      sized: True if the size of the vocabulary is the user's choice.
    """

    learn: Callable[[Iterable[str], int | None, bool], bytes]
    build: Callable[[bytes], Tokenizer]
    sized: bool


def check_tokenizer(kind: str, vocab_size: int | None) -> None:
    """Raises ValueError for an unknown kind, or a vocabulary size that the kind cannot have."""
    registry.one_of("tokenizer", kind, TOKENIZERS)
    if not TOKENIZERS[kind].sized:
        registry.one_of("vocab_size", vocab_size, (None,), f" with tokenizer={kind!r}, which finds its own")
    elif vocab_size is None or vocab_size <= SPECIALS:
        raise ValueError(f"vocab_size={vocab_size!r}; allowed with tokenizer={kind!r}: integers from {SPECIALS + 1}")


def learn(kind: str, texts: Callable[[], Iterable[str]], vocab_size: int | None, prefix: bool) -> bytes:
    """Learns a tokenizer from training texts; returns its model, for `build`.

    Subword models, which take long to learn, are cached under a hash of the texts and the parameters.

    Args:
      kind: key of TOKENIZERS.
      texts: () -> iterator over the training texts, in a fixed order.
      vocab_size: size of a "bpe" or "unigram" vocabulary, specials included; None for the other kinds.
      prefix: True if every text begins with a word, so that its first word gets the same piece as after a space.

    Returns:
      The model.

    Raises:
      ValueError: the text does not give a vocabulary of this size.
    """
    check_tokenizer(kind, vocab_size)
    if not TOKENIZERS[kind].sized:
        return TOKENIZERS[kind].learn(texts(), vocab_size, prefix)
    digest = hashlib.sha256(repr((kind, vocab_size, prefix)).encode())
    for text in texts():
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    stored = cache.load_or_make(
        f"tokenizer-{kind}-{vocab_size}-{digest.hexdigest()[:16]}",
        lambda: {"model": np.frombuffer(TOKENIZERS[kind].learn(texts(), vocab_size, prefix), np.uint8)},
    )
    return stored["model"].tobytes()


def build(kind: str, model: bytes) -> Tokenizer:
    """Returns the Tokenizer of a model from `learn`."""
    return TOKENIZERS[kind].build(model)


def _learn_char(texts: Iterable[str], vocab_size: int | None, prefix: bool) -> bytes:
    del vocab_size, prefix
    seen: set[str] = set()
    for text in texts:
        seen.update(text)
    return "".join(sorted(seen)).encode()


def _build_char(model: bytes) -> Tokenizer:
    characters = model.decode()
    points = _code_points(characters)
    table = ["", "", "", UNKNOWN_TEXT, *characters]
    size = len(table)

    def encode(text: str) -> np.ndarray:
        wanted = _code_points(text)
        place = np.searchsorted(points, wanted).clip(max=len(points) - 1)
        return np.where(points[place] == wanted, place + SPECIALS, UNK).astype(np.int32)

    def decode(ids: Iterable[int]) -> str:
        return "".join(table[i] for i in _ordinary(ids, size))

    return Tokenizer(encode, decode, size, _fingerprint("char", model))


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.dtype("<u4"))


def _learn_byte(texts: Iterable[str], vocab_size: int | None, prefix: bool) -> bytes:
    del texts, vocab_size, prefix
    return bytes(range(256))


def _build_byte(model: bytes) -> Tokenizer:
    table = [b"", b"", b"", UNKNOWN_TEXT.encode(), *(bytes([byte]) for byte in model)]
    size = len(table)

    def encode(text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + SPECIALS

    def decode(ids: Iterable[int]) -> str:
        return b"".join(table[i] for i in _ordinary(ids, size)).decode(errors="replace")

    return Tokenizer(encode, decode, size, _fingerprint("byte", model))


def _pieces(model_type: str) -> TokenizerKind:
    """Returns the kind of a SentencePiece model, which restores text exactly, except that U+2581 becomes a space."""

    def learn_pieces(texts: Iterable[str], vocab_size: int | None, prefix: bool) -> bytes:
        return _train_pieces(model_type, texts, vocab_size, prefix)

    return TokenizerKind(learn_pieces, _build_pieces, sized=True)


def _train_pieces(model_type: str, texts: Iterable[str], vocab_size: int | None, prefix: bool) -> bytes:
    import sentencepiece

    lines = [
        line[start : start + MAX_LINE]
        for text in texts
        for line in text.split("\n")
        for start in range(0, len(line), MAX_LINE)
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
            **SPECIAL_NAMES,
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
        raise _unreachable_size(model_type, vocab_size, str(error)) from error
    return model.getvalue()


def _unreachable_size(model_type: str, vocab_size: int | None, message: str) -> ValueError:
    if found := re.search(r"set it to a value <= (\d+)", message):
        allowed = f"at most {found[1]}"
    elif found := re.search(r"required_chars\. \d+ vs (\d+)", message):
        allowed = f"at least {found[1]}, the number of its characters"
    else:
        allowed = f"another size ({' '.join(message.split())})"
    return ValueError(
        f"vocab_size={vocab_size}; allowed with tokenizer={model_type!r} on this training text: {allowed}"
    )


def _build_pieces(model: bytes) -> Tokenizer:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = processor.vocab_size()

    def encode(text: str) -> np.ndarray:
        return np.array(processor.encode(text), np.int32)

    def decode(ids: Iterable[int]) -> str:
        return processor.decode(_ordinary(ids, size))

    return Tokenizer(encode, decode, size, _fingerprint("pieces", model))


def _ordinary(ids: Iterable[int], size: int) -> list[int]:
    """Checks all ids; returns those before the first EOS without PAD and BOS."""
    ids = np.asarray(ids).reshape(-1)
    outside = ids[(ids < 0) | (ids >= size)]
    if outside.size:
        raise ValueError(f"token id {outside[0]} is outside the vocabulary of {size}")
    ends = np.flatnonzero(ids == EOS)
    ids = ids[: ends[0]] if ends.size else ids
    return ids[(ids != PAD) & (ids != BOS)].tolist()


def _fingerprint(kind: str, model: bytes) -> str:
    return hashlib.sha256(kind.encode() + b" " + model).hexdigest()[:16]


TOKENIZERS: dict[str, TokenizerKind] = {
    "char": TokenizerKind(_learn_char, _build_char, sized=False),
    "byte": TokenizerKind(_learn_byte, _build_byte, sized=False),
    "bpe": _pieces("bpe"),
    "unigram": _pieces("unigram"),
}
