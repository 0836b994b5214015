"""Errors of the loader about data that cannot be trained on: hidden labels, and examples that do not read."""

import numpy as np
import pytest

from configs import resnet_warmup
from warmup_jax import data
from warmup_jax.data.text import languages, translation
from warmup_jax.training import bleu, experiment

pytestmark = pytest.mark.usefixtures("array_cache")


@pytest.fixture
def write_labels(write_set, encode):
    """Writes a set of 6 x 6 pictures with these labels by split; returns the folder."""
    import tensorflow_datasets as tfds

    def write(pictures=None, **labels):
        pixels = encode(np.arange(108, dtype=np.uint8).reshape(6, 6, 3))
        features = tfds.features.FeaturesDict(
            {"image": tfds.features.Image(shape=(6, 6, 3)), "label": tfds.features.ClassLabel(num_classes=4)}
        )
        pictures = pictures or {}
        splits = {
            split: [{"image": pictures.get((split, i), pixels), "label": label} for i, label in enumerate(values)]
            for split, values in labels.items()
        }
        return write_set(features, splits)

    return write


def load(folder, **args):
    return data.load(name="toy", data_dir=str(folder), **args)


@pytest.mark.parametrize("residency", ["device", "stream"])
def test_hidden_labels_of_the_test_split_are_named_with_the_splits_that_have_them(write_labels, residency):
    folder = write_labels(train=[0, 1, 2, 3], test=[-1, -1], validation=[3, 1, 0], more=[-1])
    with pytest.raises(data.DataError) as caught:
        load(folder, residency=residency)
    message = str(caught.value)
    assert "'toy'" in message and "example 0 of the split 'test'" in message and "the label -1" in message
    assert message.endswith("set dataset.test_split to 'validation'") and "\n" not in message
    dataset = load(folder, residency=residency, test_split="validation")
    assert dataset.test.size == 3 and sorted(dataset.test.read(np.arange(3))["label"]) == [0, 1, 3]


def test_a_test_split_has_a_cache_entry_of_its_own(write_labels):
    folder = write_labels(train=[0, 1], test=[2, 2, 2], validation=[3])
    sizes = [load(folder, test_split=split).test.size for split in (None, "validation", "test")]
    assert sizes == [3, 1, 3]


def test_where_all_splits_hide_their_labels_no_other_is_suggested(write_labels):
    with pytest.raises(data.DataError, match="no other split has labels"):
        load(write_labels(train=[0, 1], test=[-1]))


def test_a_hidden_training_label_is_named_at_load(write_labels):
    with pytest.raises(data.DataError, match=r"example \d of the split 'train' .* has the label -1; allowed: 0 to 3"):
        load(write_labels(train=[0, 1, -1, 2], test=[0]), residency="device")


@pytest.fixture
def late(monkeypatch):
    """The loader looks at one label alone before the first batch, as if the set were large."""
    from warmup_jax.data.images import classification

    monkeypatch.setattr(classification, "CHECKED_LABELS", 1)
    monkeypatch.setattr(classification, "_moments", lambda *args: ((0.5,) * 3, (0.2,) * 3))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_hidden_training_label_behind_the_first_ones_is_named_by_the_batch_that_reads_it(write_labels, late, workers):
    folder = write_labels(train=[0] * 15 + [-1], test=[0, 1])
    dataset = load(folder, residency="stream", workers=workers)
    with pytest.raises(ValueError, match=r"example \d+ of the split 'train' .* has the label -1") as caught:
        list(data.train_batches(dataset, seed=0, batch_size=8, start=0, stop=2))
    assert isinstance(caught.value, data.DataError)
    with pytest.raises(data.DataError, match=r"of the split 'train' .* has the label -1"):
        load(folder, residency="device")


