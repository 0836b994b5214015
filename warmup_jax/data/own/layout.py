"""Names that own files may have: names of splits, and files that count for nothing."""

import pathlib
import re

# Folders, and the first or last parts of the names of files, to the names of TFDS.
SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
}

ORDER = ("train", "validation", "test")

# Files and folders that systems and archives leave in other folders.
LITTER = ("__MACOSX", "Thumbs.db", "desktop.ini")


def visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the entries of a folder by name, without hidden ones; links are followed.

    Raises:
      ValueError: a link leads nowhere, or a name is not UTF-8.
    """
    found = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in LITTER)
    for path in found:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the name of {str(path)!r} is not UTF-8") from None
        if path.is_symlink() and not path.exists():
            raise ValueError(f"{path} is a link that leads nowhere")
    return found


def parse(name: str) -> tuple[str, str] | None:
    """Returns split and language that the name of a text file tells; the language is "" in a text for itself.

    Examples:
      >>> parse("train.en"), parse("de.valid.txt"), parse("test.txt"), parse("train.de-en.de"), parse("README.md")
      (('train', 'en'), ('validation', 'de'), ('test', ''), ('train', 'de'), None)
    """
    parts = name.split(".")
    if parts[-1].lower() == "txt":
        parts = parts[:-1]
    for split, rest in ((parts[0], parts[1:]), (parts[-1], parts[:1])):
        if split.lower() in SPLITS:
            language = rest[-1] if rest and rest != [split] else ""
            return (SPLITS[split.lower()], language) if re.fullmatch(r"|[A-Za-z][\w-]*", language) else None
    return None
