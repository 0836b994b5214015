"""Dead units and the variance of tokens, counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toynetwork import Observed

from warmup_jax.diagnostics import ProbeInput, dead_units, token_variance
from warmup_jax.diagnostics.activations import probe_dead_units, probe_token_variance

MASK = np.array([[1, 1, 0], [1, 0, 0]], bool)


def test_a_unit_that_fires_once_is_not_dead():
    activation = np.zeros((5, 4), np.float32)
    activation[3, 1], activation[0, 2] = 1e-20, 7
    assert dead_units(activation) == 0.5
    assert dead_units(np.zeros((2, 3, 3, 8))) == 1 and dead_units(np.ones((2, 3, 3, 8))) == 0
    activation[1, 0] = np.nan
    assert jnp.isnan(dead_units(activation))


def test_padding_keeps_no_unit_alive():
    activation = np.zeros((2, 3, 2), np.float32)
    activation[0, 2, 0] = activation[1, 0, 1] = 1
    assert dead_units(activation) == 0 and dead_units(activation, MASK) == 0.5
    activation[0, 2, 0] = np.nan
    assert dead_units(activation, MASK) == 0.5


def test_token_variance_of_tokens_alike_and_unalike():
    x = np.random.default_rng(0).normal(size=(16, 400, 3)).astype(np.float32)
    assert token_variance(x) == pytest.approx(1, abs=0.01)
    assert token_variance(7 + x) == pytest.approx(1 / 50, rel=0.05)
    assert token_variance(np.broadcast_to(x[:, :1], x.shape)) == pytest.approx(0, abs=1e-6)
    assert token_variance(1e6 * x) == pytest.approx(float(token_variance(x)), rel=1e-5)


def test_padding_adds_no_variance():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    assert token_variance(x, np.ones((2, 3), bool)) == pytest.approx(float(token_variance(x)), rel=1e-6)
    x[~MASK] = np.nan
    squares = (x[0, :2] ** 2).mean(0).sum() + (x[1, 0] ** 2).sum()
    assert token_variance(x, MASK) == pytest.approx(x[0, :2].var(0).sum() / squares, rel=1e-5)


def test_probes_name_the_layers():
    def observe(params, batch):
        first = jnp.maximum(batch @ params, 0)
        last = jnp.concatenate([first[:, :1], jnp.full((2, 2, 2), 9.0)], 1)
        return Observed(
            {"first": first, "last": last}, {"first": first, "last": jnp.ones((2, 3, 4, 5))}, {"last": MASK}
        )

    probe = ProbeInput(jnp.diag(jnp.array([1.0, -1.0])), (), 0.1, {}, None, jnp.ones((2, 3, 2)), observe=observe)
    (found, carry), (variance, _) = jax.jit(lambda: (probe_dead_units(probe), probe_token_variance(probe)))()
    assert carry is None and found["diag/dead_units"] == pytest.approx(1 / 7)
    assert found["diag/dead_units/first"] == 0.5 and found["diag/dead_units/last"] == 0
    assert variance["diag/token_variance/first"] == 0
    assert variance["diag/token_variance/last"] == pytest.approx(
        float(token_variance(observe(probe.params, probe.batch).outputs["last"], MASK))
    )
