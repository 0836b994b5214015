"""Image classification sets: scikit-learn's digits, and sets that TFDS has prepared."""

import contextlib
import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from warmup_jax import registry
from warmup_jax.data import builtin, cache
from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.dataset import Arrays, DataError, Dataset, Split, check_loading, resolve_residency, stored_split
from warmup_jax.data.images import decode
from warmup_jax.data.images.augment import AUGMENTS, Constants, moments, preparation
from warmup_jax.data.tfds import paths, reader

# Part of the digits' cache entry: increase it when `builtin.digits` returns other arrays.
DIGITS_VERSION = 1

# Side of a resized image, in pixels.
LARGEST = 2**13

# Labels read before any image is decoded: where a split hides them, it hides them all.
CHECKED_LABELS = 256

# Examples decoded at once to fill the array cache.
CHUNK = 1000


class ImageSplits(NamedTuple):
    """Both splits of an image set, before the choice of augmentation.

    Attributes:
      train: training split.
      test: test split.
      num_classes: number of classes.
      input_shape: (H, W, C).
      residency: "device" or "stream".
      mean: mean per channel of the training pixels, scaled to [0, 1].
      std: standard deviation per channel of the same.
    """

    train: Split
    test: Split
    num_classes: int
    input_shape: tuple[int, int, int]
    residency: str
    mean: Constants
    std: Constants


def load_images(
    *,
    name: str,
    data_dir: str | None = None,
    residency: str = "auto",
    augment: str = "none",
    image_size: int | None = None,
    workers: int = 0,
    test_split: str | None = None,
) -> Dataset:
    """Loads an image classification set, without ever using the network.

    Args:
      name: "digits", or the TFDS name of a set prepared on disk as array_record: "cifar10", "cifar10:3.0.2",
        "set/config".
      data_dir: folder of prepared sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
      residency: "device" keeps both splits as arrays, "stream" reads while training, "auto" chooses "device" if all
        images have one shape and the training pixels take at most 1 GiB.
      augment: "none", "flip", or "crop_flip" (pad by 4, crop at random, flip).
      image_size: side in pixels to resize to: a random crop of random area for training, the centre for the test;
        always streamed. None keeps the stored size.
      workers: number of processes that read a stream; 0 reads in this one.
      test_split: TFDS split to test on; None: "test", or "validation" if there is no "test".

    Returns:
      A Dataset.

    Raises:
      ValueError: an argument or the set's content cannot be used, or scikit-learn, which contains the digits, is
        missing.
      FileNotFoundError: the set is not on disk; the message gives the command that prepares it.
    """
    check_loading(residency, workers)
    if image_size is not None:
        registry.positive_integer("image_size", image_size, LARGEST)
    registry.one_of("augment", augment, AUGMENTS)
    if name == "digits":
        registry.one_of("test_split", test_split, (None,), " for 'digits'")
        found = _digits(residency, image_size)
    else:
        found = _prepared(name, data_dir, residency, image_size, test_split)
    prepare = preparation(found.mean, found.std, augment)
    return Dataset(
        name, found.train, found.test, found.num_classes, found.input_shape, found.residency, workers, prepare
    )


def _digits(residency: str, image_size: int | None) -> ImageSplits:
    registry.one_of("image_size", image_size, (None,), " for 'digits'")
    residency = "device" if residency == "auto" else residency
    # From the cache, because importing scikit-learn takes a second.
    entry = f"digits-{DIGITS_VERSION}-{builtin.package_version('digits')}"
    arrays = cache.load_or_make(entry, builtin.digits)
    train, test = (stored_split(arrays, part, residency) for part in ("train", "test"))
    info = DATASETS["digits"]
    return ImageSplits(train, test, 10, (8, 8, 1), residency, info.mean, info.std)


