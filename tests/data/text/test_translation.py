import pickle

import jax
import numpy as np
import pytest

from warmup_jax import data
from warmup_jax.data.text.tokenizers import BOS, EOS, PAD, UNK

TRAIN = [("ein Hund", "a dog"), ("zwei Hunde", "two dogs"), ("ja", "yes"), ("nein", "no"), ("da", "there")] * 4
TEST = [("ein", "a"), ("zwei Hunde da", "two dogs there")]


def load(folder, **options):
    return data.load(**{"task": "translation", "name": "pairs", "data_dir": folder, **options})


def batch_of(dataset, part="train"):
    split = getattr(dataset, part)
    return dataset.prepare(split.read(np.arange(split.size)), None, part == "train")


def pairs_of(dataset, part="train"):
    """Decodes the sentence pairs in the rows, by their segments."""
    batch = jax.tree.map(np.asarray, batch_of(dataset, part))
    found = []
    for row in range(len(batch["labels"])):
        source, target = (batch["inputs"][f"{side}_segments"][row] for side in ("source", "target"))
        assert set(source) - {0} == set(target) - {0} == set(range(1, source.max() + 1))
        for segment in range(1, source.max() + 1):
            sides = batch["inputs"]["source"][row][source == segment], batch["labels"][row][target == segment]
            assert all(side[-1] == EOS and (side == EOS).sum() == 1 for side in sides)
            found.append(tuple(map(dataset.texts.decode, sides)))
    return found


@pytest.mark.parametrize("packing", ["pack", "none"])
@pytest.mark.parametrize("tokenizer, size", [("char", None), ("bpe", 30)])
def test_rows_hold_every_pair_once(write_pairs, array_cache, packing, tokenizer, size):
    dataset = load(
        write_pairs(TRAIN, TEST),
        tokenizer=tokenizer,
        vocab_size=size,
        packing=packing,
        source_length=30,
        target_length=28,
    )
    assert sorted(pairs_of(dataset)) == sorted(TRAIN) and sorted(pairs_of(dataset, "test")) == sorted(TEST)
    assert dataset.input_shape == (30, 28) and dataset.num_classes == dataset.facts["vocab_size"]
    rows = dataset.facts["train_rows"]
    assert rows == dataset.train.size and (rows == 20 if packing == "none" else rows < 12)
    tokens = sum((batch_of(dataset)["inputs"][f"{side}_segments"] > 0).sum() for side in ("source", "target"))
    assert dataset.facts["padding_share"] == pytest.approx(1 - tokens / (rows * 58))
    assert {
        key: dataset.facts[key]
        for key in ("train_pairs", "test_pairs", "dropped_empty", "dropped_long", "cut_sources", "unknown_tokens")
    } == {
        "train_pairs": 20,
        "test_pairs": 2,
        "dropped_empty": 0,
        "dropped_long": 0,
        "cut_sources": 0,
        "unknown_tokens": 0,
    }


def test_prepared_batch_by_hand():
    # Two sentences 7 8 and 9 in one row, their translations 10 and 11 12; the second row is padding.
    batch = {
        "source": np.array([[7, 8, EOS, 9, EOS, 0], [0] * 6], np.uint8),
        "source_segments": np.array([[1, 1, 1, 2, 2, 0], [0] * 6], np.uint8),
        "target": np.array([[10, EOS, 11, 12, EOS, 0], [0] * 6], np.uint8),
        "target_segments": np.array([[1, 1, 2, 2, 2, 0], [0] * 6], np.uint8),
        "weights": np.array([0.5, 1], np.float32),
    }
    prepare = data.text.translation.prepare_rows
    for function in (prepare, jax.jit(prepare, static_argnums=2)):
        got = function(batch, None, True)
        assert got["inputs"]["target"].tolist() == [[BOS, 10, BOS, 11, 12, PAD], [PAD] * 6]
        assert got["labels"].tolist() == batch["target"].tolist()
        assert got["weights"].tolist() == [[0.5] * 5 + [0], [0] * 6]
        dtypes = {key: value.dtype for key, value in got["inputs"].items()}
        assert set(dtypes.values()) == {np.dtype(np.int32)} and got["labels"].dtype == np.int32
        assert got["weights"].dtype == np.float32
        for key in ("source", "source_segments", "target_segments"):
            np.testing.assert_array_equal(got["inputs"][key], batch[key])
    assert function({key: batch[key] for key in batch if key != "weights"}, None, True)["weights"].tolist() == [
        [1] * 5 + [0],
        [0] * 6,
    ]


