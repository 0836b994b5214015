"""Gradient noise of a linear model whose covariance is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toynetwork import jit

from warmup_jax.diagnostics import ProbeInput, gradient_noise
from warmup_jax.diagnostics.gradient_noise import probe_gradient_noise

DRAWS, MICRO, SIZE, FEATURES, SIGMA = 8192, 4, 2, 3, 0.5
OFFSET = np.float32([0.6, -0.2, 0.1])  # of the weights from the true ones


def loss(params, batch):
    """Half the mean square of w x - y, where y is noise of deviation SIGMA and x is normal: the true weights are 0."""
    return 0.5 * jnp.mean(jnp.square(batch["x"] @ params["w"] - batch["y"]))


def truth():
    """|g|^2 and tr Sigma: E x x'd = d, E |x|^2 (x'd)^2 = (n + 2) |d|^2, and the noise of y adds n sigma^2."""
    square = float(OFFSET @ OFFSET)
    return square, (FEATURES + 1) * square + FEATURES * SIGMA**2


def draw(key, *shape):
    keys = jax.random.split(key)
    return {"x": jax.random.normal(keys[0], (*shape, FEATURES)), "y": SIGMA * jax.random.normal(keys[1], shape)}


def test_both_estimates_are_unbiased_and_a_few_batches_are_enough():
    probe = ProbeInput({"w": OFFSET}, (), 0.1, {}, loss, None)

    def measure(key):
        metrics, carry = probe_gradient_noise(probe._replace(batch=draw(key, MICRO * SIZE)), micro_batches=MICRO)
        assert carry is None
        return metrics

    found = jit(lambda: jax.vmap(measure)(jax.random.split(jax.random.key(0), DRAWS)))()
    square, trace = truth()
    for name, expected in (("noise_squared_norm", square), ("noise_trace", trace)):
        values = np.asarray(found[f"diag/{name}"], float)
        error = values.std() / np.sqrt(DRAWS)
        assert abs(values.mean() - expected) < 4 * error and error < 0.02 * expected
    # Without its correction |g|^2 would be off by more than half of itself here, 50 standard errors.
    assert trace / (MICRO * SIZE) > 0.5 * square
    negative = np.asarray(found["diag/noise_squared_norm"]) <= 0
    np.testing.assert_array_equal(np.isinf(found["diag/noise_scale"]), negative)
    fine = np.isfinite(found["diag/noise_scale"])
    assert 0.2 < fine.mean() < 0.95
    np.testing.assert_allclose(
        np.asarray(found["diag/signal_to_noise"])[fine],
        MICRO * SIZE / np.asarray(found["diag/noise_scale"])[fine],
        rtol=1e-4,
    )


def test_many_examples_find_the_noise_scale():
    square, trace = truth()
    batches = draw(jax.random.key(1), 256, 16)

    def gradient(batch):
        return jax.grad(loss)({"w": OFFSET}, batch)

    few = jax.tree.map(lambda x: x[:3], batches)
    looped, grads_MxN, looped_few, unrolled_few = jit(
        lambda: (
            gradient_noise(gradient, batches, 16),
            jax.vmap(gradient)(batches)["w"],
            gradient_noise(gradient, few, 16),
            gradient_noise(gradient, few, 16, unroll=True),
        )
    )()
    assert looped.noise_scale == pytest.approx(trace / square, rel=0.15)
    variances = np.asarray(grads_MxN, float).var(0, ddof=1).sum()
    assert looped.trace == pytest.approx(16 * variances, rel=1e-4)
    mean = np.asarray(grads_MxN, float).mean(0)
    assert looped.squared_norm == pytest.approx(mean @ mean - variances / 256, rel=1e-4)
    np.testing.assert_allclose(looped_few, unrolled_few, rtol=1e-4)

    programs = [jit(lambda unroll=unroll: gradient_noise(gradient, few, 16, unroll)) for unroll in (False, True)]
    assert ["while" in program.lower().as_text() for program in programs] == [True, False]


def test_a_spread_far_below_the_mean_is_kept():
    """Sums of squares less the square of the sum would lose it in float32."""
    spread = np.random.default_rng(0).normal(size=(8, 50)).astype(np.float32)
    grads = {"w": jnp.asarray(1e4 + spread)}
    exact = np.asarray(grads["w"], float)
    expected = 3 * exact.var(0, ddof=1).sum()
    found = jit(lambda: gradient_noise(lambda g: {"w": g}, grads["w"], 3))()
    assert found.trace == pytest.approx(expected, rel=1e-3)


def test_bad_micro_batches_are_said():
    probe = ProbeInput({"w": OFFSET}, (), 0.1, {}, loss, draw(jax.random.key(0), 8))
    for micro_batches in (1, 3):
        with pytest.raises(ValueError, match=f"micro_batches={micro_batches}; allowed: 2 and more, a divisor of the 8"):
            probe_gradient_noise(probe, micro_batches=micro_batches)
    with pytest.raises(ValueError, match="1 micro-batch given; allowed: 2 and more"):
        gradient_noise(lambda g: {"w": g}, jnp.ones((1, 3)), 1)
