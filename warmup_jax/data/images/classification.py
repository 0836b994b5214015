"""Image classification sets: the embedded digits, and what TFDS has prepared."""

import functools

import numpy as np

from warmup_jax.data import builtin, cache, dataset
from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.dataset import Dataset, Split
from warmup_jax.data.images import augment as augmentation
from warmup_jax.data.images import decode
from warmup_jax.data.tfds import paths, reader

# In the name of the digits' cache: raise it where `embedded.digits` gives something else.
_DIGITS = 1
# Examples decoded at once while the array cache is made.
_CHUNK = 1000


def load(*, name, data_dir=None, residency="auto", augment="none", image_size=None, workers=0):
    """Loads an image classification set. Never touches the network.

    Args:
      name: "digits", or a TFDS name as in "cifar10", "cifar10:3.0.2", "set/config",
        prepared on disk as array_record.
      data_dir: folder of prepared sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
      residency: "device" keeps both splits as arrays, "stream" reads while training,
        "auto" chooses "device" for one image shape and at most 1 GiB of training pixels.
      augment: "none", "flip", or "crop_flip" (pad by 4, crop at random, flip).
      image_size: None keeps the stored size. A number resizes to that side in pixels:
        a random crop of random area to train on, the centre to test on; streams only.
      workers: processes that read a stream; 0 reads in this one.

    Returns:
      A Dataset.

    Raises:
      ValueError: an argument or the set's content cannot be used, or scikit-learn, which has the digits, is missing.
      FileNotFoundError: the set is not on disk; the message says how to prepare it.
    """
    dataset.check(residency, workers)
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be None or >= 1, got {image_size}")
    augmentation.check(augment)
    loaded = _digits(residency, image_size) if name == "digits" else _prepared(name, data_dir, residency, image_size)
    train, test, num_classes, input_shape, residency, mean, std = loaded
    prepare = augmentation.preparation(mean, std, augment)
    return Dataset(name, train, test, num_classes, input_shape, residency, workers, prepare)


def _digits(residency, image_size):
    if image_size is not None:
        raise ValueError(f"image_size must be None for 'digits', got {image_size}")
    residency = "device" if residency == "auto" else residency
    # From the cache, as scikit-learn takes a second to import.
    arrays = cache.arrays(f"digits-{_DIGITS}-{builtin.version('digits')}", builtin.digits)
    train, test = (dataset.stored_split(arrays, part, residency) for part in ("train", "test"))
    known = DATASETS["digits"]
    return train, test, 10, (8, 8, 1), residency, known.mean, known.std


def _prepared(name, data_dir, residency, image_size):
    prepared = reader.open_set(name, data_dir)
    source, num_classes, shape = _source(prepared, image_size)
    splits = reader.parts(prepared)
    residency = _residency(prepared, shape, splits, residency, image_size)
    train, test = (_split(source, prepared, splits, part) for part in ("train", "test"))
    fingerprint = reader.fingerprint(prepared.folder)
    entry = f"{paths.parse(name)[0].replace('/', '-')}-{prepared.folder.name}-{fingerprint}"
    if residency == "device":
        arrays = cache.arrays(entry, functools.partial(_decode, train, test))
        train, test = (dataset.stored_split(arrays, part, residency) for part in ("train", "test"))
    side = (image_size,) * 2 if image_size else shape[:2]
    mean, std = _moments(name, train, f"{entry}-moments-{image_size or 'stored'}")
    return train, test, num_classes, (*side, shape[2]), residency, mean, std


def _source(prepared, image_size):
    """Where the pictures lie (a split still missing), number of classes, stored image shape."""
    import tensorflow_datasets as lib

    image = reader.only(prepared, lib.features.Image, "image", "image classification")
    label = reader.only(prepared, lib.features.ClassLabel, "label", "image classification")
    feature = prepared.features[image]
    shape = tuple(feature.shape)
    if len(shape) != 3 or shape[2] not in (1, 3, 4) or feature.np_dtype != np.uint8:
        raise ValueError(
            f"images of data set {prepared.name!r} must be uint8 [H, W, 1, 3 or 4], got {feature.np_dtype} {shape}"
        )
    source = decode.Source(str(prepared.folder), "", image, label, shape[2], image_size)
    return source, prepared.features[label].num_classes, shape


def _residency(prepared, shape, splits, residency, image_size):
    fixed = None not in shape
    if not fixed and image_size is None:
        raise ValueError(f"images of data set {prepared.name!r} have several sizes: set dataset.image_size")
    if image_size is not None and residency == "device":
        raise ValueError(
            f"data set {prepared.name!r} with image_size={image_size} is resized on the host: "
            "residency must be 'stream' or 'auto', got 'device'"
        )
    if image_size is not None and residency == "auto":
        return "stream"
    size = prepared.splits[splits["train"]] * np.prod(shape) if fixed else np.inf
    return dataset.choose(residency, size)


def _split(source, prepared, splits, part):
    source = source._replace(split=splits[part])
    crop = part == "train" and source.image_size
    return Split(
        prepared.splits[splits[part]],
        None,
        functools.partial(decode.read, source),
        functools.partial(decode.sample, source) if crop else None,
    )


def _decode(train, test):
    arrays = {}
    for part, split in (("train", train), ("test", test)):
        chunks = [
            split.read(np.arange(start, min(start + _CHUNK, split.size))) for start in range(0, split.size, _CHUNK)
        ]
        for key in chunks[0]:
            arrays[f"{part}_{key}"] = np.concatenate([chunk[key] for chunk in chunks])
    return arrays


def _moments(name, train, entry):
    known = DATASETS.get(paths.parse(name)[0])
    if known and known.mean:
        return known.mean, known.std

    def measure():
        return dict(zip(("mean", "std"), augmentation.moments(train.read, train.size)))

    measured = cache.arrays(entry, measure)
    return measured["mean"], measured["std"]
