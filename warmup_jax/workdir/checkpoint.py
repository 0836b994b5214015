"""Checkpoints: saved and restored by Orbax, with a digest of every array.

Orbax commits a checkpoint atomically but does not notice a flipped bit in the
data of an array; the digests do, and `restore` then falls back to the
checkpoint before.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

KEEP = 2  # checkpoints kept: the newest, and one to fall back to
ANEW = "move the folder away to start anew"


class Checkpoints:
    """The checkpoints of one group of runs, one folder a step.

    `save` copies the state and writes it in the background, so the arrays
    passed to it may be donated right after.

    Args:
      folder: their folder, created when the first one is saved.
      read_only: they are read alone, and nothing in the folder changes.
    """

    def __init__(self, folder: Path, read_only: bool = False):
        self.folder = folder.absolute()
        self._read_only = read_only
        self._manager: Any = None

    def save(self, step: int, state: Any, meta: dict) -> None:
        """Saves a pytree of arrays and a dict of JSON values as the checkpoint of `step`.

        Raises:
          OSError: if it cannot be written; older checkpoints are untouched.
        """
        import orbax.checkpoint as ocp

        arrays = {name: np.array(leaf) for name, leaf in _leaves(state).items()}
        meta = {"content": meta, "digests": {name: _digest(array) for name, array in arrays.items()}}
        meta["seal"] = _seal(meta)
        self.wait()
        try:
            self._open().save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave(meta))
            )
        except Exception as error:
            raise OSError(f"cannot save step {step} to {self.folder}: {_reason(error)}") from error

    def wait(self) -> None:
        """Waits until the save under way is committed; raises OSError if it failed."""
        if self._manager is None:
            return
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise OSError(f"cannot save to {self.folder}: {_reason(error)}") from error

    def restore(
        self,
        template: Any,
        say: Callable[[str], object] = print,
        misfit: Callable[[dict], str | None] = lambda meta: None,
        lanes: int | None = None,
    ) -> tuple[Any, dict] | None:
        """Returns the newest usable checkpoint as (state, meta), None if there is none at all.

        Args:
          template: a pytree of the shapes and dtypes to restore.
          say: called with one line for each checkpoint that is passed over.
          misfit: returns why a checkpoint with some metadata cannot be used although it is intact, None if it can.
          lanes: the size of the leading axes in `template`, if another number of lanes may have been saved; lanes
            beyond those repeat the last one.

        Raises:
          ValueError: if there are checkpoints and none of them can be used, or
            if the newest usable one belongs to another program.
          OSError: if those that are passed over cannot be deleted.
        """
        found = self.newest(say, misfit)
        if found is None:
            return None
        step, arrays, meta = found
        if lanes is not None:
            arrays = take_lanes(arrays, range(lanes))
        try:
            state = fill(template, arrays)
        except ValueError as error:
            raise ValueError(f"checkpoint {self.folder / str(step)} is of another program: {error}") from None
        self._delete_after(step)
        return state, meta

    def newest(
        self,
        say: Callable[[str], object] = print,
        misfit: Callable[[dict], str | None] = lambda meta: None,
        last: int | None = None,
    ) -> tuple[int, dict[str, np.ndarray], dict] | None:
        """Returns step, arrays by dotted path and metadata of the newest usable checkpoint up to the step `last`.

        Args:
          say: as of `restore`.
          misfit: as of `restore`.
          last: the last step to look at; None: all.

        Returns:
          None if there is no checkpoint of these steps.

        Raises:
          ValueError: if there are some, and none can be used.
        """
        steps = [step for step in self.steps() if last is None or step <= last]
        reason: str | None = None
        for step in steps:
            try:
                arrays, meta = self._read(step)
            except Exception as error:  # a damaged file can make Orbax raise anything
                say(f"checkpoint {self.folder / str(step)} is damaged and passed over ({_reason(error)})")
                continue
            if (unfit := misfit(meta)) is not None:
                reason = unfit
                say(f"checkpoint {self.folder / str(step)} does not fit and is passed over ({reason})")
                continue
            return step, arrays, meta
        if reason is not None:
            raise ValueError(f"{reason}, and no checkpoint in {self.folder} fits it; put the file back, or {ANEW}")
        if steps:
            raise ValueError(
                f"every checkpoint in {self.folder} is damaged (steps {', '.join(map(str, steps))}); {ANEW}"
            )
        return None

    def read(self, step: int) -> tuple[dict[str, np.ndarray], dict]:
        """Returns the arrays of one checkpoint by dotted path, and its metadata; raises ValueError if it is damaged."""
        try:
            self._open()
            return self._read(step)
        except Exception as error:  # a damaged file can make Orbax raise anything
            raise ValueError(f"checkpoint {self.folder / str(step)} is damaged ({_reason(error)})") from error

    def close(self) -> None:
        """Waits for the save under way and closes the folder."""
        self.wait()
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def steps(self) -> list[int]:
        """Returns the steps of the checkpoints, the newest first."""
        if not self.folder.exists():
            return []
        if not self.folder.is_dir():
            raise ValueError(f"cannot read the checkpoints in {self.folder}: it is no folder")
        try:
            return sorted(self._open().all_steps(), reverse=True)
        except Exception as error:  # Orbax can raise anything
            raise ValueError(f"cannot read the checkpoints in {self.folder}: {_reason(error)}") from error

    def _delete_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps, which are saved again and must find their place free."""
        for later in self.steps():
            if later > step:
                try:
                    self._manager.delete(later)
                except Exception as error:
                    raise OSError(f"cannot delete {self.folder / str(later)}: {_reason(error)}") from error

    def _open(self) -> Any:
        if self._manager is None:
            import orbax.checkpoint as ocp

            self._manager = ocp.CheckpointManager(
                self.folder,
                # Orbax's own `read_only` warns twice for each folder.
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=None if self._read_only else KEEP, create=not self._read_only
                ),
                item_handlers={"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()},
            )
        return self._manager

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict]:
        import orbax.checkpoint as ocp

        meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        if meta.pop("seal") != _seal(meta):
            raise ValueError("metadata checksum mismatch")
        digests = meta["digests"]
        shapes = {name: _struct(digest) for name, digest in digests.items()}
        arrays = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(shapes)))["state"]
        for name, array in arrays.items():
            if _digest(array) != digests[name]:
                raise ValueError(f"checksum mismatch of {name}")
        return arrays, meta["content"]


