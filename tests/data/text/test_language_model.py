import jax
import numpy as np
import pytest

from warmup_jax import data
from warmup_jax.data import cache
from warmup_jax.data.text import corpus
from warmup_jax.data.text.tokenizers import EOS, PAD

# Three documents of 10 characters: 32 tokens with an EOS between two documents.
TRAIN = ["abcdefghij", "klmnopqrst", "uvwxyz abc"]


def load(folder, **options):
    return data.load(
        **{"task": "text", "name": "documents", "data_dir": folder, "length": 8, "prompt_length": 3, **options}
    )


def batch_of(dataset, part="train"):
    split = getattr(dataset, part)
    return jax.tree.map(np.asarray, dataset.prepare(split.read(np.arange(split.size)), None, part == "train"))


def test_windows_and_labels(write_documents, array_cache):
    dataset = load(write_documents(TRAIN, ["hello there"]))
    batch = batch_of(dataset)
    assert batch["inputs"].shape == batch["labels"].shape == (3, 8) and dataset.input_shape == (8,)
    # TFDS chooses the order of the documents; 32 tokens give three windows, whose labels are the next tokens.
    stream = [*batch["inputs"].reshape(-1), batch["labels"][-1, -1]]
    np.testing.assert_array_equal(batch["labels"].reshape(-1), stream[1:])
    letters = "".join(" abcdefghijklmnopqrstuvwxyz"[i - 4] if i != EOS else "|" for i in stream)
    parts = letters.split("|")
    assert len(parts) == 3 and all(any(text.startswith(part) for text in TRAIN) for part in parts)
    assert (batch["weights"] == 1).all() and batch["weights"].dtype == np.float32
    assert batch["inputs"].dtype == batch["labels"].dtype == np.int32
    assert (dataset.facts["train_tokens"], dataset.facts["dropped_tokens"]) == (24, 7)
    assert dataset.num_classes == dataset.facts["vocab_size"] == 31


@pytest.mark.parametrize(
    "text, rows, weights",
    [("ab", 1, [1]), ("abcdefgh", 1, [1] * 7), ("abcdefghi", 1, [1] * 8), ("abcdefghij", 2, [1] * 9)],
)
def test_the_end_of_the_test_text_is_kept(write_documents, array_cache, text, rows, weights):
    dataset = load(write_documents(TRAIN, [text]), prompt_length=2)
    batch = batch_of(dataset, "test")
    assert dataset.test.size == rows == dataset.facts["test_rows"]
    padded = weights + [0] * (8 * rows - len(weights))
    assert batch["weights"].reshape(-1).tolist() == padded
    assert dataset.texts.decode(batch["labels"].reshape(-1)) == text[1:]
    assert (batch["labels"].reshape(-1)[len(weights) :] == PAD).all()
    assert dataset.facts["test_tokens"] == len(weights)


