"""Folders of this machine: what a user points to, the home folder, the one cache, a new folder for a run."""

import contextlib
import functools
import itertools
import os
import re
import stat
import sys
import tempfile
from pathlib import Path

URL = re.compile(r"\w[\w+.-]+:/")  # also as pathlib writes it, with one slash


def local(argument: str, path: str | os.PathLike) -> Path:
    """Returns the path that a user gave, with `~` replaced by the home folder.

    Args:
      argument: the name of the argument, for error messages ("workdir").
      path: a path, absolute or from the current folder.

    Raises:
      ValueError: if it is empty, an address such as gs://bucket, or in a home folder that is unknown.
    """
    text = os.fspath(path)
    if not text or URL.match(text):
        raise ValueError(f"{argument}={text}; allowed: a path of this machine (a bucket must be mounted first)")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{argument}={text}; allowed here: a path without ~, whose folder is unknown") from None


def home() -> Path | None:
    """Returns the user's home folder, None without $HOME and an entry in passwd, as in some containers."""
    if os.environ.get("HOME") == "":
        return None
    with contextlib.suppress(RuntimeError):
        return Path("~").expanduser()
    return None


@functools.cache
def temporary() -> Path | None:
    """Returns the user's own folder among the temporary files, None if it cannot be made or is another user's.

    It stays for the next process. Nobody else may write to it, since compiled programs in a cache are executed.
    """
    try:
        path = Path(tempfile.gettempdir()) / f"warmup_jax-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError:
        return None
    safe = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return path if safe else None


def cache() -> Path | None:
    """Returns the folder of everything that is kept to save time, None if there is no place for it.

    It is `warmup_jax` in $XDG_CACHE_HOME or ~/.cache. If it cannot be written (no home folder, a read-only one),
    the user's own temporary folder takes its place, and one line on stderr says so.
    """
    return _cache(os.environ.get("XDG_CACHE_HOME"), home())


@functools.cache
def _cache(chosen: str | None, home: Path | None) -> Path | None:
    wanted = os.path.expanduser(chosen) if chosen else home and home / ".cache"
    if wanted and _writable(folder := Path(wanted, "warmup_jax")):
        return folder
    found = temporary()
    _say(f"cache: {wanted or '~/.cache'} cannot be written; " + (f"{found} is used" if found else "nothing is kept"))
    return found


def new_folder(path: Path) -> Path:
    """Creates a folder that was not there and returns it; if the name is taken, adds -2, -3 and so on.

    Raises:
      OSError: if it cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    names = itertools.chain([path.name], (f"{path.name}-{number}" for number in itertools.count(2)))
    while True:
        folder = path.with_name(next(names))
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder


def _writable(folder: Path) -> bool:
    """Returns True if files can be made in a folder, which is created if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a closed stream is no reason to stop
        print(line, file=sys.stderr, flush=True)
