r"""Learning-rate schedules with warmup, as optax schedules.

A **warmup factor** `w` and a **decay** `d` are functions of `t`, the number of
updates already applied (0 at the first update, optax's count), with values in
[0, 1]. `combine` makes a learning rate of the two:

.. math::
  \eta(t) = w(t)\,\bigl[d(t)\,\eta_{peak} + (1 - d(t))\,\eta_{end}\bigr] + (1 - w(t))\,\eta_{init}

Every function here is branch-free in its numbers, so that each of them (the
peak, the length of the warmup, the end of the decay) can be a float, a traced
scalar or the axis of a `jax.vmap`: a sweep over warmup lengths is one program.

>>> import jax, jax.numpy as jnp
>>> rate = lambda peak, warmup_steps: combine(
...     linear_warmup(warmup_steps), cosine_decay(warmup_steps, 100),
...     peak_lr=peak, num_steps=100)
>>> rates = jax.vmap(lambda w: rate(0.1, w)(0))(jnp.array([0, 1, 10]))
>>> [round(float(r), 3) for r in rates]
[0.1, 0.1, 0.01]
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from warmup_jax import registry

Schedule = Callable[[ArrayLike], jax.Array]


def no_warmup() -> Schedule:
    r"""The warmup factor of a run without warmup: :math:`w(t) = 1`.

    Returns:
      A factor `t -> 1`.

    Examples:
      >>> float(no_warmup()(0))
      1.0
    """
    return lambda t: jnp.ones_like(jnp.asarray(t, float))


def linear_warmup(warmup_steps: ArrayLike) -> Schedule:
    r"""Linear (gradual) warmup: :math:`w(t) = \min(1, (t + 1) / W)`.

    The first update already has the rate 1/W and update W, at t = W - 1, the
    full one: no update is wasted. The parity with optax is
    ``linear_warmup(W)(t) == optax.linear_schedule(0, 1, W)(t + 1)``.

    Args:
      warmup_steps: length W of the warmup in updates; 0 and 1 both mean none.

    Returns:
      A factor `t -> [0, 1]`, never decreasing, clamped for t < 0.

    Raises:
      ValueError: if `warmup_steps` is a concrete negative number.

    Examples:
      >>> [round(float(linear_warmup(4)(t)), 2) for t in (0, 1, 3, 4)]
      [0.25, 0.5, 1.0, 1.0]

    References:
      Goyal et al., `Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour
      <https://arxiv.org/abs/1706.02677>`_, 2017;
      Vaswani et al., `Attention Is All You Need
      <https://arxiv.org/abs/1706.03762>`_, 2017
    """
    _require_at_least("warmup_steps", warmup_steps, 0)
    return lambda t: jnp.clip((jnp.asarray(t) + 1) / jnp.maximum(warmup_steps, 1), 0, 1)


def constant_decay() -> Schedule:
    r"""No decay: :math:`d(t) = 1`.

    Returns:
      A decay `t -> 1`.

    Examples:
      >>> float(constant_decay()(10))
      1.0
    """
    return no_warmup()


def linear_decay(start: ArrayLike, stop: ArrayLike) -> Schedule:
    r"""Linear decay: :math:`d(t) = 1 - q`, with :math:`q = (t - start) / (stop - start)` clamped to [0, 1].

    Args:
      start: update at which the decay begins.
      stop: update at which it has reached 0; a stop at or before start is taken as start + 1.

    Returns:
      A decay `t -> [0, 1]`.

    Examples:
      >>> [float(linear_decay(2, 6)(t)) for t in (0, 2, 4, 6, 60)]
      [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    return lambda t: 1 - _progress(t, start, stop)


def cosine_decay(start: ArrayLike, stop: ArrayLike, exponent: ArrayLike = 1.0) -> Schedule:
    r"""Cosine decay: :math:`d(t) = [(1 + \cos \pi q) / 2]^e`, q as in `linear_decay`.

    With `start = 0` and `exponent = 1` it is `optax.cosine_decay_schedule(1, stop)`.

    Args:
      start: update at which the decay begins.
      stop: update at which it has reached 0; a stop at or before start is taken as start + 1.
      exponent: the power e, above 0.

    Returns:
      A decay `t -> [0, 1]`; it stays 0 after `stop` and does not rise again.

    Examples:
      >>> [round(float(cosine_decay(0, 4)(t)), 3) for t in (0, 1, 2, 4, 6)]
      [1.0, 0.854, 0.5, 0.0, 0.0]

    References:
      Loshchilov and Hutter, `SGDR: Stochastic Gradient Descent with Warm
      Restarts <https://arxiv.org/abs/1608.03983>`_, 2017
    """
    return lambda t: ((1 + jnp.cos(jnp.pi * _progress(t, start, stop))) / 2) ** exponent


def multistep_decay(boundaries: ArrayLike, factor: ArrayLike) -> Schedule:
    r"""Decay by steps: :math:`d(t) = factor^{n(t)}`, n(t) the number of boundaries b with b <= t.

    Args:
      boundaries: updates at which the rate falls, counted from the start of
        training (the warmup included), shape [n].
      factor: what each boundary multiplies the rate by.

    Returns:
      A decay `t -> factor ** n(t)`.

    Examples:
      >>> [round(float(multistep_decay((3, 6), 0.1)(t)), 3) for t in (2, 3, 6)]
      [1.0, 0.1, 0.01]

    References:
      He et al., `Deep Residual Learning for Image Recognition
      <https://arxiv.org/abs/1512.03385>`_, 2015
    """
    def decay(t):
        passed = jnp.asarray(t)[..., None] >= jnp.asarray(boundaries)
        return jnp.asarray(factor, float) ** passed.sum(-1)
    return decay


def inverse_sqrt_decay(start: ArrayLike, timescale: ArrayLike) -> Schedule:
    r"""Inverse square-root decay: :math:`d(t) = 1 / \sqrt{1 + \max(t - start, 0) / timescale}`.

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
    _require_at_least("timescale", timescale, 0, strictly=True)
    return lambda t: jax.lax.rsqrt(1 + jnp.maximum(jnp.asarray(t) - start, 0) / timescale)


def combine(warmup: Schedule, decay: Schedule, *, peak_lr: ArrayLike, num_steps: ArrayLike,
            init_lr: ArrayLike = 0.0, end_lr: ArrayLike = 0.0) -> Schedule:
    r"""The learning rate of a warmup factor and a decay (the formula of this module).

    The rate is exactly `peak_lr` where both are 1, starts from `init_lr` where
    the factor is 0 and ends at `end_lr` where the decay is 0.

    Args:
      warmup: factor `t -> [0, 1]`.
      decay: decay `t -> [0, 1]`.
      peak_lr: the highest rate.
      num_steps: updates of the whole run; t is clamped to [0, num_steps], so
        the rate neither rises again nor changes after the end.
      init_lr: rate that the warmup starts from.
      end_lr: rate that the decay ends at.

    Returns:
      An optax schedule `t -> learning rate`.

    Raises:
      ValueError: if one of the rates is a concrete negative or non-finite number.

    Examples:
      >>> rate = combine(linear_warmup(2), linear_decay(2, 6), peak_lr=0.4, num_steps=6)
      >>> [round(float(rate(t)), 2) for t in (0, 1, 2, 4, 6, 9)]
      [0.2, 0.4, 0.4, 0.2, 0.0, 0.0]
    """
    for name, value in (("peak_lr", peak_lr), ("init_lr", init_lr), ("end_lr", end_lr)):
        _require_at_least(name, value, 0)

    def learning_rate(t):
        t = jnp.clip(jnp.asarray(t), 0, num_steps)
        w, d = warmup(t), decay(t)
        return w * (d * peak_lr + (1 - d) * end_lr) + (1 - w) * init_lr
    return learning_rate


WARMUPS = {
    "none": no_warmup,
    "linear": linear_warmup,
}
DECAYS = {
    "constant": constant_decay,
    "linear": linear_decay,
    "cosine": cosine_decay,
    "multistep": multistep_decay,
    "inverse_sqrt": inverse_sqrt_decay,
}
COMBINATIONS = ("join", "multiply")


def build(*, warmup: str, schedule: str, combination: str, warmup_args: Mapping[str, Any],
          schedule_args: Mapping[str, Any], warmup_steps: ArrayLike, num_steps: ArrayLike,
          peak_lr: ArrayLike, init_lr: ArrayLike, end_lr: ArrayLike) -> Schedule:
    """The schedule that a config names.

    Args:
      warmup: a name in `WARMUPS`.
      schedule: a name in `DECAYS`.
      combination: "join" (the decay's clock starts when the warmup ends) or
        "multiply" (it starts with the run, so the warmup dampens the decay).
      warmup_args: the factor's own arguments, beside `warmup_steps`.
      schedule_args: the decay's own arguments, beside `start` and `stop`.
      warmup_steps: length of the warmup in updates.
      num_steps: length of the run in updates.
      peak_lr: the highest rate.
      init_lr: rate that the warmup starts from.
      end_lr: rate that the decay ends at.

    Returns:
      An optax schedule.

    Raises:
      ValueError: for an unknown name, an unknown or missing argument, or a
        concrete number out of its range.

    Examples:
      >>> rate = build(warmup="linear", schedule="cosine", combination="join", warmup_args={},
      ...              schedule_args={"exponent": 1.0}, warmup_steps=5, num_steps=10,
      ...              peak_lr=1.0, init_lr=0.0, end_lr=0.0)
      >>> [round(float(rate(t)), 2) for t in (0, 4, 5, 10)]
      [0.2, 1.0, 1.0, 0.0]
    """
    if combination not in COMBINATIONS:
        raise registry.unknown("combination", combination, COMBINATIONS)
    factor = registry.construct("warmup", WARMUPS, warmup, warmup_args, warmup_steps=warmup_steps)
    start = warmup_steps if combination == "join" else 0
    decay = registry.construct("schedule", DECAYS, schedule, schedule_args, start=start, stop=num_steps)
    return combine(factor, decay, peak_lr=peak_lr, num_steps=num_steps, init_lr=init_lr, end_lr=end_lr)


def _progress(t: ArrayLike, start: ArrayLike, stop: ArrayLike) -> jax.Array:
    return jnp.clip((jnp.asarray(t) - start) / jnp.maximum(jnp.asarray(stop) - start, 1), 0, 1)


def _require_at_least(name: str, value: ArrayLike, bound: float, strictly: bool = False) -> None:
    """Checks a concrete number; a traced one cannot be looked at and passes."""
    if isinstance(value, jax.core.Tracer):
        return
    value = np.asarray(value)  # numpy: a concrete number stays one inside a trace
    fine = np.isfinite(value) & ((value > bound) if strictly else (value >= bound))
    if not fine.all():
        raise ValueError(f"{name} must be finite and {'above' if strictly else 'at least'} {bound}, got {value}")
