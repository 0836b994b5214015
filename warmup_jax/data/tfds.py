"""Image classification sets that TFDS has prepared, read without TensorFlow."""

import functools
import hashlib
from typing import NamedTuple

import numpy as np

from warmup_jax.data import cache, folders, images, records
from warmup_jax.data.dataset import Split, rows
from warmup_jax.data.known import DATASETS

# Training images up to this many bytes (uint8) stay on the device by default: small
# beside the memory of an accelerator, and a laptop's memory still holds model and copy.
RESIDENT_BYTES = 2**30

# Examples decoded at once while the array cache is made.
_CHUNK = 1000


class _Layout(NamedTuple):
    folder: str
    image: str
    label: str
    shape: tuple
    num_classes: int
    sizes: dict


def load(name, data_dir, residency, image_size):
    """Opens a prepared set.

    Returns:
      train and test Split, number of classes, image shape, residency, mean, std.
    """
    folder = folders.find(name, data_dir)
    if folder is None:
        raise folders.missing(name, data_dir)
    layout = _layout(name, folder)
    residency = _residency(name, layout, residency, image_size)
    train, test = (_split(layout, part, image_size) for part in ("train", "test"))
    entry = f"{folders.parse(name)[0].replace('/', '-')}-{folder.name}-{_fingerprint(folder)}"
    if residency == "device":
        arrays = cache.arrays(entry, functools.partial(_decode, train, test))
        train, test = (_resident(arrays, part) for part in ("train", "test"))
    side = (image_size,) * 2 if image_size else layout.shape[:2]
    mean, std = _moments(name, train, f"{entry}-moments-{image_size or 'stored'}")
    return train, test, layout.num_classes, (*side, layout.shape[2]), residency, mean, std


def _layout(name, folder):
    import tensorflow_datasets as tfds

    info = tfds.builder_from_directory(folder).info
    if info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise ValueError(
            f"data set {name!r} in {folder} has file format {info.file_format.value}; only "
            "array_record can be read at random: prepare it with file_format='array_record'"
        )
    features = dict(info.features.items()) if hasattr(info.features, "items") else {}
    image = _only(name, features, tfds.features.Image, "image")
    label = _only(name, features, tfds.features.ClassLabel, "label")
    shape = features[image].shape
    if len(shape) != 3 or shape[2] not in (1, 3, 4) or features[image].np_dtype != np.uint8:
        raise ValueError(
            f"images of data set {name!r} must be uint8 [H, W, 1, 3 or 4], "
            f"got {features[image].np_dtype} {shape}"
        )
    sizes = {"train": _size(name, info, ("train",))}
    known = DATASETS.get(folders.parse(name)[0])
    wanted = (known.test_split,) if known and known.test_split else ("test", "validation")
    sizes["test"] = _size(name, info, wanted)
    return _Layout(str(folder), image, label, tuple(shape), features[label].num_classes, sizes)


def _only(name, features, kind, wanted):
    """The name of the feature of this kind, the one with the usual name if several."""
    found = [key for key, feature in features.items() if type(feature) is kind]
    if wanted in found or len(found) == 1:
        return wanted if wanted in found else found[0]
    raise ValueError(
        f"data set {name!r} needs one {wanted} feature for image classification, has "
        f"{len(found)} among: {', '.join(features) or 'no named features'}"
    )


def _size(name, info, wanted):
    """(TFDS split name, number of examples) of the first wanted split that is there."""
    for split in wanted:
        if split in info.splits and info.splits[split].num_examples:
            return split, info.splits[split].num_examples
    raise ValueError(
        f"data set {name!r} needs a split {' or '.join(wanted)}, has: {', '.join(info.splits)}"
    )


def _residency(name, layout, residency, image_size):
    fixed = None not in layout.shape
    if not fixed and image_size is None:
        raise ValueError(
            f"images of data set {name!r} have several sizes: set dataset.image_size"
        )
    if image_size is not None and residency == "device":
        raise ValueError(
            f"data set {name!r} with image_size={image_size} is resized on the host: "
            "residency must be 'stream' or 'auto', got 'device'"
        )
    if residency != "auto":
        return residency
    fits = fixed and layout.sizes["train"][1] * np.prod(layout.shape) <= RESIDENT_BYTES
    return "device" if fits and image_size is None else "stream"


def _split(layout, part, image_size):
    split, size = layout.sizes[part]
    source = records.Source(
        layout.folder, split, layout.image, layout.label, layout.shape[2], image_size
    )
    crop = functools.partial(records.sample, source) if part == "train" and image_size else None
    return Split(size, None, functools.partial(records.read, source), crop)


def _decode(train, test):
    arrays = {}
    for part, split in (("train", train), ("test", test)):
        chunks = [
            split.read(np.arange(start, min(start + _CHUNK, split.size)))
            for start in range(0, split.size, _CHUNK)
        ]
        for key in chunks[0]:
            arrays[f"{part}_{key}"] = np.concatenate([chunk[key] for chunk in chunks])
    return arrays


def _resident(arrays, part):
    mine = {key: arrays[f"{part}_{key}"] for key in ("image", "label")}
    return Split(len(mine["label"]), mine, functools.partial(rows, mine))


def _fingerprint(folder):
    """Changes when the metadata or a record file does."""
    files = sorted(path for path in folder.iterdir() if "array_record" in path.name)
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    metadata = (folder / "dataset_info.json").read_bytes() + (folder / "features.json").read_bytes()
    return hashlib.sha256(metadata + repr(stats).encode()).hexdigest()[:16]


def _moments(name, train, entry):
    known = DATASETS.get(folders.parse(name)[0])
    if known:
        return known.mean, known.std

    def measure():
        return dict(zip(("mean", "std"), images.moments(train.read, train.size)))

    measured = cache.arrays(entry, measure)
    return measured["mean"], measured["std"]
