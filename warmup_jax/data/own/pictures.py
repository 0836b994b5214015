"""Pictures in a folder for each class, with or without folders of splits above them."""

import collections
import concurrent.futures
import functools
import hashlib
import io
import itertools
import os
import pathlib
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from warmup_jax.data.dataset import DataError
from warmup_jax.data.own.layout import ORDER, SPLITS, visible
from warmup_jax.data.own.store import Example, OwnSet

if TYPE_CHECKING:  # Pillow is imported when a picture is read
    from PIL import Image

# Part of every digest: increase it when the same files give other examples.
VERSION = 1

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

# One picture of this many is held out for the test where there is no folder of a test.
HELD_OUT = 10

# Side to which the proposed training resizes pictures that have several sizes or are larger.
SIDE = 64

# Quality of a JPEG that had to be turned upright, or converted from the colours of print.
QUALITY = 95

ORIENTATION = 0x0112  # EXIF tag
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")

# Formats whose mode "I" holds 16 bits; that of others holds 32, of an unknown range.
DEEP_FORMATS = ("PNG", "PPM")

# Pictures read at once; and how many there must be for reports on the way.
CHUNK, MANY = 1024, 10_000


class Picture(NamedTuple):
    """A file that holds a picture.

    Attributes:
      path: the file.
      label: its class.
      digest: SHA-256 of its content.
      size: width and height in pixels, upright.
      grey: True if it has no colours.
    """

    path: str
    label: str
    digest: bytes
    size: tuple[int, int]
    grey: bool


def read(folder: pathlib.Path) -> OwnSet:
    """Finds and reads all pictures of a folder.

    Args:
      folder: holds train/CLASS/PICTURE and test/CLASS/PICTURE, or CLASS/PICTURE alone. Without a test every tenth
        picture of each class, by the hash of its content, is for the test; equal pictures stay together.

    Returns:
      The OwnSet. Its pictures are ordered by the hash of their content, so that neighbours have different classes.

    Raises:
      ValueError: the folder has another form, or a class has no picture.
      DataError: a picture cannot be read.
    """
    import tensorflow_datasets as tfds

    files, ignored = _find(folder)
    classes = sorted(files["train"])
    with warnings.catch_warnings():  # Pillow's, about details that do not stop it
        warnings.simplefilter("ignore")
        splits = {split: _examine(by_class) for split, by_class in files.items()}
    held_out = len(splits) == 1
    if held_out:
        splits = _hold_out(splits["train"])
        if not splits["test"]:
            raise ValueError(f"{folder} has no test folder, and no class with two pictures to hold one out")
    everything = list(itertools.chain.from_iterable(splits.values()))
    channels = 1 if all(picture.grey for picture in everything) else 3
    sizes = {picture.size for picture in everything}
    width, height = next(iter(sizes)) if len(sizes) == 1 else (None, None)
    label = {name: number for number, name in enumerate(classes)}
    splits = {split: sorted(found, key=lambda picture: picture.digest) for split, found in splits.items()}
    content = [(split, picture.label, picture.digest) for split, found in splits.items() for picture in found]
    overrides: dict[str, object] = {}
    if len(sizes) > 1 or max(next(iter(sizes))) > SIDE:
        overrides["dataset.image_size"] = SIDE
    if len(splits["train"]) < 128:
        overrides["batch_size"] = len(splits["train"])
    return OwnSet(
        task="images",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(height, width, channels)),
                "label": tfds.features.ClassLabel(names=classes),
            }
        ),
        splits={split: functools.partial(_examples, found, label) for split, found in splits.items()},
        digest=hashlib.sha256(repr((VERSION, channels, classes, content)).encode()).hexdigest(),
        notes=_notes(splits, classes, sizes, channels, held_out, ignored),
        overrides=overrides,
    )


def _notes(
    splits: dict[str, list[Picture]],
    classes: Sequence[str],
    sizes: set[tuple[int, int]],
    channels: int,
    held_out: bool,
    ignored: Sequence[pathlib.Path],
) -> list[str]:
    counts = ", ".join(f"{len(found)} {split}" for split, found in splits.items())
    shown = ", ".join([*classes[:5], "..."] if len(classes) > 6 else classes)
    first = min(sizes)
    size = f"{first[0]} x {first[1]}" if len(sizes) == 1 else f"{len(sizes)} sizes"
    notes = [f"{counts} pictures in {len(classes)} classes ({shown}), {size}, {'grey' if channels == 1 else 'RGB'}"]
    if held_out:
        notes.append("no test folder: a tenth of each class, chosen by the hash of the content, is held out")
    if ignored:
        notes.append(f"left out {len(ignored)} files that are no pictures, as {ignored[0]}")
    trained = {picture.digest for picture in splits["train"]}
    for split, found in splits.items():
        seen = [picture for picture in found if split != "train" and picture.digest in trained]
        if seen:
            notes.append(f"warning: {len(seen)} {split} pictures are also in train, as {seen[0].path}")
    tested = {picture.label for split, found in splits.items() if split != "train" for picture in found}
    if missing := [name for name in classes if name not in tested]:
        notes.append(f"{len(missing)} classes have no test picture, as {missing[0]}")
    return notes


