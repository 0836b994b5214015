"""Safe arithmetic at its edges, norms against optax, and the checks of concrete numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from warmup_jax import numerics


@pytest.mark.parametrize("denominator, expected", [(4.0, 0.5), (0.0, 7.0), (-1.0, 7.0), (np.nan, 7.0)])
def test_a_ratio_and_its_gradient_are_finite(denominator, expected):
    value, slope = jax.value_and_grad(lambda x: numerics.ratio(2.0, x, 7.0))(denominator)
    assert value == expected and slope == (-2 / 16 if denominator == 4 else 0)


def test_a_quotient_is_taken_where_the_condition_holds():
    found = numerics.divide(jnp.ones(3), jnp.array([2.0, 0.0, 0.0]), jnp.array([True, False, True]), 5)
    np.testing.assert_array_equal(found, [0.5, 5, np.inf])


def test_a_power_has_no_slope_at_zero():
    assert jax.grad(numerics.power)(0.0, 0.5) == 0
    np.testing.assert_allclose(numerics.power(jnp.array([0.0, 0.25, 1.0]), 0.5), [0, 0.5, 1])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.complex64])
def test_a_norm_is_that_of_optax_in_float32(dtype):
    tree = {"a": jax.random.normal(jax.random.key(0), (5, 3), dtype), "b": [jnp.ones(4096, dtype)]}
    found = numerics.norm(tree)
    assert found.dtype == jnp.float32
    wide = jax.tree.map(numerics.wide, tree)
    assert found == optax.tree.norm(wide) and found > 60  # a sum in bfloat16 would stop at 256, its root at 16


def test_an_inner_product_is_summed_in_float32():
    ones = jnp.ones(4096, jnp.bfloat16)
    assert numerics.dot([ones, ones], [ones, -2 * ones]) == -4096


def test_a_rectification_that_is_not_used_is_finite():
    rho = jnp.array([0.0, 3.0, 5.0])
    value, slope = jax.vmap(jax.value_and_grad(lambda r: numerics.rectification(r, 199.0, r > 4)))(rho)
    assert np.isfinite(value).all() and (np.asarray(slope[:2]) == 0).all()
    assert value[2] == pytest.approx(np.sqrt(1 * 3 * 199 / (195 * 197 * 5)), rel=1e-6)


def test_concrete_numbers_are_computed_in_double_precision_and_traced_ones_are_not_checked():
    assert numerics.array_module(1, np.ones(2)) is np

    def traced(x):
        assert numerics.array_module(1, x) is jnp
        numerics.require("x", x, 0)
        numerics.require_steps("x", x)
        return x

    assert jax.jit(traced)(-0.5) == -0.5


@pytest.mark.parametrize(
    "check, message",
    [
        (lambda: numerics.require("eps", -1.0, 0), "eps=-1.0; allowed: finite numbers from 0"),
        (
            lambda: numerics.require("eps", 0, 0, 1, above=True, below=True),
            "eps=0; allowed: numbers above 0 and below 1",
        ),
        (lambda: numerics.require("eps", np.nan), "eps=nan; allowed: finite numbers"),
        (lambda: numerics.require("eps", "1"), "eps='1'; allowed: numbers"),
        (lambda: numerics.require("eps", (0.5, 2.0), 0, 1), r"eps=\(0.5, 2.0\); allowed: numbers from 0 and up to 1"),
        (lambda: numerics.require_steps("steps", 1.5), "steps=1.5; allowed: whole numbers of updates"),
    ],
)
def test_a_number_out_of_range_is_one_line(check, message):
    with pytest.raises(ValueError, match=message):
        check()


def test_an_extra_argument_that_is_missing_or_no_scalar_is_one_line():
    assert numerics.extra_argument("loss", {"loss": 2.0}, "f") == 2
    with pytest.raises(ValueError, match=r"f needs the extra argument 'loss': .* \(given: error\)"):
        numerics.extra_argument("loss", {"error": 1.0}, "f")
    with pytest.raises(ValueError, match=r"f needs a scalar 'loss', not one of shape \(2,\)"):
        numerics.extra_argument("loss", {"loss": jnp.ones(2)}, "f")


def test_what_scales_an_update_is_rounded_once():
    updates = {"w": jnp.full(2, 3.0, jnp.bfloat16)}
    found = numerics.scaled(updates, numerics.value_at(lambda t: 0.1 + 0 * t, jnp.zeros([], jnp.int32)))
    assert found["w"].dtype == jnp.bfloat16 and (found["w"] == jnp.float32(0.1 * 3).astype(jnp.bfloat16)).all()
