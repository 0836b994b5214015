"""A user's own set, written one example after another as TFDS keeps its sets: array_record and metadata."""

import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

# Bytes of a file of records; a larger split has several.
SHARD_BYTES = 2**28

# Beside the metadata of TFDS: what was prepared, to recognise it the next time.
RECORD = "own.json"

WRITING = ".writing-"

Example = Mapping[str, bytes | int]


class OwnSet(NamedTuple):
    """A set of the user's files that has been read once and found usable.

    Attributes:
      task: key of data.TASKS.
      features: TFDS's FeaturesDict, or Translation, of an example.
      splits: {split: () -> iterator over its examples, in the order to write them}.
      digest: hash of all that the examples depend on.
      notes: lines for the user, about what was found.
      overrides: config keys that a first training of this set needs, with their values.
      stamps: {file: its stamp before it was read}, for files that are read again.
    """

    task: str
    features: Any
    splits: dict[str, Callable[[], Iterator[Example]]]
    digest: str
    notes: list[str]
    overrides: dict[str, object]
    stamps: dict[pathlib.Path, tuple[int, int]] = {}


def stamp(path: pathlib.Path) -> tuple[int, int]:
    """Returns size and time of the last change of a file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def write(own: OwnSet, name: str, folder: pathlib.Path) -> None:
    """Writes a set to a version folder, which appears when all is written; what a killed writer left is removed.

    Args:
      own: the set.
      name: its name.
      folder: DATA_DIR/NAME/VERSION.

    Raises:
      OSError: it cannot be written, or the folder is there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder.parent)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=WRITING, dir=folder.parent))
    lock = os.open(temporary, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # held as long as this process lives, where the disk has locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        splits = [_write_split(temporary, name, split, iter(examples())) for split, examples in own.splits.items()]
        if changed := [path for path, before in own.stamps.items() if stamp(path) != before]:
            raise ValueError(f"{changed[0]} was changed while it was read")
        own.features.save_config(temporary)
        info = {
            "description": f"Prepared by warmup_jax from files of the user, for the task {own.task!r}.",
            "disableShuffling": True,
            "fileFormat": "array_record",
            "moduleName": "warmup_jax.data.own",
            "name": name,
            "splits": splits,
            "version": folder.name,
        }
        (temporary / "dataset_info.json").write_text(json.dumps(info, indent=2))
        (temporary / RECORD).write_text(json.dumps({"task": own.task, "digest": own.digest}))
        temporary.chmod(0o777 & ~_umask())
        temporary.rename(folder)
    except OSError as error:
        if error.filename and not str(error.filename).startswith(str(temporary)):
            raise  # about a file of the user
        raise OSError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)
        with contextlib.suppress(OSError):  # the set's folder stays only if it holds something
            folder.parent.rmdir()


def recorded(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the task and the digest that `write` recorded in a version folder; {} for a set of another origin."""
    try:
        found = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_split(folder: pathlib.Path, name: str, split: str, examples: Iterator[Example]) -> dict[str, Any]:
    """Writes the files of a split; returns its entry of dataset_info.json."""
    sizes: list[tuple[int, int]] = []
    for first in examples:  # each begins a file, which takes as many others as it holds
        sizes.append(_write_shard(folder / f"{split}-{len(sizes)}", itertools.chain([first], examples)))
    for number in range(len(sizes)):  # the names tell how many files there are
        final = f"{name}-{split}.array_record-{number:05d}-of-{len(sizes):05d}"
        (folder / f"{split}-{number}").rename(folder / final)
    return {
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "name": split,
        "numBytes": str(sum(size for _, size in sizes)),
        "shardLengths": [str(length) for length, _ in sizes],
    }


def _write_shard(path: pathlib.Path, examples: Iterator[Example]) -> tuple[int, int]:
    """Writes examples to one file until it is full; returns their number and their bytes."""
    from array_record.python import array_record_module

    # The group size that TFDS takes: an example is read alone.
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    length = size = 0
    for example in examples:
        record = _serialized(example)
        _checked(writer.write, record)
        length, size = length + 1, size + len(record)
        if size >= SHARD_BYTES:
            break
    _checked(writer.close)
    return length, size


def _checked(write: Callable[..., Any], *args: Any) -> None:
    try:
        write(*args)
    except RuntimeError as error:  # "write() failed: No space left on device; writing PATH; at byte 10; ..."
        raise OSError(str(error).split(";")[0].split(": ")[-1]) from error


def _serialized(example: Example) -> bytes:
    from tensorflow_datasets.proto import tf_example_pb2

    record = tf_example_pb2.Example()
    for name, value in example.items():
        feature = record.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    return record.SerializeToString(deterministic=True)


def _remove_abandoned(parent: pathlib.Path) -> None:
    """Removes what killed writers left; a living one holds a lock on its folder."""
    for path in parent.glob(f"{WRITING}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
