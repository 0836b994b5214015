"""Locations of prepared TFDS sets: DATA_DIR/NAME[/CONFIG]/VERSION/dataset_info.json."""

import contextlib
import os
import pathlib
import re
import shlex

from warmup_jax import places, registry
from warmup_jax.data.catalog import DATASETS

NAME = re.compile(r"(\w+(?:/[\w.+-]+)?)(?::(\d+\.\d+\.\d+))?")
VERSION = re.compile(r"\d+\.\d+\.\d+")


def root(data_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """Returns the folder of prepared sets: `data_dir`, else $TFDS_DATA_DIR, else TFDS's own default.

    That is ~/tensorflow_datasets; without a home folder, one of that name in the user's temporary folder.

    Raises:
      ValueError: if the folder is an address such as gs://bucket, or if there is none.
    """
    for argument, given in (("data_dir", data_dir), ("TFDS_DATA_DIR", os.environ.get("TFDS_DATA_DIR"))):
        if given:
            return places.local(argument, given)
    folder = places.home() or places.temporary()
    if folder is None:
        raise ValueError("there is no home folder for prepared sets: set data_dir or $TFDS_DATA_DIR")
    return folder / "tensorflow_datasets"


def parse_name(name: str) -> tuple[str, str | None]:
    """Splits "NAME[/CONFIG][:VERSION]" into "NAME[/CONFIG]" and the version or None."""
    match = NAME.fullmatch(name)
    if not match or ".." in name:
        raise ValueError(f"name={name!r}; allowed: NAME[/CONFIG][:VERSION], as in cifar10{own_files(name)}")
    return match[1], match[2]


def own_files(name: str) -> str:
    """Returns a hint for a name that is a file or folder of the user's own; "" for another one."""
    with contextlib.suppress(ValueError, OSError):
        path = places.local("name", name)
        if path.exists():
            new = re.sub(r"\W+", "_", f"my_{path.absolute().with_suffix('').name}", flags=re.ASCII)
            command = f"python -m warmup_jax.data prepare {new} --from {shlex.quote(name)}"
            return f"; for files of your own run `{command}`"
    return ""


def versions(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the complete version folders in a set's folder, newest first."""
    if not folder.is_dir():
        return []
    found = [
        path for path in folder.iterdir() if VERSION.fullmatch(path.name) and (path / "dataset_info.json").is_file()
    ]
    return sorted(found, key=lambda path: tuple(map(int, path.name.split("."))), reverse=True)


def prepared_sets(data_dir: str | os.PathLike | None = None) -> dict[str, pathlib.Path]:
    """Lists all sets on disk: {"NAME[/CONFIG]": newest version folder}."""
    top = root(data_dir)
    if not top.is_dir():
        return {}
    folders = [path for pattern in ("*", "*/*") for path in top.glob(pattern) if path.is_dir()]
    found = {path.relative_to(top).as_posix(): versions(path) for path in sorted(folders)}
    return {name: complete[0] for name, complete in found.items() if complete}


def find_version(name: str, data_dir: str | os.PathLike | None = None) -> pathlib.Path | None:
    """Returns the version folder of a set: the version in the name, else the newest; None if it is not there."""
    plain, version = parse_name(name)
    for path in versions(root(data_dir) / plain):
        if version in (None, path.name):
            return path
    return None


def not_found(name: str, data_dir: str | os.PathLike | None = None) -> FileNotFoundError:
    """Returns the error for a set that is not on disk, with the command that prepares it."""
    plain, _ = parse_name(name)
    on_disk = prepared_sets(data_dir)
    command = f"python -m warmup_jax.data prepare {name}"
    command += f" --data_dir={data_dir}" if data_dir else ""
    present = ", ".join(f"{key}:{path.name}" for key, path in on_disk.items()) or "no prepared set"
    if plain in DATASETS or plain in on_disk:
        return FileNotFoundError(
            f"data set {name!r} is not in {root(data_dir)} (there: {present}); prepare it with `{command}`"
        )
    unknown = registry.unknown("data set", plain, DATASETS.keys() | on_disk.keys())
    if own := own_files(name):
        return FileNotFoundError(f"unknown data set {name!r}{own}")
    return FileNotFoundError(
        f"{unknown}; not in {root(data_dir)} either (there: {present}); if TFDS has it, prepare it with `{command}`"
    )
