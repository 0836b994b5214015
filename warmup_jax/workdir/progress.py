"""Progress on the screen: a bar on a terminal, plain lines elsewhere."""

import sys
import time

from tqdm import tqdm

PLAIN_SECONDS = 10  # the longest time between two lines of progress without a terminal
FEW_RUNS = 12  # with more runs the screen shows overall progress instead of every evaluation
BAR = "{l_bar}{bar:10}| {n_fmt}/{total_fmt}{postfix}"  # 60 of 80 columns are left for what a run says


class Progress:
    """A progress bar over all runs on a terminal, plain lines elsewhere.

    Args:
      total: updates of all runs; those of runs that train together count once.
      runs: number of runs.
    """

    def __init__(self, total: int, runs: int):
        self._bar = tqdm(total=total, dynamic_ncols=True, bar_format=BAR, disable=not sys.stderr.isatty())
        self._bar.set_postfix_str("compiling")  # what the first update waits for
        self._total, self._done, self._printed_at = total, 0, time.perf_counter()
        self._runs, self._ended, self._diverged = runs, 0, 0
        # The time and the updates done after the first chunk, which compiles: the ETA counts from there.
        self._timed_since: float | None = None
        self._timed_from = 0

    def skip(self, steps: int) -> None:
        """Passes over updates that an earlier session did, or that are not going to be done."""
        self._done += steps
        self._bar.update(steps)
        if self._timed_since is not None:
            self._timed_from += steps

    def runs_ended(self, runs: int, diverged: int) -> None:
        """Counts runs that ended, and how many of them had diverged."""
        self._ended += runs
        self._diverged += diverged
        if self._runs > FEW_RUNS and self._ended == self._runs:
            self._bar.set_postfix_str(self._said(""))
            self._print("")

    def advance(self, steps: int, text: str) -> None:
        """Moves on by `steps` and shows `text` now and then."""
        self._done += steps
        now = time.perf_counter()
        if self._timed_since is None:
            self._timed_since, self._timed_from = now, self._done
        self._bar.set_postfix_str(self._said(text), refresh=False)
        self._bar.update(steps)
        if now - self._printed_at > PLAIN_SECONDS:
            self._print(text)

    def evaluated(self, text: str) -> None:
        """Shows `text` on a line of its own if there are few runs."""
        if self._runs <= FEW_RUNS:
            self.say(text)  # the bar would cut it off at the width of the terminal

    def say(self, text: str) -> None:
        """Prints a line without breaking the bar."""
        tqdm.write(text) if not self._bar.disable else print(text, flush=True)

    def close(self) -> None:
        """Leaves the bar as it is on the screen."""
        self._bar.close()

    def _print(self, text: str) -> None:
        """Prints a plain line, unless there is a bar."""
        if self._bar.disable:
            self._printed_at = time.perf_counter()
            print(f"{self._done}/{self._total} updates, {self._said(text)}", flush=True)

    def _said(self, text: str) -> str:
        """Returns a text after the time left and, with many runs, how many of them are done."""
        now = time.perf_counter()
        left, timed = self._total - self._done, self._done - self._timed_from
        said = []
        if left and timed and self._timed_since is not None:
            said.append(f"ETA {duration((now - self._timed_since) / timed * left)}")
        if self._runs > FEW_RUNS:
            said.append(f"{self._ended}/{self._runs} runs done, {self._diverged} diverged")
        return ", ".join([*said, text] if text else said)


def duration(seconds: float) -> str:
    """Returns a duration in two or three digits.

    >>> [duration(seconds) for seconds in (7.3, 200, 20_000)]
    ['7 s', '3 min', '5.6 h']
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
