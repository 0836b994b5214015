"""What a run writes into its workdir, beside its checkpoints."""

import contextlib
import importlib.abc
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "ml-collections",
    "tensorflow-datasets",
    "grain",
    "numpy",
)
PLAIN_SECONDS = 10  # without a terminal: at most this long between two lines of progress


class MetricsLog:
    """`metrics.jsonl`, `timing.jsonl`, `texts.jsonl` and TensorBoard events, append-only.

    Args:
      workdir: folder of the run.
      positions: {file name: bytes} to cut the files back to, as `sync` returned
        them; {} starts them anew.
      step: updates that the kept lines cover; later TensorBoard events are purged.
    """

    FILES = ("metrics.jsonl", "timing.jsonl", "texts.jsonl")

    def __init__(self, workdir: Path, positions: dict[str, int], step: int):
        self._files = {}
        for name in self.FILES:
            file = open(workdir / name, "ab", buffering=0)  # a reader sees every line at once
            file.truncate(positions.get(name, 0))
            file.seek(0, os.SEEK_END)
            self._files[name] = file
        self._boards, self._unflushed = {}, set()
        self._board_folder, self._purge_step = workdir / "tensorboard", step + 1

    def write(self, step: int, run: int, values: dict[str, float], file: str = "metrics.jsonl"):
        """Appends one line; `step` is the number of updates applied so far."""
        line = {"step": step, "run": run} | {key: json_number(value) for key, value in values.items()}
        self._files[file].write(json.dumps(line).encode() + b"\n")
        board = self._board(run)
        self._unflushed.add(run)
        for key, value in values.items():
            if np.isfinite(value):  # the writer prints a warning for every other
                board.add_scalar(key, float(value), step)

    def write_text(self, step: int, run: int, texts: dict[str, str]):
        """Appends a line of texts to `texts.jsonl`."""
        self._files["texts.jsonl"].write(json.dumps({"step": step, "run": run} | texts).encode() + b"\n")

    def sync(self) -> dict[str, int]:
        """Brings every line to the disk; returns the length of each file in bytes."""
        for file in self._files.values():
            os.fsync(file.fileno())
        for run in self._unflushed:
            self._boards[run].flush()
        self._unflushed.clear()
        return {name: file.tell() for name, file in self._files.items()}

    def run_ended(self, run: int):
        """Closes what is open for one run alone."""
        self._unflushed.discard(run)
        if run in self._boards:
            self._boards.pop(run).close()

    def close(self):
        """Syncs and closes all files."""
        self.sync()
        for writer in (*self._files.values(), *self._boards.values()):
            writer.close()

    def _board(self, run: int):
        if run not in self._boards:
            with hidden("torch"):  # which it imports where it is installed, in a second or more, and does not need
                from tensorboardX import SummaryWriter
            self._boards[run] = SummaryWriter(str(self._board_folder / f"run_{run}"), purge_step=self._purge_step)
        return self._boards[run]


class Progress:
    """A progress bar over all runs on a terminal, plain lines elsewhere.

    Args:
      total: updates of all runs, those that train together counted once.
      runs: how many there are.
    """

    def __init__(self, total: int, runs: int):
        self._bar = tqdm(total=total, unit="step", dynamic_ncols=True, disable=not sys.stderr.isatty())
        self._total, self._done, self._last = total, 0, time.perf_counter()
        self._runs, self._ended, self._diverged = runs, 0, 0
        self._timed_from = None  # (time, updates done) after the first chunk, which compiles

    def skip(self, steps: int):
        """Passes over updates that are done already, or that are not going to be."""
        self._done += steps
        self._bar.update(steps)
        if self._timed_from is None:
            self._bar.unpause()  # what was done before is not the speed of now
        else:
            self._timed_from = (self._timed_from[0], self._timed_from[1] + steps)

    def runs_ended(self, runs: int, diverged: int):
        """Notes that so many more runs have ended, and how many of them had diverged."""
        self._ended += runs
        self._diverged += diverged

    def advance(self, steps: int, text: str, always: bool = False):
        """Moves on by `steps`; `text` shows what is going on, at once if `always`."""
        self._done += steps
        if self._runs > 1:
            text = f"{self._ended}/{self._runs} runs done, {self._diverged} diverged; {text}"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(steps)
        now = time.perf_counter()
        self._timed_from = self._timed_from or (now, self._done)
        if self._bar.disable and (always or now - self._last > PLAIN_SECONDS):
            self._last, (start, done) = now, self._timed_from
            eta = (now - start) / max(self._done - done, 1) * (self._total - self._done)
            print(f"{self._done}/{self._total} steps, ETA {eta:.0f} s, {text}", flush=True)

    def say(self, text: str):
        """Prints a line without breaking the bar."""
        tqdm.write(text) if not self._bar.disable else print(text, flush=True)

    def close(self):
        """Leaves the bar where it is."""
        self._bar.close()


@contextlib.contextmanager
def hidden(package: str):
    """Imports in the block do not find a package, unless it is imported already."""
    finder = _Hidden(package)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Hidden(importlib.abc.MetaPathFinder):
    def __init__(self, package: str):
        self.package = package

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def json_number(value) -> float | int | str:
    """A number as JSON takes it: shortest decimal of its own precision; "nan", "inf", "-inf" as strings."""
    if isinstance(value, (int, np.integer)):
        return int(value)
    if not np.isfinite(value):
        return str(float(value))
    return float(str(value)) if isinstance(value, np.floating) else float(value)


def read_lines(path: Path) -> list[dict]:
    """The lines of a JSONL file, "nan", "inf" and "-inf" turned back into floats."""

    def number(value):
        return float(value) if value in ("nan", "inf", "-inf") else value

    with open(path) as file:
        return [{key: number(value) for key, value in json.loads(line).items()} for line in file]


def read_json(path: Path):
    """The content of a JSON file."""
    return json.loads(path.read_text())


def signature(workdir: Path) -> str | None:
    """How the BLEU of a run was computed, as sacrebleu puts it; None if none was."""
    lines = read_lines(workdir / "texts.jsonl")
    return lines[-1].get("signature") if lines else None


def write_json(path: Path, content) -> None:
    """Writes a JSON file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def environment() -> dict:
    """What the numbers of a run may depend on beside its config."""

    def git(*args):
        try:
            answer = subprocess.run(
                ["git", *args], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    changes = git("status", "--porcelain")
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": None if changes is None else bool(changes),
    }
