import functools

import numpy as np
import pytest

from warmup_jax.data.text import tokenizers
from warmup_jax.data.text.tokenizers import BOS, EOS, PAD, TOKENIZERS, UNK

LINES = [
    "The quick brown fox jumps over the lazy dog.",
    "  two  leading, inner   and trailing spaces  ",
    "Der Fuchs überquert zwölf große Straßen, 10 % schneller!",
    "the fox and the dog and the fox",
    "a\ttab, a\u00a0no-break space, \u2028 a separator, \U0001f600 and ﬁ, Å, Å",
    "<s> </s> <pad> <unk>",
    "",
] * 3
SIZES = {"char": None, "byte": None, "bpe": 90, "unigram": 70}


@functools.cache
def learned(kind, prefix=True):
    return tokenizers.build(kind, tokenizers.learn(kind, lambda: iter(LINES), SIZES[kind], prefix))


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_text_comes_back_exactly(kind, prefix):
    tokenizer = learned(kind, prefix)
    texts = [*LINES, "dog", " dog", "dog ", " "]
    texts += ["a\n\n b", "\n", " \n "] if kind in ("byte", "bpe", "unigram") else []
    for text in texts:
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int32 and ids.ndim == 1
        assert not ids.size or (ids.min() > UNK and ids.max() < tokenizer.vocab_size)
        assert tokenizer.decode(ids) == text


def test_char_and_byte_ids_by_hand():
    char = tokenizers.build("char", tokenizers.learn("char", lambda: iter(["cab", "ä"]), None, True))
    assert char.encode("abcä").tolist() == [4, 5, 6, 7] and char.vocab_size == 8
    byte = learned("byte")
    assert byte.encode("aä").tolist() == [4 + 97, 4 + 0xC3, 4 + 0xA4] and byte.vocab_size == 260


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_decoding_stops_at_the_end_and_skips_padding(kind):
    tokenizer = learned(kind)
    ids = tokenizer.encode("the dog")
    for padded in ([BOS, *ids, EOS, *ids, PAD], [PAD, BOS, *ids, PAD], np.append(ids, EOS)):
        assert tokenizer.decode(padded) == "the dog"
    assert tokenizer.decode([]) == tokenizer.decode([EOS, 5]) == ""


@pytest.mark.parametrize("kind", ["char", "bpe", "unigram"])
def test_unknown_characters_are_unk(kind):
    tokenizer = learned(kind)
    ids = tokenizer.encode("the Ω dog")
    assert (ids == UNK).sum() == 1
    assert tokenizer.decode(ids) == "the \ufffd dog"


def test_invalid_utf8_decodes_to_replacement_characters():
    byte = learned("byte")
    assert byte.decode([4 + 97, 4 + 0xC3, UNK, 4 + 98]) == "a\ufffd\ufffdb"


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("bad", [-1, "size", 10**6])
def test_ids_outside_the_vocabulary(kind, bad):
    tokenizer = learned(kind)
    bad = tokenizer.vocab_size if bad == "size" else bad
    # Also after EOS: such an id shows that the ids come from another vocabulary.
    with pytest.raises(ValueError, match=f"{bad} .*vocabulary of {tokenizer.vocab_size}"):
        tokenizer.decode([4, EOS, bad])


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_learning_twice_gives_one_vocabulary(kind, array_cache):
    first = tokenizers.learn(kind, lambda: iter(LINES), SIZES[kind], True)
    assert len(list(array_cache.glob("tokenizer-*"))) == TOKENIZERS[kind].sized
    for entry in array_cache.glob("tokenizer-*/model.npy"):
        entry.unlink()
    assert tokenizers.learn(kind, lambda: iter(LINES), SIZES[kind], True) == first


def test_fingerprints_differ_between_vocabularies():
    other = ["another text with the letters xyz"] * 5
    built = [learned(kind) for kind in TOKENIZERS] + [learned("bpe", False)]
    built += [
        tokenizers.build(kind, tokenizers.learn(kind, lambda: iter(other), size, True))
        for kind, size in (("char", None), ("bpe", 30), ("bpe", 31))
    ]
    prints = [tokenizer.fingerprint for tokenizer in built]
    assert len(set(prints)) == len(prints)
    assert learned("byte").fingerprint == "9c491fb85cf90e94"


def test_cache_entry_depends_on_text_and_parameters(array_cache):
    def learn(lines=LINES, kind="bpe", size=90, prefix=True):
        tokenizers.learn(kind, lambda: iter(lines), size, prefix)
        return len(list(array_cache.iterdir()))

    assert learn() == 1 == learn()
    assert learn(size=91) == 2
    assert learn(prefix=False) == 3
    assert learn(kind="unigram", size=70) == 4
    # The boundary between texts matters too.
    assert learn([*LINES, "ab", "c"]) == 5
    assert learn([*LINES, "a", "bc"]) == 6


@pytest.mark.parametrize("how", ["bit", "cut", "gone"])
def test_damaged_model_is_learned_again(array_cache, how):
    first = tokenizers.learn("bpe", lambda: iter(LINES), 90, True)
    [path] = array_cache.glob("tokenizer-bpe-90-*/model.npy")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content if how == "bit" else content[:-9])
    assert tokenizers.learn("bpe", lambda: iter(LINES), 90, True) == first
    assert path.read_bytes() != content


def test_stored_model_is_not_learned_again(array_cache, monkeypatch):
    first = tokenizers.learn("bpe", lambda: iter(LINES), 90, True)
    monkeypatch.setattr(tokenizers, "_train_pieces", None)
    assert tokenizers.learn("bpe", lambda: iter(LINES), 90, True) == first


def test_long_lines_are_learned_from_completely():
    # SentencePiece itself skips lines above 4,192 bytes.
    text = "ab " * 5000 + "ü" * 5000 + "z"
    model = tokenizers.learn("bpe", lambda: iter([text]), 20, False)
    tokenizer = tokenizers.build("bpe", model)
    assert UNK not in tokenizer.encode("ab üz") and tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_unreachable_vocabulary_size(kind, array_cache):
    for size, bound in ((5000, "at most"), (9, "at least")):
        with pytest.raises(ValueError, match=rf"vocab_size={size}.*{kind}.*{bound} \d+") as error:
            tokenizers.learn(kind, lambda: iter(LINES), size, True)
        assert "\n" not in str(error.value)
        bound = int("".join(filter(str.isdigit, str(error.value).split(bound)[1])))
        tokenizers.learn(kind, lambda: iter(LINES), bound, True)
    assert len(list(array_cache.iterdir())) == 2


@pytest.mark.parametrize(
    "kind, size, message",
    [
        ("words", None, "tokenizer='words'; allowed: 'char', 'byte', 'bpe', 'unigram'"),
        ("bpe", None, "vocab_size=None; allowed with tokenizer='bpe': integers from 5"),
        ("unigram", 4, "vocab_size=4; allowed with tokenizer='unigram'"),
        ("char", 100, "vocab_size=100; allowed with tokenizer='char'.*: None"),
    ],
)
def test_bad_kind_or_size(kind, size, message):
    with pytest.raises(ValueError, match=message):
        tokenizers.check_tokenizer(kind, size)
