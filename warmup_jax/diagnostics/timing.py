"""Timing of probes: after which updates they are due, and on which examples."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from warmup_jax import registry

BATCHES = ("fixed", "training")


class Timing(NamedTuple):
    """Arguments of a probe in a config that the training loop reads.

    every: updates from one probe to the next, counted from 0, the state before the first update.
    until: the last update after which the probe is taken; None: to the end of the run.
    batch: "fixed", the same examples at every probe, without augmentation; or "training", the batch of the last
      update as the update saw it (before the first update, the batch of that one).
    examples: size of the fixed batch; None for a training batch, which has its own size.

    The end of a run's warmup is probed too, at whatever update it falls, unless it comes after `until`.
    """

    every: int
    until: int | None
    batch: str
    examples: int | None


def split_timing(name: str, args: Mapping[str, Any]) -> tuple[Timing, dict[str, Any]]:
    """Splits the arguments of a probe in a config into its timing and the arguments of its function.

    Raises:
      ValueError: if a part of the timing is missing or not allowed.
    """
    for key in Timing._fields:
        if key not in args:
            raise ValueError(
                f"diagnostic {name!r} needs the argument {key!r} (when and on what it is taken: "
                f"{', '.join(Timing._fields)})"
            )
    timing = Timing(*(args[key] for key in Timing._fields))
    where = f"diagnostics.{name}"
    registry.positive_integer(f"{where}.every", timing.every)
    until = timing.until
    if until is not None and (isinstance(until, bool) or not isinstance(until, int) or until < 0):
        raise ValueError(f"{where}.until={until!r}; allowed: integers from 0 and None")
    registry.one_of(f"{where}.batch", timing.batch, BATCHES)
    if timing.batch == "fixed":
        registry.positive_integer(f"{where}.examples", timing.examples)
    else:
        registry.one_of(f"{where}.examples", timing.examples, (None,), where=" with batch='training'")
    return timing, {key: value for key, value in args.items() if key not in Timing._fields}


def due(timing: Timing, first: int, step: int | np.ndarray, warmup_R: np.ndarray) -> np.ndarray:
    """Returns for each run whether a probe is due after `step` updates.

    It depends on the run alone, so that a run of a sweep is probed as it would be by itself.

    Args:
      timing: of the probe.
      first: the earliest update after which there is something to measure.
      step: updates applied so far, a number or an array [S, 1].
      warmup_R: length of each run's warmup, in updates.

    Returns:
      bool [R], or [S, R] for an array of steps.
    """
    last = np.inf if timing.until is None else timing.until
    return (first <= step) & (step <= last) & ((step % timing.every == 0) | (warmup_R == step))


def first_due(timing: Timing, first: int, warmup_R: np.ndarray) -> np.ndarray:
    """Returns the earliest step at which a probe is due, [R], `until` disregarded."""
    regular = -(-first // timing.every) * timing.every
    return np.where(warmup_R >= first, np.minimum(warmup_R, regular), regular)
