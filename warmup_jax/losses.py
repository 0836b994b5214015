"""Training losses by name: functions from logits and labels to one loss per prediction."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


class Loss(NamedTuple):
    """A loss of predictions against targets (1 - s) onehot(label) + s / K, with label smoothing s.

    each: (logits [..., K], labels [...], s) -> losses [...].
    uninformed: (label frequencies [K], s) -> the mean loss of the best prediction that ignores the input. A
      model whose loss does not fall below it has learned nothing from its inputs.
    """

    each: Callable[[jax.Array, jax.Array, ArrayLike], jax.Array]
    uninformed: Callable[[np.ndarray, float], float]


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: ArrayLike) -> jax.Array:
    """Computes the cross-entropy in nats: logsumexp(logits) - (1 - s) logits[label] - s mean(logits).

    No array of log-probabilities is formed, which for a large vocabulary would take most of the memory.
    """
    label_logits = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - (1 - label_smoothing) * label_logits - label_smoothing * logits.mean(-1)


def squared_error(logits: jax.Array, labels: jax.Array, label_smoothing: ArrayLike) -> jax.Array:
    """Computes |logits - target|^2 / 2, summed over the classes."""
    classes = logits.shape[-1]
    targets = (1 - label_smoothing) * jax.nn.one_hot(labels, classes, dtype=logits.dtype) + label_smoothing / classes
    return jnp.square(logits - targets).sum(-1) / 2


def entropy(frequencies: np.ndarray, label_smoothing: float) -> float:
    """Computes the entropy of the mean smoothed target, in nats."""
    mean = _mean_target(frequencies, label_smoothing)
    return float(-(mean[mean > 0] * np.log(mean[mean > 0])).sum())


def spread(frequencies: np.ndarray, label_smoothing: float) -> float:
    """Computes half the mean squared distance of the targets from their mean, (1 - s)^2 (1 - |f|^2) / 2."""
    return float((1 - label_smoothing) ** 2 * (1 - np.square(frequencies).sum()) / 2)


# Kalra and Barkeshli 2024, as most studies of curvature, train with the squared error.
LOSSES = {"cross_entropy": Loss(cross_entropy, entropy), "mse": Loss(squared_error, spread)}


def sums(
    each: Callable[[jax.Array, jax.Array, ArrayLike], jax.Array],
    logits: jax.Array,
    batch: Mapping[str, jax.Array],
    label_smoothing: ArrayLike,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes the weighted sums of losses, of correct predictions and of weights over a batch.

    A prediction whose loss is not finite counts as wrong.

    Args:
      each: the loss of each prediction, see `Loss`.
      logits: [..., K].
      batch: "labels" [...] and, if some predictions do not count, "weights" [...].
      label_smoothing: s, the share of the target that is spread over all classes.

    Returns:
      (sum of losses, sum of correct predictions, sum of weights), scalars.
    """
    losses = each(logits, batch["labels"], label_smoothing)
    correct = predicted(logits, batch["labels"]) & jnp.isfinite(losses)
    weights = batch.get("weights", jnp.ones_like(losses))
    # `where`, not a product: padding that is not finite must not leak into the sum
    masked = lambda values: jnp.where(weights > 0, weights * values, 0).sum()
    return masked(losses), masked(correct), weights.sum()


def predicted(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns True where a label is `argmax(logits)`, the first of equals, by comparison: argmax is slow on CPU."""
    labels = labels[..., None]
    label_logits = jnp.take_along_axis(logits, labels, axis=-1)
    above = (logits > label_logits) | ((logits == label_logits) & (jnp.arange(logits.shape[-1]) < labels))
    return ~above.any(-1)


def _mean_target(frequencies: np.ndarray, label_smoothing: float) -> np.ndarray:
    return (1 - label_smoothing) * frequencies + label_smoothing / len(frequencies)