def test_pairs_that_do_not_fit_are_counted(write_pairs, array_cache):
    train = [*TRAIN, ("", "nothing"), ("leer", " "), ("lang " * 9, "long"), ("lang", "long " * 9)]
    # One test pair is empty, one is too long on each side, and two have a letter that the training text lacks.
    test = [*TEST, ("  ", "x"), ("zwei Hunde da " * 2, "two"), ("ein", "two dogs " * 3), ("xx", "a"), ("x", "a")]
    dataset = load(write_pairs(train, test), source_length=20, target_length=20)
    assert len(TRAIN) == dataset.facts["train_pairs"] and dataset.facts["test_pairs"] == 4
    assert dataset.facts["dropped_empty"] == 3 and dataset.facts["dropped_long"] == 4
    assert dataset.facts["cut_sources"] == 1
    assert dataset.facts["unknown_tokens"] == 3
    assert sorted(pairs_of(dataset)) == sorted(TRAIN)
    texts = dataset.texts
    assert sorted(texts.source_texts) == sorted(pair[0] for pair in test if pair[0].strip())
    assert len(texts.sources) == len(texts.source_texts) == len(texts.references) == 6
    for row, text in zip(texts.sources, texts.source_texts):
        [end] = np.flatnonzero(row == EOS)
        assert (row[end + 1 :] == PAD).all() and (row[:end] > EOS).all()
        assert texts.decode(row) == text[:19].replace("x", "\ufffd") and (row == UNK).sum() == text.count("x")
    assert texts.sources.shape == (6, 20) and texts.sources.dtype == np.int32 and texts.max_target == 20


def test_references_match_their_sources(write_pairs, array_cache):
    texts = load(write_pairs(TRAIN, TEST)).texts
    assert sorted(zip(texts.source_texts, texts.references)) == sorted(TEST)
    assert texts.bleu_tokenize == "13a"


def test_a_row_of_exactly_the_length_fits(write_pairs, array_cache):
    # 19 letters and EOS fill a row.
    folder = write_pairs([("a" * 19, "b" * 19), ("a" * 20, "b"), ("a", "b" * 20)], [("a" * 19, "b"), ("a" * 20, "b")])
    dataset = load(folder, source_length=20, target_length=20)
    assert pairs_of(dataset) == [("a" * 19, "b" * 19)]
    assert (dataset.facts["dropped_long"], dataset.facts["padding_share"]) == (3, 0)
    assert dataset.facts["cut_sources"] == 1


@pytest.mark.parametrize(
    "train, test, message",
    [
        ([("", "a")] * 3, TEST, "no usable train pair: 3 have an empty side, 0 are longer"),
        (
            [("a b" * 20, "aab")] * 2,
            TEST,
            "no usable train pair: 0 .*2 are longer than source_length=20, target_length=20",
        ),
        ([("ab" * 9, "ab")] * 2, [("ab", "")], "no usable test pair: 1"),
    ],
)
def test_a_split_without_a_usable_pair(write_pairs, array_cache, train, test, message):
    folder = write_pairs(train, test)
    for tokenizer, size in (("char", None), ("bpe", 12)):
        with pytest.raises(ValueError, match=message):
            load(folder, tokenizer=tokenizer, vocab_size=size, source_length=20, target_length=20)


