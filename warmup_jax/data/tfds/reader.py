"""Prepared TFDS sets, opened without TensorFlow."""

import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.tfds import paths


class PreparedSet(NamedTuple):
    """An opened set.

    Attributes:
      name: name it was opened by.
      folder: version folder.
      features: {name: feature} sorted by name, because the metadata keep no other order; a feature inside another one
        is named as in "translation/en".
      languages: names of the features inside a Translation if there is one, else of all texts; in the order of the
        supervised keys if these are the same names.
      splits: {TFDS name: number of examples}.
      bytes: {TFDS name: bytes of its examples}, 0 where the metadata do not tell.
    """

    name: str
    folder: pathlib.Path
    features: dict[str, Any]
    languages: list[str]
    splits: dict[str, int]
    bytes: dict[str, int]


def open_set(name: str, data_dir: str | os.PathLike | None) -> PreparedSet:
    """Opens a prepared set.

    Args:
      name: NAME[/CONFIG][:VERSION].
      data_dir: folder of prepared sets; None: $TFDS_DATA_DIR or TFDS's default.

    Returns:
      A PreparedSet.

    Raises:
      FileNotFoundError: it is not on disk; the message gives the command that prepares it.
      ValueError: its file format does not allow random access.
    """
    import tensorflow_datasets as tfds

    folder = paths.find_version(name, data_dir)
    if folder is None:
        raise paths.not_found(name, data_dir)
    info = tfds.builder_from_directory(folder).info
    if info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise ValueError(
            f"data set {name!r} in {folder} has file format {info.file_format.value}; only "
            "array_record can be read at random: prepare it with file_format='array_record'"
        )
    splits = {split: info.splits[split].num_examples for split in info.splits}
    sizes = {split: int(info.splits[split].num_bytes) for split in info.splits}
    leaves = list(_leaves(info.features, None, ""))
    features = {path: feature for path, feature, _ in leaves}
    texts = [path for path, feature, _ in leaves if type(feature) is tfds.features.Text]
    translations = [path for path, _, parent in leaves if isinstance(parent, tfds.features.Translation)]
    languages = translations or texts
    keys = info.supervised_keys
    if isinstance(keys, tuple) and sorted(map(str, keys)) == languages:
        languages = list(keys)
    return PreparedSet(name, folder, features, languages, splits, sizes)


def _leaves(feature: Any, parent: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yields (name, feature, enclosing feature) for every feature that holds values."""
    if hasattr(feature, "items"):
        for key in sorted(feature):
            yield from _leaves(feature[key], feature, f"{path}/{key}" if path else key)
    elif path:  # skips the feature without a name that a set may have, which is of no use here
        yield path, feature, parent


def single_feature(prepared: PreparedSet, kind: type, usual: str, purpose: str) -> str:
    """Returns the name of the feature of one kind; among several, the one with the usual name."""
    found = [key for key, feature in prepared.features.items() if type(feature) is kind]
    if usual in found or len(found) == 1:
        return usual if usual in found else found[0]
    raise ValueError(
        f"data set {prepared.name!r} needs one {usual} feature for {purpose}, has "
        f"{len(found)} among: {', '.join(prepared.features) or 'no named features'}"
    )


def choose_splits(prepared: PreparedSet, test_split: str | None = None) -> dict[str, str]:
    """Returns the TFDS names of the splits to train on and to test on.

    Args:
      prepared: an opened set.
      test_split: TFDS split to test on; None: the catalog's choice, else "test", else "validation".

    Returns:
      {"train": name, "test": name}.

    Raises:
      ValueError: the set lacks a split, or has an empty one.
    """
    info = DATASETS.get(paths.parse_name(prepared.name)[0])
    if test_split is None and info:
        test_split = info.test_split
    return {
        "train": _first(prepared, ("train",)),
        "test": _first(prepared, (test_split,) if test_split else ("test", "validation")),
    }


def _first(prepared: PreparedSet, wanted: Sequence[str]) -> str:
    for split in wanted:
        if prepared.splits.get(split):
            return split
    raise ValueError(
        f"data set {prepared.name!r} needs a split {' or '.join(wanted)}, has: {', '.join(prepared.splits)}"
    )


def fingerprint(folder: pathlib.Path) -> str:
    """Returns a hash that changes when the metadata or a record file does."""
    files = sorted(path for path in folder.iterdir() if "array_record" in path.name)
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    metadata = (folder / "dataset_info.json").read_bytes() + (folder / "features.json").read_bytes()
    return hashlib.sha256(metadata + repr(stats).encode()).hexdigest()[:16]
