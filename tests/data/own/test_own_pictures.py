import io
import os

import numpy as np
import pytest
from PIL import Image

from warmup_jax import data
from warmup_jax.data.own import pictures
from warmup_jax.data.own.prepare import prepare


def pixels(seed, width=6, height=5):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, image=None, **options):
    """Writes a picture, by default one that is drawn from its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels(sum(str(path).encode()))) if image is None else image
    image.save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes with three pictures each, and two each for the test."""
    for split, count in (("train", 3), ("test", 2)):
        for label in ("ant", "bee"):
            for number in range(count):
                save(tmp_path / "mine" / split / label / f"{number}.png")
    return tmp_path / "mine"


def load(tmp_path, folder, **options):
    prepare("mine", [folder], data_dir=tmp_path / "tfds")
    return data.load(name="mine", data_dir=str(tmp_path / "tfds"), **options)


def test_pictures_and_labels_read_back(tmp_path, folder, array_cache, assert_same_set):
    dataset = load(tmp_path, folder)
    assert (dataset.num_classes, dataset.input_shape, dataset.residency) == (2, (5, 6, 3), "device")
    for part, split in (("train", dataset.train), ("test", dataset.test)):
        files = sorted((folder / part).glob("*/*"))
        image = np.stack([np.asarray(Image.open(file)) for file in files])
        assert_same_set(split, image, [["ant", "bee"].index(file.parent.name) for file in files])


def test_examples_do_not_depend_on_the_names_or_times_of_files(tmp_path, folder):
    before = pictures.read(folder)
    examples = list(before.splits["train"]())
    for number, file in enumerate(sorted(folder.glob("train/*/*"))):
        file.rename(file.with_name(f"{9 - number}.png"))
    after = pictures.read(folder)
    assert before.digest == after.digest
    assert list(after.splits["train"]()) == examples


def test_litter_links_and_capital_letters(tmp_path, folder):
    for name in (".DS_Store", "Thumbs.db", "._0.png", "notes.txt"):
        (folder / "train" / "ant" / name).write_bytes(b"x")
    (folder / "__MACOSX" / "train").mkdir(parents=True)
    save(folder / "train" / "ant" / "9.JPEG")
    os.symlink(save(tmp_path / "elsewhere.png"), folder / "train" / "bee" / "link.png")
    os.symlink(folder / "test", folder / "val")
    found = pictures.read(folder)
    assert {split: len(list(examples())) for split, examples in found.splits.items()} == {
        "train": 8,
        "validation": 4,
        "test": 4,
    }
    assert "left out 1 files that are no pictures, as" in found.notes[1] and "notes.txt" in found.notes[1]


def test_held_out_without_a_test_folder(tmp_path, folder):
    """A tenth of each class, which stays when pictures are added; equal pictures are on one side."""
    for label in ("ant", "bee"):
        for number in range(40):
            save(
                folder / "train" / label / f"many{number}.png",
                Image.fromarray(pixels([number, len(label), ord(label[0])])),
            )
        copy = (folder / "train" / label / "many0.png").read_bytes()
        for number in range(5):
            (folder / "train" / label / f"copy{number}.png").write_bytes(copy)
    found = pictures.read(folder / "train")
    kept, held = (list(found.splits[split]()) for split in ("train", "test"))
    images = [{example["image"] for example in part} for part in (kept, held)]
    assert len(images[1]) == 8 and not images[0] & images[1]
    assert sorted({example["label"] for example in held}) == [0, 1]
    for label in ("ant", "bee"):
        save(folder / "train" / label / "new.png", Image.fromarray(pixels([99, ord(label[0])])))
    more = {example["image"] for example in pictures.read(folder / "train").splits["test"]()}
    assert len(more & images[1]) >= 6


