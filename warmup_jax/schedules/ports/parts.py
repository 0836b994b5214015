r"""Building blocks of the ports that the factors and decays of the library do not provide.

The factors know a warmup from 0 to 1 in whole updates and the decays a fall
from 1 to 0. Other libraries also have lines between any two rates over any
real interval, pieces that change over without a new clock, and endless cycles.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Number, Numbers, Schedule, array_module, ratio, require
from warmup_jax.schedules.decays import SHAPES, decay_progress

# Stands for the end of an endless schedule: the last update that an int32 can count.
ENDLESS = 2**31 - 1
MOST_CYCLES = 32


def truncate(value: ArrayLike) -> Number:
    """Returns the whole part of a number, as Python's `int`; in double precision if it is concrete.

    Examples:
      >>> float(truncate(2.0 / (1.0 - 0.999)))  # not 2000: the float is just below
      1999.0
    """
    return array_module(value).trunc(value)


def nearest(value: ArrayLike) -> Number:
    """Returns the nearest whole number, halves to even, as Python's `round`.

    Examples:
      >>> [float(nearest(value)) for value in (5.1, 2.5)]
      [5.0, 2.0]
    """
    return array_module(value).round(value)


def span(start: ArrayLike, stop: ArrayLike) -> Schedule:
    r"""Progress over a real interval: :math:`q = (t - start) / (stop - start)` in [0, 1].

    Unlike `decay_progress`, an interval shorter than one update keeps its
    length, and an empty one is a step: q = 1 from its start on.

    Args:
      start: where it begins, in updates; need not be whole and may be negative.
      stop: where it has ended.

    Returns:
      A function `t -> q`.

    Examples:
      >>> [[float(span(1, stop)(t)) for t in (0, 1, 2)] for stop in (1, 1.5, 3)]
      [[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.5]]
    """
    require("start", start)
    require("stop", stop)

    def progress(t: ArrayLike) -> jax.Array:
        done, of = jnp.maximum(jnp.asarray(t) - start, 0), jnp.asarray(stop) - start
        # After its end q is exactly 1, which compiled division does not guarantee.
        return jnp.where((done < of) | (jnp.asarray(t) < start), ratio(done, of, 0.0), 1.0)

    return progress


def interpolate(
    start: ArrayLike, stop: ArrayLike, first: ArrayLike, last: ArrayLike, shape: str = "linear"
) -> Schedule:
    """Interpolates between two values over a real interval, constant before and after it.

    Args:
      start: where it begins, in updates.
      stop: where it has ended; see `span` for an empty interval.
      first: value up to the start.
      last: value from the stop on.
      shape: a name in `SHAPES`, the share of `first` that is left.

    Returns:
      A schedule.

    Examples:
      >>> [float(interpolate(2, 4, 1.0, 3.0)(t)) for t in (0, 2, 3, 4, 9)]
      [1.0, 1.0, 2.0, 3.0, 3.0]
    """
    function = registry.lookup("shape", SHAPES, shape)
    progress = span(start, stop)

    def schedule(t: ArrayLike) -> jax.Array:
        left = function(progress(t), 0.5)
        return left * first + (1 - left) * last

    return schedule


def switch(first: Schedule, second: Schedule, boundary: ArrayLike) -> Schedule:
    """Runs one schedule before a boundary and another from there on, both on the clock of the run.

    It is `join` without the new clock.

    Args:
      first: schedule of the updates before the boundary.
      second: schedule of the updates from the boundary on, called with t.
      boundary: the update at which the second takes over.

    Returns:
      A schedule. Both are evaluated at clamped times, so their gradients stay finite.

    Examples:
      >>> [float(switch(lambda t: t, lambda t: 10 * t, 2)(t)) for t in (1, 2)]
      [1.0, 20.0]
    """

    def schedule(t: ArrayLike) -> jax.Array:
        t = jnp.asarray(t)
        before, after = first(jnp.minimum(t, boundary)), second(jnp.maximum(t, boundary))
        return jnp.where(t < boundary, before, after)

    return schedule


def cosine_waves(start: ArrayLike, stop: ArrayLike, num_cycles: ArrayLike) -> Schedule:
    r"""Cosine decay of several waves: :math:`d = (1 + \cos 2 \pi n q) / 2`; half a wave is `cosine_decay`.

    Args:
      start: update at which the decay begins.
      stop: update from which on it stays as it is.
      num_cycles: n, waves in between.

    Returns:
      A decay `t -> [0, 1]`.

    Examples:
      >>> [round(float(cosine_waves(0, 4, 1.0)(t)), 2) for t in (0, 1, 2, 4, 5)]
      [1.0, 0.5, 0.0, 1.0, 1.0]
    """
    progress = decay_progress(start, stop)
    return lambda t: (1 + jnp.cos(2 * jnp.pi * num_cycles * progress(t))) / 2


def cycles(cycle_steps: ArrayLike, cycle_mult: ArrayLike = 1.0) -> Callable[[ArrayLike], tuple[jax.Array, jax.Array]]:
    """Divides time into endless cycles, cycle i of `cycle_steps * cycle_mult**i` updates.

    Args:
      cycle_steps: length of the first, above 0.
      cycle_mult: growth of the length; unless it is 1 only the first `MOST_CYCLES` count.

    Returns:
      A function `t -> (i, progress within cycle i, in [0, 1))`.

    Raises:
      ValueError: if a concrete number is not above 0.

    Examples:
      >>> [[round(float(x), 2) for x in cycles(2, 2.0)(t)] for t in (0, 1, 2, 5, 6)]
      [[0.0, 0.0], [0.0, 0.5], [1.0, 0.0], [1.0, 0.75], [2.0, 0.0]]
    """
    require("cycle_steps", cycle_steps, 0, above=True)
    require("cycle_mult", cycle_mult, 0, above=True)
    xp = array_module(cycle_steps, cycle_mult)
    # Products, because powers need not be exact where the cycles end.
    growth = xp.concatenate([xp.ones(1), xp.cumprod(cycle_mult * xp.ones(MOST_CYCLES - 1))])
    lengths = cycle_steps * growth
    ends = xp.cumsum(lengths)

    def position(t: ArrayLike) -> tuple[jax.Array, jax.Array]:
        t = jnp.maximum(jnp.asarray(t), 0)
        grown = jnp.minimum((t[..., None] >= ends).sum(-1), MOST_CYCLES - 1)
        even = jnp.asarray(cycle_mult) == 1
        index = jnp.where(even, t // cycle_steps, grown)
        length = jnp.where(even, cycle_steps, jnp.asarray(lengths)[grown])
        start = jnp.where(even, index * cycle_steps, jnp.asarray(ends - lengths)[grown])
        return index, (t - start) / length

    return position


def triangle(up: ArrayLike, down: ArrayLike) -> Schedule:
    """A triangle wave: from 0 to 1 in `up` updates and back in `down`, for ever.

    Args:
      up: length of the rise, above 0.
      down: length of the fall, above 0.

    Returns:
      A function `t -> [0, 1]`.

    Examples:
      >>> [round(float(triangle(2, 4)(t)), 2) for t in (0, 1, 2, 4, 6, 7)]
      [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]
    """
    position = cycles(up + down)

    def wave(t: ArrayLike) -> jax.Array:
        since = position(t)[1] * (up + down)
        return jnp.clip(jnp.minimum(since / up, 1 + (up - since) / down), 0, 1)

    return wave


def piecewise_constant(boundaries: Numbers, values: Numbers) -> Schedule:
    """values[i], where i is the number of boundaries b with b <= t.

    `multistep_decay` is the same with relative values.

    Args:
      boundaries: updates, growing, shape [n].
      values: shape [n + 1].

    Returns:
      A schedule.

    Examples:
      >>> [round(float(piecewise_constant((2, 4), (1.0, 0.5, 0.2))(t)), 2) for t in (1, 2, 4)]
      [1.0, 0.5, 0.2]
    """

    def schedule(t: ArrayLike) -> jax.Array:
        passed = (jnp.asarray(t)[..., None] >= jnp.asarray(boundaries, float)).sum(-1)
        return jnp.asarray(values, float)[passed]

    return schedule
