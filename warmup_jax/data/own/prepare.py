"""Preparation of a user's own files as a set that is trained on by its name."""

import os
import pathlib
import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from warmup_jax import places
from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.own import layout, pairs, pictures, store, texts
from warmup_jax.data.tfds import paths

CONFIGS = {"images": "resnet_warmup", "text": "lm_warmup", "translation": "transformer_warmup"}

FIRST_VERSION = "1.0.0"

COMPRESSED = (".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst")

FORMS = (
    "a folder with train/CLASS/PICTURE and test/CLASS/PICTURE, or with CLASS/PICTURE; a text file, or train.txt and "
    "test.txt; parallel files such as train.en and train.de"
)


class Prepared(NamedTuple):
    """Result of `prepare`.

    Attributes:
      folder: the version folder.
      written: False if it held the same content before.
      notes: lines about what the files hold.
      command: a first training on the set, to type in a shell.
    """

    folder: pathlib.Path
    written: bool
    notes: list[str]
    command: str


def prepare(name: str, sources: Sequence[str | os.PathLike], *, data_dir: str | os.PathLike | None = None) -> Prepared:
    """Reads a user's files and writes them as a set that `data.load` finds by its name, in TFDS's format.

    Args:
      name: NAME or NAME:VERSION of the set to write; without a version, 1.0.0.
      sources: a folder of pictures by class; a text file, or files for several splits; parallel files; or one folder
        that holds such files.
      data_dir: folder of prepared sets; None: TFDS's default.

    Returns:
      A Prepared. Nothing is written where the version, or without one the newest, has the same content.

    Raises:
      ValueError: the name is taken, or the files cannot be used (DataError: one of them, which the message names).
      OSError: a file cannot be read, or the set not be written; nothing is left then.
    """
    plain, version = _check_name(name)
    given = [places.local("--from", source) for source in sources]
    parent = paths.root(data_dir) / plain
    _check_folders(parent, given)
    found = paths.versions(parent)
    same = [folder for folder in found if folder.name == version] if version else found[:1]
    own = read(given)
    if same and store.recorded(same[0]).get("digest") != own.digest:
        major, minor, patch = found[0].name.split(".")
        new = f"{plain}:{major}.{minor}.{int(patch) + 1}"
        raise ValueError(f"{same[0]} was prepared from other content: prepare {new}, or remove that folder")
    folder = same[0] if same else parent / (version or FIRST_VERSION)
    written = not same and _write(own, plain, folder)
    return Prepared(folder, written, own.notes, train_command(own, name, data_dir))


def _write(own: store.OwnSet, name: str, folder: pathlib.Path) -> bool:
    """Writes a set; returns False if another command has written the same one meanwhile."""
    try:
        store.write(own, name, folder)
    except OSError:
        if store.recorded(folder).get("digest") != own.digest:
            raise
        return False
    return True


def read(given: Sequence[pathlib.Path]) -> store.OwnSet:
    """Finds out what the user's files are, and reads them.

    Raises:
      ValueError: they have none of the known forms, or cannot be used.
      OSError: a file cannot be read.
    """
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        if path.is_dir() and len(given) > 1:
            raise ValueError(f"{path} is a folder; allowed: one folder, or files alone")
        if path.suffix.lower() in COMPRESSED and not path.is_dir():
            raise ValueError(f"{path} is compressed: unpack it first")
    if not given[0].is_dir():
        return _read_files(given)
    entries = layout.visible(given[0])
    if any(path.is_dir() for path in entries):
        return pictures.read(given[0])
    named = [path for path in entries if layout.parse(path.name)]
    plain = [path for path in entries if path.suffix.lower() == ".txt"]
    if not named and len(plain) != 1:
        some = f", as {entries[0].name}" if entries else ""
        raise ValueError(f"{given[0]} holds {len(entries)} files{some}, and no folder of a class; allowed: {FORMS}")
    own = _read_files(named or plain)
    others = [path for path in entries if path not in (named or plain)]
    if others:
        own.notes.append(f"left out {len(others)} files, as {others[0]}")
    return own


def _read_files(files: Sequence[pathlib.Path]) -> store.OwnSet:
    """Reads text files, whose names tell splits and languages; one file alone is a text."""
    parsed = [layout.parse(path.name) for path in files] if len(files) > 1 else [("train", "")]
    if len(files) == 2 and parsed == [None, None] and files[0].stem == files[1].stem:
        parsed = [("train", path.suffix[1:]) for path in files]
    table: dict[str, dict[str, pathlib.Path]] = {}
    for path, found in zip(files, parsed):
        if found is None:
            raise ValueError(f"{path} has no split in its name; allowed: {FORMS}")
        split, language = found
        if language in table.setdefault(split, {}):
            raise ValueError(f"{table[split][language]} and {path} are both {split} {language}")
        table[split][language] = path
    if "train" not in table:
        raise ValueError(f"{files[0].parent} has {', '.join(table)}, but no train file")
    splits, languages = sorted(table, key=layout.ORDER.index), list(table["train"])
    for split, by_language in table.items():
        if lacking := by_language.keys() ^ languages:
            raise ValueError(f"{files[0].parent} has not all of its languages in {split} and train: {min(lacking)!r}")
    if languages == [""]:
        return texts.read({split: table[split][""] for split in splits})
    if "" in languages or len(languages) < 2:
        raise ValueError(f"{files[0].parent} has train files {', '.join(languages)}; allowed: {FORMS}")
    return pairs.read({split: {key: table[split][key] for key in languages} for split in splits})


def train_command(own: store.OwnSet, name: str, data_dir: str | os.PathLike | None) -> str:
    """Returns the command of a first training, with the keys that the set needs other values for."""
    keys: dict[str, object] = {"dataset.name": name}
    if data_dir is not None:
        keys["dataset.data_dir"] = paths.root(data_dir).absolute()
    keys |= own.overrides
    overrides = [f"--config.{key}={shlex.quote(str(value))}" for key, value in keys.items()]
    return " ".join(["python train.py", f"--config=configs/{CONFIGS[own.task]}.py", *overrides])


def _check_name(name: str) -> tuple[str, str | None]:
    plain, version = paths.parse_name(name)
    if not re.fullmatch(r"[A-Za-z]\w*", plain, re.ASCII) or plain == "None":  # which unsets a key of a config
        raise ValueError(f"name={name!r}; allowed for files of your own: letters, digits and _, as in my_pets")
    if plain in DATASETS:
        raise ValueError(f"name={name!r} is that of a known set; allowed for files of your own: any other name")
    return plain, version


def _check_folders(parent: pathlib.Path, given: Sequence[pathlib.Path]) -> None:
    """Raises a ValueError if the set's folder lies among the user's files, or holds anything but sets like it."""
    for source in given:
        if source.resolve() in (parent.resolve(), *parent.resolve().parents):
            raise ValueError(f"{parent} lies inside {source}; allowed: another data_dir or name")
    if parent.exists():
        entries = [path for path in sorted(parent.iterdir()) if not path.name.startswith(".")]
        if others := [path for path in entries if not store.recorded(path)]:
            raise ValueError(f"{parent} holds something else, as {others[0].name}; allowed: another name or data_dir")
