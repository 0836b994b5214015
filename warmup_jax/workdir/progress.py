"""Progress on the screen: a bar on a terminal, plain lines elsewhere."""

import sys
import time

from tqdm import tqdm

PLAIN_SECONDS = 10  # the longest time between two lines of progress without a terminal


class Progress:
    """A progress bar over all runs on a terminal, plain lines elsewhere.

    Args:
      total: updates of all runs; those of runs that train together count once.
      runs: number of runs.
    """

    def __init__(self, total: int, runs: int):
        self._bar = tqdm(total=total, unit="step", dynamic_ncols=True, disable=not sys.stderr.isatty())
        self._total, self._done, self._printed_at = total, 0, time.perf_counter()
        self._runs, self._ended, self._diverged = runs, 0, 0
        # The time and the updates done after the first chunk, which compiles: the ETA counts from there.
        self._timed_since: float | None = None
        self._timed_from = 0

    def skip(self, steps: int) -> None:
        """Passes over updates that an earlier session did, or that are not going to be done."""
        self._done += steps
        self._bar.update(steps)
        if self._timed_since is None:
            self._bar.unpause()  # earlier updates say nothing about today's speed
        else:
            self._timed_from += steps

    def runs_ended(self, runs: int, diverged: int) -> None:
        """Counts runs that ended, and how many of them had diverged."""
        self._ended += runs
        self._diverged += diverged

    def advance(self, steps: int, text: str, always: bool = False) -> None:
        """Moves on by `steps` and shows `text`: in the bar or now and then, and on a line of its own if `always`."""
        self._done += steps
        if self._runs > 1:
            text = f"{self._ended}/{self._runs} runs done, {self._diverged} diverged; {text}"
        if always and not self._bar.disable:
            tqdm.write(text)  # the bar cuts it off at the width of the terminal
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(steps)
        now = time.perf_counter()
        if self._timed_since is None:
            self._timed_since, self._timed_from = now, self._done
        if self._bar.disable and (always or now - self._printed_at > PLAIN_SECONDS):
            self._printed_at = now
            left, timed = self._total - self._done, self._done - self._timed_from
            eta = f"ETA {(now - self._timed_since) / timed * left:.0f} s, " if left and timed else ""
            print(f"{self._done}/{self._total} steps, {eta}{text}", flush=True)

    def say(self, text: str) -> None:
        """Prints a line without breaking the bar."""
        tqdm.write(text) if not self._bar.disable else print(text, flush=True)

    def close(self) -> None:
        """Leaves the bar as it is on the screen."""
        self._bar.close()