def _find(folder: pathlib.Path) -> tuple[dict[str, dict[str, list[str]]], list[pathlib.Path]]:
    """Returns {split: {class: files}}, and the files that are no pictures."""
    folders = {path.name: path for path in visible(folder) if path.is_dir()}
    by_split: dict[str, pathlib.Path] = {}
    for name, path in folders.items():
        split = SPLITS.get(name.lower())
        if split in by_split:
            raise ValueError(f"{by_split[split]} and {path} are both the {split} split")
        if split:
            by_split[split] = path
    if by_split and "train" not in by_split:
        raise ValueError(f"{folder} has {', '.join(by_split)}, but no train folder")
    if by_split and (others := [path for path in folders.values() if path not in by_split.values()]):
        raise ValueError(f"{others[0]} is no split; allowed beside train: test, validation")
    ignored: list[pathlib.Path] = []
    places = by_split or {"train": folder}
    files = {split: _classes(places[split], ignored) for split in ORDER if split in places}
    for split, by_class in files.items():
        if unknown := sorted(by_class.keys() - files["train"].keys()):
            raise ValueError(f"{by_split[split] / unknown[0]} is a class that {by_split['train']} lacks")
    if len(files["train"]) < 2:
        raise ValueError(f"{by_split.get('train', folder)} has {len(files['train'])} class folders; allowed: 2 or more")
    return files, ignored


def _classes(folder: pathlib.Path, ignored: list[pathlib.Path]) -> dict[str, list[str]]:
    """Returns {class: files} of one split; appends the files that are no pictures to `ignored`."""
    found: dict[str, list[str]] = {}
    for path in visible(folder):
        if not path.is_dir():
            if _is_picture(path):
                raise ValueError(f"{path} is in no class; allowed: {folder / 'CLASS' / path.name}")
            ignored.append(path)
            continue
        if not path.name.isprintable():
            raise ValueError(f"the name of the class {str(path)!r} has characters that cannot be printed")
        inside = visible(path)
        if nested := [entry for entry in inside if entry.is_dir()]:
            raise ValueError(f"{nested[0]} is a folder inside the class {path.name!r}; allowed: pictures")
        others = [entry for entry in inside if not _is_picture(entry)]
        pictures = [str(entry) for entry in inside if _is_picture(entry)]
        if not pictures:
            example = f" (there is {others[0].name})" if others else ""
            raise ValueError(f"{path} has no picture{example}; allowed: files {', '.join(EXTENSIONS)}")
        found[path.name] = pictures
        ignored += others
    return found


def _is_picture(path: pathlib.Path) -> bool:
    return path.suffix.lower() in EXTENSIONS


def _examine(by_class: dict[str, list[str]]) -> list[Picture]:
    """Reads all files of a split; pictures are decoded in threads, since Pillow lets them run at once."""
    files = [(path, label) for label, paths in by_class.items() for path in paths]
    found: list[Picture] = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), CHUNK):
            found += pool.map(_picture, files[start : start + CHUNK])
            if len(files) > MANY and (start // CHUNK) % 8 == 7:
                print(f"{len(found):,} of {len(files):,} pictures are read", flush=True)
    return found


def _picture(file: tuple[str, str]) -> Picture:
    path, label = file
    content = _content(path)
    image, upright = _decoded(path, content)
    return Picture(path, label, hashlib.sha256(content).digest(), upright.size, image.mode in GREY_MODES)


def _content(path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _decoded(path: str, content: bytes) -> "tuple[Image.Image, Image.Image]":
    """Decodes a picture; returns it as stored and upright, the same object if it is stored upright."""
    from PIL import Image, ImageOps

    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        image.load()
        if image.mode == "F" or (image.mode == "I" and image.format not in DEEP_FORMATS):
            raise ValueError("its pixels are floats or 32-bit integers; allowed: 8 or 16 bits a channel")
        turned = image.getexif().get(ORIENTATION) in range(2, 9)
        return image, ImageOps.exif_transpose(image) if turned else image
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and others
        reason = "it is no picture" if type(error).__name__ == "UnidentifiedImageError" else error
        raise DataError(f"{path} cannot be read: {reason}") from error


def _hold_out(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    """Splits the pictures of each class by the hash of their content; equal pictures stay together."""
    by_class = collections.defaultdict(set)
    for picture in pictures:
        by_class[picture.label].add(picture.digest)
    held: set[tuple[str, bytes]] = set()
    for label, digests in by_class.items():
        count = max(1, len(digests) // HELD_OUT) if len(digests) > 1 else 0
        held |= {(label, digest) for digest in sorted(digests)[:count]}
    splits: dict[str, list[Picture]] = {"train": [], "test": []}
    for picture in pictures:
        splits["test" if (picture.label, picture.digest) in held else "train"].append(picture)
    return splits


def _examples(pictures: Sequence[Picture], label: dict[str, int]) -> Iterator[Example]:
    for picture in pictures:
        content = _content(picture.path)
        if hashlib.sha256(content).digest() != picture.digest:
            raise DataError(f"{picture.path} was changed while it was read")
        yield {"image": encoded(picture.path, content), "label": label[picture.label]}


def encoded(path: str, content: bytes) -> bytes:
    """Returns a picture as an upright JPEG or PNG of 8 bits a channel, grey or RGB; most files as they are.

    Transparent parts become white, 16 bits become 8, and of several pictures in a file the first is taken.
    """
    image, upright = _decoded(path, content)
    is_jpeg = image.format in ("JPEG", "MPO")
    if upright is image and image.mode in ("L", "RGB") and (is_jpeg or image.format == "PNG"):
        if "transparency" not in image.info:
            return content
    buffer = io.BytesIO()
    plain(upright).save(buffer, "JPEG" if is_jpeg else "PNG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def plain(image: "Image.Image") -> "Image.Image":
    """Converts a picture of any mode to 8 bits a channel, grey ("L") or "RGB", on white where it is transparent."""
    from PIL import Image

    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        return Image.fromarray((pixels >> 8).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image)
        return canvas.convert("RGB")
    return image.convert("L" if image.mode in GREY_MODES else "RGB")
