"""Arrays that were costly to make, kept in the user's cache folder as .npy files."""

import json
import os
import pathlib
import shutil
import tempfile
import warnings
import zlib

import numpy as np


def folder():
    """Where the entries lie, one folder each."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(base).expanduser() / "warmup_jax" / "arrays"


def arrays(entry, make):
    """The arrays of an entry, made and stored when they are not there intact.

    Args:
      entry: folder name that stands for everything the arrays depend on.
      make: () -> {key: array}.

    Returns:
      {key: read-only memory-mapped array}; what make returned when the cache cannot
      be written.
    """
    path = folder() / entry
    stored = _load(path)
    if stored is None:
        made = make()
        try:
            _store(path, made)
        except OSError as error:
            warnings.warn(f"cannot keep decoded data in {path}: {error}", stacklevel=2)
            return made
        stored = _load(path)
        if stored is None:
            return made
    return stored


def _load(path):
    # A checksum, because an entry that lost bytes would train on wrong pictures.
    try:
        checksums = json.loads((path / "checksums.json").read_text())
        found = {key: np.load(path / f"{key}.npy", mmap_mode="r", allow_pickle=False) for key in checksums}
        if found and all(_checksum(found[key]) == checksums[key] for key in checksums):
            return found
    except (OSError, ValueError, EOFError, TypeError, AttributeError):
        pass
    return None


def _store(path, made):
    # Written aside and renamed: a killed writer leaves no entry, and of two writers
    # the second finds the first one's.
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = pathlib.Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    try:
        for key, array in made.items():
            np.save(aside / f"{key}.npy", array, allow_pickle=False)
        checksums = {key: _checksum(array) for key, array in made.items()}
        (aside / "checksums.json").write_text(json.dumps(checksums))
        if path.exists() and _load(path) is None:
            shutil.rmtree(path)
        if not path.exists():
            aside.rename(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _checksum(array):
    data = np.ascontiguousarray(array)
    return f"{data.dtype.str} {data.shape} {zlib.crc32(data.reshape(-1).view(np.uint8)):08x}"
