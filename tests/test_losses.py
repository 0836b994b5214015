"""Losses against closed forms, and what a model that ignores its input could reach."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from warmup_jax import losses
from warmup_jax.losses import LOSSES

CLASSES = 4


@pytest.fixture
def logits_and_labels():
    generator = np.random.default_rng(0)
    return generator.normal(size=(6, 3, CLASSES)).astype(np.float32), generator.integers(0, CLASSES, (6, 3))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_each_loss_is_what_it_says(logits_and_labels, smoothing):
    logits, labels = logits_and_labels
    targets = (1 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES
    expected = {
        "cross_entropy": optax.softmax_cross_entropy(logits, targets),
        "mse": 0.5 * np.square(logits - targets).sum(-1),
    }
    assert set(expected) == set(LOSSES)
    for name, values in expected.items():
        got = LOSSES[name].each(logits, labels, smoothing)
        np.testing.assert_allclose(got, values, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", LOSSES)
def test_no_constant_prediction_beats_the_uninformed_loss(name, smoothing):
    counts = np.array([5, 3, 2, 0])
    labels = np.repeat(np.arange(CLASSES), counts)

    def mean_loss(logits):
        return LOSSES[name].each(jnp.broadcast_to(logits, (len(labels), CLASSES)), labels, smoothing).mean()

    logits = jnp.zeros(CLASSES)
    for _ in range(2000):  # convex: gradient descent finds the least
        logits -= 1.0 * GRADIENTS[name](logits, labels, smoothing)
    expected = LOSSES[name].uninformed(counts / counts.sum(), smoothing)
    assert float(mean_loss(logits)) == pytest.approx(expected, abs=2e-3)
    assert LOSSES[name].uninformed(np.eye(CLASSES)[0], 0.0) == pytest.approx(0)


def _gradient(each):
    return jax.jit(
        jax.grad(
            lambda logits, labels, smoothing: each(
                jnp.broadcast_to(logits, (len(labels), CLASSES)), labels, smoothing
            ).mean()
        )
    )


GRADIENTS = {name: _gradient(loss.each) for name, loss in LOSSES.items()}


@pytest.mark.parametrize("name", LOSSES)
def test_sums_leave_padding_out_and_count_what_is_not_finite_as_wrong(name, logits_and_labels):
    logits, labels = logits_and_labels
    each = jax.jit(LOSSES[name].each)  # numpy would warn of what is not finite
    weights = np.array([1, 1, 1, 0, 0, 0], np.float32)[:, None] * np.ones(3, np.float32)
    logits[3:] = np.nan
    logits[:3] = 5 * np.eye(CLASSES)[labels[:3]]
    logits[0, 0] = np.inf
    loss, correct, total = losses.sums(each, logits, {"labels": labels, "weights": weights}, 0.0)
    assert total == 9 and correct == 8 and not np.isfinite(loss)
    logits[0, 0] = 0
    logits[0, 0, labels[0, 0]] = 1
    loss, correct, _ = losses.sums(each, logits, {"labels": labels, "weights": weights}, 0.0)
    assert correct == 9 and loss == pytest.approx(float(LOSSES[name].each(logits[:3], labels[:3], 0.0).sum()), rel=1e-6)


def test_a_prediction_is_the_first_of_the_largest_logits():
    logits = np.array([[1, 3, 2], [3, 3, 1], [0, 0, 0], [2, np.inf, np.inf], [-np.inf, -1, -np.inf]], np.float32)
    every = [losses.predicted(logits, np.full(len(logits), label)) for label in range(3)]
    np.testing.assert_array_equal(np.stack(every, -1), np.eye(3, dtype=bool)[logits.argmax(-1)])
    random = np.random.default_rng(0).integers(0, 4, (50, 7)).astype(np.float32)  # with many ties
    labels = np.arange(50) % 7
    np.testing.assert_array_equal(losses.predicted(random, labels), random.argmax(-1) == labels)
