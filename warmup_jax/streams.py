"""Output that cannot fail: what a program says never decides whether its run goes on or is saved."""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TextIO

CHUNK = select.PIPE_BUF  # bytes that a pipe takes without blocking once it says that it is writable
PATIENCE = 0.2  # seconds between two looks whether to go on waiting for a reader that does not read

_waits = True


def stop_waiting() -> None:
    """Makes all output drop what its reader does not take at once, such as a pager that shows an earlier page."""
    global _waits
    _waits = False


class SafeFile(io.FileIO):
    """The writing end of a stream that drops what it cannot write.

    After the first error (a closed pipe, a full device, a lost terminal) it drops everything.

    Args:
      descriptor: of the stream; it stays open when this object is closed.
    """

    def __init__(self, descriptor: int):
        super().__init__(descriptor, "w", closefd=False)
        self._dead = False

    def write(self, data: Any, /) -> int:
        """Writes at most `CHUNK` bytes, or drops the data, and returns how many bytes are done with."""
        view = memoryview(data).cast("B")
        try:
            while not self._dead:
                if select.select((), (self.fileno(),), (), PATIENCE)[1]:
                    written = super().write(view[:CHUNK])
                    if written is not None:
                        return written
                elif not _waits:
                    break
        except (OSError, ValueError):  # ValueError: select takes no such descriptor
            self._dead = True
        return len(view)


def make_safe() -> None:
    """Replaces `sys.stdout` and `sys.stderr` by streams on the same descriptors that raise nothing.

    A character that the encoding of a stream lacks is escaped. A stream that is closed when the program begins
    becomes the null device, so that no file of the run gets its descriptor. A stream that is no file of the system
    (of a notebook or a test) stays.
    """
    for descriptor in range(3):
        _occupy(descriptor)
    sys.stdout, sys.stderr = _safe(sys.stdout, 1), _safe(sys.stderr, 2)


def begin_program() -> None:
    """Makes the streams safe and Ctrl-C an end without a traceback, for programs that save nothing on the way."""
    make_safe()
    report = sys.excepthook

    def say(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("stopped by SIGINT", file=sys.stderr)
        else:
            report(kind, error, traceback)

    sys.excepthook = say


@contextlib.contextmanager
def safe() -> Iterator[None]:
    """Makes `sys.stdout` and `sys.stderr` safe while the block runs."""
    before = sys.stdout, sys.stderr
    make_safe()
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def say_at_once(text: str) -> None:
    """Writes a line to the descriptor of stderr, if it takes it at once; a signal may have interrupted a print."""
    with contextlib.suppress(OSError, ValueError):
        if select.select((), (2,), (), 0)[1]:
            os.write(2, text.encode("ascii", "backslashreplace"))


def _safe(stream: TextIO | None, descriptor: int) -> TextIO:
    """Returns a stream that writes to the same place as the given one and raises nothing."""
    if stream is None:  # Python found the descriptor closed
        return io.TextIOWrapper(io.BufferedWriter(SafeFile(descriptor)), "utf-8", "backslashreplace")
    if type(stream) is not io.TextIOWrapper or type(getattr(stream.buffer, "raw", stream.buffer)) is not io.FileIO:
        return stream
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(SafeFile(stream.fileno())),
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,  # `python -u` sets the second alone
    )


def _occupy(descriptor: int) -> None:
    """Opens the null device on a descriptor that is closed."""
    try:
        os.fstat(descriptor)
    except OSError as error:
        if error.errno == errno.EBADF:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, descriptor)
            if null != descriptor:
                os.close(null)
