"""Variants of Adam that have a warmup built in.

Their moments are kept in float32 at least: in bfloat16 a second moment with
beta2 = 0.999 would not move.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from warmup_jax import registry
from warmup_jax.numerics import Number, rectification, require, wide_dtype


class RectifiedAdamState(NamedTuple):
    """State of `scale_by_rectified_adam`."""

    count: jax.Array  # type: ignore[assignment]  # int32 scalar: updates applied so far; hides tuple.count as in optax
    weight: jax.Array  # float scalar: sum of beta2^j over the gradients seen, j = 0 the latest
    age: jax.Array  # float scalar: sum of (j + 1) beta2^j
    mu: optax.Updates  # first moment
    nu: optax.Updates  # second moment


DEGENERATE = {"sgd": 1.0, "skip": 0.0}


def scale_by_rectified_adam(
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    threshold: Number = 5.0,
    degenerate: str = "sgd",
    raw_eps: bool = False,
) -> optax.GradientTransformation:
    r"""Rectified Adam, with a choice of the update before rectification is possible.

    .. math::
      \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}, \quad
      \rho_\infty = \frac{2}{1 - \beta_2} - 1, \quad
      r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2) \rho_t}}

    with t counted from 1. Where :math:`\rho_t` has reached `threshold` the
    update is :math:`r_t \hat m / (\sqrt{\hat v} + \epsilon)`; before that, in
    the first 5 updates for the usual beta2, it is :math:`\hat m` ("sgd": steps
    as large as the rate, which may explode) or 0 ("skip").

    The formula above takes a difference of numbers near 2/(1 - beta2), which in
    float32 is wrong by more than 1 at beta2 = 0.9999. Here :math:`\rho_t` is
    2 age / weight - 1 with two sums of positive terms, the same number:
    twice the mean age of the gradients in the second moment, less one.

    Args:
      b1: decay rate of the first moment, in [0, 1).
      b2: decay rate of the second moment, in [0, 1). Up to
        1 - 2 / (threshold + 1) the update is never rectified.
      eps: added to the root of the second moment, 0 or more.
      threshold: smallest :math:`\rho_t` to rectify at, above 4. torch asks for
        more than 5, the original and optax for 5 or more; in floating point
        they do not differ.
      degenerate: "sgd" as torch and optax, or "skip" as the original with
        `degenerated_to_sgd=False`, its default.
      raw_eps: adds eps to :math:`\sqrt v` before the correction of its bias, as
        torch and the original do, not after it as optax does.

    Returns:
      A `GradientTransformation` whose state is a `RectifiedAdamState`.

    Raises:
      ValueError: for an unknown `degenerate`, or a concrete number out of its range.

    Examples:
      >>> tx = scale_by_rectified_adam(degenerate="skip")
      >>> state, sizes = tx.init(jnp.zeros(())), []
      >>> for t in range(7):
      ...     update, state = tx.update(jnp.ones(()), state)
      ...     sizes.append(round(float(update), 4))
      >>> sizes
      [0.0, 0.0, 0.0, 0.0, 0.0, 0.0258, 0.0327]

    References:
      Liu et al., `On the Variance of the Adaptive Learning Rate and Beyond
      <https://arxiv.org/abs/1908.03265>`_, 2020
    """
    fallback = registry.lookup("degenerate", DEGENERATE, degenerate)
    _require_adam(b1, b2, eps)
    require("threshold", threshold, 4, above=True)

    def init(params: optax.Params) -> RectifiedAdamState:
        zero = jnp.zeros([], float)
        return RectifiedAdamState(jnp.zeros([], jnp.int32), zero, zero, *_zero_moments(params))

    def update(
        updates: optax.Updates, state: RectifiedAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RectifiedAdamState]:
        del params
        count = optax.safe_increment(state.count)
        weight = (1 + b2 * state.weight).astype(state.weight.dtype)
        age = (weight + b2 * state.age).astype(state.age.dtype)
        rho, rho_inf = 2 * age / weight - 1, 2 / (1 - b2) - 1
        tractable = rho >= threshold
        factor = rectification(rho, rho_inf, tractable)
        mu, nu = _first_moment(updates, state.mu, b1), _second_moment(updates, state.nu, b2)
        adaptive = _direction(mu, nu, 1 - b1**count, (1 - b2) * weight, eps, raw_eps)
        plain = 1 / (1 - b1**count)
        direction = jax.tree.map(lambda a, m: jnp.where(tractable, factor * a, fallback * plain * m), adaptive, mu)
        return _cast_like(direction, updates), RectifiedAdamState(count, weight, age, mu, nu)

    return optax.GradientTransformation(init, update)


def scale_by_gi_adam(b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8) -> optax.GradientTransformation:
    r"""GI-Adam: Adam whose second moment starts at the squared first gradient.

    .. math::
      m_0 = 0, \quad v_0 = g_1^2, \quad
      \Delta_t = \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon}, \quad
      \hat m_t = \frac{m_t}{1 - \beta_1^t}, \quad \hat v_t = \frac{v_t}{1 - \beta_2^t}

    The correction for a bias that the second moment does not have is kept, and
    is the warmup: for a constant gradient the update is
    :math:`\sqrt{1 - \beta_2^t}` that of Adam, 0.032 at first for beta2 = 0.999.
    The first gradient is the one of the first update, so that none is needed at
    `init`.

    Args:
      b1: decay rate of the first moment, in [0, 1).
      b2: decay rate of the second moment, in [0, 1).
      eps: added to the root of the corrected second moment, 0 or more.

    Returns:
      A `GradientTransformation` whose state is an `optax.ScaleByAdamState`.

    Raises:
      ValueError: for a concrete number out of its range.

    Examples:
      >>> tx = scale_by_gi_adam(b2=0.99)
      >>> state, sizes = tx.init(jnp.zeros(())), []
      >>> for t in range(4):
      ...     update, state = tx.update(jnp.full((), 7.0), state)
      ...     sizes.append(round(float(update), 3))
      >>> sizes
      [0.1, 0.141, 0.172, 0.199]

    References:
      Kalra and Barkeshli, `Why Warmup the Learning Rate? Underlying Mechanisms
      and Improvements <https://arxiv.org/abs/2406.09405>`_, 2024
    """
    return _begun_adam(lambda squares: squares, b1, b2, eps)


def scale_by_ri_adam(
    b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8, seed: int = 0
) -> optax.GradientTransformation:
    r"""RI-Adam: GI-Adam whose second moment starts at random numbers of the same size, as a control.

    For each tensor

    .. math::
      v_0 = \lVert g_1^2 \rVert \, \frac{z^2}{\lVert z^2 \rVert}, \quad z \sim \mathcal N(0, 1)

    It tells whether GI-Adam works by what the first gradient says about each parameter, or by its size alone.

    Args:
      b1: decay rate of the first moment, in [0, 1).
      b2: decay rate of the second moment, in [0, 1).
      eps: added to the root of the corrected second moment, 0 or more.
      seed: of z.

    Returns:
      A `GradientTransformation` whose state is an `optax.ScaleByAdamState`.

    Raises:
      ValueError: for a concrete number out of its range.

    Examples:
      >>> tx = scale_by_ri_adam()
      >>> params = jnp.zeros(3)
      >>> update, state = tx.update(jnp.ones(3), tx.init(params))
      >>> round(float(jnp.linalg.norm(state.nu)), 2)  # about that of the squared gradient
      1.73

    References:
      Kalra and Barkeshli, `Why Warmup the Learning Rate? Underlying Mechanisms
      and Improvements <https://arxiv.org/abs/2406.09405>`_, 2024
    """

    def begin(path: Any, square: jax.Array) -> jax.Array:
        # By its path, so that a tensor has the same numbers where others are masked.
        key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(jax.tree_util.keystr(path).encode()))
        z = jax.random.normal(key, square.shape, square.dtype) ** 2
        return jnp.linalg.norm(square) / jnp.linalg.norm(z) * z

    return _begun_adam(lambda squares: jax.tree.map_with_path(begin, squares), b1, b2, eps)


def _begun_adam(
    begin: Callable[[optax.Updates], optax.Updates], b1: Number, b2: Number, eps: Number
) -> optax.GradientTransformation:
    """Returns Adam whose second moment starts at `begin(g_1^2)`."""
    _require_adam(b1, b2, eps)

    def update(
        updates: optax.Updates, state: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        del params
        count = optax.safe_increment(state.count)
        first = begin(jax.tree.map(_square, updates, state.nu))
        nu = jax.tree.map(lambda new, old: jnp.where(state.count == 0, new, old), first, state.nu)
        mu, nu = _first_moment(updates, state.mu, b1), _second_moment(updates, nu, b2)
        direction = _direction(mu, nu, 1 - b1**count, 1 - b2**count, eps, raw_eps=False)
        return _cast_like(direction, updates), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(_init_adam, update)


def scale_by_adam_frozen(
    n: Number, b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8
) -> optax.GradientTransformation:
    r"""Adam-2k: Adam whose first n updates are 0 and feed the second moment only.

    It shows what a warmup is for: the second moment of the first updates is an
    average of few gradients, and with n = 2000 gradients seen Adam needs no
    warmup. Parameters and first moment are frozen meanwhile. As in the original
    the corrections of the bias count all updates, also for the first moment,
    which starts late; and eps is added to the root of the uncorrected second moment:

    .. math::
      \Delta_t = \frac{m_t}{1 - \beta_1^t} \cdot \frac{\sqrt{1 - \beta_2^t}}{\sqrt{v_t} + \epsilon}
      \quad (t > n, \text{ counted from } 1)

    Args:
      n: number of updates to freeze, 0 or more; 0 is Adam.
      b1: decay rate of the first moment, in [0, 1).
      b2: decay rate of the second moment, in [0, 1).
      eps: added to the root of the second moment, 0 or more.

    Returns:
      A `GradientTransformation` whose state is an `optax.ScaleByAdamState`.

    Raises:
      ValueError: for a concrete number out of its range.

    Examples:
      >>> tx = scale_by_adam_frozen(2, b1=0.5)
      >>> state, sizes = tx.init(jnp.zeros(())), []
      >>> for t in range(4):
      ...     update, state = tx.update(jnp.full((), 7.0), state)
      ...     sizes.append(round(float(update), 3))
      >>> sizes
      [0.0, 0.0, 0.571, 0.8]

    References:
      Liu et al., `On the Variance of the Adaptive Learning Rate and Beyond
      <https://arxiv.org/abs/1908.03265>`_, 2020 (section 3.1)
    """
    require("n", n, 0)
    _require_adam(b1, b2, eps)

    def update(
        updates: optax.Updates, state: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        del params
        frozen = state.count < n
        count = optax.safe_increment(state.count)
        nu = _second_moment(updates, state.nu, b2)
        mu = jax.tree.map(lambda new, old: jnp.where(frozen, old, new), _first_moment(updates, state.mu, b1), state.mu)
        direction = _direction(mu, nu, 1 - b1**count, 1 - b2**count, eps, raw_eps=True)
        direction = jax.tree.map(lambda d: jnp.where(frozen, 0, d), direction)
        return _cast_like(direction, updates), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(_init_adam, update)


def _require_adam(b1: Number, b2: Number, eps: Number) -> None:
    require("b1", b1, 0, 1, below=True)
    require("b2", b2, 0, 1, below=True)
    require("eps", eps, 0)


def _zero_moments(params: optax.Params) -> tuple[optax.Updates, optax.Updates]:
    mu = jax.tree.map(lambda p: jnp.zeros(p.shape, wide_dtype(p)), params)
    return mu, jax.tree.map(lambda p: jnp.zeros_like(p.real), mu)


def _init_adam(params: optax.Params) -> optax.ScaleByAdamState:
    return optax.ScaleByAdamState(jnp.zeros([], jnp.int32), *_zero_moments(params))


def _first_moment(updates: optax.Updates, mu: optax.Updates, b1: Number) -> optax.Updates:
    return jax.tree.map(lambda g, m: (b1 * m + (1 - b1) * g.astype(m.dtype)).astype(m.dtype), updates, mu)


def _second_moment(updates: optax.Updates, nu: optax.Updates, b2: Number) -> optax.Updates:
    return jax.tree.map(lambda g, v: (b2 * v + (1 - b2) * _square(g, v)).astype(v.dtype), updates, nu)


def _square(g: jax.Array, v: jax.Array) -> jax.Array:
    """Returns |g|^2 in the dtype of the moment, which is real and never narrower than float32."""
    if jnp.iscomplexobj(g):
        return (g.real**2 + g.imag**2).astype(v.dtype)
    return g.astype(v.dtype) ** 2


def _direction(
    mu: optax.Updates, nu: optax.Updates, mu_weight: jax.Array, nu_weight: jax.Array, eps: Number, raw_eps: bool
) -> optax.Updates:
    """Returns m / mu_weight over the root of v / nu_weight; eps is added to that root, or to that of v alone."""

    def direction(m: jax.Array, v: jax.Array) -> jax.Array:
        root = (jnp.sqrt(v) + eps) / jnp.sqrt(nu_weight) if raw_eps else jnp.sqrt(v / nu_weight) + eps
        return m / mu_weight / root

    return jax.tree.map(direction, mu, nu)


def _cast_like(tree: Any, like: Any) -> Any:
    return jax.tree.map(lambda x, u: x.astype(u.dtype), tree, like)
