"""The hand-written gradient against automatic differentiation of the formula."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toymodels import assert_close, memory_of_gradient

from warmup_jax.models import ops
from warmup_jax.models.ops import definitions, fused_batch_norm
from warmup_jax.models.ops.cpu import convolution
from warmup_jax.models.ops.cpu import split_batch as cpu_split_batch

SHAPE = (6, 4, 4, 5)


def formula(x, residual, scale, bias, relu):
    """Batch normalisation, addition and ReLU as the paper writes them."""
    x_float = x.astype(jnp.float32)
    mean, var = jnp.mean(x_float, (0, 1, 2)), jnp.var(x_float, (0, 1, 2))
    y = (x_float - mean) / jnp.sqrt(var + definitions.EPSILON) * scale + bias
    y = y if residual is None else y + residual.astype(jnp.float32)
    return (jax.nn.relu(y) if relu else y).astype(x.dtype)


def normalize(x, residual, scale, bias, relu, halves=1):
    """`batch_norm` of a batch, or of its two halves, put together again."""

    def split(of):
        return None if of is None else cpu_split_batch.with_parts(jnp.array_split(of, halves))

    y, mean, var = fused_batch_norm.batch_norm(split(x), scale, bias, split(residual), relu)
    return ops.merge_batch(y), mean, var


def example(*, offset=0.0, residual=True, dtype=jnp.float32, seed=0):
    random = np.random.default_rng(seed)
    x, added = jnp.asarray(offset + random.normal(size=SHAPE), dtype), jnp.asarray(random.normal(size=SHAPE), dtype)
    scale, bias = (jnp.asarray(random.normal(size=5), jnp.float32) for _ in range(2))
    return x, added if residual else None, scale, bias


def loss(function, args, relu):
    """A mean of positive terms, so that its relative error means something, with slopes of both signs."""
    weight = np.random.default_rng(9).uniform(size=SHAPE).astype(np.float32)
    y = function(*args, relu)
    y = y[0] if isinstance(y, tuple) else y
    return jnp.mean(weight * (2 + jnp.sin(y.astype(jnp.float32))))


def value_and_grads(function, args, relu):
    return jax.jit(jax.value_and_grad(lambda args: loss(function, args, relu)))(args)


@pytest.mark.parametrize("halves", [1, 2])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_value_and_gradients_equal_the_formula(relu, residual, halves):
    args, of_parts = example(residual=residual), partial(normalize, halves=halves)
    assert_close(of_parts(*args, relu)[0], formula(*args, relu), 1e-5)
    assert_close(value_and_grads(of_parts, args, relu), value_and_grads(formula, args, relu), 1e-5)


def test_under_vmap_equals_the_formula():
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[example(seed=seed) for seed in (0, 1, 2)])
    mapped = jax.jit(jax.vmap(lambda args: value_and_grads(normalize, args, True)))(stacked)
    expected = [value_and_grads(formula, example(seed=seed), True) for seed in (0, 1, 2)]
    assert_close(mapped, jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected), 1e-5)


def test_bfloat16_inputs_keep_float32_statistics():
    args = example(dtype=jnp.bfloat16)
    y, mean, var = normalize(*args, True)
    assert y.dtype == jnp.bfloat16 and mean.dtype == var.dtype == jnp.float32
    assert_close(mean, np.mean(np.asarray(args[0], np.float64), (0, 1, 2)), 1e-6)
    value, grads = value_and_grads(normalize, args, True)
    assert [g.dtype for g in grads] == [a.dtype for a in args]
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), args)
    expected_value, expected_grads = value_and_grads(formula, wide, True)
    assert_close(value, expected_value, 0.01)
    assert_close(grads, expected_grads, 0.03)


@pytest.mark.parametrize("offset", [100.0, -1000.0])
def test_large_mean_does_not_cancel_the_variance(offset):
    args = example(offset=offset)
    y, mean, var = normalize(*args, False)
    x = np.asarray(args[0], np.float64)
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(var, x.var((0, 1, 2)), rtol=1e-4)
    x_hat = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + definitions.EPSILON)
    np.testing.assert_allclose(y, x_hat * args[2] + args[3] + args[1], atol=1e-3)


def test_large_mean_leaves_the_gradients_as_they_are():
    x, residual, scale, bias = example()
    half = np.round(64 * x[:3]) / 64
    centred = jnp.concatenate([half, -half])  # with the offset its entries and its mean are still exact in float32
    _, expected = value_and_grads(normalize, (centred, residual, scale, bias), True)
    _, grads = value_and_grads(normalize, (centred + 1000, residual, scale, bias), True)
    assert_close(grads, expected, 1e-6)


@pytest.mark.parametrize("relu", [False, True])
def test_nan_passes_through(relu):
    x, residual, scale, bias = example()
    normalize = partial(ops.normalize, mean_C=bias, var_C=scale**2, scale_C=scale, bias_C=bias, residual=residual)
    expected = normalize(x, relu=relu).at[1, 2, 3, 4].set(jnp.nan)
    np.testing.assert_array_equal(normalize(x.at[1, 2, 3, 4].set(jnp.nan), relu=relu), expected)


def test_gradient_through_a_constant_channel_is_finite():
    x, residual, scale, bias = example()
    args = (x.at[..., 0].set(3.0), residual, scale, bias)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(value_and_grads(normalize, args, True)))


def hessian_vector_products(function):
    args, vector = example(), example(seed=7)
    gradient = jax.grad(lambda args: loss(function, args, True))

    def slope(args):
        return sum(jnp.vdot(g, v) for g, v in zip(gradient(args), vector))

    return jax.jit(jax.grad(slope))(args), jax.jit(lambda args: jax.jvp(gradient, (args,), (vector,))[1])(args)


def test_hessian_vector_products_by_either_mode_equal_the_formulas():
    expected, _ = hessian_vector_products(formula)
    backward, forward = hessian_vector_products(partial(normalize, halves=2))
    assert_close(backward, expected, 1e-5)
    assert_close(forward, expected, 1e-5)


IMAGES, KERNEL = jnp.ones((8, 16, 16, 32)), jnp.ones((3, 3, 32, 32))


def chain(x, kernel, split=False):
    """Six convolutions of a batch, or of its halves, each normalised."""
    x = cpu_split_batch.split_batch(x) if split else x
    for _ in range(6):
        x, _, _ = ops.batch_norm(ops.conv2d(x, kernel), jnp.ones(32), jnp.zeros(32), relu=True)
    return jnp.sum(ops.merge_batch(x))


def test_of_x_and_its_difference_from_the_mean_one_is_kept(monkeypatch):
    recomputed = memory_of_gradient(chain, IMAGES, KERNEL)
    for module in (convolution, fused_batch_norm):
        monkeypatch.setattr(module, "recompute_after", lambda dy, x: x)
    assert recomputed < memory_of_gradient(chain, IMAGES, KERNEL) - 4


@pytest.mark.parametrize("split", [False, True])
def test_a_layer_keeps_its_x_and_its_y_alone(split):
    """Nor does XLA store the scale of a channel for every element, to share it between the sums of two halves."""
    assert memory_of_gradient(partial(chain, split=split), IMAGES, KERNEL) < 6 * 2 + 2


def test_statistics_carry_no_gradient():
    def total(args):
        _, mean, var = normalize(*args, True)
        return jnp.sum(mean) + jnp.sum(var)

    assert all((g == 0).all() for g in jax.tree.leaves(jax.grad(total)(example())))
