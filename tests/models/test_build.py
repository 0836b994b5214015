"""Contract of every model, and what build refuses."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toymodels import BLOCKS

from warmup_jax import models

CLASSES = 7


def pixels(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def tokens(rng, *shape):
    return rng.integers(0, CLASSES, shape, dtype=np.int32)


def pairs(rng, *shape):
    """Rows of two sentences with one position of padding at the end."""
    *leading, lengths = shape
    rows = {side: tokens(rng, *leading, length) for side, length in zip(("source", "target"), lengths)}
    segments = {
        f"{side}_segments": np.broadcast_to(np.int32([1] * 2 + [2] * (row.shape[-1] - 3) + [0]), row.shape)
        for side, row in rows.items()
    }
    return rows | segments


class Toy(NamedTuple):
    args: dict[str, Any]
    input_shape: tuple[int, ...]
    inputs: Callable  # (rng, *leading axes, *input_shape) -> a tree of arrays
    output_shape: tuple[int, ...]  # of one example
    has_stats: bool
    decodes: bool


# One toy description of each model of MODELS; a new model needs a row here.
TOYS = {
    "fcn": Toy(dict(depth=3, width=5, activation="relu", parametrisation="standard", bias=True, dtype="float32"),
               (4, 2), pixels, (CLASSES,), has_stats=False, decodes=False),
    "resnet": Toy(
        dict(form="cifar", depth=8, width=0.25, shortcut="B", stem="3x3", zero_gamma=False, dtype="float32"),
        (8, 8, 1), pixels, (CLASSES,), has_stats=True, decodes=False),
    "transformer": Toy(dict(BLOCKS, encoder_depth=1, decoder_depth=1), (6, 5),
                       lambda rng, *shape: pairs(rng, *shape[:-2], shape[-2:]), (5, CLASSES),
                       has_stats=False, decodes=True),
    "decoder": Toy(dict(BLOCKS, depth=2), (6,), tokens, (6, CLASSES), has_stats=False, decodes=True),
}  # fmt: skip


@pytest.fixture(params=sorted(models.MODELS), scope="module")
def toy(request):
    return request.param, TOYS[request.param]


def build(name, **changes):
    toy = TOYS[name]
    return models.build(name, num_classes=CLASSES, input_shape=toy.input_shape, **{**toy.args, **changes})


@pytest.fixture(scope="module")
def model(toy):
    return build(toy[0])


@pytest.fixture(scope="module")
def random_inputs(toy):
    """(*leading axes) -> a tree of inputs."""
    return lambda *leading: toy[1].inputs(np.random.default_rng(0), *leading, *toy[1].input_shape)


@pytest.fixture(scope="module")
def init(model, quick_jit):
    return quick_jit(model.init)


def assert_trees_close(actual, expected, **tolerance):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


def dict_nodes(tree):
    yield tree
    for child in tree.values():
        if isinstance(child, dict):
            yield from dict_nodes(child)


def test_trees_are_plain_dicts_of_float32_with_str_keys(init):
    for tree in init(jax.random.key(0)):
        assert all(type(node) is dict and all(type(key) is str for key in node) for node in dict_nodes(tree))
        assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(tree))


def test_init_is_a_function_of_the_key(init):
    first, again, other = (init(jax.random.key(seed))[0] for seed in (0, 0, 1))
    assert_trees_close(first, again, rtol=0)
    assert not np.allclose(first["head"]["kernel"], other["head"]["kernel"])


@pytest.mark.slow
def test_init_mapped_over_keys_equals_a_loop(model, init, quick_jit):
    keys = jax.random.split(jax.random.key(0), 3)
    mapped = quick_jit(jax.vmap(model.init))(keys)
    looped = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[init(key) for key in keys])
    assert_trees_close(mapped, looped, rtol=1e-5, atol=1e-7)


def test_apply_jitted_equals_eager_and_mapped_equals_a_loop(model, init, toy, random_inputs, quick_jit):
    runs = [init(jax.random.key(seed)) for seed in (0, 1)]
    inputs = random_inputs(4)

    def forward(params, stats):
        return model.apply(params, stats, inputs, train=True, key=None)

    eager = [forward(*run) for run in runs]
    assert eager[0][0].shape == (4, *toy[1].output_shape) and eager[0][0].dtype == jnp.float32
    assert_trees_close(quick_jit(forward)(*runs[0]), eager[0], rtol=1e-4, atol=1e-5)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *runs)
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *eager)
    assert_trees_close(quick_jit(jax.vmap(forward))(*stacked), expected, rtol=1e-4, atol=1e-5)


def test_apply_leaves_its_arguments_and_in_evaluation_the_stats(model, init, toy, random_inputs, quick_jit):
    params, stats = init(jax.random.key(0))
    before = jax.tree.map(np.array, (params, stats))
    inputs = random_inputs(4)
    _, moved = quick_jit(lambda *a: model.apply(*a, train=True, key=None))(params, stats, inputs)
    assert_trees_close((params, stats), before, rtol=0)
    assert bool(stats) == toy[1].has_stats
    if stats:
        with pytest.raises(AssertionError):
            assert_trees_close(moved, stats, rtol=0.01)
    _, unmoved = quick_jit(lambda *a: model.apply(*a, train=False, key=None))(params, moved, inputs)
    assert_trees_close(unmoved, moved, rtol=0)


def test_apply_in_evaluation_treats_examples_alone(model, init, random_inputs, quick_jit):
    params, stats = init(jax.random.key(0))
    inputs = random_inputs(4)
    evaluate = quick_jit(lambda inputs: model.apply(params, stats, inputs, train=False, key=None)[0])
    outputs, alone = evaluate(inputs), evaluate(jax.tree.map(lambda leaf: leaf[:1], inputs))
    np.testing.assert_allclose(outputs[:1], alone, rtol=1e-4, atol=1e-5)


def test_apply_in_a_scan_equals_a_loop(model, init, random_inputs):
    params, stats = init(jax.random.key(0))
    inputs = random_inputs(2, 4)

    def step(stats, batch):
        outputs, stats = model.apply(params, stats, batch, train=True, key=None)
        return stats, outputs

    scanned = jax.lax.scan(step, stats, inputs)
    stats, first = step(stats, jax.tree.map(lambda leaf: leaf[0], inputs))
    stats, second = step(stats, jax.tree.map(lambda leaf: leaf[1], inputs))
    assert_trees_close(scanned, (stats, jnp.stack([first, second])), rtol=1e-4, atol=1e-5)


def test_only_models_that_decode_have_begin_and_step(model, toy):
    assert callable(model.begin) == callable(model.step) == toy[1].decodes


def test_models_hide_no_defaults():
    for name, module in models.MODELS.items():
        parameters = inspect.signature(module.config_class).parameters
        assert all(p.default is p.empty for p in parameters.values()), f"{name} hides a default"
        assert set(parameters) == set(TOYS[name].args)


def test_unknown_model_lists_the_known():
    known = ", ".join(sorted(models.MODELS))
    with pytest.raises(ValueError, match=f"'resnt'; did you mean 'resnet'.*known: {known}"):
        models.build("resnt", num_classes=2, input_shape=(8, 8, 1))


def test_unknown_argument_is_named_with_its_nearest():
    with pytest.raises(ValueError, match="'widht'; did you mean 'width'.*depth, dtype, form, shortcut") as caught:
        build("resnet", widht=1.0)
    assert "\n" not in str(caught.value)


def test_missing_arguments_are_named():
    args = {k: v for k, v in TOYS["resnet"].args.items() if k not in ("depth", "stem")}
    with pytest.raises(ValueError, match="needs the argument 'depth' .*form, depth, width"):
        models.build("resnet", num_classes=2, input_shape=(8, 8, 1), **args)