def _prepared(
    name: str, data_dir: str | None, residency: str, image_size: int | None, test_split: str | None
) -> ImageSplits:
    prepared = reader.open_set(name, data_dir)
    source, num_classes, shape = _source(prepared, image_size)
    splits = reader.choose_splits(prepared, test_split)
    source = source._replace(split=splits["train"])
    decode.check_first_labels(source, min(CHECKED_LABELS, prepared.splits[splits["train"]]))
    _check_test_labels(prepared, source._replace(split=splits["test"]), splits)
    residency = _residency(prepared, shape, splits, residency, image_size)
    train, test = (_split(source, prepared, splits, part) for part in ("train", "test"))
    fingerprint = reader.fingerprint(prepared.folder)
    entry = f"{paths.parse_name(name)[0].replace('/', '-')}-{prepared.folder.name}-{fingerprint}"
    if residency == "device":
        decoded = entry if test_split is None else f"{entry}-{splits['test']}"
        arrays = cache.load_or_make(decoded, functools.partial(_decode_all, train, test))
        for part, split in splits.items():
            labels = arrays[f"{part}_label"]
            decode.check_labels(source._replace(split=split), np.arange(len(labels)), labels)
        train, test = (stored_split(arrays, part, residency) for part in ("train", "test"))
    height, width = (image_size, image_size) if image_size else shape[:2]
    mean, std = _moments(name, train, f"{entry}-moments-{image_size or 'stored'}")
    return ImageSplits(train, test, num_classes, (height, width, shape[2]), residency, mean, std)


def _source(prepared: reader.PreparedSet, image_size: int | None) -> tuple[decode.Source, int, tuple]:
    """Returns the source of the images (its split still empty), the number of classes and the stored image shape."""
    import tensorflow_datasets as tfds

    image = reader.single_feature(prepared, tfds.features.Image, "image", "image classification")
    label = reader.single_feature(prepared, tfds.features.ClassLabel, "label", "image classification")
    feature, num_classes = prepared.features[image], prepared.features[label].num_classes
    shape = tuple(feature.shape)
    if len(shape) != 3 or shape[2] not in (1, 3, 4) or feature.np_dtype != np.uint8:
        raise ValueError(
            f"images of data set {prepared.name!r} must be uint8 [H, W, 1, 3 or 4], got {feature.np_dtype} {shape}"
        )
    source = decode.Source(str(prepared.folder), "", image, label, shape[2], image_size, num_classes)
    return source, num_classes, shape


def _check_test_labels(prepared: reader.PreparedSet, source: decode.Source, splits: Mapping[str, str]) -> None:
    """Raises a DataError for a test split that hides its labels; it names the splits that do not."""
    try:
        decode.check_first_labels(source, min(CHECKED_LABELS, prepared.splits[source.split]))
    except DataError as error:
        labelled = []
        for split in prepared.splits.keys() - set(splits.values()):
            with contextlib.suppress(DataError):
                decode.check_first_labels(source._replace(split=split), min(CHECKED_LABELS, prepared.splits[split]))
                labelled.append(repr(split))
        others = " or ".join(sorted(labelled)) or "none; no other split has labels"
        raise DataError(f"data set {prepared.name!r}: {error}; set dataset.test_split to {others}") from error


def _residency(
    prepared: reader.PreparedSet, shape: tuple, splits: Mapping[str, str], residency: str, image_size: int | None
) -> str:
    one_shape = None not in shape
    if not one_shape and image_size is None:
        raise ValueError(f"images of data set {prepared.name!r} have several sizes: set dataset.image_size")
    if image_size is not None and residency == "device":
        where = f" for data set {prepared.name!r} with image_size={image_size}, which is resized on the host"
        registry.one_of("residency", residency, ("stream", "auto"), where)
    if image_size is not None and residency == "auto":
        return "stream"
    size = prepared.splits[splits["train"]] * np.prod(shape) if one_shape else np.inf
    return resolve_residency(residency, size)


def _split(source: decode.Source, prepared: reader.PreparedSet, splits: Mapping[str, str], part: str) -> Split:
    source = source._replace(split=splits[part])
    crop = part == "train" and source.image_size
    return Split(
        prepared.splits[splits[part]],
        None,
        functools.partial(decode.read, source),
        functools.partial(decode.sample, source) if crop else None,
    )


def _decode_all(train: Split, test: Split) -> Arrays:
    arrays = {}
    for part, split in (("train", train), ("test", test)):
        chunks = [split.read(np.arange(start, min(start + CHUNK, split.size))) for start in range(0, split.size, CHUNK)]
        for key in chunks[0]:
            arrays[f"{part}_{key}"] = np.concatenate([chunk[key] for chunk in chunks])
    return arrays


def _moments(name: str, train: Split, entry: str) -> tuple[Constants, Constants]:
    info = DATASETS.get(paths.parse_name(name)[0])
    if info and info.mean:
        return info.mean, info.std

    def measure() -> Arrays:
        mean, std = moments(train.read, train.size)
        return {"mean": mean, "std": std}

    measured = cache.load_or_make(entry, measure)
    return measured["mean"], measured["std"]
