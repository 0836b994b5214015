"""Gradient noise: the trace of the gradient's covariance against its squared norm, from micro-batches."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.inputs import Metrics, ProbeInput
from warmup_jax.numerics import dot, ratio


class Noise(NamedTuple):
    """Estimates from M micro-batches of b examples, B = M b in all."""

    trace: jax.Array  # tr Sigma, the covariance of the gradient of one example; unbiased
    squared_norm: jax.Array  # |g|^2 of the true gradient; unbiased, and therefore negative at times
    noise_scale: jax.Array  # B_simple = tr Sigma / |g|^2, in examples; inf where |g|^2 is not positive
    signal_to_noise: jax.Array  # B |g|^2 / tr Sigma, of the mean over all B examples


def gradient_noise(gradient: Callable[[Any], Any], batches: Any, size: int, unroll: bool = False) -> Noise:
    """Estimates the noise of the gradient from M micro-batches, one after another.

    With the mean g of their gradients and S = sum |g_m - g|^2 / (M - 1): tr Sigma = b S and |G|^2 = |g|^2 - S / M.
    The gradients go into a running mean and a running sum of squares (Welford), so that the memory does not grow with
    M and a small spread is not the difference of two large numbers. The two estimates are unbiased, their ratio is
    not: average them over steps before dividing.

    Cost: M forward and backward passes on b examples, as much as one of each on all of them.

    Args:
      gradient: micro-batch -> gradient of its mean loss, a tree.
      batches: leaves [M, ...], independent draws.
      size: b, the examples of a micro-batch.
      unroll: True for no loop around the gradient.

    Returns:
      The estimates, a `Noise`.

    Raises:
      ValueError: for fewer than two micro-batches.

    References:
      McCandlish et al., `An Empirical Model of Large-Batch Training
      <https://arxiv.org/abs/1812.06162>`_, 2018 (appendix A)
    """
    count = jax.tree.leaves(batches)[0].shape[0]
    if count < 2:
        raise ValueError(f"{count} micro-batch given; allowed: 2 and more")
    like = jax.eval_shape(gradient, jax.tree.map(lambda x: x[0], batches))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)

    def add(
        state: tuple[Any, jax.Array], batch_and_number: tuple[Any, jax.Array]
    ) -> tuple[tuple[Any, jax.Array], None]:
        (mean, spread), (batch, number) = state, batch_and_number
        change = jax.tree.map(jnp.subtract, gradient(batch), mean)
        mean = jax.tree.map(lambda m, c: m + c / number, mean, change)
        return (mean, spread + _squared_norm(change) * (number - 1) / number), None

    numbers = jnp.arange(1, count + 1, dtype=jnp.float32)
    (mean, spread), _ = jax.lax.scan(add, (zeros, jnp.zeros([])), (batches, numbers), unroll=count if unroll else 1)
    between = spread / (count - 1)  # tr Sigma / b
    trace, squared_norm = size * between, _squared_norm(mean) - between / count
    scale = jnp.where(jnp.isnan(squared_norm), jnp.nan, ratio(trace, squared_norm, jnp.inf))
    return Noise(trace, squared_norm, scale, count * size * squared_norm / trace)


def probe_gradient_noise(probe: ProbeInput, *, micro_batches: int) -> tuple[Metrics, None]:
    """Measures `diag/noise_trace`, `diag/noise_squared_norm`, `diag/noise_scale` and `diag/signal_to_noise`.

    `probe.batch` is cut into `micro_batches` equal parts. Where labels are sequences an example is a row, and the
    mean over tokens counts rows of unequal length as equal. The gradient is that after the last update.
    Cost: 1 forward and 1 backward pass over the batch, in parts.

    Raises:
      ValueError: if `micro_batches` is below 2 or does not divide the batch.
    """
    total = jax.tree.leaves(probe.batch)[0].shape[0]
    if micro_batches < 2 or total % micro_batches:
        raise ValueError(f"micro_batches={micro_batches}; allowed: 2 and more, a divisor of the {total} examples")
    size = total // micro_batches
    batches = jax.tree.map(lambda x: x.reshape(micro_batches, size, *x.shape[1:]), probe.batch)
    found = gradient_noise(lambda batch: jax.grad(probe.loss)(probe.params, batch), batches, size, probe.unroll)
    return {
        "diag/noise_trace": found.trace,
        "diag/noise_squared_norm": found.squared_norm,
        "diag/noise_scale": found.noise_scale,
        "diag/signal_to_noise": found.signal_to_noise,
    }, None


def _squared_norm(tree: Any) -> jax.Array:
    leaves = jax.tree.leaves(tree)
    return dot(leaves, leaves)