@pytest.mark.parametrize("in_memory", [cache.IN_MEMORY, 20])
@pytest.mark.parametrize("chunk_bytes", [1, 50])
def test_a_text_is_read_in_chunks_that_change_nothing(
    write_documents, array_cache, monkeypatch, tmp_path, chunk_bytes, in_memory
):
    folder = write_documents([*TRAIN, "", "x", "yz"] * 3, ["hello there", "", "you"])
    expected = load(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    monkeypatch.setattr(corpus, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(cache, "IN_MEMORY", in_memory)
    read = []
    monkeypatch.setattr(corpus, "_read", lambda *args, read_=corpus._read: read.append(args[-2:]) or read_(*args))
    found = load(folder)
    assert max(stop - start for start, stop in read) == (1 if chunk_bytes == 1 else 2)
    assert found.facts == expected.facts
    for part in ("train", "test"):
        np.testing.assert_array_equal(*(getattr(d, part).arrays["tokens"] for d in (found, expected)))


def test_padding_examples_weigh_nothing(write_documents, array_cache):
    dataset = load(write_documents(TRAIN, ["abcdefghij"]))
    batch = {**dataset.test.read(np.array([0, 1, 0])), "weights": np.array([1, 1, 0], np.float32)}
    weights = dataset.prepare(batch, None, False)["weights"]
    assert weights.sum(1).tolist() == [8, 1, 0]


def test_empty_documents_and_unknown_characters_are_counted(write_documents, array_cache):
    dataset = load(write_documents([*TRAIN, "", " \n"], ["", "a1b2", "no Z"]))
    assert dataset.facts["dropped_empty"] == 3 and dataset.facts["unknown_tokens"] == 3
    texts = dataset.texts
    assert dataset.facts["test_tokens"] == 8 and texts.references is None
    assert set(texts.source_texts) == {"a\ufffdb", "\ufffdb\ufffd", "no ", "o \ufffd"}


def test_prompts_are_of_one_document_each(write_documents, array_cache):
    documents = ["".join(chr(97 + (7 * i + j) % 26) for j in range(9)) for i in range(12)]
    folder = write_documents(TRAIN, documents)
    texts = load(folder, prompt_length=5).texts
    assert texts.sources.shape == (16, 5) and texts.sources.dtype == np.int32
    assert (texts.sources > EOS).all() and len(set(texts.source_texts)) > 8
    for row, text in zip(texts.sources, texts.source_texts):
        assert texts.decode(row) == text and len(text) == 5
        assert any(text in document for document in documents)
    assert texts.max_target == 8
    assert set(load(folder, prompt_length=9).texts.source_texts) == set(documents)
    with pytest.raises(ValueError, match="prompt_length=10 is longer than every document.*'documents'"):
        load(folder, prompt_length=10)


def test_text_residencies_agree(write_documents, array_cache):
    folder = write_documents(TRAIN * 5, ["abcdefghij"] * 3)
    resident, stream = (load(folder, residency=residency) for residency in ("auto", "stream"))
    assert (resident.residency, stream.residency) == ("device", "stream")
    options = dict(seed=0, batch_size=3, start=2, stop=9)
    ours, theirs = (list(data.train_batches(d, **options)) for d in (resident, stream))
    jax.tree.map(np.testing.assert_array_equal, [data.take(resident.train.arrays, batch) for batch in ours], theirs)


@pytest.mark.parametrize("tokenizer, size", [("byte", None), ("bpe", 40), ("unigram", 18)])
def test_subwords_of_a_text_join(write_documents, array_cache, tokenizer, size):
    lines = "the dog\nand the fox\n and the cat\n\n" * 4
    dataset = load(write_documents([lines], [lines]), tokenizer=tokenizer, vocab_size=size)
    windows = batch_of(dataset, "test")["inputs"]
    decode = dataset.texts.decode
    # Pieces keep their spaces, so decoded windows join to the original text.
    assert "".join(map(decode, windows)).startswith(lines[:-5])
    assert dataset.facts["unknown_tokens"] == 0


def test_learning_from_a_part_of_a_text_is_logged(write_documents, array_cache, monkeypatch):
    monkeypatch.setattr(data.text.language_model, "LEARNED_CHARACTERS", 12)
    dataset = load(write_documents(["abcd efg"] * 4, ["abcdefg"]), tokenizer="bpe", vocab_size=16)
    assert dataset.facts["learned_from_characters"] == 16


@pytest.mark.parametrize(
    "train, test, message",
    [
        (["abcdefgh"], ["abcd"], "8 train tokens in all: a window of length=8 and its labels need 9"),
        ([" "], ["abcd"], "0 train tokens"),
        (TRAIN, ["a"], "1 test tokens in all.*need 2"),
        (TRAIN, [" "], "0 test tokens"),
    ],
)
def test_a_text_that_is_too_short(write_documents, array_cache, train, test, message):
    folder = write_documents(train, test)
    with pytest.raises(ValueError, match=message):
        load(folder)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"length": 0}, "length=0; allowed: integers from 1"),
        ({"prompt_length": 0}, "prompt_length=0; allowed: integers from 1"),
        ({"tokenizer": "words"}, "'words'"),
        ({"packing": "none"}, "task 'text': unknown argument 'packing'"),
        ({"residency": "disk"}, "'disk'"),
        ({"name": "pydoc", "test_split": "test"}, "test_split='test'; allowed for 'pydoc': None"),
    ],
)
def test_bad_text_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **options)


def test_set_without_exactly_one_text(write_pairs):
    folder = write_pairs([("a", "b")], [("a", "b")])
    with pytest.raises(ValueError, match="one text feature for language modelling, has 2 among: de, en"):
        load(folder, name="pairs")


def test_tiny_shakespeare_content(real_tiny_shakespeare):
    options = dict(name="tiny_shakespeare", length=256, prompt_length=16)
    dataset = load(real_tiny_shakespeare, **options)
    assert dataset.num_classes == 65 + 4 and dataset.facts["unknown_tokens"] == 0
    assert dataset.facts["train_tokens"] + dataset.facts["dropped_tokens"] + 1 == 1_003_854
    assert dataset.facts["test_tokens"] + 1 == 55_770
    assert dataset.texts.decode(dataset.train.arrays["tokens"][0]).startswith("First Citizen:\nBefore we proceed")
    validation = load(real_tiny_shakespeare, test_split="validation", **options)
    assert validation.facts["test_tokens"] + 1 == 55_770
    assert validation.texts.source_texts != dataset.texts.source_texts