def test_languages_and_splits(write_pairs, array_cache):
    import tensorflow_datasets as tfds

    two_texts = tfds.features.FeaturesDict({"de": tfds.features.Text(), "en": tfds.features.Text()})
    folder = write_pairs(TRAIN, TEST, supervised_keys=("en", "de"), version="2.0.0")
    assert sorted(pairs_of(load(folder))) == sorted(pair[::-1] for pair in TRAIN)
    folder = write_pairs(TRAIN, TEST, features=two_texts, last="validation", version="3.0.0")
    forth, back = load(folder), load(folder, source="en", target="de")
    assert sorted(pairs_of(forth)) == sorted(TRAIN)
    assert sorted(pairs_of(back)) == sorted(pair[::-1] for pair in TRAIN)
    assert forth.texts.fingerprint == back.texts.fingerprint  # one vocabulary for both languages
    for options in ({"source": "en"}, {"target": "de"}):
        assert sorted(pairs_of(load(folder, **options))) == sorted(pairs_of(back))
    assert load(folder, test_split="train").facts["test_pairs"] == 20
    for options, message in (
        ({"source": "fr"}, "source='fr'; allowed for data set 'pairs': 'de', 'en'"),
        ({"source": "de", "target": "de"}, "two languages, both are 'de'"),
        ({"test_split": "test"}, "split test, has: train, validation"),
    ):
        with pytest.raises(ValueError, match=message):
            load(folder, **options)


def test_languages_inside_another_feature(write_set, array_cache):
    import tensorflow_datasets as tfds

    text, languages = tfds.features.Text(), tfds.features.Translation(languages=("de", "en"))
    nested = tfds.features.FeaturesDict({"id": text, "pair": languages})
    splits = {split: [{"id": "0", "pair": {"de": "ja", "en": "yes"}}] for split in ("train", "test")}
    folder = write_set(nested, splits, name="nested")
    assert pairs_of(load(folder, name="nested")) == [("ja", "yes")]
    assert pairs_of(load(folder, name="nested", source="en", target="pair/de")) == [("yes", "ja")]
    with pytest.raises(ValueError, match="source='id'; allowed for data set 'nested': 'pair/de', 'pair/en'"):
        load(folder, name="nested", source="id")
    several = tfds.features.FeaturesDict({"fr": text, "en": text, "de": text})
    splits = {split: [{"de": "ja", "en": "yes", "fr": "oui"}] for split in ("train", "test")}
    folder = write_set(several, splits, name="several")
    assert pairs_of(load(folder, name="several", source="fr", target="en")) == [("oui", "yes")]
    for options, message in (
        ({}, "source=None; allowed .*: 'de', 'en', 'fr'"),
        ({"source": "fr"}, "target=None; allowed .*: 'de', 'en', 'fr'"),
    ):
        with pytest.raises(ValueError, match=message):
            load(folder, name="several", **options)


def test_translation_residencies_agree(write_pairs, array_cache, monkeypatch):
    folder = write_pairs(TRAIN, TEST)
    options = dict(source_length=14, target_length=14)
    resident = load(folder, **options)
    stream = load(folder, residency="stream", **options)
    assert resident.residency == "device" and stream.residency == "stream" and stream.train.arrays is None
    steps = dict(seed=1, batch_size=4, start=0, stop=7)
    ours, theirs = (list(data.train_batches(d, **steps)) for d in (resident, stream))
    ours = [data.take(resident.train.arrays, batch) for batch in ours]
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    ours, theirs = (list(data.eval_batches(d, batch_size=2)) for d in (resident, stream))
    jax.tree.map(np.testing.assert_array_equal, [data.take(resident.test.arrays, batch) for batch in ours], theirs)
    # A worker process receives the paths of the rows, not the rows.
    sent = pickle.dumps(stream.train)
    assert b"train_source.npy" in sent
    index = np.arange(4)
    jax.tree.map(np.testing.assert_array_equal, pickle.loads(sent).read(index), resident.train.read(index))
    monkeypatch.setattr("warmup_jax.data.dataset.RESIDENT_BYTES", 10)
    assert load(folder, **options).residency == "stream"


