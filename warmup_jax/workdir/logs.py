"""The append-only logs of a run: `metrics.jsonl`, `timing.jsonl`, `texts.jsonl` and TensorBoard events."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from warmup_jax.workdir.json_files import json_number, read_lines

FILES = ("metrics.jsonl", "timing.jsonl", "texts.jsonl")


class MetricsLog:
    """The open logs of a run.

    Args:
      workdir: folder of the run.
      positions: {file name: length in bytes} to which the files are cut, as `sync` returned it; {} starts them anew.
      step: updates that the kept lines cover; later TensorBoard events are purged.
    """

    def __init__(self, workdir: Path, positions: Mapping[str, int], step: int):
        self._files = {}
        for name in FILES:
            file = open(workdir / name, "ab", buffering=0)  # a reader sees every line at once
            file.truncate(positions.get(name, 0))
            file.seek(0, os.SEEK_END)
            self._files[name] = file
        self._boards: dict[int, Any] = {}
        self._unflushed: set[int] = set()
        self._board_folder, self._purge_step = workdir / "tensorboard", step + 1

    def write(self, step: int, run: int, values: Mapping[str, Any], file: str = "metrics.jsonl") -> None:
        """Appends one line; `step` is the number of updates applied so far."""
        line = {"step": step, "run": run} | {key: json_number(value) for key, value in values.items()}
        self._files[file].write(json.dumps(line).encode() + b"\n")
        board = self._board(run)
        self._unflushed.add(run)
        for key, value in values.items():
            if np.isfinite(value):  # the TensorBoard writer prints a warning for any other value
                board.add_scalar(key, float(value), step)

    def write_text(self, step: int, run: int, texts: Mapping[str, str]) -> None:
        """Appends a line of texts to `texts.jsonl`."""
        self._files["texts.jsonl"].write(json.dumps({"step": step, "run": run} | dict(texts)).encode() + b"\n")

    def sync(self) -> dict[str, int]:
        """Writes every line to disk and returns the length of each file in bytes."""
        for file in self._files.values():
            os.fsync(file.fileno())
        for run in self._unflushed:
            self._boards[run].flush()
        self._unflushed.clear()
        return {name: file.tell() for name, file in self._files.items()}

    def run_ended(self, run: int) -> None:
        """Closes the TensorBoard file of a run."""
        self._unflushed.discard(run)
        if run in self._boards:
            self._boards.pop(run).close()

    def close(self) -> None:
        """Syncs and closes all files."""
        self.sync()
        for writer in (*self._files.values(), *self._boards.values()):
            writer.close()

    def _board(self, run: int) -> Any:
        if run not in self._boards:
            folder = str(self._board_folder / f"run_{run}")
            self._boards[run] = _summary_writer()(folder, purge_step=self._purge_step)
        return self._boards[run]


def bleu_signature(workdir: Path) -> str | None:
    """Returns sacrebleu's signature of the BLEU scores in a run's log, None if it has none."""
    lines = read_lines(workdir / "texts.jsonl")
    return lines[-1].get("signature") if lines else None


def _summary_writer() -> Any:
    """Imports tensorboardX without torch, which it would load if it is installed: a second or more, for nothing."""
    absent = "torch" not in sys.modules
    if absent:
        sys.modules["torch"] = None  # type: ignore[assignment]  # makes `import torch` raise ImportError
    try:
        from tensorboardX import SummaryWriter
    finally:
        if absent:
            del sys.modules["torch"]
    return SummaryWriter
