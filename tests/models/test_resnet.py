"""Parameter counts, initialisation and the shape of the residual network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0))


def random_images(count):
    return np.random.default_rng(0).normal(size=(count, 8, 8, 3)).astype(np.float32)


def count(model):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(model)[0]))


# He et al. 2015, table 6, gives 0.27, 0.46, 0.66, 0.85 and 1.7 million.
@pytest.mark.parametrize(
    "depth, expected", [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)]
)
def test_parameters_of_the_cifar_form(small_resnet, depth, expected):
    model = small_resnet(depth=depth, width=1.0, num_classes=10, input_shape=(32, 32, 3))
    assert count(model) == expected


def test_projections_add_their_parameters(small_resnet):
    args = dict(depth=20, width=1.0, num_classes=10)
    # Two 1x1 convolutions, 16 -> 32 and 32 -> 64, with a scale and a bias each.
    assert count(small_resnet(shortcut="B", **args)) - count(small_resnet(shortcut="A", **args)) == 2_752


# The counts of torchvision's models of the same names.
@pytest.mark.parametrize(
    "depth, expected",
    [
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        pytest.param(101, 44_549_160, marks=pytest.mark.slow),
        pytest.param(152, 60_192_808, marks=pytest.mark.slow),
    ],
)
def test_parameters_of_the_imagenet_form(small_resnet, depth, expected):
    args = dict(form="imagenet", width=1.0, shortcut="B", stem="7x7", num_classes=1000, input_shape=(224, 224, 3))
    assert count(small_resnet(depth=depth, **args)) == expected


@pytest.mark.parametrize(
    "form, depth, shortcut", [("cifar", 8, "A"), ("cifar", 14, "B"), ("imagenet", 18, "A"), ("imagenet", 50, "B")]
)
@pytest.mark.parametrize("stem", ["3x3", "7x7"])
@pytest.mark.parametrize("input_shape", [(32, 32, 3), (9, 7, 1)])
def test_logits_shape(small_resnet, form, depth, shortcut, stem, input_shape):
    model = small_resnet(form=form, depth=depth, shortcut=shortcut, stem=stem, input_shape=input_shape)
    images = jax.ShapeDtypeStruct((2, *input_shape), jnp.float32)
    logits, stats = jax.eval_shape(lambda *a: model.apply(*a, train=True, key=None), *shapes(model), images)
    assert logits.shape == (2, 4)
    assert stats == shapes(model)[1]


def test_width_multiplies_every_stage(small_resnet):
    params, _ = shapes(small_resnet(width=0.5))
    out_channels = [params[f"stage{s}_block0"]["conv2"]["kernel"].shape[-1] for s in (1, 2, 3)]
    assert [params["stem"]["kernel"].shape[-1], *out_channels] == [8, 8, 16, 32]


def test_bottlenecks_stride_in_the_3x3(small_resnet):
    model = small_resnet(form="imagenet", depth=50, width=0.25, shortcut="B")
    jaxpr = str(jax.make_jaxpr(lambda *a: model.apply(*a, train=False, key=None))(
        *shapes(model), jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)))  # fmt: skip
    strided = [c for c in jaxpr.split("conv_general_dilated[")[1:] if "window_strides=(2, 2)" in c.split("]")[0]]
    assert sum("padding=((1, 1), (1, 1))" in c.split("]")[0] for c in strided) == 3
    assert sum("padding=((0, 0), (0, 0))" in c.split("]")[0] for c in strided) == 3


def test_initialisation(small_resnet, quick_jit):
    params, stats = quick_jit(small_resnet(width=2.0, num_classes=50).init)(jax.random.key(0))
    kernel = np.asarray(params["stage3_block0"]["conv2"]["kernel"])
    assert kernel.shape == (3, 3, 128, 128)
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 128)), rtol=0.01)
    np.testing.assert_allclose(kernel.mean(), 0.0, atol=5 * kernel.std() / np.sqrt(kernel.size))
    np.testing.assert_allclose(np.mean(np.abs(kernel) < kernel.std()), 0.6827, atol=0.01)
    # Fan-out, not fan-in, where they differ: 3 -> 32 channels.
    np.testing.assert_allclose(np.std(params["stem"]["kernel"]), np.sqrt(2 / (9 * 32)), rtol=0.1)
    np.testing.assert_allclose(np.std(params["head"]["kernel"]), 0.01, rtol=0.05)
    assert (params["head"]["bias"] == 0).all()
    assert (params["stage1_block0"]["norm2"]["scale"] == 1).all()
    assert (stats["stem_norm"]["mean"] == 0).all() and (stats["stem_norm"]["var"] == 1).all()


def stem_by_hand(params, images):
    """The stem's convolution, one shifted product a tap."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = np.asarray(params["stem"]["kernel"])
    return sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))