def test_rows_are_made_once(write_pairs, array_cache, monkeypatch):
    folder = write_pairs(TRAIN, TEST)
    first = load(folder, tokenizer="bpe", vocab_size=30)
    with monkeypatch.context() as patch:
        patch.setattr(data.text.translation, "_make", lambda *_: pytest.fail("made again"))
        again = load(folder, tokenizer="bpe", vocab_size=30)
    assert pairs_of(first) == pairs_of(again) and first.facts == again.facts
    assert isinstance(again.train.arrays["source"], np.memmap)
    # A change of anything that the rows depend on makes new rows.
    for change in (
        {"packing": "none"},
        {"source_length": 100},
        {"target_length": 100},
        {"source": "en"},
        {"vocab_size": 31},
        {"test_split": "train"},
    ):
        count = len(list(array_cache.iterdir()))
        load(folder, **{"tokenizer": "bpe", "vocab_size": 30, **change})
        assert len(list(array_cache.iterdir())) > count


def test_learning_from_a_part_is_logged(write_pairs, array_cache, monkeypatch):
    monkeypatch.setattr(data.text.translation, "LEARNED_PAIRS", 7)
    dataset = load(write_pairs(TRAIN, TEST), tokenizer="bpe", vocab_size=24)
    assert dataset.facts["learned_from_pairs"] == 7 and dataset.facts["train_pairs"] == 20


@pytest.mark.parametrize(
    "options, message",
    [
        ({"packing": "bucket"}, "packing='bucket'; allowed: 'pack', 'none'"),
        ({"source_length": 1}, "source_length=1; allowed: integers from 2"),
        ({"target_length": 0}, "target_length=0; allowed: integers from 2"),
        ({"tokenizer": "word"}, "tokenizer='word'; allowed: 'char', 'byte', 'bpe', 'unigram'"),
        ({"tokenizer": "bpe"}, "vocab_size=None; allowed with tokenizer='bpe': integers from 5"),
        ({"vocab_size": 100}, "vocab_size=100; allowed with tokenizer='char'.*: None"),
        ({"residency": "disk"}, "'disk'"),
        ({"workers": -1}, "-1"),
        ({"augment": "flip"}, "task 'translation': unknown argument 'augment'"),
        ({"name": "number_words", "source": "fr"}, "source='fr'; allowed for data set 'number_words': 'en', 'de'"),
        ({"name": "number_words", "test_split": "test"}, "test_split='test'; allowed for 'number_words': None"),
    ],
)
def test_bad_translation_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **options)


def test_set_without_two_texts(write_documents):
    folder = write_documents(["a"], ["b"])
    with pytest.raises(ValueError, match="two text features for translation, has 1 among: text"):
        load(folder, name="documents")


def test_text_that_is_not_utf8(write_pairs, array_cache):
    folder = write_pairs([(b"\xff", "a")], TEST)
    with pytest.raises(ValueError, match="'pairs' has text that is not UTF-8 in example 0 of train"):
        load(folder)


@pytest.mark.slow
def test_multi30k_content(real_multi30k):
    dataset = load(real_multi30k, name="multi30k_translate/de-en", tokenizer="bpe", vocab_size=2000)
    facts = dataset.facts
    assert (facts["train_pairs"], facts["test_pairs"]) == (29_000, 1000)
    assert facts["dropped_empty"] == facts["dropped_long"] == facts["cut_sources"] == 0
    assert facts["padding_share"] < 0.08
    assert dataset.texts.references[0].startswith("A navy walking wearing a black coat and pants on the stairs")
    rows = dataset.test.arrays
    tokens = rows["source"][rows["source_segments"] > 0]
    sources = [row[row != PAD] for row in dataset.texts.sources]
    assert sorted(tokens) == sorted(np.concatenate(sources))
    assert [dataset.texts.decode(row) for row in sources] == dataset.texts.source_texts