def decoded(image, format="PNG", **options):
    """Returns, of an image written to a file and prepared: whether the bytes stay, its format, mode and pixels."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    encoded = pictures.encoded("x", buffer.getvalue())
    result = Image.open(io.BytesIO(encoded))
    return encoded == buffer.getvalue(), result.format, result.mode, np.asarray(result)


@pytest.mark.parametrize("format, mode", [("PNG", "RGB"), ("PNG", "L"), ("JPEG", "RGB"), ("JPEG", "L")])
def test_usual_files_are_kept_as_they_are(format, mode):
    assert decoded(Image.fromarray(pixels(0)).convert(mode), format)[0]


def test_unusual_pixels_become_8_bits():
    image = Image.fromarray(pixels(0))
    for format in ("BMP", "WEBP", "TIFF", "GIF", "PPM"):
        options = {"lossless": True} if format == "WEBP" else {}
        kept, new, mode, result = decoded(image, format, **options)
        assert (kept, new, mode) == (False, "PNG", "RGB")
        if format != "GIF":  # a palette of 256 colours
            np.testing.assert_array_equal(result, pixels(0))
    deep = np.arange(30, dtype=np.uint16).reshape(5, 6) * 2114
    np.testing.assert_array_equal(decoded(Image.fromarray(deep))[3], deep >> 8)
    np.testing.assert_array_equal(decoded(Image.fromarray(deep > 999))[3], np.where(deep > 999, 255, 0))
    smooth = Image.fromarray(np.linspace((0, 90, 200), (250, 60, 0), 30).reshape(5, 6, 3).astype(np.uint8))
    kept, format, mode, result = decoded(smooth.convert("CMYK"), "JPEG", quality=95)
    assert (kept, format, mode) == (False, "JPEG", "RGB")
    np.testing.assert_allclose(result.astype(int), np.asarray(smooth).astype(int), atol=30)


def test_transparent_parts_become_white():
    rgba = np.dstack([pixels(0), np.zeros((5, 6), np.uint8)])
    rgba[2:, :, 3] = 255
    kept, _, mode, result = decoded(Image.fromarray(rgba))
    assert not kept and mode == "RGB"
    np.testing.assert_array_equal(result, np.where(rgba[..., 3:] == 255, rgba[..., :3], 255))


def test_photographs_are_turned_upright():
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6  # the camera was turned to the right
    kept, format, _, result = decoded(Image.fromarray(pixels(0)), "PNG", exif=exif)
    assert (kept, format) == (False, "PNG")
    np.testing.assert_array_equal(result, np.rot90(pixels(0), -1))


@pytest.mark.parametrize("orientation", [1, 99])
def test_upright_photographs_are_kept(orientation):
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = orientation
    assert decoded(Image.fromarray(pixels(0)), "JPEG", exif=exif)[0]


def test_one_grey_channel_only_if_all_pictures_are_grey(tmp_path):
    for label in ("ant", "bee"):
        for number in range(2):
            save(tmp_path / label / f"{number}.png", Image.fromarray(pixels(number)).convert("L"))
    assert pictures.read(tmp_path).features["image"].shape == (5, 6, 1)
    save(tmp_path / "ant" / "9.png", Image.fromarray(pixels(9)))
    assert pictures.read(tmp_path).features["image"].shape == (5, 6, 3)
    save(tmp_path / "ant" / "8.png", Image.fromarray(pixels(9, width=7)))
    found = pictures.read(tmp_path)
    assert found.features["image"].shape == (None, None, 3) and found.overrides["dataset.image_size"] == 64


def test_a_test_picture_that_is_also_trained_on_is_told(folder):
    (folder / "test" / "ant" / "copy.png").write_bytes((folder / "train" / "bee" / "0.png").read_bytes())
    assert any("1 test pictures are also in train" in note for note in pictures.read(folder).notes)


def spoil(folder, case):
    """Spoils the folder in one way; returns what the message says."""
    train, test = folder / "train", folder / "test"
    if case == "empty class":
        (train / "cat").mkdir()
        return "train/cat has no picture; allowed: files .bmp"
    if case == "phone":
        (train / "cat").mkdir()
        (train / "cat" / "1.heic").write_bytes(b"x")
        return r"train/cat has no picture \(there is 1.heic\)"
    if case == "no picture":
        (train / "ant" / "no.jpg").write_text("hello")
        return "train/ant/no.jpg cannot be read: it is no picture"
    if case == "cut":
        path = save(train / "ant" / "cut.jpg", Image.fromarray(pixels(0, 99, 99)))
        path.write_bytes(path.read_bytes()[:2000])
        return "train/ant/cut.jpg cannot be read: .*truncated"
    if case == "floats":
        save(train / "ant" / "x.tiff", Image.fromarray(np.ones((5, 6), np.float32)))
        return "train/ant/x.tiff cannot be read: its pixels are floats"
    if case == "unknown class":
        save(test / "cat" / "0.png")
        return "test/cat is a class that .*train lacks"
    if case == "nested":
        save(train / "ant" / "red" / "0.png")
        return "train/ant/red is a folder inside the class 'ant'"
    if case == "no class":
        save(test / "7.png")
        return "test/7.png is in no class; allowed: .*test/CLASS/7.png"
    if case == "no split":
        save(folder / "more" / "ant" / "0.png")
        return "more is no split; allowed beside train: test, validation"
    if case == "two tests":
        save(folder / "Testing" / "ant" / "0.png")
        return "Testing and .*test are both the test split"
    if case == "no train":
        (train).rename(folder / "val")
        return "has test, validation, but no train folder"
    if case == "one class":
        for split in (train, test):
            (split / "bee").rename(split / ".bee")
        return "train has 1 class folders; allowed: 2 or more"
    os.symlink(folder / "nowhere", train / "ant" / "link.png")
    return "train/ant/link.png is a link that leads nowhere"


@pytest.mark.parametrize(
    "case",
    ["empty class", "phone", "no picture", "cut", "floats", "unknown class", "nested", "no class", "no split"]
    + ["two tests", "no train", "one class", "link"],
)
def test_mistakes_name_the_file(folder, case):
    expected = spoil(folder, case)
    with pytest.raises(ValueError, match=expected) as error:
        pictures.read(folder)
    assert str(error.value).count("\n") == 0


def test_a_picture_that_changes_while_it_is_read(folder):
    found = pictures.read(folder)
    save(folder / "train" / "ant" / "1.png", Image.fromarray(pixels(77)))
    with pytest.raises(data.DataError, match="train/ant/1.png was changed while it was read"):
        list(found.splits["train"]())
