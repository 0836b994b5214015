"""Inspection of a schedule before training: values, effective length, lint."""

from __future__ import annotations

from collections.abc import Collection

import jax.numpy as jnp
import numpy as np

from warmup_jax.numerics import AnySchedule, require
from warmup_jax.schedules.fractions import not_a_rate


def values(schedule: AnySchedule, num_steps: int) -> np.ndarray:
    """Evaluates a schedule at updates 0 to num_steps - 1.

    Args:
      schedule: `t -> rate`.
      num_steps: how many.

    Returns:
      A numpy array [num_steps].

    Raises:
      ValueError: if `num_steps` is below 1.

    Examples:
      >>> from warmup_jax.schedules import linear_warmup
      >>> values(linear_warmup(2), 3).tolist()
      [0.5, 1.0, 1.0]
    """
    require("num_steps", num_steps, 1)
    return np.asarray(jnp.broadcast_to(schedule(jnp.arange(num_steps)), (num_steps,)))


def effective_warmup(factor: AnySchedule, num_steps: int) -> float:
    r"""Computes the cost of a warmup in updates, :math:`\sum_t (1 - w(t))`, to compare shapes.

    Linear warmup of W updates costs (W - 1) / 2, untuned linear :math:`1 / (1 - \beta_2) - 1/2`.

    Args:
      factor: the warmup factor, or a schedule divided by its peak.
      num_steps: updates to sum over.

    Returns:
      The sum, in updates.

    Raises:
      ValueError: if `num_steps` is below 1.

    Examples:
      >>> from warmup_jax.schedules import linear_warmup
      >>> effective_warmup(linear_warmup(101), 1000)
      50.0

    References:
      Ma and Yarats, `On the adequacy of untuned warmup for adaptive optimization
      <https://arxiv.org/abs/1910.04209>`_, 2021
    """
    return round(float((1 - values(factor, num_steps).astype(np.float64)).sum()), 4)


def lint(
    schedule: AnySchedule,
    num_steps: int,
    *,
    peak_lr: float | None = None,
    warmup_steps: int | None = None,
    end_lr: float = 0.0,
) -> list[str]:
    """Lists suspicious properties of a schedule, one sentence each; an empty list if there are none.

    It finds rates of 0 at the start (updates that do nothing), a peak that is not
    reached, a jump where the warmup ends, a rate that is negative, not finite or below
    `end_lr`, one that rises again or changes sign after the end, a warmup as long as
    the run, and a warmup factor or decay of this package that stands where a rate
    should: `optax.adamw(linear_warmup(500))` trains at a rate of 1.

    Args:
      schedule: `t -> rate`.
      num_steps: updates of the run.
      peak_lr: the rate that should be reached, if known.
      warmup_steps: length of the warmup in updates, if known.
      end_lr: the floor that the rate should keep after its peak.

    Returns:
      Sentences.

    Raises:
      ValueError: if `num_steps` is below 1.

    Examples:
      >>> import optax
      >>> from warmup_jax.schedules import linear_warmup
      >>> lint(linear_warmup(5), 100)[0].partition(":")[0]
      'this is a warmup factor in [0, 1] and not a rate'
      >>> lint(optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 100), 100, peak_lr=0.1, warmup_steps=10)
      ['the rate of the first 1 of 100 updates is 0: they do nothing']
      >>> lint(lambda t: 0.1 * (1 - t / 50), 40)
      ['after the end of the run, at t = 51, the rate is negative: gradient ascent']
    """
    rates = values(schedule, num_steps).astype(np.float64)
    found = [] if (sentence := not_a_rate(schedule)) is None else [sentence]
    if not np.isfinite(rates).all():
        return [*found, f"the rate of update {int(np.argmin(np.isfinite(rates)))} is not finite"]
    dead = int(np.argmax(rates != 0)) if (rates != 0).any() else num_steps
    if dead:
        found.append(f"the rate of the first {dead} of {num_steps} updates is 0: they do nothing")
    if (rates < 0).any():
        found.append(f"the rate of update {int(np.argmax(rates < 0))} is negative: gradient ascent")
    top = rates.max()
    if peak_lr is not None and not np.isclose(top, peak_lr, rtol=1e-4):
        found.append(f"the highest rate is {top:.6g}, not the peak of {peak_lr:.6g}")
    if warmup_steps is not None and warmup_steps >= num_steps:
        found += unfinished([warmup_steps], num_steps)
    elif _rises_to_the_end(rates):
        found.append(f"the rate still rises at the end: its warmup takes the whole run of {num_steps} updates")
    elif warmup_steps is not None and warmup_steps > 1:
        found += _jump(rates, warmup_steps)
    after = rates[int(np.argmax(rates)) :]
    if end_lr and (below := after < end_lr * (1 - 1e-4)).any():
        t = num_steps - len(after) + int(np.argmax(below))
        found.append(f"the rate of update {t} is {rates[t]:.6g}, below the floor of {end_lr:.6g}")
    return found + _beyond(schedule, rates, num_steps)


def unfinished(lengths: Collection[int], num_steps: int) -> list[str]:
    """Lists the warmups, by their lengths in updates, after which a run has no update left, in a sentence each kind.

    Examples:
      >>> unfinished([0, 10, 500, 200], 100)
      ['warmups of 200, 500 updates are longer than the run of 100: the full rate is never reached']
      >>> unfinished([100], 100)
      ['the warmup of 100 updates takes the whole run: no update follows it']
    """
    found = []
    if num_steps in lengths and num_steps > 1:  # it reaches its peak, at the last update
        found.append(f"the warmup of {num_steps} updates takes the whole run: no update follows it")
    if longer := sorted({length for length in lengths if length > max(num_steps, 1)}):
        named = "the warmup of" if len(longer) == 1 else "warmups of"
        found.append(
            f"{named} {', '.join(map(str, longer))} updates {'is' if len(longer) == 1 else 'are'} longer than the run "
            f"of {num_steps}: the full rate is never reached"
        )
    return found


def _rises_to_the_end(rates: np.ndarray) -> bool:
    """Returns True if the last rate is the highest and well above the middle one, unlike a tail close to its limit."""
    return bool(
        rates[-1] == rates.max() > 0 and rates[(len(rates) - 1) // 2] < 0.95 * rates[-1] and rates[-1] > rates[-2]
    )


def _jump(rates: np.ndarray, warmup_steps: int) -> list[str]:
    steepest = np.abs(np.diff(rates[:warmup_steps])).max(initial=0)
    before, after = rates[warmup_steps - 1], rates[warmup_steps]
    if abs(after - before) > max(4 * steepest, 0.05 * rates.max()):
        return [f"the rate jumps from {before:.6g} to {after:.6g} where the warmup ends"]
    return []


def _beyond(schedule: AnySchedule, rates: np.ndarray, num_steps: int) -> list[str]:
    """Lists faults after the end of a run, where a schedule should stay constant."""
    later = values(schedule, 2 * num_steps)[num_steps:].astype(np.float64)
    if (later < 0).any() and (rates >= 0).all():
        return [
            f"after the end of the run, at t = {num_steps + int(np.argmax(later < 0))}, "
            f"the rate is negative: gradient ascent"
        ]
    rises = np.diff(np.concatenate([rates[-1:], later])) > 1e-6 * max(rates.max(), 1e-30)
    if rises.any() and rates[-1] < rates.max() * (1 - 1e-6):
        return [f"after the end of the run, at t = {num_steps + int(np.argmax(rises))}, the rate rises again"]
    return []
