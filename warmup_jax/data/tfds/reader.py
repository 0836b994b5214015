"""A set that TFDS has prepared on disk, opened without TensorFlow."""

import hashlib
import pathlib
from typing import Any, NamedTuple

from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.tfds import paths


class Prepared(NamedTuple):
    """An opened set.

    folder: the version folder.
    features: {name: feature} in the order of their names, the only one that the metadata
      keep; those inside another one as in "translation/en".
    languages: names of the features of a Translation, else of all texts; in the order of
      the supervised keys where they are those.
    splits: {TFDS name: number of examples}.
    """

    name: str
    folder: pathlib.Path
    features: dict[str, Any]
    languages: list[str]
    splits: dict[str, int]


def open_set(name, data_dir):
    """Opens a prepared set.

    Raises:
      FileNotFoundError: it is not on disk; the message says how to prepare it.
      ValueError: its records cannot be read at random.
    """
    import tensorflow_datasets as tfds

    folder = paths.find(name, data_dir)
    if folder is None:
        raise paths.missing(name, data_dir)
    info = tfds.builder_from_directory(folder).info
    if info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise ValueError(
            f"data set {name!r} in {folder} has file format {info.file_format.value}; only "
            "array_record can be read at random: prepare it with file_format='array_record'"
        )
    splits = {split: info.splits[split].num_examples for split in info.splits}
    leaves = list(_leaves(info.features, None, ""))
    features = {path: feature for path, feature, _ in leaves}
    texts = [path for path, feature, _ in leaves if type(feature) is tfds.features.Text]
    inside = [path for path, _, parent in leaves if isinstance(parent, tfds.features.Translation)]
    languages = inside or texts
    keys = info.supervised_keys
    if isinstance(keys, tuple) and sorted(map(str, keys)) == languages:
        languages = list(keys)
    return Prepared(name, folder, features, languages, splits)


def _leaves(feature, parent, path):
    """(name, feature, the feature it is inside of) of all that hold values."""
    if hasattr(feature, "items"):
        for key in sorted(feature):
            yield from _leaves(feature[key], feature, f"{path}/{key}" if path else key)
    elif path:  # a set may have one feature without a name, which we have no use for
        yield path, feature, parent


def only(prepared, kind, wanted, purpose):
    """The name of the feature of this kind, the one with the usual name if several."""
    found = [key for key, feature in prepared.features.items() if type(feature) is kind]
    if wanted in found or len(found) == 1:
        return wanted if wanted in found else found[0]
    raise ValueError(
        f"data set {prepared.name!r} needs one {wanted} feature for {purpose}, has "
        f"{len(found)} among: {', '.join(prepared.features) or 'no named features'}"
    )


def parts(prepared, test_split=None):
    """The TFDS names of the splits {"train", "test"}.

    Args:
      prepared: an opened set.
      test_split: the one to test on; None: the one known to be right, "test" or "validation".
    """
    known = DATASETS.get(paths.parse(prepared.name)[0])
    if test_split is None and known:
        test_split = known.test_split
    return {
        "train": _first(prepared, ("train",)),
        "test": _first(prepared, (test_split,) if test_split else ("test", "validation")),
    }


def _first(prepared, wanted):
    for split in wanted:
        if prepared.splits.get(split):
            return split
    raise ValueError(
        f"data set {prepared.name!r} needs a split {' or '.join(wanted)}, has: {', '.join(prepared.splits)}"
    )


def fingerprint(folder):
    """Changes when the metadata or a record file does."""
    files = sorted(path for path in folder.iterdir() if "array_record" in path.name)
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    metadata = (folder / "dataset_info.json").read_bytes() + (folder / "features.json").read_bytes()
    return hashlib.sha256(metadata + repr(stats).encode()).hexdigest()[:16]
