"""Causal attention by blocks of queries against its definition."""

import jax
import numpy as np
import pytest

from warmup_jax.models import ops


@pytest.mark.parametrize("length", [3, 11])
def test_blocks_give_what_a_triangular_mask_gives(quick_jit, length):
    query, key, value, dy = np.random.default_rng(0).normal(size=(4, 2, length, 2, 4)).astype(np.float32)

    def value_and_gradients(mode):
        def function(*heads):
            y, pullback = jax.vjp(ops.causal_attention, *heads)
            return y, *pullback(dy)

        with mode():
            return quick_jit(function)(query, key, value)

    for actual, expected in zip(value_and_gradients(ops.use_everywhere), value_and_gradients(ops.plain)):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length, products", [(255, 2), (256, 8), (300, 8)])
def test_blocks_are_for_long_rows(length, products):
    heads = [np.zeros((1, length, 1, 4), np.float32)] * 3
    assert str(jax.make_jaxpr(ops.causal_attention)(*heads)).count("dot_general") == products


def test_other_backends_take_the_definition(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    heads = [np.zeros((1, 256, 1, 4), np.float32)] * 3
    assert str(jax.make_jaxpr(lambda *heads: ops.causal_attention(*heads))(*heads)).count("dot_general") == 2
