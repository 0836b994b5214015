"""Limits and ticks of axes that a diverged run does not stretch."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TAIL = 0.05  # the bulk of the values lies between these two quantiles
REACH = 1.5  # values this many widths of the bulk beyond it are still shown
DECADES = 1.3  # a positive quantity whose shown values span more decades gets a logarithmic axis
LARGEST = 1e300  # end of an axis; above, the width of a range would overflow
MARGIN = 0.04  # of the axis, beyond the outermost values


class Limits(NamedTuple):
    """Range of an axis, and what lies outside of it.

    log: True for a logarithmic axis.
    above, below: True if values lie above or below the range (+-inf and, on a logarithmic axis, 0 and below count).
    """

    low: float
    high: float
    log: bool
    above: bool
    below: bool


def robust_limits(values: Sequence[np.ndarray], others: Sequence[np.ndarray] = (), log: bool | None = None) -> Limits:
    """Finds a range that shows the values of all but outliers.

    The bulk, between the 5 % and 95 % quantiles of `values`, is always shown, and so is everything within 1.5 of its
    widths beyond it. On a logarithmic axis the widths are those of the logarithms.

    Args:
      values: of the curves that decide, any shapes; what is not finite is ignored.
      others: of curves that do not decide, such as those of diverged runs; they decide if `values` have none.
      log: True for a logarithmic axis, if 95 % of the values are positive, False for a linear one; None: logarithmic
        if those shown also span more than 1.3 decades.

    Returns:
      The `Limits`, with a margin; 0 to 1 if nothing is finite.

    Examples:
      >>> robust_limits([np.array([0.5, 1.0, 1.5, 2.0])], [np.array([2.0, 1e11])], log=False)
      Limits(low=0.44, high=2.06, log=False, above=True, below=False)
    """
    decide, rest = _pool(values), _pool(others)
    bulk = decide[np.isfinite(decide)]
    if not bulk.size:
        bulk = rest[np.isfinite(rest)]
    every = np.concatenate([decide, rest])
    if not bulk.size:
        return Limits(0.0, 1.0, False, bool((every == np.inf).any()), bool((every == -np.inf).any()))
    if log is not False:
        positive = bulk[bulk > 0]
        if positive.size >= (1 - TAIL) * bulk.size and positive.size:
            low, high = _range(np.log10(positive), np.log10(every[(every > 0) & np.isfinite(every)]))
            if log or high - low > DECADES:
                return _limits(low, high, every, True)
    low, high = _range(bulk, every[np.isfinite(every)])
    return _limits(low, high, every, False)


def _pool(values: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0), *(np.asarray(each, float).ravel() for each in values)])


def _range(bulk: np.ndarray, every: np.ndarray) -> tuple[float, float]:
    """Returns the lowest and highest of the finite values that are near the bulk."""
    bulk, every = np.clip(bulk, -LARGEST, LARGEST), np.clip(every, -LARGEST, LARGEST)
    low, high = (float(each) for each in np.quantile(bulk, [TAIL, 1 - TAIL]))
    reach = REACH * (high - low) or REACH * max(abs(high), abs(low)) or 1.0
    near = every[(every >= low - reach) & (every <= high + reach)]
    return float(min(near.min(initial=low), low)), float(max(near.max(initial=high), high))


def _limits(low: float, high: float, every: np.ndarray, log: bool) -> Limits:
    width = high - low
    if width <= 1e-9 * max(abs(low), abs(high), 1e-300):  # a constant, which stands in the middle
        width = 1.0 if log or not high else max(abs(high), 1e-300)
        low, high = (low - 0.5 * width, high + 0.5 * width) if log or high else (0.0, 1.0)
    shown = [low - MARGIN * width, high + MARGIN * width]
    if log:
        shown = [10.0 ** min(max(each, -300.0), 300.0) for each in shown]
    return Limits(*shown, log, bool((every > shown[1]).any()), bool((every < shown[0]).any()))


def ticks(low: float, high: float, log: bool, most: int = 6) -> list[float]:
    """Returns 2 to `most` round numbers within a range for the labelled ticks of its axis.

    Args:
      low: lower end.
      high: upper end, above `low`; both are positive on a logarithmic axis.
      log: True for powers of ten, or 1, 2, 5 times these where the range is short.
      most: 4 or more.

    Returns:
      The ticks, ascending.

    Examples:
      >>> ticks(0.03, 3.0, log=True)
      [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
      >>> ticks(2.1, 2.9, log=True)
      [2.2, 2.4, 2.6, 2.8]
      >>> ticks(1e-30, 1e30, log=True)
      [1e-24, 1e-12, 1.0, 1000000000000.0, 1e+24]
    """
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        for mantissas in ((1, 2, 5), (1, 3), (1,)):
            found = [m * 10.0**k for k in range(first, last + 1) for m in mantissas if low <= m * 10.0**k <= high]
            if len(found) < 3 and mantissas == (1, 2, 5):
                break
            if len(found) <= most:
                return [float(f"{each:.3g}") for each in found]
        else:
            found = [k for k in range(first, last + 1) if low <= 10.0**k <= high]
            step = math.ceil(len(found) / most)
            step = next((nice for nice in (1, 2, 3, 4, 6, 12, 24, 50, 100, 200) if nice >= step), step)
            return [float(f"1e{k}") for k in found if k % step == 0]
    width = high - low
    exponent = math.floor(math.log10(width / most))
    for step in (m * 10.0 ** (exponent + k) for k in (0, 1) for m in (1, 2, 5)):
        numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(numbers) <= most:
            return [float(f"{number * step:.12g}") for number in numbers]
    return [low, high]