def test_a_run_ends_with_one_line_about_the_label_that_a_stream_meets(write_labels, late, tmp_path):
    folder = write_labels(train=[0] * 15 + [-1], test=[0, 1])
    config = resnet_warmup.get_config("cifar10,smoke").to_dict() | {"batch_size": 16, "eval_batch_size": 2}
    config["dataset"] |= {"name": "toy", "data_dir": str(folder), "residency": "stream", "augment": "none"}
    with pytest.raises(experiment.UserError, match=r"of the split 'train' .* has the label -1"):
        experiment.run(config, tmp_path / "run")


@pytest.mark.parametrize("residency", ["device", "stream"])
def test_a_picture_that_does_not_decode_is_named(write_labels, encode, residency):
    pixels = encode(np.zeros((6, 6, 3), np.uint8))
    folder = write_labels({("train", 2): pixels[:40]}, train=[0, 1, 2, 3], test=[0])
    with pytest.raises(data.DataError, match=r"example \d of the split 'train' of the data set in .*toy.*: \w+Error"):
        dataset = load(folder, residency=residency)
        list(data.train_batches(dataset, seed=0, batch_size=4, start=0, stop=1))


def test_a_picture_of_another_shape_is_named(write_labels, encode):
    folder = write_labels({("train", 2): encode(np.zeros((5, 6, 3), np.uint8))}, train=[0, 1, 2, 3], test=[0])
    with pytest.raises(data.DataError, match=r"of the split 'train' .* has the shape \(\d, 6, 3\)"):
        load(folder, residency="device")


def test_a_damaged_record_is_named(write_labels):
    folder = write_labels(train=[0, 1, 2, 3], test=[0])
    (path,) = folder.glob("toy/1.0.0/toy-train*")
    content = bytearray(path.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(data.DataError, match="of the split 'train' of the data set in .*toy"):
        load(folder)


def test_digits_have_one_test_split():
    with pytest.raises(ValueError, match="test_split='validation'; allowed for 'digits': None"):
        data.load(name="digits", test_split="validation")


@pytest.mark.parametrize(
    "language, tokenizer",
    [("zh", "zh"), ("zh-CN", "zh"), ("zh_tw", "zh"), ("ja", "char"), ("th", "char"), ("de", "13a"), ("en", "13a")],
)
def test_bleu_follows_the_target_language(language, tokenizer):
    assert languages.bleu_tokenizer(language) == tokenizer


@pytest.fixture
def chinese(write_set):
    """A folder with a set of English and Chinese sentences."""
    import tensorflow_datasets as tfds

    pairs = [("the cat", "我今天很高兴看到那只小猫在家里"), ("the dog", "他昨天在公园里看到一只大狗")]
    splits = {split: [{"en": en, "zh": zh} for en, zh in pairs] for split in ("train", "test")}
    return write_set(tfds.features.Translation(languages=("en", "zh")), splits, name="pairs")


def test_nearly_right_chinese_sentences_have_a_bleu(chinese):
    def tokenizer(**args):
        dataset = translation.load_translation(name="pairs", data_dir=str(chinese), source="en", target="zh", **args)
        assert dataset.facts["bleu_tokenizer"] == dataset.texts.bleu_tokenize
        return dataset.texts

    texts = tokenizer()
    assert texts.bleu_tokenize == "zh" and tokenizer(bleu_tokenizer="char").bleu_tokenize == "char"
    written = [text.replace("一只大狗", "一只小狗").replace("今天", "昨天") for text in texts.references]
    assert bleu.bleu(written, texts.references, "13a")[0] == 0
    assert bleu.bleu(written, texts.references, texts.bleu_tokenize)[0] > 60
    with pytest.raises(ValueError, match="bleu_tokenizer='mecab'; allowed: None, '13a', 'char'"):
        tokenizer(bleu_tokenizer="mecab")


def test_text_that_is_not_utf8_is_named(write_set):
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
    splits = {"train": [{"text": "good"}, {"text": b"bad \xff"}], "test": [{"text": "good"}]}
    folder = write_set(features, splits, name="documents")
    with pytest.raises(data.DataError, match=r"'documents' has text that is not UTF-8 in example \d of train"):
        data.load(task="text", name="documents", data_dir=str(folder), length=2, prompt_length=1)
