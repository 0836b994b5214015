"""Winograd's convolution and its gradients against the sums that they stand for."""

import math

import jax
import numpy as np
import pytest
from toymodels import assert_close

from warmup_jax.models.ops.cpu import winograd

SIZES = [(4, 6), (5, 7), (4, 7), (7, 4), (1, 1), (1, 2), (2, 1), (2, 2)]


def example(size, draw, batch=2, in_channels=3, out_channels=5):
    """(image, kernel, gradient of the output)"""
    shapes = (batch, *size, in_channels), (3, 3, in_channels, out_channels), (batch, *size, out_channels)
    return [draw(shape).astype(np.float32) for shape in shapes]


def by_sums(x, kernel, dy):
    """(output, gradient of the image, of the kernel) in float64, tap by tap."""
    x, kernel, dy = (array.astype(np.float64) for array in (x, kernel, dy))
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y, d_padded, d_kernel = np.zeros_like(dy), np.zeros_like(padded), np.zeros_like(kernel)
    for i in range(3):
        for j in range(3):
            seen = np.s_[:, i : i + height, j : j + width]
            y += padded[seen] @ kernel[i, j]
            d_padded[seen] += dy @ kernel[i, j].T
            d_kernel[i, j] = np.einsum("bhwc,bhwd->cd", padded[seen], dy)
    return y, d_padded[:, 1:-1, 1:-1], d_kernel


def by_winograd(x, kernel, dy):
    return winograd.conv2d(x, kernel), *winograd.gradients(x, kernel, dy)


@pytest.mark.parametrize("size", SIZES)
def test_small_integers_are_convolved_exactly(quick_jit, size):
    random = np.random.default_rng(0)
    x, kernel, dy = example(size, lambda shape: random.integers(-8, 9, shape))
    args = x, 4 * kernel, dy  # so that the quarters in the transformed kernel are integers
    for actual, expected in zip(quick_jit(by_winograd)(*args), by_sums(*args)):
        np.testing.assert_array_equal(actual, expected)


def test_the_error_in_float32_is_about_a_millionth_of_the_largest():
    random = np.random.default_rng(0)
    args = example((7, 8), lambda shape: random.normal(size=shape), batch=4, in_channels=64, out_channels=32)
    assert_close(jax.jit(by_winograd)(*args), by_sums(*args), 1e-6)


def equations(function, *args):
    """The equations of a program, those of its inner functions among them."""

    def flat(jaxpr):
        inner = [(equation, equation.params.get("jaxpr")) for equation in jaxpr.eqns]
        return [each for equation, closed in inner for each in (flat(closed.jaxpr) if closed else [equation])]

    return flat(jax.make_jaxpr(function)(*args).jaxpr)


def multiplications(equations):
    """Those in matrix products; none may be elsewhere."""
    assert not {"mul", "conv_general_dilated"} & {
        equation.primitive.name for equation in equations if equation.outvars[0].aval.dtype == np.float32
    }  # not of indices
    products = [equation for equation in equations if equation.primitive.name == "dot_general"]
    contracted = [equation.invars[0].aval.shape[equation.params["dimension_numbers"][0][0][0]] for equation in products]
    return sum(k * math.prod(equation.outvars[0].aval.shape) for k, equation in zip(contracted, products))


@pytest.mark.parametrize("size", [(4, 6), (2, 2), (5, 7)])
def test_it_multiplies_16_times_where_the_sums_multiply_36_times(size):
    x, kernel, dy = example(size, np.ones)
    tiles = 2 * -(-size[0] // 2) * -(-size[1] // 2)
    plain = 36 * tiles * 3 * 5  # 4 outputs of 9 taps a tile; an odd size is rounded up
    assert multiplications(equations(winograd.conv2d, x, kernel)) * 36 == 16 * plain
    assert multiplications(equations(winograd.gradients, x, kernel, dy)) * 36 == 16 * 2 * plain


def test_the_products_of_a_row_of_a_tile_are_one():
    x, kernel, dy = example((4, 6), np.ones)
    for count, function, args in (4, winograd.conv2d, (x, kernel)), (8, winograd.gradients, (x, kernel, dy)):
        assert [each.primitive.name for each in equations(function, *args)].count("dot_general") == count


def test_the_gradient_of_the_output_is_computed_once():
    """XLA would compute it again in each of the slices that it is cut into."""
    x, kernel, dy = example((16, 16), np.ones, batch=8, in_channels=64, out_channels=64)

    def gradients(x, kernel, dy, other):
        return winograd.gradients(x, kernel, dy - other)

    lines = jax.jit(gradients).lower(x, kernel, dy, dy).compile().as_text().splitlines()
    assert sum("= f32[8,16,16,64]" in line and " subtract(" in line for line in lines) == 1
