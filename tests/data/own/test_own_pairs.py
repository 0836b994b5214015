import numpy as np
import pytest

from warmup_jax import data
from warmup_jax.data.own import pairs
from warmup_jax.data.own.prepare import prepare


@pytest.fixture
def write(tmp_path):
    """Writes {name: content} to files; returns {split: {language: path}}."""

    def write(**contents):
        found = {}
        for name, content in contents.items():
            split, language = name.split("_")
            path = tmp_path / f"{split}.{language}"
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            found.setdefault(split, {})[language] = path
        return found

    return write


def examples(found, split):
    return [tuple(text.decode() for text in example.values()) for example in found.splits[split]()]


def test_lines_are_paired(write):
    files = write(train_en="\ufeffa b\r\nc\u2028d \n\n x\n", train_de="A B\nC\n\nX", test_en="t\n", test_de="T\n")
    found = pairs.read(files)
    assert examples(found, "train") == [("a b", "A B"), ("c\u2028d", "C"), ("", ""), ("x", "X")]
    assert examples(found, "test") == [("t", "T")]
    assert found.notes[-1] == "1 pairs have an empty side: training leaves them out"
    assert (found.overrides["dataset.source"], found.overrides["dataset.target"]) == ("en", "de")


def test_held_out_sentences_are_never_trained_on(write):
    sources = [f"sentence {number % 150}" for number in range(400)] + [""]
    lines = (sources, [f"Satz {number}" for number in range(401)])
    files = write(
        train_en="".join(f"{line}\n" for line in lines[0]), train_de="".join(f"{line}\n" for line in lines[1])
    )
    found = pairs.read(files)
    train, test = examples(found, "train"), examples(found, "test")
    held = {source for source, _ in test}
    assert 2 <= len(test) == len(held) <= 15 and not held & {source for source, _ in train}
    assert {source for source, _ in train} | held == set(sources)
    more = [f"new {number}" for number in range(200)]
    for path in files["train"].values():
        path.write_text("".join(f"{line}\n" for line in [*more, *path.read_text().split("\n")[:-1]]))
    assert held <= {source for source, _ in examples(pairs.read(files), "test")}


def test_at_most_a_thousand_sentences_are_held_out(write, monkeypatch):
    monkeypatch.setattr(pairs, "MOST_HELD_OUT", 3)
    text = "".join(f"sentence {number}\n" for number in range(1000))
    found = pairs.read(write(train_en=text, train_de=text))
    assert (len(examples(found, "train")), len(examples(found, "test"))) == (997, 3)


@pytest.mark.parametrize("sources", ["a\nb\n", "a\nb\n" * 50])
def test_something_is_left_to_train_on(write, sources):
    found = pairs.read(write(train_en=sources, train_de=sources.upper()))
    assert {source for source, _ in examples(found, "train")} | {source for source, _ in examples(found, "test")} == {
        "a",
        "b",
    }
    assert len(examples(found, "test")) == 1


def test_pairs_that_are_also_trained_on_are_told(write):
    found = pairs.read(write(train_en="a\nb\n", train_de="A\nB\n", test_en="b\nb\nc\n", test_de="B\nB\nC\n"))
    assert "warning: 2 test pairs are also in train" in found.notes


def test_languages_and_bleu(write, tmp_path, array_cache):
    files = write(train_zh="一 二\n三\n" * 20, train_en="one two\nthree\n" * 20, test_zh="二\n", test_en="two\n")
    given = [path for by_language in files.values() for path in by_language.values()]
    prepare("mine", given, data_dir=tmp_path / "tfds")
    options = dict(task="translation", name="mine", data_dir=str(tmp_path / "tfds"), source_length=8, target_length=8)
    assert data.load(**options, source="zh", target="en").texts.bleu_tokenize == "13a"
    loaded = data.load(**options, source="en", target="zh")
    assert loaded.texts.bleu_tokenize == "zh"
    assert (loaded.texts.source_texts, loaded.texts.references) == (["two"], ["二"])
    assert loaded.facts["train_pairs"] == 40


@pytest.mark.parametrize(
    "contents, message",
    [
        (dict(train_en="a\nb\nc\n", train_de="a\nb\n"), "same number of lines: .*train.en has 3, .*train.de has 2"),
        (dict(train_en="a\n" * 9, train_de="a\n" * 9 + "\n"), "train.en has 9, .*train.de has 10"),
        (dict(train_en=b"a\nb\n", train_de=b"a\nb\xe9\n"), "train.de is not .*0xe9 at position 3, in line 2;"),
        (dict(train_en=b"a\nb\0\n", train_de=b"a\nb\n"), "train.en is not .*0x00 at position 3, in line 2;"),
        (dict(train_en="a\n", train_de="b" * 2**20 + "\n"), "train.de: line 1 has more than 1048576 bytes"),
        (dict(train_en="a\n\n", train_de="\nb\n"), "no line that is written in both, of 2"),
        (dict(train_en="", train_de=""), "no line that is written in both, of 0"),
        (dict(train_en="a\na\n", train_de="b\nc\n"), "train.en has one sentence alone, and there is no test file"),
    ],
)
def test_mistakes_name_file_and_line(write, contents, message):
    with pytest.raises(ValueError, match=message) as error:
        pairs.read(write(**contents))
    assert str(error.value).count("\n") == 0


@pytest.mark.parametrize(
    "count, words, different, tokenizer",
    [
        (5, 3, 50, "char"),
        (60, 9, 600, "char"),
        (400, 100, 4000, "bpe"),
        (400, 100, 60, "bpe"),
        pytest.param(2000, 12, 20_000, "bpe", marks=pytest.mark.slow),
    ],
)
def test_the_proposed_sizes_suit_the_text(write, tmp_path, array_cache, count, words, different, tokenizer):
    """Whatever the text: the vocabulary can be learned, nine of ten pairs fit, and there is a whole batch."""
    generator = np.random.default_rng(count)
    letters = np.array(list("abcdefgh"))
    known = np.array(["".join(generator.choice(letters, size)) for size in generator.integers(1, 9, different)])
    sides = [
        "".join(" ".join(generator.choice(known, size)) + "\n" for size in generator.integers(1, words, count))
        for _ in range(2)
    ]
    files = write(train_en=sides[0], train_de=sides[1])
    done = prepare("mine", list(files["train"].values()), data_dir=tmp_path / "tfds")
    found = pairs.read(files).overrides
    options = {key.removeprefix("dataset."): value for key, value in found.items() if key != "batch_size"}
    assert options["tokenizer"] == tokenizer
    loaded = data.load(task="translation", name="mine", data_dir=str(tmp_path / "tfds"), **options)
    assert loaded.facts["dropped_long"] <= 0.1 * count
    assert loaded.train.size >= found.get("batch_size", 16)
    assert str(options["source_length"]) in done.command
