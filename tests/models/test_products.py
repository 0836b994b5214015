"""The formulation on CPU against the plain products, and where it is used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toymodels import assert_close

from warmup_jax.models.ops.cpu import matmul

ROWS, INCOMING, OUTGOING = 6, 5, 7
TOLERANCE = 1e-5


def arrays(*shapes, dtype=np.float32):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.standard_normal(shape), dtype) for shape in shapes]


@pytest.fixture
def turned(monkeypatch):
    """Small products are turned too."""
    monkeypatch.setattr(matmul, "WIDE", 1)
    monkeypatch.setattr(matmul, "LEAST", 1)


def barriers(function, *args):
    return str(jax.make_jaxpr(function)(*args)).count("optimization_barrier")


def test_the_gradients_are_those_of_the_plain_product(turned):
    x, kernel, dy = arrays((ROWS, INCOMING), (INCOMING, OUTGOING), (ROWS, OUTGOING))
    got, pullback = jax.vjp(matmul.linear, x, kernel)
    want, plain_pullback = jax.vjp(jnp.matmul, x, kernel)
    assert_close(got, want, TOLERANCE)
    assert_close(pullback(dy), plain_pullback(dy), TOLERANCE)
    assert barriers(lambda *args: jax.vjp(matmul.linear, *args)[1](dy), x, kernel) == 1


def test_the_gradient_can_be_differentiated_again_both_ways_and_over_lanes(turned):
    x, kernel, direction = arrays((ROWS, INCOMING), (INCOMING, OUTGOING), (INCOMING, OUTGOING))

    def twice(linear):
        gradient = jax.grad(lambda kernel: jnp.tanh(linear(x, kernel)).sum())
        forwards = jax.jvp(gradient, (kernel,), (direction,))[1]
        backwards = jax.grad(lambda kernel: jnp.vdot(gradient(kernel), direction))(kernel)
        lanes = jax.vmap(gradient)(jnp.stack([kernel, direction]))
        return forwards, backwards, lanes

    assert_close(twice(matmul.linear), twice(jnp.matmul), TOLERANCE)


@pytest.mark.parametrize(
    "incoming, outgoing, barrier",
    [(512, 256, 1), (256, 512, 1), (8, 512, 1), (511, 256, 0), (256, 511, 0), (512, 255, 0), (2048, 64, 0)],
)
def test_x_is_turned_where_the_result_is_wide(incoming, outgoing, barrier):
    x, y = arrays((3, incoming), (3, outgoing))
    assert barriers(matmul.outer, x, y) == barrier
    assert_close(matmul.outer(x, y), np.asarray(x).T @ np.asarray(y), TOLERANCE)


def test_other_dtypes_are_left_to_xla(turned):
    x, y = arrays((ROWS, INCOMING), (ROWS, OUTGOING), dtype=jnp.bfloat16)
    assert barriers(matmul.outer, x, y) == 0
    (kernel,) = arrays((INCOMING, OUTGOING), dtype=jnp.bfloat16)
    assert "custom_vjp" not in str(jax.make_jaxpr(matmul.linear)(x, kernel))
    assert "custom_vjp" in str(jax.make_jaxpr(matmul.linear)(x.astype(jnp.float32), kernel.astype(jnp.float32)))
