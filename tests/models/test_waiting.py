"""`after` changes when something is computed, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax.models.ops.cpu import recompute


def example(dtype=jnp.float32):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.standard_normal(shape), dtype) for shape in [(2, 3, 4), (2, 5, 6)]]


def test_x_is_what_it_was():
    dy, x = example()
    np.testing.assert_array_equal(jax.jit(recompute.after)(dy, x), x)


def test_differentiation_sees_x_alone():
    dy, x = example()
    of_dy, of_x = jax.grad(lambda *args: jnp.sum(jnp.sin(recompute.after(*args))), (0, 1))(dy, x)
    np.testing.assert_array_equal(of_dy, jnp.zeros_like(dy))
    np.testing.assert_array_equal(of_x, jnp.cos(x))
    assert "pad" not in str(jax.make_jaxpr(jax.grad(lambda dy: jnp.sum(recompute.after(dy, x))))(dy))


@pytest.mark.parametrize("place, fails", [((1, 0, 0), [False, True]), ((0, 2, 3), [False, False])])
def test_a_nan_at_the_first_place_of_an_example_reaches_it(place, fails):
    dy, x = example()
    after = recompute.after(dy.at[place].set(jnp.nan), x)
    assert jnp.isnan(after).all((1, 2)).tolist() == fails


def operations(dtype):
    trace = jax.make_jaxpr(lambda *args: recompute.after(*args))  # a new function, or an old trace would serve
    return len(trace(*example(dtype)).eqns)


def test_other_backends_and_dtypes_are_left_alone(monkeypatch):
    assert operations(jnp.bfloat16) == operations(jnp.float16) == 0 < operations(jnp.float32)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert operations(jnp.float32) == 0
