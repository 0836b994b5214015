r"""Warmup factors: functions `t -> [0, 1]` that a learning rate is multiplied by.

`t` counts the updates already applied. Each factor with a length W in updates
is a shape over the progress x of the warmup, and `count` chooses among the
conventions for x that are in use:

============  ===============  =========================================
count         x                used by
============  ===============  =========================================
``one``       (t + 1) / W      pytorch_warmup, torchtitan; ours
``zero``      t / W            optax, transformers, big_vision
``one_over``  (t + 1) / (W+1)  nanoGPT, NeMo
``linspace``  t / (W - 1)      mmengine, ignite
============  ===============  =========================================

W = 0 means no warmup in all of them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import Schedule, power, ratio, require, require_steps

# count: (added to t, added to W)
COUNTS = {"one": (1, 0), "zero": (0, 0), "one_over": (1, 1), "linspace": (0, -1)}


def warmup_progress(warmup_steps: ArrayLike, count: str = "one") -> Schedule:
    """Returns the progress x of a warmup, a function `t -> [0, 1]` that is 1 from its end on.

    Args:
      warmup_steps: length W in updates; 0 means no warmup: x is 1 throughout.
      count: "one", "zero", "one_over" or "linspace", see the table of this module.

    Returns:
      A function `t -> x`, clamped to that of t = 0 before the start.

    Raises:
      ValueError: for an unknown count, or a concrete length that is negative or not whole.

    Examples:
      >>> [[float(warmup_progress(4, count)(t)) for t in (0, 2, 3, 4)] for count in ("one", "zero", "one_over")]
      [[0.25, 0.75, 1.0, 1.0], [0.0, 0.5, 0.75, 1.0], [0.20000000298023224, 0.6000000238418579, 0.800000011920929, 1.0]]
    """
    require_steps("warmup_steps", warmup_steps)
    to_t, to_length = registry.lookup("count", COUNTS, count)

    def progress(t: ArrayLike) -> jax.Array:
        t, length = jnp.maximum(jnp.asarray(t), 0), jnp.asarray(warmup_steps)
        done, of = t + to_t, length + to_length
        # After its end x is exactly 1, which compiled division does not guarantee.
        return jnp.where((length > 0) & (done < of), ratio(done, of, 1.0), 1.0)

    return progress


def no_warmup() -> Schedule:
    r"""The warmup factor of a run without warmup: :math:`w(t) = 1`.

    Returns:
      A factor `t -> 1`.

    Examples:
      >>> float(no_warmup()(0))
      1.0
    """
    return lambda t: jnp.ones_like(jnp.asarray(t), dtype=float)


def linear_warmup(warmup_steps: ArrayLike, count: str = "one") -> Schedule:
    r"""Linear (gradual) warmup: :math:`w = x`, with x = min(1, (t + 1) / W).

    The first update already has the rate 1/W and update W, at t = W - 1, the
    full one: no update is wasted. The parity with optax is
    ``linear_warmup(W)(t) == optax.linear_schedule(0, 1, W)(t + 1)``.

    Args:
      warmup_steps: length W of the warmup in updates; 0 and 1 both mean none.
      count: convention of the progress x, see `warmup_progress`.

    Returns:
      A factor `t -> [0, 1]`, never decreasing.

    Raises:
      ValueError: if `warmup_steps` is concrete and negative or not whole, or `count` unknown.

    Examples:
      >>> [round(float(linear_warmup(4)(t)), 2) for t in (0, 1, 3, 4)]
      [0.25, 0.5, 1.0, 1.0]

    References:
      Goyal et al., `Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour
      <https://arxiv.org/abs/1706.02677>`_, 2017;
      Vaswani et al., `Attention Is All You Need
      <https://arxiv.org/abs/1706.03762>`_, 2017
    """
    return warmup_progress(warmup_steps, count)


def constant_warmup(warmup_steps: ArrayLike, value: ArrayLike) -> Schedule:
    """Constant (step) warmup: `value` for the first W updates, then 1.

    Args:
      warmup_steps: length W in updates; 0 means none.
      value: the factor during the warmup, in [0, 1].

    Returns:
      A factor `t -> {value, 1}`.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(constant_warmup(2, 0.1)(t)), 2) for t in (0, 1, 2)]
      [0.1, 0.1, 1.0]

    References:
      He et al., `Deep Residual Learning for Image Recognition
      <https://arxiv.org/abs/1512.03385>`_, 2015 (ResNet-110: 0.1 for about 400 updates)
    """
    require_steps("warmup_steps", warmup_steps)
    require("value", value, 0, 1)
    return lambda t: jnp.where(jnp.maximum(jnp.asarray(t), 0) < warmup_steps, value, 1.0)


def power_warmup(warmup_steps: ArrayLike, exponent: ArrayLike, count: str = "one") -> Schedule:
    r"""Power warmup: :math:`w = x^e`.

    Args:
      warmup_steps: length W in updates; 0 means none.
      exponent: e, above 0; above 1 it starts slowly, below 1 fast.
      count: convention of the progress x, see `warmup_progress`.

    Returns:
      A factor `t -> [0, 1]`.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [float(power_warmup(4, 2.0)(t)) for t in (0, 1, 3)]
      [0.0625, 0.25, 1.0]

    References:
      Kalra and Barkeshli, `Why Warmup the Learning Rate? Underlying Mechanisms
      and Improvements <https://arxiv.org/abs/2406.09405>`_, 2024
    """
    require("exponent", exponent, 0, above=True)
    progress = warmup_progress(warmup_steps, count)
    return lambda t: power(progress(t), exponent)


def cosine_warmup(warmup_steps: ArrayLike, count: str = "one") -> Schedule:
    r"""Cosine warmup: :math:`w = (1 - \cos \pi x) / 2`, slow at both ends.

    Args:
      warmup_steps: length W in updates; 0 means none.
      count: convention of the progress x, see `warmup_progress`.

    Returns:
      A factor `t -> [0, 1]`.

    Raises:
      ValueError: if `warmup_steps` is concrete and negative or not whole, or `count` unknown.

    Examples:
      >>> [round(float(cosine_warmup(4)(t)), 3) for t in (0, 1, 3)]
      [0.146, 0.5, 1.0]

    References:
      Smith, `A disciplined approach to neural network hyper-parameters
      <https://arxiv.org/abs/1803.09820>`_, 2018 (the rise of one cycle)
    """
    progress = warmup_progress(warmup_steps, count)
    return lambda t: (1 - jnp.cos(jnp.pi * progress(t))) / 2


def sqrt_complement_warmup(warmup_steps: ArrayLike, count: str = "one") -> Schedule:
    r"""The "1-sqrt" warmup: :math:`w = 1 - \sqrt{1 - x}`, slow at first and steep at its end.

    Args:
      warmup_steps: length W in updates; 0 means none.
      count: convention of the progress x, see `warmup_progress`.

    Returns:
      A factor `t -> [0, 1]`.

    Raises:
      ValueError: if `warmup_steps` is concrete and negative or not whole, or `count` unknown.

    Examples:
      >>> [round(float(sqrt_complement_warmup(4)(t)), 3) for t in (0, 2, 3)]
      [0.134, 0.5, 1.0]

    References:
      Haegele et al., `Scaling Laws and Compute-Optimal Training Beyond Fixed
      Training Durations <https://arxiv.org/abs/2405.18392>`_, 2024 (the shape, as a cooldown)
    """
    progress = warmup_progress(warmup_steps, count)
    return lambda t: 1 - power(1 - progress(t), 0.5)


def exponential_warmup(tau: ArrayLike) -> Schedule:
    r"""Exponential warmup: :math:`w = 1 - e^{-(t + 1) / \tau}`; it comes close to 1 and never reaches it.

    Args:
      tau: time constant in updates, above 0.

    Returns:
      A factor `t -> (0, 1)`.

    Raises:
      ValueError: if `tau` is a concrete number that is not above 0.

    Examples:
      >>> [round(float(exponential_warmup(10)(t)), 3) for t in (0, 9, 99)]
      [0.095, 0.632, 1.0]

    References:
      Ma and Yarats, `On the adequacy of untuned warmup for adaptive optimization
      <https://arxiv.org/abs/1910.04209>`_, 2021
    """
    require("tau", tau, 0, above=True)
    return lambda t: -jnp.expm1(-(jnp.maximum(jnp.asarray(t), 0) + 1) / tau)


def geometric_warmup(warmup_steps: ArrayLike, start: ArrayLike, count: str = "one") -> Schedule:
    r"""Geometric warmup: :math:`w = s^{1 - x}`, from s to 1 by equal ratios.

    Args:
      warmup_steps: length W in updates; 0 means none.
      start: s, above 0 and at most 1.
      count: convention of the progress x, see `warmup_progress`.

    Returns:
      A factor `t -> [start, 1]`.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(geometric_warmup(4, 0.01, "zero")(t)), 3) for t in (0, 2, 4)]
      [0.01, 0.1, 1.0]

    References:
      Vaswani et al., `Tensor2Tensor for Neural Machine Translation
      <https://arxiv.org/abs/1803.07416>`_, 2018 (its default warmup, s = 0.01)
    """
    require("start", start, 0, 1, above=True)
    progress = warmup_progress(warmup_steps, count)
    return lambda t: jnp.asarray(start, float) ** (1 - progress(t))


def logarithmic_warmup(warmup_steps: ArrayLike) -> Schedule:
    r"""Logarithmic warmup: :math:`w = \ln(t + 1) / \ln W`, much faster than linear.

    The first update has the factor 0.

    Args:
      warmup_steps: length W in updates; 0 and 1 mean none.

    Returns:
      A factor `t -> [0, 1]`.

    Raises:
      ValueError: if `warmup_steps` is concrete and negative or not whole.

    Examples:
      >>> [round(float(logarithmic_warmup(100)(t)), 3) for t in (0, 9, 99)]
      [0.0, 0.5, 1.0]

    References:
      Rasley et al., `DeepSpeed: System Optimizations Enable Training Deep Learning
      Models with Over 100 Billion Parameters <https://doi.org/10.1145/3394486.3406703>`_,
      2020 (the default of its `WarmupLR`)
    """
    require_steps("warmup_steps", warmup_steps)

    def factor(t: ArrayLike) -> jax.Array:
        t, length = jnp.maximum(jnp.asarray(t), 0) + 1, jnp.asarray(warmup_steps)
        logarithm = lambda number: jnp.log(jnp.maximum(number, 1).astype(float))
        return jnp.where(t < length, ratio(logarithm(t), logarithm(length), 1.0), 1.0)

    return factor


def sigmoid_warmup(warmup_steps: ArrayLike, count: str = "one") -> Schedule:
    r"""Sigmoid-shaped (Gaussian) warmup: :math:`w = e^{-5 (1 - x)^2}`; its first factors are near 0.007.

    Args:
      warmup_steps: length W in updates; 0 means none.
      count: convention of the progress x, see `warmup_progress`.

    Returns:
      A factor `t -> [0.0067, 1]`.

    Raises:
      ValueError: if `warmup_steps` is concrete and negative or not whole, or `count` unknown.

    Examples:
      >>> [round(float(sigmoid_warmup(4)(t)), 3) for t in (0, 1, 3)]
      [0.06, 0.287, 1.0]

    References:
      Tarvainen and Valpola, `Mean teachers are better role models
      <https://arxiv.org/abs/1703.01780>`_, 2017
    """
    progress = warmup_progress(warmup_steps, count)
    return lambda t: jnp.exp(-5 * jnp.square(1 - progress(t)))
