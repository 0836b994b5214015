"""Wall-clock accounting by phase, and throughput."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping


class Timers:
    """Seconds by phase over all sessions of a run, and the throughput of this session.

    Args:
      seconds: of the earlier sessions, as `seconds()` returned them.
      started: `time.perf_counter()` at the beginning of this session.
    """

    def __init__(self, seconds: Mapping[str, float], started: float):
        self._earlier, self._started = dict(seconds), started
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._to_first_step = self._earlier.pop("to_first_step", None)
        self._compiled: set[Hashable] = set()
        self._examples = 0
        self._tokens, self._examples_of_tokens = 0.0, 0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time of the block to the phase `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent[name] += time.perf_counter() - start

    def first_call(self, program: Hashable) -> bool:
        """Returns True the first time it is asked about a program, whose call then compiles."""
        if program in self._compiled:
            return False
        self._compiled.add(program)
        return True

    def chunk_done(self, examples: int, compiled: bool) -> None:
        """Counts the examples of a chunk; one that compiled counts for the time to the first step only."""
        if self._to_first_step is None:
            self._to_first_step = time.perf_counter() - self._started
        if not compiled:
            self._examples += examples

    def tokens_seen(self, tokens: float, examples: int) -> None:
        """Counts the tokens without padding that a number of examples held."""
        self._tokens += float(tokens)
        self._examples_of_tokens += examples

    def throughput(self) -> dict[str, float]:
        """Returns training throughput: waiting for data counts, compilation, evaluation and saving do not."""
        rate = self._examples / max(self._spent["train"] + self._spent["data"], 1e-9)
        if not self._tokens:
            return {"perf/examples_per_second": rate}
        return {
            "perf/examples_per_second": rate,
            "perf/tokens_per_second": rate * self._tokens / self._examples_of_tokens,
        }

    def pace(self) -> str:
        """Returns the throughput in words, "" before there is one."""
        if self._spent["train"] < 0.1:
            return ""
        name, rate = list(self.throughput().items())[-1]
        return f"{rate:.0f} {'tok/s' if 'tokens' in name else 'ex/s'}"

    def seconds(self) -> dict[str, float | None]:
        """Returns the seconds of each phase (compile, data, train, evaluate, save), in total, and to_first_step."""
        spent = dict(self._spent) | {"total": time.perf_counter() - self._started}
        summed = {name: self._earlier.get(name, 0.0) + spent.get(name, 0.0) for name in self._earlier | spent}
        return summed | {"to_first_step": self._to_first_step}
