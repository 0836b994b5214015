"""Preparation of TFDS sets on disk, as array_record and without TensorFlow."""

import difflib
import os
import pathlib
import re
import tempfile
from collections.abc import Sequence

from warmup_jax.data.catalog import DATASETS, Archive
from warmup_jax.data.tfds import archives, builders, paths

# Server of TFDS's metadata: if it does not answer, TFDS cannot prepare anything.
TFDS_HOST = "https://storage.googleapis.com"


def prepare(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    given: Sequence[str | os.PathLike] = (),
    published: Sequence[Archive] | None = None,
) -> tuple[pathlib.Path, bool]:
    """Prepares a set unless it is on disk; both this package and `tfds.data_source` can read the result.

    Args:
      name: TFDS name. This package reads the archives of the sets in `archives.READERS` itself; TFDS prepares the
        others, and may need TensorFlow for it.
      data_dir: folder of prepared sets; None: TFDS's default.
      given: archive files that the user fetched, or folders of them; empty: download.
      published: the Archives to expect; None: those in DATASETS.

    Returns:
      The version folder, and True if this call wrote it.

    Raises:
      ConnectionError: a server does not answer.
      FileNotFoundError: an archive is not among the given files.
      ValueError: the set cannot be prepared, or an archive is not the published one. The message has one line. Nothing
        is left in data_dir after an error.
    """
    plain, version = paths.parse_name(name)
    folder = paths.find_version(name, data_dir)
    if folder is not None:
        return folder, False
    if plain in DATASETS and DATASETS[plain].package:
        raise ValueError(f"{plain!r} comes with {DATASETS[plain].package}: there is nothing to prepare")
    if plain in archives.READERS:
        return _from_archives(plain, version, data_dir, given, published or DATASETS[plain].archives), True
    return _by_tfds(name, data_dir, given), True


def _from_archives(
    name: str,
    version: str | None,
    data_dir: str | os.PathLike | None,
    given: Sequence[str | os.PathLike],
    published: Sequence[Archive],
) -> pathlib.Path:
    base = builders.builder_class(name)
    if version not in (None, str(base.VERSION)):
        raise ValueError(f"the version of {name!r} that can be prepared is {base.VERSION}, got {version}")
    with tempfile.TemporaryDirectory() as downloads:
        files = archives.obtain(published, given, downloads)
        builder = builders.with_contents(base, archives.READERS[name](files))(
            data_dir=str(paths.root(data_dir)), file_format="array_record"
        )
        # TFDS writes to a folder of another name and renames it at the end.
        builder.download_and_prepare(download_dir=downloads)
    return pathlib.Path(builder.data_dir)


def _by_tfds(name: str, data_dir: str | os.PathLike | None, given: Sequence[str | os.PathLike]) -> pathlib.Path:
    import tensorflow_datasets as tfds

    if given:
        raise ValueError(f"--archive is for {', '.join(archives.READERS)}; TFDS fetches {name!r} itself")
    known = tfds.list_builders(with_community_datasets=False)
    if re.split("[/:]", name)[0] not in known:
        # Not registry.unknown, which would list the hundreds of names that TFDS has.
        nearest = difflib.get_close_matches(name, known, n=3)
        hint = f"; the nearest names are {', '.join(map(repr, nearest))}" if nearest else ""
        hint = paths.own_files(name) or hint
        raise ValueError(f"TFDS has no data set {name!r}{hint}")
    if not archives.is_reachable(TFDS_HOST):
        raise ConnectionError(f"cannot prepare {name!r}: {TFDS_HOST} does not answer")
    try:
        builder = tfds.builder(name, data_dir=str(paths.root(data_dir)), file_format="array_record")
        builder.download_and_prepare()
    except ImportError as error:
        raise ValueError(
            f"TFDS cannot prepare {name!r} here ({error}): install tensorflow for it, or "
            "prepare it on another machine with file_format='array_record' and copy the folder"
        ) from error
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"TFDS cannot prepare {name!r}: {type(error).__name__}: {reason}") from error
    return pathlib.Path(builder.data_dir)
