"""The published archives of small sets: fetched, checked and read."""

import gzip
import hashlib
import http.client
import io
import pathlib
import pickle
import shutil
import struct
import tarfile
import urllib.error
import urllib.request
from typing import NamedTuple

import numpy as np

# Seconds without a byte after which a server counts as unreachable.
_TIMEOUT = 10


class Contents(NamedTuple):
    """What an archive holds.

    names: {label feature: class names in order}.
    splits: {TFDS split: {feature: N values}}, images uint8 [N, H, W, C].
    """

    names: dict[str, list[str]]
    splits: dict[str, dict]


def obtain(archives, given, folder):
    """Paths of the archives' files, checked against their SHA-256.

    Args:
      archives: the Archives wanted.
      given: files, or folders of files, that the user fetched; none: download.
      folder: where downloads go.

    Raises:
      ConnectionError: no download. FileNotFoundError: not among the given ones.
      ValueError: a file's content is not the published one.
    """
    paths = []
    for archive in archives:
        name = archive.url.rsplit("/", 1)[1]
        if given:
            path = _among(given, name, only=len(archives) == 1)
        else:
            path = _download(archive.url, pathlib.Path(folder) / name, len(archives))
        found = _sha256(path)
        if found != archive.sha256:
            raise ValueError(f"{path} is not the published {name}: expected SHA-256 {archive.sha256}, found {found}")
        paths.append(path)
    return paths


def _among(given, name, only):
    for path in map(pathlib.Path, given):
        if path.is_dir() and (path / name).is_file():
            return path / name
        if path.is_file() and (path.name == name or (only and len(given) == 1)):
            return path
    raise FileNotFoundError(f"no {name} among the archives given: {', '.join(map(str, given))}")


def _download(url, path, count):
    print(f"downloading {url}", flush=True)
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, path.open("wb") as file:
            shutil.copyfileobj(response, file, 1 << 20)
    except (OSError, http.client.HTTPException) as error:
        what = "it" if count == 1 else f"all {count} files"
        raise ConnectionError(
            f"cannot download {url} ({error}): fetch {what} on another machine and pass "
            f"--archive {'FILE' if count == 1 else 'FOLDER'}"
        ) from error
    return path


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reachable(url):
    """Whether a server answers there, in at most about ten seconds."""
    try:
        urllib.request.urlopen(url, timeout=_TIMEOUT).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def cifar10(paths):
    """Reads cifar-10-python.tar.gz."""
    train = [f"data_batch_{number}" for number in range(1, 6)]
    files = _pickles(paths[0], "cifar-10-batches-py", [*train, "test_batch", "batches.meta"])
    labels = {"label": b"labels"}
    return Contents(
        names={"label": _text(files["batches.meta"][b"label_names"])},
        splits={
            "train": _cifar([files[name] for name in train], "train", labels),
            "test": _cifar([files["test_batch"]], "test", labels),
        },
    )


def cifar100(paths):
    """Reads cifar-100-python.tar.gz."""
    files = _pickles(paths[0], "cifar-100-python", ["train", "test", "meta"])
    labels = {"label": b"fine_labels", "coarse_label": b"coarse_labels"}
    return Contents(
        names={
            "label": _text(files["meta"][b"fine_label_names"]),
            "coarse_label": _text(files["meta"][b"coarse_label_names"]),
        },
        splits={split: _cifar([files[split]], split, labels) for split in ("train", "test")},
    )


def mnist(paths):
    """Reads the four idx files of MNIST or of a set in its format."""
    images, labels, test_images, test_labels = map(_idx, paths)
    return Contents(
        names={},
        splits={
            "train": {"image": images[..., None], "label": labels},
            "test": {"image": test_images[..., None], "label": test_labels},
        },
    )


def multi30k(paths):
    """Reads the six gzipped files of Multi30k, German and English lines of three splits."""
    sides = [_lines(path) for path in paths]
    splits = {}
    for number, split in enumerate(("train", "validation", "test")):
        german, english = sides[2 * number : 2 * number + 2]
        if len(german) != len(english):
            raise ValueError(f"{paths[2 * number]} has {len(german)} lines, {paths[2 * number + 1]} has {len(english)}")
        splits[split] = {"de": german, "en": english}
    return Contents(names={}, splits=splits)


def _lines(path):
    # Not splitlines, which also splits at characters that may stand in a sentence.
    with gzip.open(path) as file:
        return [line.strip() for line in file.read().decode().removesuffix("\n").split("\n")]


def tiny_shakespeare(paths):
    """Reads input.txt; 90 % of its characters are for training, 5 % for validation, the rest for the test."""
    text = pathlib.Path(paths[0]).read_bytes().decode()
    first = int(len(text) * 0.9)
    second = first + int((len(text) - first) * 0.5)
    parts = {"train": text[:first], "validation": text[first:second], "test": text[second:]}
    return Contents(names={}, splits={split: {"text": [part]} for split, part in parts.items()})


FORMATS = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "mnist": mnist,
    "fashion_mnist": mnist,
    "multi30k_translate/de-en": multi30k,
    "tiny_shakespeare": tiny_shakespeare,
}


def _text(names):
    return [name.decode("ascii") for name in names]


def _cifar(batches, split, labels):
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


def _pickles(path, folder, names):
    """The named members of a tar file, unpickled in one pass and never extracted."""
    wanted = {f"{folder}/{name}": name for name in names}
    found = {}
    with tarfile.open(path, "r|gz") as tar:
        for member in tar:
            if member.name in wanted and member.isfile():
                found[wanted[member.name]] = unpickle(tar.extractfile(member).read())
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    return found


def unpickle(data):
    """Reads a Python 2 pickle of plain values and numpy arrays, and nothing else.

    Raises:
      pickle.UnpicklingError: the pickle asks for any other class or function.
    """
    return _Unpickler(io.BytesIO(data), encoding="bytes").load()


class _Unpickler(pickle.Unpickler):
    # An ordinary Unpickler imports and calls whatever the file names: a stranger's
    # program. These three rebuild arrays.
    _ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module, name):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"refusing to unpickle {module}.{name}")
        return self._ALLOWED[module, name]


def _idx(path):
    """One gzipped idx file of bytes -> uint8 array."""
    with gzip.open(path) as file:
        data = file.read()
    zero, kind, rank = struct.unpack(">HBB", data[:4])
    if zero != 0 or kind != 8:
        raise ValueError(f"{path} is not an idx file of bytes")
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
