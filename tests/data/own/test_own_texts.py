import pytest

from warmup_jax import data
from warmup_jax.data.own import texts
from warmup_jax.data.own.prepare import prepare


@pytest.fixture
def write(tmp_path):
    """Writes bytes to a file; returns its path."""

    def write(content, name="my.txt"):
        path = tmp_path / "mine" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return write


def contents(found, split):
    return b"".join(example["text"] for example in found.splits[split]()).decode()


@pytest.mark.parametrize("block", [1, 2, 3, 7, 2**20])
def test_blocks_join_to_the_text(write, monkeypatch, block):
    monkeypatch.setattr(texts, "BLOCK_BYTES", block)
    path = write("\ufeffgrüße\r\n\r\ralt\r\n𝄞\ufeff\r".encode())
    assert "".join(texts.characters(path)) == "grüße\n\r\ralt\n𝄞\ufeff\r"


@pytest.mark.parametrize("block", [1, 3, 2**20])
@pytest.mark.parametrize(
    "content, position",
    [
        (b"abc\xe9 d", 3),
        (b"\xef\xbb\xbfab\xffd", 5),
        ("grü".encode()[:-1], 2),
        (b"ab\0c", 2),
        ("hello".encode("utf-16-le"), 1),
    ],
)
def test_the_position_of_a_byte_that_is_no_text(write, monkeypatch, block, content, position):
    monkeypatch.setattr(texts, "BLOCK_BYTES", block)
    path = write(content)
    with pytest.raises(data.DataError, match=rf"{path} is not UTF-8 text: byte 0x.. at position {position};"):
        list(texts.characters(path))


def test_the_end_of_a_single_file_is_held_out(write):
    text = "".join(f"line {number} ü\n" for number in range(100))
    found = texts.read({"train": write(text.encode())})
    cut = len(text) - len(text) // 10
    assert (contents(found, "train"), contents(found, "test")) == (text[:cut], text[cut:])


def test_a_large_text_is_cut_at_lines_else_at_spaces(write, monkeypatch):
    monkeypatch.setattr(texts, "PIECE", 20)
    monkeypatch.setattr(texts, "MOST_HELD_OUT", 16)
    text = "one two three\nfour\n" * 9 + "five six " * 9 + "x" * 50 + "test" * 4
    found = texts.read({"train": write(text.encode())})
    pieces = [example["text"].decode() for example in found.splits["train"]()]
    assert "".join(pieces) == text[:-16] and max(map(len, pieces)) <= 20
    assert pieces[:2] == ["one two three\nfour\n"] * 2
    assert [piece for piece in pieces if "i" in piece][1:3] == ["five six five six "] * 2 and "x" * 20 in pieces


def test_files_of_splits_load(write, tmp_path, array_cache):
    train, test = "the cat sat\n" * 50, "a test that is long enough\n"
    write(train.encode(), "train.txt")
    write(b"\r\n".join(test.encode().split(b"\n")), "test.txt")
    write(b"a third text of some length\n", "valid.txt")
    write(b"x", "README.md")
    done = prepare("mine", [tmp_path / "mine"], data_dir=tmp_path / "tfds")
    assert "600 train, 28 validation, 27 test characters" in done.notes[0] and "README.md" in done.notes[-1]
    loaded = data.load(task="text", name="mine", data_dir=str(tmp_path / "tfds"), length=8, prompt_length=4)
    assert (loaded.facts["train_tokens"], loaded.facts["test_tokens"]) == (592, 26)
    stream = loaded.test.read(range(loaded.test.size))["tokens"]
    assert loaded.texts.decode([*stream[:, :-1].ravel(), stream[-1, -1]]).startswith("a test that")


@pytest.mark.parametrize("content, characters", [(b"", 0), (b"hello", 5), (b"x" * 70, 63)])
def test_too_short(write, content, characters):
    with pytest.raises(ValueError, match=rf"my.txt has {characters} train characters .*; allowed: 64 or more"):
        texts.read({"train": write(content)})


def test_few_rows_need_a_smaller_batch(write):
    assert texts.read({"train": write(b"word " * 40)}).overrides == {"batch_size": 5}
    assert texts.read({"train": write(b"word " * 400)}).overrides == {}
