"""Endings by SIGINT, SIGTERM and SIGHUP: at once while nothing would be lost, else after saving."""

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from warmup_jax import streams

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME = 0.2  # seconds within which a second signal is the first: `timeout` sends one to the process and one to its group
GRACE = 5  # seconds for the end of an interpreter after an error, the traceback included


class ShutdownFlag:
    """Tells the loop that a signal asked for the end.

    Attributes:
      requested: the name of the signal, None before it came.
      to_save: True while there are updates that no checkpoint has; only then is a signal waited for.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self.to_save = False
        self._came_at = 0.0

    def receive(self, number: int) -> bool:
        """Takes a signal; returns False if the process need not or must not wait for the loop."""
        if self.requested:
            return time.monotonic() - self._came_at < SAME
        if not self.to_save:
            return False
        self.requested, self._came_at = signal.Signals(number).name, time.monotonic()
        streams.stop_waiting()
        streams.say_at_once(f"\n{self.requested}: saving after this step; once more to quit at once\n")
        return True


_watched = False  # True in a program, after `exit_on_signal`
_flag: ShutdownFlag | None = None  # of the run in progress, if the signals are watched


def exit_on_signal() -> None:
    """Makes signals end this process as long as nothing would be lost, also while it imports or compiles.

    For the main thread of a program, as early as possible. The status is 0, or 128 + the number of the signal if it
    is the second one and what the first one wanted saved is not. A library must leave the signals to its caller.
    """
    global _watched
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in _handled():
        signal.signal(number, lambda number, frame: None)  # the thread does the work: Python's handlers wait for C code
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    _watched = True
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # `restart_with_huge_pages` blocks them


@contextlib.contextmanager
def shutdown_on_signal() -> Iterator[ShutdownFlag]:
    """Yields a flag that signals set while there is something to save.

    Any other signal, a second one for example, ends a program (`exit_on_signal`), and in a library goes to the handler
    that was there before: in a notebook it is a KeyboardInterrupt. Outside the main thread no signal arrives.
    """
    global _flag
    flag = ShutdownFlag()
    if _watched:
        _flag = flag
        try:
            yield flag
        finally:
            _flag = None
    elif threading.current_thread() is not threading.main_thread():
        yield flag
    else:
        with _handlers(flag):
            yield flag


def end(status: int) -> NoReturn:
    """Ends a program at once, with its workers; raises SystemExit in a process that is not the program's own.

    After an error of Orbax the end of an interpreter can wait minutes for a thread that waits at a barrier.
    """
    if not _watched:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    _end(status)


def end_soon() -> None:
    """Sees to it that a program that ends by an exception has ended, with status 1, when `GRACE` is over."""
    if _watched:
        # Its thread needs no lock of the interpreter, which a Python thread does not get any more at the end.
        faulthandler.dump_traceback_later(GRACE, exit=True, file=open(os.devnull, "w"))


@contextlib.contextmanager
def _handlers(flag: ShutdownFlag) -> Iterator[None]:
    """Lets Python's handlers set the flag while the block runs."""

    def handle(number: int, frame: FrameType | None) -> None:
        if flag.receive(number):
            return
        handler = previous[number]
        if callable(handler):
            handler(number, frame)
        elif handler != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    previous = {number: signal.signal(number, handle) for number in _handled()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _handled() -> list[int]:
    """Returns the signals to handle: not the loss of the terminal under `nohup`, which ignores it."""
    return [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


def _watch(reader: int) -> None:
    """Receives the signals of a program from the pipe into which Python's C code writes their numbers."""
    while True:
        for number in os.read(reader, 64):
            if number not in SIGNALS or _flag is not None and _flag.receive(number):
                continue
            second = _flag is not None and _flag.requested
            said = "quit, and the latest updates are not saved" if second else "stopped; nothing is lost"
            streams.say_at_once(f"\n{signal.Signals(number).name}: {said}\n")
            _end(128 + number if second else 0)


def _end(status: int) -> NoReturn:
    """Ends the process and its workers at once."""
    if "multiprocessing" in sys.modules:
        for worker in sys.modules["multiprocessing"].active_children():
            worker.kill()
    os._exit(status)
