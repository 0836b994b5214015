"""Ending a run on request."""

import contextlib
import os
import signal
import sys


class Stop:
    """Whether a signal has asked for the end: its name, or None."""

    requested: str | None = None


@contextlib.contextmanager
def stop_on_signal():
    """SIGINT and SIGTERM set the `Stop` that this yields; a second one ends the process at once."""
    stop = Stop()

    def handle(number, frame):
        del frame
        if stop.requested:
            os._exit(128 + number)
        stop.requested = signal.Signals(number).name
        # not print: the signal may have come in the middle of one
        os.write(
            sys.__stderr__.fileno(), f"\n{stop.requested}: saving after this step; once more to quit at once\n".encode()
        )

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