def fill(template: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Returns a pytree of the structure of `template` with the arrays of its dotted paths.

    Raises:
      ValueError: that names the first path whose shape or dtype differs, or that only one side has.
    """
    wanted = _leaves(template)
    for name in sorted(wanted.keys() | arrays.keys()):
        here = _shape(wanted[name]) if name in wanted else "absent"
        there = _shape(arrays[name]) if name in arrays else "absent"
        if here != there:
            raise ValueError(f"{name} is {there} in it and {here} here")
    return jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in wanted])


def take_lanes(arrays: dict[str, np.ndarray], lanes: Sequence[int]) -> dict[str, np.ndarray]:
    """Returns the rows of arrays [R, ...] at `lanes`; for those beyond R the last row."""
    return {name: array[np.minimum(lanes, len(array) - 1)] for name, array in arrays.items()}


def _reason(error: Exception) -> str:
    """Returns the first line of an error's text, shortened; Orbax's texts may run over pages.

    The cause of an error of the disk comes last, before notes: "... No space left on device [os_error_code='28']".
    """
    line = re.split(r" \[[a-z_ ]+=", str(error).strip().partition("\n")[0])[0]
    return line if len(line) <= 200 else f"{line[:110]} ... {line[-80:]}"


def _leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves by dotted path, the same for any kind of container."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _shape(array: Any) -> str:
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"


def _digest(array: np.ndarray) -> str:
    """Returns dtype, shape and SHA-256 of the bytes: "float32[2, 3] 1f..."."""
    return f"{_shape(array)} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"


def _seal(meta: dict) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _struct(digest: str) -> np.ndarray:
    """Returns a numpy array to restore into, from a digest; numpy, so that no device is involved."""
    described = digest.rpartition(" ")[0]
    dtype, _, shape = described.partition("[")
    return np.zeros(json.loads("[" + shape), dtype)
