"""Published archives of small sets: download, verification and reading."""

import gzip
import hashlib
import http.client
import io
import os
import pathlib
import pickle
import shutil
import struct
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from warmup_jax.data.catalog import Archive

# Seconds without a byte after which a server counts as unreachable.
TIMEOUT = 10

FilePath = str | os.PathLike


class ArchiveContents(NamedTuple):
    """The examples of a set, read from its archives.

    Attributes:
      class_names: {label feature: class names in order}.
      splits: {TFDS split: {feature: N values}}; images are uint8 [N, H, W, C].
    """

    class_names: dict[str, list[str]]
    splits: dict[str, dict[str, Any]]


def obtain(archives: Sequence[Archive], given: Sequence[FilePath], folder: FilePath) -> list[pathlib.Path]:
    """Returns the files of the archives, downloaded if none are given, and verified by their SHA-256.

    Args:
      archives: the archives to obtain.
      given: files that the user fetched, or folders of them; empty: download.
      folder: folder for downloads.

    Returns:
      One path for each archive.

    Raises:
      ConnectionError: a download failed.
      FileNotFoundError: an archive is not among the given files.
      ValueError: a file's content is not the published one.
    """
    files = []
    for archive in archives:
        name = archive.url.rsplit("/", 1)[1]
        if given:
            path = _among(given, name, only=len(archives) == 1)
        else:
            path = _download(archive.url, pathlib.Path(folder) / name, len(archives))
        found = _sha256(path)
        if found != archive.sha256:
            raise ValueError(f"{path} is not the published {name}: expected SHA-256 {archive.sha256}, found {found}")
        files.append(path)
    return files


def _among(given: Sequence[FilePath], name: str, only: bool) -> pathlib.Path:
    for path in map(pathlib.Path, given):
        if path.is_dir() and (path / name).is_file():
            return path / name
        if path.is_file() and (path.name == name or (only and len(given) == 1)):
            return path
    raise FileNotFoundError(f"no {name} among the archives given: {', '.join(map(str, given))}")


def _download(url: str, path: pathlib.Path, count: int) -> pathlib.Path:
    print(f"downloading {url}", flush=True)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, path.open("wb") as file:
            shutil.copyfileobj(response, file, 1 << 20)
    except (OSError, http.client.HTTPException) as error:
        wanted = "it" if count == 1 else f"all {count} files"
        raise ConnectionError(
            f"cannot download {url} ({error}): fetch {wanted} on another machine and pass "
            f"--archive {'FILE' if count == 1 else 'FOLDER'}"
        ) from error
    return path


