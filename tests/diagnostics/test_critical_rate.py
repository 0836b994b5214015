"""The critical rate of quadratics, whose threshold is 2 / curvature, and the passes that its search spends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toynetwork import jit

from warmup_jax.diagnostics import ProbeInput, critical_rate
from warmup_jax.diagnostics.critical_rate import probe_critical_rate

LAMBDA = 5.0


def along(rate):
    """The loss of w'Hw / 2 after a step from an eigenvector of curvature LAMBDA."""
    return 0.5 * LAMBDA * (1 - rate * LAMBDA) ** 2


NOW = along(0.0)


def test_a_quadratic_within_the_tolerance_from_any_guess():
    guesses = (2 / LAMBDA) * np.float32([1e-3, 0.03, 0.3, 0.7, 0.99, 1.01, 2, 3.3, 10, 100, 1000])
    rates, passes = jit(jax.vmap(lambda guess: critical_rate(along, NOW, guess)))(guesses)
    assert (np.asarray(passes) <= 15).all()
    assert (rates >= 2 / LAMBDA * (1 - 1e-5)).all() and (rates <= 2 / LAMBDA / 0.89).all()
    near = (guesses > 0.25 * 2 / LAMBDA) & (guesses < 4 * 2 / LAMBDA)
    assert (np.asarray(passes)[near] <= 6).all()


def test_passes_are_counted_and_more_of_them_come_nearer():
    for tolerance, most in ((0.1, 15), (0.1, 4), (1e-3, 15), (1e-9, 15)):
        calls = []

        def counted(rate, calls=calls):
            calls.append(float(rate))
            return along(rate)

        with jax.disable_jit():
            rate, passes = critical_rate(counted, NOW, 0.15, most, tolerance)
        assert passes == len(calls) <= most
        assert rate * LAMBDA / 2 - 1 < (0.5 if most == 4 else 1.2 * max(tolerance, 1e-3))
        assert rate in calls and along(rate) > NOW
    assert passes == 15  # 1e-9 is finer than any search of 15


@pytest.mark.parametrize(
    "loss, now, guess, rate, passes",
    [
        (lambda rate: 1 - rate, 1.0, 0.5, np.inf, 15),  # falls for ever
        (lambda rate: 1.0 + 0 * rate, 1.0, 0.5, np.inf, 15),  # no gradient: never rises
        (lambda rate: 1 + rate, 1.0, 0.5, 0.5**15, 15),  # rises at any rate
        (along, np.nan, 0.5, np.nan, 0),
        (along, np.inf, 0.5, np.nan, 0),
        (lambda rate: jnp.where(rate > 1, jnp.nan, 0.0), 1.0, 0.25, 1.0625, 6),  # not finite is raised
        (lambda rate: jnp.where(rate > 1, jnp.inf, 0.0), 1.0, 0.25, 1.0625, 6),
    ],
)
def test_what_happens_at_the_ends(loss, now, guess, rate, passes):
    found, spent = jit(lambda: critical_rate(loss, now, guess))()
    np.testing.assert_allclose(found, rate, rtol=0.07 if rate == 1.0625 else 1e-6)
    assert spent <= 15 and (rate == 1.0625 or spent == passes)


def test_no_passes_is_no_search():
    with pytest.raises(ValueError, match="max_passes=0; allowed: 1 and more"):
        critical_rate(along, NOW, 0.5, 0)


def test_the_probe_goes_along_the_gradient_and_begins_where_it_ended():
    """Of w'Hw / 2 along its own gradient g the threshold is 2 |g|^2 / g'Hg."""
    curvatures = np.float32([1.0, 3.0, 10.0])

    def probe(scale, carry):
        return ProbeInput(
            {"w": np.float32([1, 1, 1])},
            (),
            0.1,
            {},
            lambda p, h: 0.5 * jnp.sum(h * p["w"] ** 2),
            scale * curvatures,
            carry=carry,
        )

    def measure(scale, carry):
        return probe_critical_rate(probe(scale, carry), guess=1e-3, max_passes=15, tolerance=0.01)

    measure = jit(jax.vmap(measure))
    metrics, rates = measure(np.float32([1, 0.5]), jnp.zeros(2))
    expected = 2 * (curvatures**2).sum() / (curvatures**3).sum() / np.array([1, 0.5])
    np.testing.assert_allclose(rates, expected, rtol=0.011)
    np.testing.assert_array_equal(metrics["diag/critical_rate"], rates)
    again, _ = measure(np.float32([1.1, 1]), jnp.array([rates[0], jnp.inf]))
    np.testing.assert_allclose(again["diag/critical_rate"], expected[0] / np.array([1.1, 1]), rtol=0.011)
    assert again["diag/critical_rate_passes"][0] < metrics["diag/critical_rate_passes"][0]
