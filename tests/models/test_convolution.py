"""The formulations on CPU against XLA's own convolution, and which of them is used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toymodels import assert_close, memory_of_gradient

from warmup_jax.models.ops.cpu import convolution, recompute, winograd

SPIED = [
    (convolution, "direct"),
    (convolution, "pairs"),
    (convolution, "parities"),
    (convolution, "patches"),
    (winograd, "convolve"),
    (winograd, "gradients"),
]
DIRECT, PAIRS, PARITIES, PATCHES = ["direct"], ["pairs"], ["parities"], ["patches"]
PLAIN = ["direct", "direct"]
WINOGRAD, GRADIENTS = ["winograd.convolve"], ["winograd.gradients"]

# (image, kernel, stride, formulations of the output, of the gradients of image and kernel)
CASES = [
    # few channels
    ((2, 6, 8, 3), (3, 3, 3, 16), 1, PAIRS, PAIRS + DIRECT),
    ((2, 5, 6, 16), (3, 3, 16, 16), 1, PAIRS, PAIRS + DIRECT),
    ((2, 1, 2, 16), (3, 3, 16, 4), 1, PAIRS, PAIRS + DIRECT),
    ((2, 6, 7, 3), (3, 3, 3, 16), 1, DIRECT, PLAIN),
    ((2, 6, 8, 17), (3, 3, 17, 16), 1, DIRECT, PLAIN),
    ((2, 6, 8, 16), (3, 3, 16, 17), 1, DIRECT, PLAIN),
    # strides
    ((2, 6, 8, 3), (3, 3, 3, 5), 2, DIRECT, PARITIES + DIRECT),
    ((2, 10, 4, 16), (3, 3, 16, 32), 2, DIRECT, PARITIES + DIRECT),
    ((2, 4, 4, 64), (3, 3, 64, 64), 2, DIRECT, PARITIES + PATCHES),
    ((2, 6, 4, 63), (3, 3, 63, 64), 2, DIRECT, PARITIES + DIRECT),
    ((2, 7, 5, 64), (3, 3, 64, 65), 2, DIRECT, DIRECT + PATCHES),
    ((2, 6, 6, 64), (3, 3, 64, 64), 3, DIRECT, PLAIN),
    ((2, 2, 2, 4), (3, 3, 4, 6), 2, DIRECT, PARITIES + DIRECT),
    ((2, 6, 7, 4), (3, 3, 4, 6), 2, DIRECT, PLAIN),
    ((2, 7, 6, 4), (3, 3, 4, 6), 2, DIRECT, PLAIN),
    ((2, 7, 9, 4), (3, 3, 4, 6), 2, DIRECT, PLAIN),
    ((2, 1, 1, 4), (3, 3, 4, 6), 2, DIRECT, PLAIN),
    ((2, 6, 6, 4), (3, 3, 4, 6), 3, DIRECT, PLAIN),
    # many channels
    ((2, 6, 8, 64), (3, 3, 64, 64), 1, WINOGRAD, GRADIENTS),
    ((2, 5, 7, 64), (3, 3, 64, 72), 1, WINOGRAD, GRADIENTS),
    ((2, 1, 1, 64), (3, 3, 64, 64), 1, WINOGRAD, GRADIENTS),
    ((1, 29, 3, 64), (3, 3, 64, 64), 1, WINOGRAD, GRADIENTS),
    ((2, 4, 4, 63), (3, 3, 63, 64), 1, DIRECT, PLAIN),
    ((2, 4, 4, 64), (3, 3, 64, 63), 1, DIRECT, PLAIN),
    # other kernels
    ((2, 6, 8, 5), (1, 1, 5, 7), 1, DIRECT, DIRECT + PATCHES),
    ((2, 4, 4, 64), (1, 1, 64, 64), 1, DIRECT, DIRECT + PATCHES),
    ((2, 6, 8, 5), (1, 1, 5, 7), 2, DIRECT, DIRECT + PATCHES),
    ((2, 7, 5, 5), (1, 1, 5, 7), 2, DIRECT, DIRECT + PATCHES),
    ((2, 8, 6, 3), (7, 7, 3, 8), 1, DIRECT, PLAIN),
    ((2, 8, 6, 3), (7, 7, 3, 8), 2, DIRECT, PLAIN),
    ((2, 9, 5, 3), (7, 7, 3, 8), 2, DIRECT, PLAIN),
    # batches in parts of two
    ((4, 6, 8, 3), (3, 3, 3, 16), 1, PAIRS, PAIRS + 2 * DIRECT),
    ((6, 7, 5, 4), (3, 3, 4, 8), 2, DIRECT, DIRECT + 3 * DIRECT),
    ((4, 5, 7, 3), (7, 7, 3, 8), 2, DIRECT, DIRECT + 2 * DIRECT),
    ((5, 5, 7, 17), (3, 3, 17, 8), 1, DIRECT, PLAIN),
    ((4, 4, 4, 64), (3, 3, 64, 64), 1, WINOGRAD, GRADIENTS),
]
# One case of each formulation, with odd sizes where it takes them.
ONE_OF_EACH = [
    (image, kernel, stride)
    for image, kernel, stride, *_ in CASES
    if (image, stride)
    in {((2, 5, 6, 16), 1), ((2, 10, 4, 16), 2), ((2, 5, 7, 64), 1), ((2, 7, 5, 5), 2), ((6, 7, 5, 4), 2)}
]


def example(image, kernel, *, seed=0):
    """An image and a kernel whose convolution has entries about 1."""
    random = np.random.default_rng(seed)
    x, w = random.normal(size=image), random.normal(size=kernel) / np.sqrt(np.prod(kernel[:3]))
    return x.astype(np.float32), w.astype(np.float32)


def loss(convolve, stride, args):
    """Weighted sines of the entries, so that it curves in image and kernel."""
    y = convolve(*args, stride)
    return jnp.sum(np.random.default_rng(9).normal(size=y.shape).astype(np.float32) * jnp.sin(y))


def everything(convolve, stride):
    """args -> (output, (gradient of the image, of the kernel))."""
    return lambda args: (convolve(*args, stride), jax.grad(lambda args: loss(convolve, stride, args))(args))


@pytest.fixture(autouse=True)
def worthwhile(monkeypatch):
    """Small examples take the formulations of large ones."""
    monkeypatch.setattr(convolution, "WORK", 0)
    monkeypatch.setattr(convolution, "PART", (2, 0))


@pytest.fixture
def called(monkeypatch):
    """The names of the formulations that are called, in order."""
    names = []

    def spy(module, name):
        function = getattr(module, name)

        def noted(*args):
            names.append(f"winograd.{name}" if module is winograd else name)
            return function(*args)

        monkeypatch.setattr(module, name, noted)

    for module, name in SPIED:
        spy(module, name)
    return names


@pytest.mark.parametrize("image, kernel, stride", [case[:3] for case in CASES])
def test_value_and_gradients_equal_the_direct_ones(quick_jit, image, kernel, stride):
    args = example(image, kernel)
    actual, expected = (
        quick_jit(everything(function, stride))(args) for function in (convolution.convolve, convolution.direct)
    )
    assert actual[0].shape == (image[0], -(-image[1] // stride), -(-image[2] // stride), kernel[3])
    assert_close(actual, expected, 1e-5)


@pytest.mark.parametrize("image, kernel, stride, forward, backward", CASES)
def test_the_formulation_meant_for_a_shape_is_used(called, image, kernel, stride, forward, backward):
    args = example(image, kernel)
    y = jax.eval_shape(lambda args: convolution.convolve(*args, stride), args)
    assert called == forward
    called.clear()
    jax.eval_shape(lambda args, dy: jax.vjp(lambda args: convolution.convolve(*args, stride), args)[1](dy), args, y)
    assert called == forward + backward


@pytest.mark.parametrize(
    "image, forward",
    [((128, 8, 8, 64), WINOGRAD), ((63, 8, 8, 64), DIRECT), ((64, 8, 8, 64), WINOGRAD), ((128, 2, 2, 64), DIRECT)],
)
def test_winograd_is_for_much_work(called, monkeypatch, image, forward):
    monkeypatch.setattr(convolution, "WORK", 2**24)
    jax.eval_shape(lambda args: convolution.convolve(*args, 1), example(image, (3, 3, 64, 64)))
    assert called == forward


@pytest.mark.parametrize(
    "image, outgoing, parts",
    [
        ((128, 32, 32, 16), 16, 8),
        ((128, 16, 16, 32), 32, 8),
        ((96, 32, 32, 3), 16, 6),
        ((127, 32, 32, 16), 16, 1),
        ((128, 8, 8, 16), 16, 2),
        ((32, 8, 8, 16), 16, 1),
        ((8, 224, 224, 3), 64, 1),
    ],
)
def test_parts_are_of_some_size(called, monkeypatch, image, outgoing, parts):
    monkeypatch.setattr(convolution, "PART", (16, 2**16))
    dy = jax.ShapeDtypeStruct((*image[:-1], outgoing), jnp.float32)
    jax.eval_shape(
        lambda x, dy, k: convolution.in_parts(x, dy, k, 1),
        jax.ShapeDtypeStruct(image, jnp.float32),
        dy,
        example((), (3, 3, image[-1], outgoing))[1],
    )
    assert called == parts * DIRECT


def test_no_tiles_are_kept_for_the_gradient(monkeypatch):
    """A chain of convolutions by Winograd, whose tiles are four times an image."""
    x, w = example((8, 16, 16, 64), (3, 3, 64, 64))

    def chain(x, w):
        for _ in range(6):
            x = jnp.sin(convolution.convolve(x, w, 1))
        return jnp.sum(x)

    waited = memory_of_gradient(chain, x, w)
    monkeypatch.setattr(recompute, "after", lambda dy, x: x)
    assert waited < memory_of_gradient(chain, x, w) - 6


def gradient_calls(called, args):
    called.clear()
    jax.eval_shape(jax.grad(lambda args: jnp.sum(convolution.convolve(*args, 1).astype(jnp.float32))), args)
    return called


@pytest.mark.parametrize("channels", [4, 64])
def test_other_backends_and_dtypes_take_the_direct_one(called, monkeypatch, channels):
    args = example((2, 4, 4, channels), (3, 3, channels, channels))
    assert gradient_calls(called, args) in [PAIRS + PAIRS + DIRECT, WINOGRAD + GRADIENTS]
    # On these differentiation is XLA's too: nothing is called for the gradient.
    assert gradient_calls(called, [a.astype(jnp.bfloat16) for a in args]) == DIRECT
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert gradient_calls(called, args) == DIRECT


def test_bfloat16_stays_bfloat16():
    args = [a.astype(jnp.bfloat16) for a in example((2, 4, 4, 64), (3, 3, 64, 64))]
    y, grads = jax.eval_shape(everything(convolution.convolve, 1), args)
    assert {leaf.dtype for leaf in [y, *grads]} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("image, kernel, stride", ONE_OF_EACH)
def test_under_vmap_equals_a_loop_of_the_direct_one(quick_jit, image, kernel, stride):
    examples = [example(image, kernel, seed=seed) for seed in (0, 1, 2)]
    mapped = quick_jit(jax.vmap(everything(convolution.convolve, stride)))(tuple(map(jnp.stack, zip(*examples))))
    looped = list(map(quick_jit(everything(convolution.direct, stride)), examples))
    assert_close(mapped, jax.tree.map(lambda *leaves: jnp.stack(leaves), *looped), 1e-5)


def hessian_vector_products(convolve, stride, vector):
    """args -> (by `grad` of `grad`, by `jvp` of `grad`)."""
    gradient = jax.grad(lambda args: loss(convolve, stride, args))

    def slope(args):
        return sum(jnp.vdot(g, v) for g, v in zip(gradient(args), vector))

    return lambda args: (jax.grad(slope)(args), jax.jvp(gradient, (args,), (vector,))[1])


@pytest.mark.parametrize("image, kernel, stride", ONE_OF_EACH)
def test_hessian_vector_products_by_either_mode_equal_the_direct_ones(quick_jit, image, kernel, stride):
    args, vector = example(image, kernel), example(image, kernel, seed=7)
    actual, expected = (
        quick_jit(hessian_vector_products(function, stride, vector))(args)
        for function in (convolution.convolve, convolution.direct)
    )
    assert_close(actual, expected, 1e-5)


def losses_of_training(model, jit, steps=3, rate=0.3):
    """The losses of some steps of plain SGD on one batch, and that after them."""
    images, labels = np.random.default_rng(0).normal(size=(4, 12, 12, 3)).astype(np.float32), np.arange(4)

    def loss(params, stats):
        logits, stats = model.apply(params, stats, images, train=True, key=None)
        return -jnp.mean(jax.nn.log_softmax(logits)[np.arange(4), labels]), stats

    @jit
    def step(params, stats):
        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(params, stats)
        return jax.tree.map(lambda p, g: p - rate * g, params, grads), stats, value

    (params, stats), losses = jit(model.init)(jax.random.key(0)), []
    for _ in range(steps + 1):
        params, stats, value = step(params, stats)
        losses.append(float(value))
    return losses


def test_training_a_resnet_gives_the_losses_of_the_direct_one(small_resnet, quick_jit, called, monkeypatch):
    model = small_resnet(width=1.0, shortcut="B")  # its stages have images of 12, 6 and 3 pixels
    losses = losses_of_training(model, quick_jit)
    assert set(called) == {"direct", "pairs", "parities", "patches", "winograd.convolve", "winograd.gradients"}
    called.clear()
    monkeypatch.setattr(convolution, "on_cpu", convolution.direct)
    expected = losses_of_training(model, quick_jit)
    assert set(called) == {"direct"}
    np.testing.assert_allclose(losses, expected, rtol=1e-4)  # if the kernels were frozen, 0.04 and more
