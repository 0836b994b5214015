"""The arithmetic of chunks: how many updates each dispatch holds, and where the loop must pause.

A run has at most two lengths of chunk, `chunk_steps` and 1, and so at most two compiled programs. The length of a chunk
is a function of the step alone, so that a resumed run is cut like one that was never interrupted.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

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


def pauses(config: Mapping[str, Any], num_steps: int, probed: np.ndarray) -> np.ndarray:
    """Returns the updates that no chunk may pass, ascending: probes, evaluations, checkpoints and the end."""
    regular = [np.arange(0, num_steps, config[key]) for key in ("eval_every", "checkpoint_every")]
    return np.unique(np.concatenate([probed, *regular, [num_steps]]))


def next_chunk(chunk_steps: int, pauses: np.ndarray, step: int) -> int:
    """Returns the length of the chunk that begins after `step` updates: a whole one if it passes no pause, else 1."""
    until_pause = int(pauses[np.searchsorted(pauses, step, side="right")]) - step
    return chunk_steps if until_pause >= chunk_steps else 1