def test_zero_gamma_makes_every_block_its_shortcut(small_resnet, quick_jit):
    model = small_resnet(zero_gamma=True)
    params, stats = quick_jit(model.init)(jax.random.key(0))
    for stage in (1, 2, 3):
        assert (params[f"stage{stage}_block0"]["norm1"]["scale"] == 1).all()
        assert (params[f"stage{stage}_block0"]["norm2"]["scale"] == 0).all()
    images = random_images(4)
    logits, new_stats = quick_jit(lambda *a: model.apply(*a, train=True, key=None))(params, stats, images)
    stem = stem_by_hand(params, images)
    mean, var = stem.mean((0, 1, 2)), stem.var((0, 1, 2))
    features = np.maximum((stem - mean) / np.sqrt(var + 1e-5), 0)[:, ::4, ::4].mean((1, 2))
    # Stages 2 and 3 append channels of zeros, which meet no weight.
    expected = features @ np.asarray(params["head"]["kernel"])[: features.shape[-1]]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(new_stats["stem_norm"]["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(new_stats["stem_norm"]["var"], 0.9 + 0.1 * var, rtol=1e-4)


@pytest.mark.slow
def test_bfloat16_keeps_parameters_statistics_and_logits_float32(small_resnet, quick_jit):
    images = random_images(8)

    def logits_of(dtype):
        model = small_resnet(dtype=dtype)
        params, stats = quick_jit(model.init)(jax.random.key(0))

        def loss(params):
            logits, new_stats = model.apply(params, stats, images, train=True, key=None)
            return jnp.mean(jnp.square(logits - 1)), (logits, new_stats)

        (_, (logits, new_stats)), grads = quick_jit(jax.value_and_grad(loss, has_aux=True))(params)
        assert {leaf.dtype for leaf in jax.tree.leaves((params, logits, new_stats, grads))} == {jnp.dtype("float32")}
        return logits

    wide, narrow = logits_of("float32"), logits_of("bfloat16")
    assert 0 < np.abs(wide - narrow).max() < 0.05 * np.abs(wide).max()


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(form="mnist"), "form='mnist'; allowed: 'cifar', 'imagenet'"),
        (dict(depth=21), "depth=21; allowed for form='cifar': 6n \\+ 2"),
        (dict(depth=2), "depth=2; allowed"),
        (dict(depth=20.0), "depth=20.0; allowed"),
        (dict(form="imagenet", depth=20), "depth=20; allowed for form='imagenet': 18, 34, 50, 101, 152"),
        (dict(width=0.0), "width=0.0; allowed: a positive number"),
        (dict(width=-1.0), "width=-1.0; allowed"),
        (dict(width=0.01), "width=0.01; allowed"),
        (dict(width=float("nan")), "width=nan; allowed"),
        (dict(width="1"), "width='1'; allowed"),
        (dict(shortcut="C"), "shortcut='C'; allowed for form='cifar', depth=8: 'A', 'B'"),
        (dict(form="imagenet", depth=50, shortcut="A"), "shortcut='A'; allowed for form='imagenet', depth=50: 'B'"),
        (dict(stem="5x5"), "stem='5x5'; allowed: '3x3', '7x7'"),
        (dict(zero_gamma="yes"), "zero_gamma='yes'; allowed: False, True"),
        (dict(dtype="float16"), "dtype='float16'; allowed: 'float32', 'bfloat16'"),
        (dict(input_shape=(64,)), "input_shape=\\(64,\\); allowed: \\(height, width, channels\\)"),
    ],
)
def test_bad_values_are_named_with_the_allowed_ones(small_resnet, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        small_resnet(**changes)
    assert "\n" not in str(caught.value)
