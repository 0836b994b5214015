"""TensorBoard's event files: a copy of the log to look at, which never decides about the run."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Board:
    """The event file of one run, written by the calling thread.

    An error ends the file with a line on stderr, and the run goes on. `tensorboardX.SummaryWriter` is not used: its
    thread dies at an error, and then the tenth value after it waits for ever.

    Args:
      folder: where the file is created.
      purge_step: events of earlier files from this step on are superseded.
    """

    def __init__(self, folder: Path, purge_step: int):
        self._folder, self._events = folder, _tensorboard()
        self._writer: Any = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = self._events.EventsWriter(str(folder / "events"))
        except OSError as error:
            self._end(error)
        proto = self._events.event_pb2
        self._write(step=purge_step, file_version="brain.Event:2")
        self._write(step=purge_step, session_log=proto.SessionLog(status=proto.SessionLog.START))

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds the finite ones of some scalars; the event format has a place for others, but TensorBoard warns."""
        from tensorboardX import summary

        scalars = [summary.scalar(key, float(value)) for key, value in values.items() if np.isfinite(value)]
        for scalar in scalars:
            self._write(step=step, summary=scalar)

    def flush(self) -> None:
        """Writes all events to disk."""
        self._try("flush")

    def close(self) -> None:
        """Ends the file."""
        self._try("close")
        self._writer = None

    def _write(self, **content: Any) -> None:
        self._try("write_event", self._events.event_pb2.Event(wall_time=time.time(), **content))

    def _try(self, method: str, *args: Any) -> None:
        if self._writer is not None:
            try:
                getattr(self._writer, method)(*args)
            except OSError as error:
                self._end(error)

    def _end(self, error: OSError) -> None:
        self._writer = None
        print(f"warning: the event file in {self._folder} ends here: {error.strerror or error}", file=sys.stderr)


def _tensorboard() -> Any:
    """Imports tensorboardX without torch, which it would load if it is installed: a second or more, for nothing."""
    absent = "torch" not in sys.modules
    if absent:
        sys.modules["torch"] = None  # type: ignore[assignment]  # makes `import torch` raise ImportError
    try:
        from tensorboardX import event_file_writer
    finally:
        if absent:
            del sys.modules["torch"]
    return event_file_writer
