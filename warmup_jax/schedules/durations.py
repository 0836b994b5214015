"""Length of a warmup in updates, from any unit."""

from __future__ import annotations

import math

from warmup_jax.numerics import interval


def warmup_steps_from(
    *,
    steps: int | None = None,
    epochs: float | None = None,
    examples: int | None = None,
    tokens: int | None = None,
    fraction: float | None = None,
    batch_size: int | None = None,
    train_size: int | None = None,
    tokens_per_batch: int | None = None,
    num_steps: int | None = None,
) -> int:
    """Converts the length of a warmup, given in one unit, to updates.

    The result is rounded once, to the nearest whole update, half to even, and is at
    least one unless the length is 0.

    Args:
      steps: length in updates.
      epochs: length in epochs; needs `batch_size` and `train_size`.
      examples: length in examples; needs `batch_size`.
      tokens: length in tokens; needs `tokens_per_batch`.
      fraction: length as a share of the run; needs `num_steps`.
      batch_size: examples of an update.
      train_size: examples of an epoch.
      tokens_per_batch: tokens of an update.
      num_steps: updates of the run.

    Returns:
      The number of updates.

    Raises:
      ValueError: if no unit or two are given, if the number that a unit needs is
        missing, or if a number is negative.

    Examples:
      >>> warmup_steps_from(epochs=5, batch_size=256, train_size=1_281_167)
      25023
      >>> warmup_steps_from(fraction=0.03, num_steps=1000)
      30
    """
    lengths = {"steps": steps, "epochs": epochs, "examples": examples, "tokens": tokens, "fraction": fraction}
    given = {unit: value for unit, value in lengths.items() if value is not None}
    if len(given) != 1:
        found = ", ".join(f"{unit}={value}" for unit, value in given.items()) or "none"
        raise ValueError(f"give exactly one of steps, epochs, examples, tokens, fraction; got {found}")
    ((unit, value),) = given.items()

    def needed(name: str, number: int | None) -> int:
        if number is None or number <= 0:
            raise ValueError(f"{name}={number}; allowed for a warmup in {unit}: {interval(0, above=True)}")
        return number

    if unit == "epochs":
        size = needed("batch_size", batch_size)
        updates = value * needed("train_size", train_size) / size
    elif unit == "examples":
        updates = value / needed("batch_size", batch_size)
    elif unit == "tokens":
        updates = value / needed("tokens_per_batch", tokens_per_batch)
    elif unit == "fraction":
        updates = value * needed("num_steps", num_steps)
    else:
        updates = value
    if not 0 <= value < float("inf") or (unit == "fraction" and value > 1):
        raise ValueError(f"{unit}={value}; allowed: {interval(0, 1 if unit == 'fraction' else math.inf)}")
    if unit == "steps" and value != int(value):
        raise ValueError(f"steps={value}; allowed: whole numbers of updates")
    return max(round(updates), int(value > 0))
