import gzip
import hashlib

import pytest

from warmup_jax import data
from warmup_jax.data import __main__ as command
from warmup_jax.data.catalog import Archive
from warmup_jax.data.tfds import archives
from warmup_jax.data.tfds.prepare import prepare

# A line separator inside a sentence, white space around one, and an empty line.
GERMAN = {
    "train": ["Ein Hund\u2028bellt.", "  Zwei Hunde.\t", "", "Drei."],
    "val": ["Ja."],
    "test_2016_flickr": ["Nein.", "Da."],
}
ENGLISH = {
    "train": ["A dog barks.", "Two dogs.", "Nothing.", "Three."],
    "val": ["Yes."],
    "test_2016_flickr": ["No.", "There."],
}


def write_archives(folder, english=ENGLISH):
    """Writes the six files in their real format; returns the Archives that describe them."""
    folder.mkdir()
    published = []
    for split in GERMAN:
        for language, texts in (("de", GERMAN), ("en", english)):
            path = folder / f"{split}.{language}.gz"
            path.write_bytes(gzip.compress("".join(f"{line}\n" for line in texts[split]).encode()))
            published.append(Archive(f"https://example.invalid/{path.name}", sha256(path)))
    return tuple(published)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_multi30k_reads_back(tmp_path, array_cache):
    tfds = pytest.importorskip("tensorflow_datasets")
    published = write_archives(tmp_path / "given")
    folder, written = prepare(
        "multi30k_translate/de-en", data_dir=tmp_path, given=[tmp_path / "given"], published=published
    )
    assert written and folder == tmp_path / "multi30k_translate" / "de-en" / "1.0.0"

    dataset = data.load(task="translation", name="multi30k_translate/de-en", data_dir=tmp_path)
    assert dataset.facts["train_pairs"] == 3 and dataset.facts["dropped_empty"] == 1
    assert sorted(zip(dataset.texts.source_texts, dataset.texts.references)) == [("Da.", "There."), ("Nein.", "No.")]

    builder = tfds.builder_from_directory(folder)
    assert list(builder.info.features) == ["de", "en"] and builder.info.supervised_keys == ("de", "en")
    source = builder.as_data_source()
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test_2016_flickr")):
        found = [(example["de"].decode(), example["en"].decode()) for example in source[split]]
        assert sorted(found) == sorted(zip(map(str.strip, GERMAN[name]), ENGLISH[name]))
    assert prepare("multi30k_translate/de-en", data_dir=tmp_path) == (folder, False)


def test_sides_of_different_length(tmp_path):
    published = write_archives(tmp_path / "given", ENGLISH | {"val": ["Yes.", "Too much."]})
    with pytest.raises(ValueError, match="val.de.gz has 1 lines, .*val.en.gz has 2"):
        prepare("multi30k_translate/de-en", data_dir=tmp_path, given=[tmp_path / "given"], published=published)
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def test_tiny_shakespeare_reads_back(tmp_path, array_cache):
    tfds = pytest.importorskip("tensorflow_datasets")
    text = "".join(f"Line {i}:\nso foul and fair\n\n" for i in range(90))
    path = tmp_path / "any_name.txt"
    path.write_text(text)
    published = (Archive("https://example.invalid/input.txt", sha256(path)),)
    folder, _ = prepare("tiny_shakespeare", data_dir=tmp_path, given=[path], published=published)
    source = tfds.data_source("tiny_shakespeare", data_dir=tmp_path)
    parts = [source[split][0]["text"].decode() for split in ("train", "validation", "test")]
    assert "".join(parts) == text and folder.name == "1.0.0"
    assert len(parts[0]) == int(0.9 * len(text)) and abs(len(parts[1]) - len(parts[2])) <= 1
    dataset = data.load(task="text", name="tiny_shakespeare", data_dir=tmp_path, length=32)
    assert dataset.facts["train_tokens"] + dataset.facts["dropped_tokens"] + 1 == len(parts[0])


@pytest.mark.parametrize("name, count", [("multi30k_translate/de-en", 6), ("tiny_shakespeare", 1)])
def test_mistakes_with_text_archives(tmp_path, capsys, name, count):
    expected = data.DATASETS[name].archives
    assert len(expected) == count and len({archive.sha256 for archive in expected}) == count
    files = tmp_path / "files"
    files.mkdir()
    for arguments, message in (
        (["--archive", str(files)], expected[0].url.rsplit("/", 1)[1]),
        (["--archive", str(tmp_path / "absent")], "absent"),
    ):
        assert command.main(["prepare", name, *arguments, f"--data_dir={tmp_path}"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    for archive in expected:
        (files / archive.url.rsplit("/", 1)[1]).write_bytes(b"another file")
    assert command.main(["prepare", name, "--archive", str(files), f"--data_dir={tmp_path}"]) == 2
    assert f"expected SHA-256 {expected[0].sha256}" in capsys.readouterr().err
    assert command.main(["prepare", f"{name}:3.1.4", f"--data_dir={tmp_path}"]) == 2
    assert "1.0.0, got 3.1.4" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


@pytest.mark.parametrize("name, package", [("number_words", "num2words"), ("pydoc", "Python")])
def test_builtin_texts_need_no_preparation(tmp_path, capsys, name, package):
    assert command.main(["prepare", name, f"--data_dir={tmp_path}"]) == 2
    assert f"'{name}' comes with {package}: there is nothing to prepare" in capsys.readouterr().err
    assert command.main(["list", f"--data_dir={tmp_path}"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if name in line]
    assert f"comes with {package}" in line and data.DATASETS[name].task in line


def test_every_archive_has_a_reader():
    assert set(archives.READERS) == {name for name, info in data.DATASETS.items() if info.archives}
    assert {info.task for info in data.DATASETS.values()} == set(data.TASKS)
