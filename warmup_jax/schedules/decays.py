r"""Decays: functions `t -> [0, 1]`, the share of the way from the end rate to the peak that is left.

`t` counts the updates already applied. A decay over progress runs from `start`
to `stop`, :math:`q = (t - start) / (stop - start)` clamped to [0, 1], so it
neither rises again nor turns negative after its end. A stop at or before the
start is taken as start + 1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Numbers, Schedule, power, require


def decay_progress(start: ArrayLike, stop: ArrayLike) -> Schedule:
    """Returns the progress q of a decay, a function `t -> [0, 1]`.

    Args:
      start: update at which the decay begins.
      stop: update at which it has ended; a stop at or before start is taken as start + 1.

    Returns:
      A function `t -> q`.

    Raises:
      ValueError: if a concrete number is not finite.

    Examples:
      >>> [float(decay_progress(2, 6)(t)) for t in (0, 2, 3, 6, 9)]
      [0.0, 0.0, 0.25, 1.0, 1.0]
    """
    require("start", start)
    require("stop", stop)

    def progress(t: ArrayLike) -> jax.Array:
        done, of = jnp.maximum(jnp.asarray(t) - start, 0), jnp.maximum(jnp.asarray(stop) - start, 1)
        return jnp.where(done < of, done / of, 1.0)  # exactly 1 at the end, which division does not guarantee

    return progress


def constant_decay() -> Schedule:
    r"""No decay: :math:`d(t) = 1`.

    Returns:
      A decay `t -> 1`.

    Examples:
      >>> float(constant_decay()(10))
      1.0
    """
    return lambda t: jnp.ones_like(jnp.asarray(t), dtype=float)


def linear_decay(start: ArrayLike, stop: ArrayLike) -> Schedule:
    r"""Linear decay: :math:`d = 1 - q`.

    Args:
      start: update at which the decay begins.
      stop: update at which it has reached 0.

    Returns:
      A decay `t -> [0, 1]`.

    Examples:
      >>> [float(linear_decay(2, 6)(t)) for t in (0, 2, 4, 6, 60)]
      [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    progress = decay_progress(start, stop)
    return lambda t: 1 - progress(t)


def polynomial_decay(start: ArrayLike, stop: ArrayLike, exponent: ArrayLike) -> Schedule:
    r"""Polynomial decay: :math:`d = (1 - q)^e`.

    Args:
      start: update at which the decay begins.
      stop: update at which it has reached 0.
      exponent: e, above 0; 1 is linear.

    Returns:
      A decay `t -> [0, 1]`.

    Raises:
      ValueError: if `exponent` is a concrete number that is not above 0.

    Examples:
      >>> [float(polynomial_decay(0, 4, 2.0)(t)) for t in (0, 2, 4)]
      [1.0, 0.25, 0.0]
    """
    require("exponent", exponent, 0, above=True)
    progress = decay_progress(start, stop)
    return lambda t: power(1 - progress(t), exponent)


def cosine_decay(start: ArrayLike, stop: ArrayLike, exponent: ArrayLike = 1.0) -> Schedule:
    r"""Cosine decay: :math:`d = [(1 + \cos \pi q) / 2]^e`.

    With `start = 0` and `exponent = 1` it is `optax.cosine_decay_schedule(1, stop)`.

    Args:
      start: update at which the decay begins.
      stop: update at which it has reached 0.
      exponent: e, above 0.

    Returns:
      A decay `t -> [0, 1]`; it stays 0 after `stop` and does not rise again.

    Raises:
      ValueError: if `exponent` is a concrete number that is not above 0.

    Examples:
      >>> [round(float(cosine_decay(0, 4)(t)), 3) for t in (0, 1, 2, 4, 6)]
      [1.0, 0.854, 0.5, 0.0, 0.0]

    References:
      Loshchilov and Hutter, `SGDR: Stochastic Gradient Descent with Warm
      Restarts <https://arxiv.org/abs/1608.03983>`_, 2017
    """
    require("exponent", exponent, 0, above=True)
    progress = decay_progress(start, stop)
    return lambda t: power((1 + jnp.cos(jnp.pi * progress(t))) / 2, exponent)


def exponential_decay(start: ArrayLike, stop: ArrayLike, final: ArrayLike) -> Schedule:
    r"""Exponential decay: :math:`d = (f^q - f) / (1 - f)`, from 1 to 0 by equal ratios to a base line.

    With `end_lr` = f times the peak the rate is :math:`\eta_{peak} f^q`; f = 0.5 and
    `end_lr` = 0 give Megatron's :math:`2 \cdot 0.5^q - 1`.

    Args:
      start: update at which the decay begins.
      stop: update at which it has reached 0.
      final: f, above 0 and below 1.

    Returns:
      A decay `t -> [0, 1]`.

    Raises:
      ValueError: if `final` is a concrete number outside (0, 1).

    Examples:
      >>> [round(float(exponential_decay(0, 4, 0.01)(t)), 3) for t in (0, 2, 4)]
      [1.0, 0.091, 0.0]
    """
    require("final", final, 0, 1, above=True, below=True)
    progress = decay_progress(start, stop)
    return lambda t: (jnp.asarray(final, float) ** progress(t) - final) / (1 - final)


def geometric_decay(
    start: ArrayLike, decay_rate: ArrayLike, transition_steps: ArrayLike, staircase: bool = False
) -> Schedule:
    r"""Geometric decay: :math:`d = r^{(t - start) / s}`, for ever.

    Args:
      start: update at which the decay begins.
      decay_rate: r, above 0 and at most 1.
      transition_steps: s, the updates in which the rate falls by r; above 0.
      staircase: whether it falls in steps, the power being rounded down.

    Returns:
      A decay `t -> (0, 1]`.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [float(geometric_decay(2, 0.5, 2, staircase=True)(t)) for t in (0, 3, 4, 7)]
      [1.0, 1.0, 0.5, 0.25]
    """
    require("decay_rate", decay_rate, 0, 1, above=True)
    require("transition_steps", transition_steps, 0, above=True)

    def decay(t: ArrayLike) -> jax.Array:
        exponent = jnp.maximum(jnp.asarray(t) - start, 0) / transition_steps
        return jnp.asarray(decay_rate, float) ** (jnp.floor(exponent) if staircase else exponent)

    return decay


def inverse_sqrt_decay(start: ArrayLike, timescale: ArrayLike) -> Schedule:
    r"""Inverse square-root decay: :math:`d = 1 / \sqrt{1 + \max(t - start, 0) / timescale}`.

    With `start = timescale = W` it is :math:`\sqrt{W / t}`, the decay of the
    Transformer (Vaswani et al. 2017) after W updates of warmup.

    Args:
      start: update at which the decay begins.
      timescale: updates after which the rate has fallen to 0.71 of the peak; above 0.

    Returns:
      A decay `t -> (0, 1]`.

    Raises:
      ValueError: if `timescale` is a concrete number that is not above 0.

    Examples:
      >>> [round(float(inverse_sqrt_decay(10, 10)(t)), 3) for t in (0, 10, 40)]
      [1.0, 1.0, 0.5]

    References:
      Vaswani et al., `Attention Is All You Need
      <https://arxiv.org/abs/1706.03762>`_, 2017;
      Zhai et al., `Scaling Vision Transformers
      <https://arxiv.org/abs/2106.04560>`_, 2021 (the form with a timescale)
    """
    require("timescale", timescale, 0, above=True)
    return lambda t: 1 / jnp.sqrt(1 + jnp.maximum(jnp.asarray(t) - start, 0) / timescale)


def multistep_decay(boundaries: Numbers, factor: Numbers) -> Schedule:
    r"""Decay by steps: d(t) is the product of the factors of the boundaries b with b <= t.

    Args:
      boundaries: updates at which the rate falls, counted from the start of
        training (the warmup included), shape [n].
      factor: what each boundary multiplies the rate by, one number or one for each, shape [n].

    Returns:
      A decay of t.

    Raises:
      ValueError: if a concrete number is negative or not finite.

    Examples:
      >>> [round(float(multistep_decay((3, 6), 0.1)(t)), 3) for t in (2, 3, 6)]
      [1.0, 0.1, 0.01]

    References:
      He et al., `Deep Residual Learning for Image Recognition
      <https://arxiv.org/abs/1512.03385>`_, 2015
    """
    require("boundaries", boundaries, 0)
    require("factor", factor, 0)
    shape = jnp.asarray(factor).shape
    if shape not in ((), jnp.asarray(boundaries).shape):
        raise ValueError(f"factor of shape {shape}; allowed: one number, or one for each of the boundaries")

    def decay(t: ArrayLike) -> jax.Array:
        passed = jnp.asarray(t)[..., None] >= jnp.asarray(boundaries)
        return jnp.where(passed, jnp.asarray(factor, float), 1.0).prod(-1)

    return decay


# Shapes of a cooldown over its progress r: 1 at r = 0 and 0 at r = 1.
SHAPES = {
    "linear": lambda r, final: 1 - r,
    "cosine": lambda r, final: (1 + jnp.cos(jnp.pi * r)) / 2,
    "exponential": lambda r, final: (jnp.asarray(final, float) ** r - final) / (1 - final),
    "sqrt": lambda r, final: 1 - power(r, 0.5),
    "square": lambda r, final: 1 - jnp.square(r),
    "mirror_cosine": lambda r, final: 2 * (1 - r) - (1 + jnp.cos(jnp.pi * r)) / 2,
}


def cooldown(start: ArrayLike, stop: ArrayLike, shape: str = "linear", final: ArrayLike = 0.5) -> Schedule:
    """A decay of one of the `SHAPES`, over the progress r from `start` to `stop`.

    ================  =========================
    linear            1 - r
    cosine            (1 + cos(pi r)) / 2
    exponential       (final^r - final) / (1 - final)
    sqrt              1 - sqrt(r)
    square            1 - r^2
    mirror_cosine     2 (1 - r) - (1 + cos(pi r)) / 2
    ================  =========================

    Args:
      start: update at which it begins.
      stop: update at which it has reached 0.
      shape: a name of the table.
      final: of the exponential shape, in (0, 1).

    Returns:
      A decay `t -> [0, 1]`.

    Raises:
      ValueError: for an unknown shape, or a concrete `final` outside (0, 1).

    Examples:
      >>> [[round(float(cooldown(0, 4, shape)(t)), 2) for t in (1, 3)] for shape in ("sqrt", "square")]
      [[0.5, 0.13], [0.94, 0.44]]

    References:
      Haegele et al., `Scaling Laws and Compute-Optimal Training Beyond Fixed
      Training Durations <https://arxiv.org/abs/2405.18392>`_, 2024
    """
    function = registry.lookup("shape", SHAPES, shape)
    require("final", final, 0, 1, above=True, below=True)
    progress = decay_progress(start, stop)
    return lambda t: function(progress(t), final)


def wsd_decay(
    start: ArrayLike, stop: ArrayLike, decay_fraction: ArrayLike, shape: str = "sqrt", final: ArrayLike = 0.5
) -> Schedule:
    """Warmup-stable-decay: 1 until the last `decay_fraction` of the run, then a `cooldown`.

    Args:
      start: update at which the warmup has ended; the cooldown does not begin before.
      stop: updates of the run.
      decay_fraction: length of the cooldown as a share of `stop`, in [0, 1].
      shape: of the cooldown, see `cooldown`.
      final: of the exponential shape, in (0, 1).

    Returns:
      A decay `t -> [0, 1]`.

    Raises:
      ValueError: for an unknown shape, or a concrete number out of its range.

    Examples:
      >>> [round(float(wsd_decay(0, 100, 0.2, "linear")(t)), 2) for t in (0, 80, 90, 100)]
      [1.0, 1.0, 0.5, 0.0]

    References:
      Hu et al., `MiniCPM: Unveiling the Potential of Small Language Models
      <https://arxiv.org/abs/2404.06395>`_, 2024;
      Haegele et al., `Scaling Laws and Compute-Optimal Training Beyond Fixed
      Training Durations <https://arxiv.org/abs/2405.18392>`_, 2024
    """
    require("decay_fraction", decay_fraction, 0, 1)
    return cooldown(jnp.maximum(stop * (1 - jnp.asarray(decay_fraction, float)), start), stop, shape, final)


def one_cycle_decay(start: ArrayLike, stop: ArrayLike) -> Schedule:
    r"""The fall of one cycle: a cosine that has reached 0 at the last update, t = stop - 1.

    Args:
      start: update of the peak.
      stop: updates of the run.

    Returns:
      A decay `t -> [0, 1]`.

    Examples:
      >>> [round(float(one_cycle_decay(4, 9)(t)), 2) for t in (4, 6, 8)]
      [1.0, 0.5, 0.0]

    References:
      Smith and Topin, `Super-Convergence: Very Fast Training of Neural Networks Using
      Large Learning Rates <https://arxiv.org/abs/1708.07120>`_, 2018
    """
    return cosine_decay(start, jnp.asarray(stop) - 1)


def cosine_restarts_decay(
    start: ArrayLike,
    cycle_steps: ArrayLike,
    cycle_mult: ArrayLike = 1.0,
    peak_decay: ArrayLike = 1.0,
    cycle_warmup_steps: ArrayLike = 0,
    num_cycles: int = 32,
) -> Schedule:
    r"""Cosine decay with warm restarts: cycle i lasts :math:`c\,m^i` updates and has the peak :math:`g^i`.

    Args:
      start: update at which the first cycle begins.
      cycle_steps: c, length of the first cycle in updates, above 0.
      cycle_mult: m, above 0.
      peak_decay: g, in (0, 1].
      cycle_warmup_steps: linear warmup, in updates, at the beginning of every cycle but the first.
      num_cycles: cycles after which it stays 0, at most 65,536; static.

    Returns:
      A decay `t -> [0, 1]`.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(cosine_restarts_decay(0, 2, 2.0, 0.5)(t)), 2) for t in (0, 1, 2, 4, 6)]
      [1.0, 0.5, 0.5, 0.25, 0.25]

    References:
      Loshchilov and Hutter, `SGDR: Stochastic Gradient Descent with Warm
      Restarts <https://arxiv.org/abs/1608.03983>`_, 2017
    """
    require("cycle_steps", cycle_steps, 0, above=True)
    require("cycle_mult", cycle_mult, 0, above=True)
    require("peak_decay", peak_decay, 0, 1, above=True)
    require("num_cycles", num_cycles, 1, 2**16)

    def decay(t: ArrayLike) -> jax.Array:
        t = jnp.maximum(jnp.asarray(t) - start, 0)
        lengths = cycle_steps * jnp.asarray(cycle_mult, float) ** jnp.arange(num_cycles)
        ends = jnp.cumsum(lengths)
        cycle = (t[..., None] >= ends).sum(-1)
        inside = jnp.minimum(cycle, num_cycles - 1)
        since = t - (ends - lengths)[inside]
        rise = jnp.clip((since + 1) / jnp.maximum(cycle_warmup_steps, 1), 0, 1)
        fall = (1 + jnp.cos(jnp.pi * jnp.clip(since / lengths[inside], 0, 1))) / 2
        warm = jnp.where(cycle > 0, rise, 1.0)
        return warm * fall * jnp.asarray(peak_decay, float) ** inside * (cycle < num_cycles)

    return decay
