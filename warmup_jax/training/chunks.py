"""The arithmetic of chunks: how many updates each dispatch holds, and where the loop must pause.

A run has at most two lengths of chunk, `chunk_steps` and 1, and so at most two compiled programs. The length of a chunk
is a function of the step alone, so that a resumed run is cut like one that was never interrupted.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from warmup_jax.diagnostics import Timing


def chunk_length(config: Mapping[str, Any], num_steps: int, most: int, timings: Mapping[str, Timing]) -> int:
    """Returns the updates of a chunk: `chunk_steps` of the config, or the longest that ends at all regular pauses.

    Args:
      config: of the run.
      num_steps: updates of the run.
      most: upper bound where the config leaves `chunk_steps` open.
      timings: of the probes, by name.

    Raises:
      ValueError: if the config's `chunk_steps` does not divide `eval_every` and `checkpoint_every`.
    """
    intervals = [min(config[key], num_steps) for key in ("eval_every", "checkpoint_every")]
    chosen = config["chunk_steps"]
    if chosen is None:
        intervals += [min(timing.every, num_steps) for timing in timings.values() if timing.until is None]
        common = math.gcd(*intervals)
        return max(c for c in range(1, min(most, common) + 1) if common % c == 0)
    if any(interval % chosen for interval in intervals):
        raise ValueError(
            f"chunk_steps={chosen} must divide eval_every={config['eval_every']} "
            f"and checkpoint_every={config['checkpoint_every']}"
        )
    return chosen


class Regular(NamedTuple):
    """Pauses at m - ahead, for the multiples m of `every` from `first` to `last`."""

    every: int
    first: int
    last: int
    ahead: int = 0

    def after(self, step: int) -> int | None:
        """Returns the first of these pauses after `step` updates, None if there is no more."""
        multiple = (max(step + self.ahead, self.first - 1) // self.every + 1) * self.every
        return multiple - self.ahead if multiple <= self.last else None


class Pauses(NamedTuple):
    """The updates that no chunk may pass: probes, evaluations, checkpoints and the end.

    They are computed when they are asked for: a list of them would not fit in memory for the longest runs.
    """

    num_steps: int
    regular: tuple[Regular, ...]
    single: tuple[int, ...]

    def after(self, step: int) -> int:
        """Returns the first pause after `step` updates, fewer than there are in the run."""
        regular = [pause for each in self.regular if (pause := each.after(step)) is not None]
        return min([*regular, *(pause for pause in self.single if pause > step), self.num_steps])


def pauses(
    config: Mapping[str, Any], num_steps: int, regular: Sequence[Regular] = (), single: Sequence[int] = ()
) -> Pauses:
    """Returns the updates that no chunk may pass: `regular` and `single` ones of probes, and those of the config."""
    own = [Regular(config[key], 0, num_steps) for key in ("eval_every", "checkpoint_every")]
    return Pauses(num_steps, (*own, *regular), tuple(single))


def next_chunk(chunk_steps: int, pauses: Pauses, step: int) -> int:
    """Returns the length of the chunk that begins after `step` updates: a whole one if it passes no pause, else 1."""
    return chunk_steps if pauses.after(step) - step >= chunk_steps else 1
