"""Prepared TFDS sets on disk: DATA_DIR/NAME[/CONFIG]/VERSION/dataset_info.json."""

import difflib
import os
import pathlib
import re

from warmup_jax.data.catalog import DATASETS

_NAME = re.compile(r"(\w+(?:/[\w.+-]+)?)(?::(\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def root(data_dir=None):
    """The folder that holds the sets; TFDS's own default where none is given."""
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(data_dir).expanduser()


def parse(name):
    """ "NAME[/CONFIG][:VERSION]" -> ("NAME[/CONFIG]", version or None)."""
    match = _NAME.fullmatch(name)
    if not match or ".." in name:
        raise ValueError(f"a data set is named NAME[/CONFIG][:VERSION], got {name!r}")
    return match[1], match[2]


def versions(folder):
    """Complete version folders in a set's folder, newest first."""
    if not folder.is_dir():
        return []
    found = [
        path for path in folder.iterdir() if _VERSION.fullmatch(path.name) and (path / "dataset_info.json").is_file()
    ]
    return sorted(found, key=lambda path: tuple(map(int, path.name.split("."))), reverse=True)


def prepared(data_dir=None):
    """All sets on disk: {"NAME[/CONFIG]": newest version folder}."""
    top = root(data_dir)
    if not top.is_dir():
        return {}
    folders = [path for pattern in ("*", "*/*") for path in top.glob(pattern) if path.is_dir()]
    found = {path.relative_to(top).as_posix(): versions(path) for path in sorted(folders)}
    return {name: paths[0] for name, paths in found.items() if paths}


def find(name, data_dir=None):
    """The version folder of a set, the newest unless the name gives a version, or None."""
    plain, version = parse(name)
    for path in versions(root(data_dir) / plain):
        if version in (None, path.name):
            return path
    return None


def missing(name, data_dir=None):
    """The FileNotFoundError for a set that find does not find."""
    plain, _ = parse(name)
    on_disk = prepared(data_dir)
    command = f"python -m warmup_jax.data prepare {name}"
    command += f" --data_dir={data_dir}" if data_dir else ""
    known = sorted(DATASETS.keys() | on_disk.keys())
    there = ", ".join(f"{key}:{path.name}" for key, path in on_disk.items())
    lies_there = f"there: {there or 'no prepared set'}"
    if plain in DATASETS or plain in on_disk:
        return FileNotFoundError(
            f"data set {name!r} is not in {root(data_dir)} ({lies_there}); prepare it with `{command}`"
        )
    close = difflib.get_close_matches(plain, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return FileNotFoundError(
        f"unknown data set {name!r}: {hint}known sets: {', '.join(DATASETS)}; "
        f"not in {root(data_dir)} either ({lies_there}); "
        f"if TFDS has it, prepare it with `{command}`"
    )
