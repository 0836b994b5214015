"""Arrays that are costly to compute, kept in the user's cache folder as .npy files."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable

import numpy as np

from warmup_jax import places
from warmup_jax.data.dataset import Arrays

# Bytes of a growing array that stay in memory.
IN_MEMORY = 2**26


class GrowingArray:
    """A flat array that may not fit in memory: a large one is in a temporary file on the disk of the entries.

    Args:
      dtype: of its elements.
    """

    def __init__(self, dtype: np.dtype):
        folder = root()
        with contextlib.suppress(OSError):  # a cache that cannot be written is no reason to stop
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder if folder and folder.is_dir() and os.access(folder, os.W_OK) else None
        self._dtype = dtype
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=self._folder)

    def append(self, array: np.ndarray) -> None:
        """Adds the elements of an array at the end."""
        try:
            self._file.write(np.ascontiguousarray(array, self._dtype).tobytes())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._folder or tempfile.gettempdir())) from error

    def array(self) -> np.ndarray:
        """Returns all elements, read-only; nothing can be added afterwards."""
        with self._file as file:
            if file.seek(0, os.SEEK_END) <= IN_MEMORY:
                file.seek(0)
                return np.frombuffer(file.read(), self._dtype)
            file.flush()
            # No np.memmap, which would be taken for an array that can be opened by its path.
            return np.asarray(np.memmap(file, self._dtype, "r"))


def root() -> pathlib.Path | None:
    """Returns the folder that holds the entries, one folder each; None if nothing can be kept."""
    cache = places.cache()
    return cache and cache / "arrays"


def load_or_make(entry: str, make: Callable[[], Arrays]) -> Arrays:
    """Returns the arrays of an entry; calls `make` and stores its result if they are not stored intact.

    Args:
      entry: folder name, unique to everything the arrays depend on.
      make: () -> {key: array}.

    Returns:
      {key: read-only memory-mapped array}, or the result of `make` if the cache cannot be written.
    """
    if (folder := root()) is None:
        return make()
    path = folder / entry
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


def _load(path: pathlib.Path) -> Arrays | None:
    # Checksums, because training would silently use an entry with damaged bytes.
    try:
        checksums = json.loads((path / "checksums.json").read_text())
        found = {key: np.load(path / f"{key}.npy", mmap_mode="r", allow_pickle=False) for key in checksums}
        if found and all(_checksum(found[key]) == checksums[key] for key in checksums):
            return found
    except (OSError, ValueError, EOFError, TypeError, AttributeError):
        pass
    return None


def _store(path: pathlib.Path, made: Arrays) -> None:
    # Written to a temporary folder and renamed: a killed writer leaves no entry, and the second of two writers finds
    # the entry of the first.
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    try:
        for key, array in made.items():
            np.save(temporary / f"{key}.npy", array, allow_pickle=False)
        checksums = {key: _checksum(array) for key, array in made.items()}
        (temporary / "checksums.json").write_text(json.dumps(checksums))
        if path.exists() and _load(path) is None:
            shutil.rmtree(path)
        if not path.exists():
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _checksum(array: np.ndarray) -> str:
    data = np.ascontiguousarray(array)
    return f"{data.dtype.str} {data.shape} {zlib.crc32(data.reshape(-1).view(np.uint8).data):08x}"
