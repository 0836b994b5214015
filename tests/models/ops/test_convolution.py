"""The formulations for CPU against XLA's own convolution, and the shapes that each of them is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toymodels import assert_close, memory_of_gradient

from warmup_jax.models import ops
from warmup_jax.models.ops import definitions
from warmup_jax.models.ops.cpu import convolution, winograd

# Formulations of the output, of the gradient of the image and of that of the kernel: (image, kernel, stride), with odd
# sizes where the formulation takes them.
CASES = {
    "pairs, pairs, parts": ((4, 5, 6, 16), (3, 3, 16, 16), 1),
    "direct, direct, one part": ((3, 5, 7, 17), (3, 3, 17, 8), 1),
    "direct, parities, parts": ((4, 10, 4, 16), (3, 3, 16, 32), 2),
    "direct, parities, patches": ((2, 4, 6, 64), (3, 3, 64, 5), 2),
    "direct, direct, patches": ((2, 7, 5, 5), (1, 1, 5, 7), 2),
    "direct, direct, parts": ((4, 9, 5, 3), (7, 7, 3, 8), 2),
    "Winograd": ((2, 5, 7, 64), (3, 3, 64, 72), 1),
    "one pixel": ((2, 1, 1, 4), (3, 3, 4, 6), 2),
}


def example(image, kernel, *, seed=0):
    """An image and a kernel whose convolution has entries about 1."""
    random = np.random.default_rng(seed)
    x, w = random.normal(size=image), random.normal(size=kernel) / np.sqrt(np.prod(kernel[:3]))
    return x.astype(np.float32), w.astype(np.float32)


def loss(stride, args):
    """Weighted sines of the entries, so that it curves in image and kernel."""
    y = ops.conv2d(*args, stride)
    return jnp.sum(np.random.default_rng(9).normal(size=y.shape).astype(np.float32) * jnp.sin(y))


def derivatives(stride, args, vector):
    """(output, gradient, Hessian-vector product by `jvp` of `grad`, the same by `grad` of `grad`)."""
    gradient = jax.grad(lambda args: loss(stride, args))

    def slope(args):
        return sum(jnp.vdot(g, v) for g, v in zip(gradient(args), vector))

    return ops.conv2d(*args, stride), *jax.jvp(gradient, (args,), (vector,)), jax.grad(slope)(args)


@pytest.mark.parametrize("image, kernel, stride", CASES.values(), ids=CASES)
def test_value_and_derivatives_equal_the_direct_ones(quick_jit, image, kernel, stride):
    args, vector = example(image, kernel), example(image, kernel, seed=7)
    results = []
    for mode in (ops.use_everywhere, ops.plain):
        with mode():
            results.append(quick_jit(lambda *a: derivatives(stride, *a))(args, vector))
    assert results[0][0].shape == (image[0], -(-image[1] // stride), -(-image[2] // stride), kernel[3])
    assert_close(*results, 1e-5)


@pytest.mark.parametrize("name", ["pairs, pairs, parts", "direct, parities, patches", "Winograd"])
def test_under_vmap_equals_a_loop_of_the_direct_one(quick_jit, name):
    image, kernel, stride = CASES[name]
    examples = [example(image, kernel, seed=seed) for seed in (0, 1, 2)]
    gradient = jax.grad(lambda args: loss(stride, args))
    with ops.use_everywhere():
        mapped = quick_jit(jax.vmap(gradient))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *examples))
    with ops.plain():
        compiled = quick_jit(lambda args: gradient(args))
        looped = [compiled(args) for args in examples]
    assert_close(mapped, jax.tree.map(lambda *leaves: jnp.stack(leaves), *looped), 1e-5)


def formulations(image, kernel, stride):
    """(of the output, of the gradient of the image, of the kernel's)"""
    if convolution.use_winograd(image, kernel, stride):
        return ("winograd",) * 3
    transposed = (*kernel[:2], kernel[3], kernel[2])
    pairs = convolution.use_pairs(image, kernel, stride)
    parities = convolution.use_parities(image, kernel, stride)
    d_image = "parities" if parities else "pairs" if convolution.use_pairs(image, transposed, stride) else "direct"
    patches = convolution.use_patches(kernel, stride)
    return "pairs" if pairs else "direct", d_image, "patches" if patches else "parts"


# ResNet-20 on CIFAR-10 at 128 examples, ResNet-18 and ResNet-50: what each layer was measured to be fastest with.
@pytest.mark.parametrize(
    "image, kernel, stride, expected",
    [
        ((128, 32, 32, 3), (3, 3, 3, 16), 1, ("pairs", "pairs", "parts")),
        ((128, 32, 32, 16), (3, 3, 16, 16), 1, ("pairs", "pairs", "parts")),
        ((128, 32, 32, 16), (3, 3, 16, 32), 2, ("direct", "parities", "parts")),
        ((128, 16, 16, 32), (3, 3, 32, 32), 1, ("direct", "direct", "parts")),
        ((128, 8, 8, 64), (3, 3, 64, 64), 1, ("winograd",) * 3),
        ((128, 2, 2, 64), (3, 3, 64, 64), 1, ("direct", "direct", "parts")),
        ((128, 32, 32, 64), (3, 3, 64, 128), 2, ("direct", "parities", "patches")),
        ((128, 7, 7, 64), (3, 3, 64, 128), 2, ("direct", "direct", "patches")),
        ((64, 56, 56, 256), (1, 1, 256, 64), 1, ("direct", "direct", "patches")),
        ((64, 224, 224, 3), (7, 7, 3, 64), 2, ("direct", "direct", "parts")),
        ((64, 33, 33, 16), (3, 3, 16, 16), 1, ("direct", "direct", "parts")),
    ],
)
def test_the_formulation_for_a_shape(image, kernel, stride, expected):
    assert formulations(image, kernel, stride) == expected


@pytest.mark.parametrize(
    "output, parts",
    [((128, 32, 32, 16), 8), ((96, 32, 32, 16), 6), ((127, 32, 32, 16), 1), ((128, 8, 8, 16), 2), ((32, 8, 8, 16), 1)],
)
def test_parts_divide_the_batch_and_are_not_too_small(output, parts):
    assert convolution.count_parts(output) == parts


@pytest.mark.slow
def test_no_tiles_are_kept_for_the_gradient(monkeypatch):
    """A chain of convolutions by Winograd, whose tiles are four times an image."""
    x, w = example((8, 16, 16, 64), (3, 3, 64, 64))

    def chain(x, w):
        for _ in range(6):
            x = jnp.sin(ops.conv2d(x, w))
        return jnp.sum(x)

    with ops.use_everywhere():
        recomputed = memory_of_gradient(chain, x, w)
        monkeypatch.setattr(convolution, "recompute_after", lambda dy, x: x)
        assert recomputed < memory_of_gradient(chain, x, w) - 6


@pytest.mark.parametrize("dtype, backend", [(jnp.bfloat16, "cpu"), (jnp.float32, "gpu"), (jnp.float32, "tpu")])
def test_other_dtypes_and_backends_take_the_definition(monkeypatch, dtype, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    args = [a.astype(dtype) for a in example((2, 4, 4, 64), (3, 3, 64, 64))]
    with ops.use_everywhere():
        actual = jax.make_jaxpr(lambda *a: ops.conv2d(*a))(*args)
    assert str(actual) == str(jax.make_jaxpr(lambda *a: definitions.conv2d(*a, 1))(*args))


def test_winograd_is_used_for_many_channels():
    args = example((2, 4, 4, 64), (3, 3, 64, 64))
    with ops.use_everywhere():
        np.testing.assert_array_equal(ops.conv2d(*args), winograd.conv2d(*args))
