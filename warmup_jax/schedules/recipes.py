"""Published learning rates, whole: warmup, decay and their numbers."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from warmup_jax.numerics import Schedule, require, require_steps
from warmup_jax.schedules import decays, factors
from warmup_jax.schedules.composition import combine, rewarm


def noam(d_model: ArrayLike, warmup_steps: ArrayLike, scale: ArrayLike = 1.0) -> Schedule:
    r"""The rate of the Transformer: :math:`c\,d^{-1/2} \min(s^{-1/2}, s\,W^{-3/2})`, s = t + 1.

    Args:
      d_model: width d of the model.
      warmup_steps: length W of the warmup in updates; 0 starts with the decay.
      scale: c.

    Returns:
      An optax schedule; its peak :math:`c / \sqrt{d W}` is the rate of update W, t = W - 1.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(noam(512, 4000)(t)), 7) for t in (0, 3999, 15_999)]
      [2e-07, 0.0006988, 0.0003494]

    References:
      Vaswani et al., `Attention Is All You Need
      <https://arxiv.org/abs/1706.03762>`_, 2017
    """
    require("d_model", d_model, 0, above=True)
    require_steps("warmup_steps", warmup_steps)
    length = jnp.maximum(jnp.asarray(warmup_steps), 1)
    decay = decays.inverse_sqrt_decay(length - 1, length)
    factor = factors.linear_warmup(warmup_steps)
    peak = jnp.divide(scale, jnp.sqrt(jnp.asarray(d_model, float) * length))
    return lambda t: peak * factor(t) * decay(t)


def goyal(
    batch_size: ArrayLike,
    train_size: ArrayLike,
    num_epochs: ArrayLike = 90.0,
    warmup_epochs: ArrayLike = 5.0,
    base_lr: ArrayLike = 0.1,
    base_batch_size: ArrayLike = 256,
    decay_epochs: tuple = (30, 60, 80),
    factor: ArrayLike = 0.1,
) -> Schedule:
    r"""Large-batch ResNet training: the linear scaling rule with gradual warmup.

    The peak is :math:`\eta_0 B / B_0`, reached linearly from :math:`\eta_0`.

    Args:
      batch_size: B, examples of an update.
      train_size: examples of an epoch.
      num_epochs: length of the run.
      warmup_epochs: length of the warmup.
      base_lr: eta_0, the rate for `base_batch_size` examples.
      base_batch_size: B_0.
      decay_epochs: where the rate falls, in epochs from the start.
      factor: what it is multiplied by there.

    Returns:
      An optax schedule.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> rate = goyal(8192, 1_281_167)
      >>> [round(float(rate(t)), 3) for t in (0, 781, 5000, 14_000)]
      [0.104, 3.2, 0.32, 0.003]

    References:
      Goyal et al., `Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour
      <https://arxiv.org/abs/1706.02677>`_, 2017
    """
    for name, value in (("batch_size", batch_size), ("train_size", train_size), ("num_epochs", num_epochs)):
        require(name, value, 0, above=True)
    epoch = jnp.asarray(train_size, float) / batch_size
    warmup = factors.linear_warmup(jnp.round(warmup_epochs * epoch))
    decay = decays.multistep_decay(jnp.round(jnp.asarray(decay_epochs, float) * epoch), factor)
    return combine(
        warmup,
        decay,
        peak_lr=base_lr * jnp.asarray(batch_size, float) / base_batch_size,
        num_steps=jnp.round(num_epochs * epoch),
        init_lr=base_lr,
    )


def resnet110(
    peak_lr: ArrayLike = 0.1,
    warmup_steps: ArrayLike = 400,
    value: ArrayLike = 0.1,
    boundaries: tuple = (32_000, 48_000),
    num_steps: ArrayLike = 64_000,
) -> Schedule:
    """The rate of the 110-layer CIFAR ResNet: a tenth of the peak at first, then steps.

    The paper ends the warmup when the training error falls below 80 %, after about
    400 updates; `transforms.warmup_until` does just that.

    Args:
      peak_lr: the rate after the warmup.
      warmup_steps: length of the warmup in updates.
      value: the factor during the warmup.
      boundaries: updates at which the rate is divided by 10.
      num_steps: updates of the run.

    Returns:
      An optax schedule.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(resnet110()(t)), 4) for t in (0, 399, 400, 32_000, 48_000)]
      [0.01, 0.01, 0.1, 0.01, 0.001]

    References:
      He et al., `Deep Residual Learning for Image Recognition
      <https://arxiv.org/abs/1512.03385>`_, 2015
    """
    return combine(
        factors.constant_warmup(warmup_steps, value),
        decays.multistep_decay(boundaries, 0.1),
        peak_lr=peak_lr,
        num_steps=num_steps,
    )


def inverse_sqrt(peak_lr: ArrayLike, warmup_steps: ArrayLike, init_lr: ArrayLike = 0.0) -> Schedule:
    r"""Linear warmup, then :math:`\eta_{peak} \sqrt{W / t}`, for ever.

    Args:
      peak_lr: the highest rate.
      warmup_steps: length W of the warmup in updates; 0 is taken as 1.
      init_lr: rate that the warmup starts from.

    Returns:
      An optax schedule.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(inverse_sqrt(0.1, 4)(t)), 3) for t in (0, 3, 4, 16)]
      [0.025, 0.1, 0.1, 0.05]

    References:
      Ott et al., `fairseq: A Fast, Extensible Toolkit for Sequence Modeling
      <https://arxiv.org/abs/1904.01038>`_, 2019
    """
    require("peak_lr", peak_lr, 0)
    require("init_lr", init_lr, 0)
    length = jnp.maximum(jnp.asarray(warmup_steps), 1)
    factor, decay = factors.linear_warmup(warmup_steps), decays.inverse_sqrt_decay(length, length)

    def learning_rate(t: ArrayLike) -> jax.Array:
        w = factor(t)
        return w * decay(t) * peak_lr + (1 - w) * init_lr

    return learning_rate


def wsd(
    peak_lr: ArrayLike,
    warmup_steps: ArrayLike,
    num_steps: ArrayLike,
    decay_fraction: ArrayLike = 0.2,
    shape: str = "sqrt",
    end_lr: ArrayLike = 0.0,
) -> Schedule:
    """Warmup-stable-decay: linear warmup, constant rate, and a cooldown over the last part of the run.

    Args:
      peak_lr: the highest rate.
      warmup_steps: length of the warmup in updates.
      num_steps: updates of the run.
      decay_fraction: share of the run that the cooldown takes.
      shape: of the cooldown, see `cooldown`; "sqrt" is 1 - sqrt(r).
      end_lr: rate at the end.

    Returns:
      An optax schedule.

    Raises:
      ValueError: for an unknown shape, or a concrete number out of its range.

    Examples:
      >>> [round(float(wsd(0.1, 10, 100)(t)), 3) for t in (0, 50, 85, 100)]
      [0.01, 0.1, 0.05, 0.0]

    References:
      Hu et al., `MiniCPM: Unveiling the Potential of Small Language Models
      <https://arxiv.org/abs/2404.06395>`_, 2024;
      Haegele et al., `Scaling Laws and Compute-Optimal Training Beyond Fixed
      Training Durations <https://arxiv.org/abs/2405.18392>`_, 2024
    """
    decay = decays.wsd_decay(warmup_steps, num_steps, decay_fraction, shape)
    return combine(factors.linear_warmup(warmup_steps), decay, peak_lr=peak_lr, num_steps=num_steps, end_lr=end_lr)


def trapezoid(peak_lr: ArrayLike, warmup_steps: ArrayLike, decay_steps: ArrayLike, num_steps: ArrayLike) -> Schedule:
    """Linear warmup, constant rate, and a linear fall to 0 over the last `decay_steps` updates.

    Args:
      peak_lr: the highest rate.
      warmup_steps: length of the warmup in updates.
      decay_steps: length of the fall in updates.
      num_steps: updates of the run.

    Returns:
      An optax schedule.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(trapezoid(0.1, 4, 10, 20)(t)), 3) for t in (0, 3, 10, 15, 20)]
      [0.025, 0.1, 0.1, 0.05, 0.0]

    References:
      Zhai et al., `Scaling Vision Transformers
      <https://arxiv.org/abs/2106.04560>`_, 2021
    """
    require_steps("decay_steps", decay_steps)
    start = jnp.maximum(jnp.asarray(num_steps) - decay_steps, warmup_steps)
    return combine(
        factors.linear_warmup(warmup_steps), decays.linear_decay(start, num_steps), peak_lr=peak_lr, num_steps=num_steps
    )


def one_cycle(
    peak_lr: ArrayLike,
    num_steps: ArrayLike,
    warmup_fraction: ArrayLike = 0.3,
    div_factor: ArrayLike = 25.0,
    final_div_factor: ArrayLike = 1e4,
) -> Schedule:
    r"""One cycle: a cosine up from :math:`\eta_{peak} / div` and a cosine down to almost nothing.

    Args:
      peak_lr: the highest rate.
      num_steps: updates of the run.
      warmup_fraction: share of the run that the rise takes.
      div_factor: what the peak is divided by for the first rate.
      final_div_factor: what the first rate is divided by for the last.

    Returns:
      An optax schedule.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(one_cycle(0.1, 101)(t)), 4) for t in (0, 15, 30, 100)]
      [0.004, 0.052, 0.1, 0.0]

    References:
      Smith and Topin, `Super-Convergence: Very Fast Training of Neural Networks Using
      Large Learning Rates <https://arxiv.org/abs/1708.07120>`_, 2018
    """
    require("warmup_fraction", warmup_fraction, 0, 1)
    require("div_factor", div_factor, 1)
    require("final_div_factor", final_div_factor, 1)
    top = jnp.round(warmup_fraction * jnp.asarray(num_steps, float))
    first = peak_lr / div_factor
    return combine(
        factors.cosine_warmup(top, "zero"),
        decays.one_cycle_decay(top, num_steps),
        peak_lr=peak_lr,
        num_steps=num_steps,
        init_lr=first,
        end_lr=first / final_div_factor,
    )


def gpt(peak_lr: ArrayLike, warmup_steps: ArrayLike, num_steps: ArrayLike, end_fraction: ArrayLike = 0.1) -> Schedule:
    """The rate of most language models: linear warmup, then a cosine to a tenth of the peak.

    Args:
      peak_lr: the highest rate.
      warmup_steps: length of the warmup in updates.
      num_steps: updates of the run.
      end_fraction: the last rate as a share of the peak.

    Returns:
      An optax schedule.

    Raises:
      ValueError: if a concrete number is out of its range.

    Examples:
      >>> [round(float(gpt(6e-4, 10, 110)(t)), 6) for t in (0, 9, 60, 110)]
      [6e-05, 0.0006, 0.00033, 6e-05]

    References:
      Brown et al., `Language Models are Few-Shot Learners
      <https://arxiv.org/abs/2005.14165>`_, 2020
    """
    require("end_fraction", end_fraction, 0, 1)
    return combine(
        factors.linear_warmup(warmup_steps),
        decays.cosine_decay(warmup_steps, num_steps),
        peak_lr=peak_lr,
        num_steps=num_steps,
        end_lr=end_fraction * peak_lr,
    )


RECIPES: dict[str, Callable[..., Schedule]] = {
    "noam": noam,
    "goyal": goyal,
    "resnet110": resnet110,
    "inverse_sqrt": inverse_sqrt,
    "wsd": wsd,
    "trapezoid": trapezoid,
    "one_cycle": one_cycle,
    "gpt": gpt,
    "rewarm": rewarm,
}
