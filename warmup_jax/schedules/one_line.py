r"""The five usual learning rates in one line each: linear warmup, then a decay.

All take the peak, the length of the warmup and that of the run, in this order,
so that one can stand for another. With x = min(1, (t + 1) / W), and d the decay
of each function, whose clock starts when the warmup ends,

.. math::
  \eta(t) = x\,[d(t)\,\eta_{peak} + (1 - d(t))\,\eta_{end}] + (1 - x)\,\eta_{init}
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax.numerics import Schedule
from warmup_jax.schedules import decays, factors
from warmup_jax.schedules.composition import combine


def warmup_constant(
    peak_lr: ArrayLike, warmup_steps: ArrayLike, num_steps: ArrayLike, *, init_lr: ArrayLike = 0.0
) -> Schedule:
    r"""Linear warmup, then the peak until the end: :math:`d = 1`.

    Args:
      peak_lr: the highest rate, 0 or more.
      warmup_steps: length W of the warmup in updates; 0 and 1 both mean none.
      num_steps: updates of the run. The rate stays as it is from there on, also
        where the warmup is longer than the run.
      init_lr: rate that the warmup starts from, 0 or more.

    Returns:
      An optax schedule `t -> learning rate`; all its numbers may be traced.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(warmup_constant(0.1, 4, 100)(t)), 3) for t in (0, 3, 4, 100)]
      [0.025, 0.1, 0.1, 0.1]

    References:
      Goyal et al., `Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour
      <https://arxiv.org/abs/1706.02677>`_, 2017 (the warmup)
    """
    return combine(
        factors.linear_warmup(warmup_steps),
        decays.constant_decay(),
        peak_lr=peak_lr,
        num_steps=num_steps,
        init_lr=init_lr,
    )


def warmup_linear(
    peak_lr: ArrayLike,
    warmup_steps: ArrayLike,
    num_steps: ArrayLike,
    *,
    init_lr: ArrayLike = 0.0,
    end_lr: ArrayLike = 0.0,
) -> Schedule:
    r"""Linear warmup, then a straight line to the end: :math:`d = 1 - q`, with :math:`q = (t - W) / (T - W)`.

    Args:
      peak_lr: the highest rate, 0 or more.
      warmup_steps: length W of the warmup in updates; 0 and 1 both mean none.
      num_steps: updates T of the run; the rate stays at `end_lr` from there on.
        A warmup that is as long or longer is cut off there.
      init_lr: rate that the warmup starts from, 0 or more.
      end_lr: rate at t = T, 0 or more.

    Returns:
      An optax schedule `t -> learning rate`; all its numbers may be traced.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(warmup_linear(0.1, 10, 110)(t)), 3) for t in (0, 9, 10, 60, 110)]
      [0.01, 0.1, 0.1, 0.05, 0.0]

    References:
      Devlin et al., `BERT: Pre-training of Deep Bidirectional Transformers for Language
      Understanding <https://arxiv.org/abs/1810.04805>`_, 2019
    """
    return combine(
        factors.linear_warmup(warmup_steps),
        decays.linear_decay(warmup_steps, num_steps),
        peak_lr=peak_lr,
        num_steps=num_steps,
        init_lr=init_lr,
        end_lr=end_lr,
    )


def warmup_cosine(
    peak_lr: ArrayLike,
    warmup_steps: ArrayLike,
    num_steps: ArrayLike,
    *,
    init_lr: ArrayLike = 0.0,
    end_lr: ArrayLike = 0.0,
) -> Schedule:
    r"""Linear warmup, then half a cosine: :math:`d = (1 + \cos \pi q) / 2`, with :math:`q = (t - W) / (T - W)`.

    Args:
      peak_lr: the highest rate, 0 or more.
      warmup_steps: length W of the warmup in updates; 0 and 1 both mean none.
      num_steps: updates T of the run; the rate stays at `end_lr` from there on.
        A warmup that is as long or longer is cut off there.
      init_lr: rate that the warmup starts from, 0 or more.
      end_lr: rate at t = T, 0 or more; a tenth of the peak is usual for language models.

    Returns:
      An optax schedule `t -> learning rate`; all its numbers may be traced.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(warmup_cosine(0.1, 10, 110, end_lr=0.01)(t)), 3) for t in (0, 9, 10, 60, 110)]
      [0.01, 0.1, 0.1, 0.055, 0.01]

    References:
      Loshchilov and Hutter, `SGDR: Stochastic Gradient Descent with Warm
      Restarts <https://arxiv.org/abs/1608.03983>`_, 2017 (the decay);
      Brown et al., `Language Models are Few-Shot Learners
      <https://arxiv.org/abs/2005.14165>`_, 2020
    """
    return combine(
        factors.linear_warmup(warmup_steps),
        decays.cosine_decay(warmup_steps, num_steps),
        peak_lr=peak_lr,
        num_steps=num_steps,
        init_lr=init_lr,
        end_lr=end_lr,
    )


def warmup_inverse_sqrt(
    peak_lr: ArrayLike, warmup_steps: ArrayLike, num_steps: ArrayLike, *, init_lr: ArrayLike = 0.0
) -> Schedule:
    r"""Linear warmup, then the inverse square root of the time: :math:`d = \sqrt{W / \max(t, W)}`.

    Args:
      peak_lr: the highest rate, 0 or more.
      warmup_steps: length W of the warmup in updates; 0 is taken as 1.
      num_steps: updates of the run; the rate stays at its last value from there on.
      init_lr: rate that the warmup starts from, 0 or more.

    Returns:
      An optax schedule `t -> learning rate`; all its numbers may be traced.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(warmup_inverse_sqrt(0.1, 4, 64)(t)), 4) for t in (0, 3, 4, 16, 64, 100)]
      [0.025, 0.1, 0.1, 0.05, 0.025, 0.025]

    References:
      Vaswani et al., `Attention Is All You Need
      <https://arxiv.org/abs/1706.03762>`_, 2017
    """
    length = jnp.maximum(jnp.asarray(warmup_steps), 1)
    return combine(
        factors.linear_warmup(warmup_steps),
        decays.inverse_sqrt_decay(length, length),
        peak_lr=peak_lr,
        num_steps=num_steps,
        init_lr=init_lr,
    )


def warmup_wsd(
    peak_lr: ArrayLike,
    warmup_steps: ArrayLike,
    num_steps: ArrayLike,
    *,
    decay_fraction: ArrayLike = 0.2,
    shape: str = "sqrt",
    init_lr: ArrayLike = 0.0,
    end_lr: ArrayLike = 0.0,
) -> Schedule:
    r"""Linear warmup, the peak, and a cooldown over the last part of the run (warmup-stable-decay).

    With the fraction f, :math:`d = 1 - \sqrt{r}` for the shape "sqrt", with
    :math:`r = (t - S) / (T - S)` from :math:`S = \max((1 - f)\,T, W)` on.

    Args:
      peak_lr: the highest rate, 0 or more.
      warmup_steps: length W of the warmup in updates; 0 and 1 both mean none.
      num_steps: updates T of the run; the rate stays at `end_lr` from there on.
        A warmup that is as long or longer is cut off there.
      decay_fraction: f, the share of the run that the cooldown takes, in [0, 1].
      shape: of the cooldown, a name of `SHAPES`; see `cooldown`.
      init_lr: rate that the warmup starts from, 0 or more.
      end_lr: rate at t = T, 0 or more.

    Returns:
      An optax schedule `t -> learning rate`; all its numbers may be traced.

    Raises:
      ValueError: for an unknown shape, or a concrete number out of its range.

    Examples:
      >>> [round(float(warmup_wsd(0.1, 10, 100)(t)), 3) for t in (0, 9, 80, 85, 100)]
      [0.01, 0.1, 0.1, 0.05, 0.0]

    References:
      Hu et al., `MiniCPM: Unveiling the Potential of Small Language Models
      <https://arxiv.org/abs/2404.06395>`_, 2024;
      Haegele et al., `Scaling Laws and Compute-Optimal Training Beyond Fixed
      Training Durations <https://arxiv.org/abs/2405.18392>`_, 2024
    """
    return combine(
        factors.linear_warmup(warmup_steps),
        decays.wsd_decay(warmup_steps, num_steps, decay_fraction, shape),
        peak_lr=peak_lr,
        num_steps=num_steps,
        init_lr=init_lr,
        end_lr=end_lr,
    )
