"""The append-only logs of a run: `metrics.jsonl`, `timing.jsonl`, `texts.jsonl` and TensorBoard events."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from warmup_jax.workdir.boards import Board
from warmup_jax.workdir.json_files import json_number, parse_line, read_lines

FILES = ("metrics.jsonl", "timing.jsonl", "texts.jsonl")
LOOK_EVERY = 10  # seconds between two looks whether the files are still in their place, which takes microseconds
BLOCK = 1 << 20


class MetricsLog:
    """The open logs of a run.

    Args:
      workdir: folder of the run.
      positions: {file name: length in bytes} to which the files are cut, as `sync` returned it; {} starts them anew.
      step: updates that the kept lines cover; later TensorBoard events are purged.
    """

    def __init__(self, workdir: Path, positions: Mapping[str, int], step: int):
        self._files = {name: LogFile(workdir / name, positions.get(name, 0)) for name in FILES}
        self._look_at = time.monotonic() + LOOK_EVERY
        self._boards: dict[int, Board] = {}
        self._unflushed: set[int] = set()
        self._board_folder, self._purge_step = workdir / "tensorboard", step + 1

    def write(self, step: int, run: int, values: Mapping[str, Any], file: str = "metrics.jsonl") -> None:
        """Appends one line; `step` is the number of updates applied so far."""
        line = {"step": step, "run": run} | {key: json_number(value) for key, value in values.items()}
        self._append(file, line)
        if run not in self._boards:
            self._boards[run] = Board(self._board_folder / f"run_{run}", self._purge_step)
        self._boards[run].add(step, values)
        self._unflushed.add(run)

    def write_text(self, step: int, run: int, texts: Mapping[str, str]) -> None:
        """Appends a line of texts to `texts.jsonl`."""
        self._append("texts.jsonl", {"step": step, "run": run} | dict(texts))

    def append_files(self, folder: Path, step: int) -> None:
        """Appends the content of the files in a folder; later TensorBoard events than `step` are purged."""
        for name, file in self._files.items():
            file.append((folder / name).read_bytes())
        self._purge_step = step + 1

    def sync(self) -> dict[str, int]:
        """Writes every line to disk and returns the length of each file in bytes.

        Raises:
          OSError: if a file was moved, deleted or changed while it was open, or cannot be written.
        """
        for file in self._files.values():
            file.sync()
        for run in self._unflushed:
            self._boards[run].flush()
        self._unflushed.clear()
        return {name: file.length for name, file in self._files.items()}

    def digests(self) -> dict[str, str]:
        """Returns the SHA-256 of each file."""
        return {name: file.digest() for name, file in self._files.items()}

    def run_ended(self, run: int) -> None:
        """Closes the TensorBoard file of a run."""
        self._unflushed.discard(run)
        if run in self._boards:
            self._boards.pop(run).close()

    def close(self) -> None:
        """Syncs and closes all files."""
        self.sync()
        for file in self._files.values():
            file.close()
        for board in self._boards.values():
            board.close()

    def _append(self, name: str, line: Mapping[str, Any]) -> None:
        self._files[name].append(json.dumps(line).encode() + b"\n")
        if time.monotonic() > self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY
            for file in self._files.values():
                file.look()


class LogFile:
    """A file that is only appended to, with the SHA-256 of its bytes.

    Args:
      path: of the file, created if it does not exist.
      length: bytes to keep.

    Attributes:
      length: of the file, in bytes.

    Raises:
      ValueError: if the file is shorter.
    """

    def __init__(self, path: Path, length: int):
        self.length, self._path = length, path
        self._file = open(path, "ab", buffering=0)  # a reader sees every line at once
        self._sha256 = _hash(path, length)
        self._file.truncate(length)

    def append(self, data: bytes) -> None:
        """Writes all of the data."""
        rest = memoryview(data)
        while rest:  # the system may take a part, as at the last free block of a disk
            try:
                written = self._file.write(rest)
            except OSError as error:
                raise OSError(f"cannot write {self._path}: {error.strerror}") from error
            if not written:
                raise OSError(f"cannot write {self._path}: the system wrote 0 bytes")
            rest = rest[written:]
        self._sha256.update(data)
        self.length += len(data)

    def look(self) -> None:
        """Raises OSError if the file is no longer in its place, or if anything else wrote to it."""
        here = os.fstat(self._file.fileno())
        try:
            there = os.stat(self._path)
        except OSError as error:
            raise OSError(f"{self._path} was deleted or moved while the run wrote to it") from error
        if not os.path.samestat(here, there):
            raise OSError(f"{self._path} was replaced while the run wrote to it")
        if here.st_size != self.length:
            raise OSError(f"{self._path} was changed by something else: {here.st_size} bytes instead of {self.length}")

    def sync(self) -> None:
        """Writes the file to disk."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OSError(f"cannot write {self._path}: {error.strerror}") from error
        self.look()

    def digest(self) -> str:
        """Returns the SHA-256 of the file."""
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def misfit(workdir: Path, lengths: Mapping[str, int], digests: Mapping[str, str]) -> str | None:
    """Finds a log that does not begin with the bytes that a checkpoint recorded.

    Args:
      workdir: folder of the run.
      lengths: {file name: bytes}, as `MetricsLog.sync` returned it.
      digests: {file name: SHA-256}, as `MetricsLog.digests` returned it; a file that has none, in the checkpoint of
        an earlier version, must hold whole lines.

    Returns:
      What is wrong, None if nothing is.
    """
    for name, length in lengths.items():
        path = workdir / name
        if length and not path.is_file():
            return f"{path} is missing"
        try:
            digest = _hash(path, length).hexdigest() if length else None
            if length and name not in digests:
                _check_lines(path, length)
        except ValueError as error:
            return str(error)
        if length and digests.get(name, digest) != digest:
            return f"{path} was changed in its first {length} bytes"
    return None


def misfit_of(workdir: Path | None) -> Callable[[Mapping[str, Any]], str | None]:
    """Returns `misfit` as a function of a checkpoint's metadata; without a folder every checkpoint fits."""
    if workdir is None:
        return lambda meta: None
    return lambda meta: misfit(workdir, meta["log"], meta.get("log_digests", {}))


def bleu_signature(workdir: Path) -> str | None:
    """Returns sacrebleu's signature of the BLEU scores in a run's log, None if it has none."""
    lines = read_lines(workdir / "texts.jsonl")
    return lines[-1].get("signature") if lines else None


def _hash(path: Path, length: int) -> Any:
    """Returns hashlib's object after the first `length` bytes of a file; raises ValueError if it has fewer."""
    sha256, rest = hashlib.sha256(), length
    with open(path, "rb") as file:
        while rest and (block := file.read(min(rest, BLOCK))):
            sha256.update(block)
            rest -= len(block)
    if rest:
        raise ValueError(f"{path} has {length - rest} bytes where {length} were written")
    return sha256


def _check_lines(path: Path, length: int) -> None:
    """Raises ValueError unless the first bytes of a file are whole lines of a log."""
    with open(path, "rb") as file:
        *lines, after = file.read(length).split(b"\n")
    if after:
        raise ValueError(f"{path} has an incomplete line at byte {length}")
    for number, line in enumerate(lines, 1):
        parse_line(line, path, number)
