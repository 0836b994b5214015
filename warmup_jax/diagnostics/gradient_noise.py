"""Noise of the gradient: its covariance's trace against its square, from micro-batches."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.by_layer import dot
from warmup_jax.diagnostics.inputs import Probe


class Noise(NamedTuple):
    """Estimates from M micro-batches of b examples, B = M b in all."""

    trace: jax.Array  # tr Sigma, the covariance of the gradient of one example; unbiased
    squared_norm: jax.Array  # |g|^2 of the true gradient; unbiased, and so at times negative
    noise_scale: jax.Array  # B_simple = tr Sigma / |g|^2, in examples; inf where |g|^2 is not positive
    signal_to_noise: jax.Array  # B |g|^2 / tr Sigma, of the mean over all B examples


def gradient_noise(gradient: Callable, batches: Any, size: int, unroll: bool = False) -> Noise:
    """Noise of the gradient, from the gradients of M micro-batches one after another.

    With their mean g and S = sum |g_m - g|^2 / (M - 1): tr Sigma = b S and |G|^2 = |g|^2 - S / M. The gradients
    go into a running mean and a running sum of squares (Welford), so that the memory does not grow with M and a small
    spread is not the difference of two large numbers. The two estimates are unbiased, their ratio is not:
    average them over steps before dividing.

    Args:
      gradient: micro-batch -> gradient of its mean loss, a tree.
      batches: leaves [M, ...], independent draws.
      size: b, the examples of one of them.
      unroll: no loop around the gradient.

    Raises:
      ValueError: for fewer than two micro-batches.

    Source: McCandlish, Kaplan, Amodei et al., "An Empirical Model of Large-Batch Training", 2018 (appendix A).
    Cost: M forward and backward passes on b examples: one of each on all of them.
    """
    count = jax.tree.leaves(batches)[0].shape[0]
    _require_two(count)
    like = jax.eval_shape(gradient, jax.tree.map(lambda x: x[0], batches))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)

    def add(state, batch_and_number):
        (mean, spread), (batch, number) = state, batch_and_number
        change = jax.tree.map(jnp.subtract, gradient(batch), mean)
        mean = jax.tree.map(lambda m, c: m + c / number, mean, change)
        return (mean, spread + _square(change) * (number - 1) / number), None

    numbers = jnp.arange(1, count + 1, dtype=jnp.float32)
    (mean, spread), _ = jax.lax.scan(add, (zeros, jnp.zeros([])), (batches, numbers), unroll=count if unroll else 1)
    return _estimates(mean, spread, count, size)


def noise_of_gradients(grads: Any, size: int) -> Noise:
    """`gradient_noise` from gradients that are there already, leaves [M, ...]. No pass."""
    count = jax.tree.leaves(grads)[0].shape[0]
    _require_two(count)
    mean = jax.tree.map(lambda g: g.mean(0), grads)
    return _estimates(mean, _square(jax.tree.map(jnp.subtract, grads, mean)), count, size)


def probe_gradient_noise(probe: Probe, *, micro_batches: int):
    """`diag/noise_trace`, `diag/noise_squared_norm`, `diag/noise_scale` and `diag/signal_to_noise`.

    `probe.batch` is cut into `micro_batches` equal parts. Where labels are sequences an example is a row, and the
    mean over tokens takes rows of unequal length for equal ones.

    Measures: the gradient after the last update. Cost: 1 forward and 1 backward pass over the batch, in parts.

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


def _estimates(mean, spread, count, size):
    between = spread / (count - 1)  # tr Sigma / b
    trace, squared_norm = size * between, _square(mean) - between / count
    positive = squared_norm > 0
    scale = jnp.where(positive, trace / jnp.where(positive, squared_norm, 1), jnp.inf)
    scale = jnp.where(jnp.isnan(squared_norm), jnp.nan, scale)
    return Noise(trace, squared_norm, scale, count * size * squared_norm / trace)


def _square(tree):
    leaves = jax.tree.leaves(tree)
    return dot(leaves, leaves)


def _require_two(count):
    if count < 2:
        raise ValueError(f"{count} micro-batch given; allowed: 2 and more")
