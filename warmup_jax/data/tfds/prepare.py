"""Writing a TFDS array_record set to disk without TensorFlow."""

import difflib
import pathlib
import re
import tempfile

from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.tfds import archives, builders, paths

# Where TFDS keeps its metadata: no answer from here means no preparation by TFDS.
_TFDS_HOST = "https://storage.googleapis.com"


def prepare(name, *, data_dir=None, given=(), published=None):
    """Prepares a set unless it is on disk; readable by this package and by tfds.data_source.

    Args:
      name: TFDS name. Sets of which we know the archives are read by our own code;
        others are left to TFDS, which may need TensorFlow.
      data_dir: folder of prepared sets; None: TFDS's default.
      given: archive files or folders of them, fetched by the user; empty: download.
      published: the Archives to expect; None: those in DATASETS.

    Returns:
      (version folder, whether it was written now).

    Raises:
      ConnectionError, FileNotFoundError, ValueError: with a one-line message; nothing is
        left in data_dir.
    """
    plain, version = paths.parse(name)
    folder = paths.find(name, data_dir)
    if folder is not None:
        return folder, False
    if plain in DATASETS and DATASETS[plain].package:
        raise ValueError(f"{plain!r} comes with {DATASETS[plain].package}: there is nothing to prepare")
    if plain in archives.FORMATS:
        published = published or DATASETS[plain].archives
        return _from_archives(plain, version, data_dir, given, published), True
    return _by_tfds(name, data_dir, given), True


def _from_archives(name, version, data_dir, given, published):
    theirs = builders.find(name)
    if version not in (None, str(theirs.VERSION)):
        raise ValueError(f"the version of {name!r} that can be prepared is {theirs.VERSION}, got {version}")
    with tempfile.TemporaryDirectory() as downloads:
        obtained = archives.obtain(published, given, downloads)
        builder = builders.filled(theirs, archives.FORMATS[name](obtained))(
            data_dir=str(paths.root(data_dir)), file_format="array_record"
        )
        # TFDS writes to a folder of another name and renames it at the end.
        builder.download_and_prepare(download_dir=downloads)
    return pathlib.Path(builder.data_dir)


def _by_tfds(name, data_dir, given):
    import tensorflow_datasets as tfds

    if given:
        raise ValueError(f"--archive is for {', '.join(archives.FORMATS)}; TFDS fetches {name!r} itself")
    known = tfds.list_builders(with_community_datasets=False)
    if re.split("[/:]", name)[0] not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"; near it: {', '.join(close)}" if close else ""
        raise ValueError(f"TFDS has no data set {name!r}{hint}")
    if not archives.reachable(_TFDS_HOST):
        raise ConnectionError(f"cannot prepare {name!r}: {_TFDS_HOST} does not answer")
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
