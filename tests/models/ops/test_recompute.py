"""`recompute_after` changes when something is computed, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax.models.ops.cpu.recompute import recompute_after


def example():
    random = np.random.default_rng(0)
    return [jnp.asarray(random.standard_normal(shape), jnp.float32) for shape in [(2, 3, 4), (2, 5, 6)]]


def test_x_is_unchanged():
    dy, x = example()
    np.testing.assert_array_equal(jax.jit(recompute_after)(dy, x), x)


def test_the_gradient_is_that_of_x_alone():
    dy, x = example()
    of_dy, of_x = jax.grad(lambda *args: jnp.sum(jnp.sin(recompute_after(*args))), (0, 1))(dy, x)
    np.testing.assert_array_equal(of_dy, jnp.zeros_like(dy))
    np.testing.assert_array_equal(of_x, jnp.cos(x))
    assert "pad" not in str(jax.make_jaxpr(jax.grad(lambda dy: jnp.sum(recompute_after(dy, x))))(dy))


@pytest.mark.parametrize("place, fails", [((1, 0, 0), [False, True]), ((0, 2, 3), [False, False])])
def test_a_nan_at_the_first_element_of_an_example_reaches_it(place, fails):
    dy, x = example()
    assert jnp.isnan(recompute_after(dy.at[place].set(jnp.nan), x)).all((1, 2)).tolist() == fails
