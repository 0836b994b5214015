"""Graceful shutdown on SIGINT and SIGTERM."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType


class ShutdownFlag:
    """Tells the loop that a signal asked for the end.

    Attributes:
      requested: the name of the signal, None before it came.
    """

    requested: str | None = None


@contextlib.contextmanager
def shutdown_on_signal() -> Iterator[ShutdownFlag]:
    """Yields a flag that SIGINT and SIGTERM set; a second signal ends the process at once."""
    shutdown = ShutdownFlag()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if shutdown.requested:
            os._exit(128 + number)
        shutdown.requested = signal.Signals(number).name
        # To the descriptor of stderr, not by print: the signal may interrupt a print.
        text = f"\n{shutdown.requested}: saving after this step; once more to quit at once\n"
        os.write(2, text.encode())

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield shutdown
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
