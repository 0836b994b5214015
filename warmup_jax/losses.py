"""What a model is trained to lower, by name: from logits and labels to a loss for each of them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Loss(NamedTuple):
    """A loss of predictions against targets (1 - s) onehot(label) + s / K, with label smoothing s.

    each: (logits [..., K], labels [...], s) -> losses [...].
    uninformed: (label frequencies [K], s) -> the mean loss of the best prediction that ignores the input. A
      model that does not get below it has learned nothing of its inputs.
    """

    each: Callable
    uninformed: Callable


def cross_entropy(logits, labels, label_smoothing):
    """logsumexp(logits) - (1 - s) logits[label] - s mean(logits), in nats.

    No array of log-probabilities, which for a large vocabulary would be most of the memory.
    """
    of_label = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - (1 - label_smoothing) * of_label - label_smoothing * logits.mean(-1)


def squared_error(logits, labels, label_smoothing):
    """|logits - target|^2 / 2, summed over the classes."""
    classes = logits.shape[-1]
    targets = (1 - label_smoothing) * jax.nn.one_hot(labels, classes, dtype=logits.dtype) + label_smoothing / classes
    return jnp.square(logits - targets).sum(-1) / 2


def entropy(frequencies: np.ndarray, label_smoothing: float) -> float:
    """That of the mean target."""
    mean = _mean_target(frequencies, label_smoothing)
    return float(-(mean[mean > 0] * np.log(mean[mean > 0])).sum())


def spread(frequencies: np.ndarray, label_smoothing: float) -> float:
    """Half the mean squared distance of the targets from their mean, (1 - s)^2 (1 - |f|^2) / 2."""
    return float((1 - label_smoothing) ** 2 * (1 - np.square(frequencies).sum()) / 2)


# Kalra and Barkeshli 2024, as most studies of curvature, train with the squared error.
LOSSES = {"cross_entropy": Loss(cross_entropy, entropy), "mse": Loss(squared_error, spread)}


def sums(each: Callable, logits, batch: dict, label_smoothing):
    """Weighted sums of losses, of correct predictions and of weights; logits [..., K], labels [...].

    A prediction that is not finite counts as wrong.
    """
    losses = each(logits, batch["labels"], label_smoothing)
    correct = predicted(logits, batch["labels"]) & jnp.isfinite(losses)
    weights = batch.get("weights", jnp.ones_like(losses))
    # `where`, not a product: padding that is not finite must not leak into the sum
    masked = lambda values: jnp.where(weights > 0, weights * values, 0).sum()
    return masked(losses), masked(correct), weights.sum()


def predicted(logits, labels):
    """Whether labels are `argmax(logits)`, the first of equals: no class ranks above. On CPU an argmax is slow."""
    labels = labels[..., None]
    of_label = jnp.take_along_axis(logits, labels, axis=-1)
    above = (logits > of_label) | ((logits == of_label) & (jnp.arange(logits.shape[-1]) < labels))
    return ~above.any(-1)


def _mean_target(frequencies, label_smoothing):
    return (1 - label_smoothing) * frequencies + label_smoothing / len(frequencies)
