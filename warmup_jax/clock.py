"""Where the wall time of a run goes."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Mapping


class Clock:
    """Seconds by name, over all sessions of a run, and its throughput in this one.

    Args:
      seconds: what earlier sessions saved, as `seconds()` returned it.
      started: `time.perf_counter()` at the beginning of this session.
    """

    def __init__(self, seconds: Mapping[str, float], started: float):
        self._earlier, self._started = dict(seconds), started
        self._spent = defaultdict(float)
        self._to_first_step = self._earlier.pop("to_first_step", None)
        self._compiled = set()
        self._examples = 0

    @contextlib.contextmanager
    def measure(self, name: str):
        """Adds the time of a block to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent[name] += time.perf_counter() - start

    def compiles(self, length: int) -> bool:
        """Whether a chunk of this length is the first of its kind, so that calling it compiles."""
        return length not in self._compiled

    def chunk_done(self, length: int, examples: int) -> None:
        """Notes a chunk; the first of its kind counts for the time to the first step, not for throughput."""
        if self.compiles(length):
            self._compiled.add(length)
            if self._to_first_step is None:
                self._to_first_step = time.perf_counter() - self._started
        else:
            self._examples += examples

    def examples_per_second(self) -> float:
        """Training throughput, waiting for data included; without compilation, evaluation and saving."""
        return self._examples / max(self._spent["train"] + self._spent["data"], 1e-9)

    def seconds(self) -> dict[str, float]:
        """Seconds by name: compile, data, train, evaluate, save, total, and to_first_step."""
        spent = dict(self._spent) | {"total": time.perf_counter() - self._started}
        summed = {name: self._earlier.get(name, 0.0) + spent.get(name, 0.0)
                  for name in self._earlier | spent}
        return summed | {"to_first_step": self._to_first_step}
