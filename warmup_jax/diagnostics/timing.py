"""When a probe is taken, and on what."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

BATCHES = ("fixed", "training")


class Timing(NamedTuple):
    """The part of a probe's arguments in a config that the loop reads.

    every: updates from one probe to the next, counted from 0, the state before the first update.
    until: the last update after which it is taken; None: to the end of the run.
    batch: "fixed", the same examples at every probe, without augmentation; or "training", those of the last update
      as it saw them (before the first update, those that it will see).
    examples: of the fixed batch; a training batch has its own number.

    The end of a run's warmup is probed too, wherever it falls, unless it comes after `until`.
    """

    every: int
    until: int | None
    batch: str
    examples: int | None


def separated(name: str, args: Mapping[str, Any]) -> tuple[Timing, dict[str, Any]]:
    """(timing, the other arguments) of a probe in a config.

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
    if timing.batch not in BATCHES:
        raise ValueError(f"diagnostics.{name}.batch={timing.batch!r}; allowed: {', '.join(map(repr, BATCHES))}")
    fixed = timing.batch == "fixed"
    _require(name, "every", timing.every, 1, optional=False)
    _require(name, "until", timing.until, 0, optional=True)
    _require(name, "examples", timing.examples, 1, optional=not fixed)
    if not fixed and timing.examples is not None:
        raise ValueError(f"diagnostics.{name}.examples={timing.examples}; allowed with batch='training': None")
    return timing, {key: value for key, value in args.items() if key not in Timing._fields}


def due(timing: Timing, first: int, step: int | np.ndarray, warmup_R: np.ndarray) -> np.ndarray:
    """Whether a probe is due after `step` updates: bool [R], for runs with warmups of so many updates.

    It depends on the run alone, so that a run of a sweep is probed as it would be by itself. first: the earliest
    update after which there is something to measure. Steps [S, 1] give [S, R].
    """
    last = np.inf if timing.until is None else timing.until
    return (first <= step) & (step <= last) & ((step % timing.every == 0) | (warmup_R == step))


def first_due(timing: Timing, first: int, warmup_R: np.ndarray) -> np.ndarray:
    """The earliest step at which a probe is due, [R]; `until` not regarded."""
    regular = -(-first // timing.every) * timing.every
    return np.where(warmup_R >= first, np.minimum(warmup_R, regular), regular)


def _require(name, key, value, lowest, optional):
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(
            f"diagnostics.{name}.{key}={value!r}; allowed: integers from {lowest}{' and None' if optional else ''}"
        )