def _sha256(path: FilePath) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_reachable(url: str) -> bool:
    """Returns True if a server answers at `url` within TIMEOUT seconds."""
    try:
        urllib.request.urlopen(url, timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def read_cifar10(files: Sequence[FilePath]) -> ArchiveContents:
    """Reads cifar-10-python.tar.gz."""
    train = [f"data_batch_{number}" for number in range(1, 6)]
    members = _pickles(files[0], "cifar-10-batches-py", [*train, "test_batch", "batches.meta"])
    labels = {"label": b"labels"}
    return ArchiveContents(
        class_names={"label": _text(members["batches.meta"][b"label_names"])},
        splits={
            "train": _cifar([members[name] for name in train], "train", labels),
            "test": _cifar([members["test_batch"]], "test", labels),
        },
    )


def read_cifar100(files: Sequence[FilePath]) -> ArchiveContents:
    """Reads cifar-100-python.tar.gz."""
    members = _pickles(files[0], "cifar-100-python", ["train", "test", "meta"])
    labels = {"label": b"fine_labels", "coarse_label": b"coarse_labels"}
    return ArchiveContents(
        class_names={
            "label": _text(members["meta"][b"fine_label_names"]),
            "coarse_label": _text(members["meta"][b"coarse_label_names"]),
        },
        splits={split: _cifar([members[split]], split, labels) for split in ("train", "test")},
    )


def read_mnist(files: Sequence[FilePath]) -> ArchiveContents:
    """Reads the four idx files of MNIST, or of a set in its format."""
    images, labels, test_images, test_labels = map(_idx, files)
    return ArchiveContents(
        class_names={},
        splits={
            "train": {"image": images[..., None], "label": labels},
            "test": {"image": test_images[..., None], "label": test_labels},
        },
    )


def read_multi30k(files: Sequence[FilePath]) -> ArchiveContents:
    """Reads the six gzipped files of Multi30k: German and English lines of three splits."""
    sides = [_lines(file) for file in files]
    splits = {}
    for number, split in enumerate(("train", "validation", "test")):
        german, english = sides[2 * number : 2 * number + 2]
        if len(german) != len(english):
            raise ValueError(f"{files[2 * number]} has {len(german)} lines, {files[2 * number + 1]} has {len(english)}")
        splits[split] = {"de": german, "en": english}
    return ArchiveContents(class_names={}, splits=splits)


def _lines(file: FilePath) -> list[str]:
    # Not splitlines, which also splits at characters that occur inside a sentence, such as U+2028.
    with gzip.open(file) as opened:
        return [line.strip() for line in opened.read().decode().removesuffix("\n").split("\n")]


def read_tiny_shakespeare(files: Sequence[FilePath]) -> ArchiveContents:
    """Reads input.txt: the first 90 % of its characters for training, 5 % for validation, the rest for the test."""
    text = pathlib.Path(files[0]).read_bytes().decode()
    first = int(len(text) * 0.9)
    second = first + int((len(text) - first) * 0.5)
    parts = {"train": text[:first], "validation": text[first:second], "test": text[second:]}
    return ArchiveContents(class_names={}, splits={split: {"text": [part]} for split, part in parts.items()})


READERS: dict[str, Callable[[Sequence[FilePath]], ArchiveContents]] = {
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "mnist": read_mnist,
    "fashion_mnist": read_mnist,
    "multi30k_translate/de-en": read_multi30k,
    "tiny_shakespeare": read_tiny_shakespeare,
}


def _text(names: Sequence[bytes]) -> list[str]:
    return [name.decode("ascii") for name in names]


def _cifar(batches: Sequence[Mapping], split: str, labels: Mapping[str, bytes]) -> dict[str, Any]:
    pixels = np.concatenate([batch[b"data"] for batch in batches])
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise ValueError(f"CIFAR pixels must be uint8 [N, 3072], got {pixels.dtype} {pixels.shape}")
    size = len(pixels)
    return {
        "id": [f"{split}_{number:05d}" for number in range(size)],
        "image": pixels.reshape(size, 3, 32, 32).transpose(0, 2, 3, 1),
        **{
            feature: np.concatenate([np.asarray(batch[key], np.int64) for batch in batches])
            for feature, key in labels.items()
        },
    }


def _pickles(file: FilePath, folder: str, names: Sequence[str]) -> dict[str, Any]:
    """Unpickles the named members of a tar file in one pass, without extracting them to disk."""
    wanted = {f"{folder}/{name}": name for name in names}
    found = {}
    with tarfile.open(file, "r|gz") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name in wanted and member.isfile() else None
            if content is not None:
                found[wanted[member.name]] = unpickle(content.read())
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{file} lacks {', '.join(missing)}")
    return found


def unpickle(data: bytes) -> Any:
    """Reads a Python 2 pickle that holds plain values and numpy arrays alone.

    Args:
      data: content of the pickle.

    Returns:
      The unpickled value; Python 2 strings as bytes.

    Raises:
      pickle.UnpicklingError: the pickle refers to any other class or function.
    """
    return _Unpickler(io.BytesIO(data), encoding="bytes").load()


class _Unpickler(pickle.Unpickler):
    # An ordinary Unpickler imports and calls whatever function the file names, and so runs code of the file's author.
    # These three functions rebuild arrays.
    ALLOWED: dict[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"refusing to unpickle {module}.{name}")
        return self.ALLOWED[module, name]


def _idx(file: FilePath) -> np.ndarray:
    """Reads one gzipped idx file of bytes as a uint8 array."""
    with gzip.open(file) as opened:
        data = opened.read()
    zero, kind, rank = struct.unpack(">HBB", data[:4])
    if zero != 0 or kind != 8:
        raise ValueError(f"{file} is not an idx file of bytes")
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
