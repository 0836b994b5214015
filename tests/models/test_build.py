"""Contract of every model, and what build refuses."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax import models

# One toy description of each model of MODELS; a new model needs a row here.
TOYS = {
    "resnet": dict(form="cifar", depth=8, width=0.25, shortcut="B", stem="3x3", zero_gamma=False, dtype="float32"),
}
SHAPE, CLASSES = (8, 8, 1), 3


@pytest.fixture(params=sorted(models.MODELS), scope="module")
def model(request):
    return models.build(request.param, num_classes=CLASSES, input_shape=SHAPE, **TOYS[request.param])


@pytest.fixture(scope="module")
def init(model, quick_jit):
    return quick_jit(model.init)


def random_inputs(*leading):
    return np.random.default_rng(0).normal(size=(*leading, *SHAPE)).astype(np.float32)


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


def test_init_mapped_over_keys_equals_a_loop(model, init, quick_jit):
    keys = jax.random.split(jax.random.key(0), 3)
    mapped = quick_jit(jax.vmap(model.init))(keys)
    looped = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[init(key) for key in keys])
    assert_trees_close(mapped, looped, rtol=1e-5, atol=1e-7)


def test_apply_jitted_equals_eager_and_mapped_equals_a_loop(model, init):
    runs = [init(jax.random.key(seed)) for seed in (0, 1)]
    inputs = random_inputs(4)

    def forward(params, stats):
        return model.apply(params, stats, inputs, train=True, key=None)

    eager = [forward(*run) for run in runs]
    assert eager[0][0].shape == (4, CLASSES) and eager[0][0].dtype == jnp.float32
    assert_trees_close(jax.jit(forward)(*runs[0]), eager[0], rtol=1e-4, atol=1e-5)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *runs)
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *eager)
    assert_trees_close(jax.jit(jax.vmap(forward))(*stacked), expected, rtol=1e-4, atol=1e-5)


def test_apply_leaves_its_arguments_and_in_evaluation_the_stats(model, init):
    params, stats = init(jax.random.key(0))
    before = jax.tree.map(np.array, (params, stats))
    inputs = random_inputs(4)
    _, moved = jax.jit(lambda *a: model.apply(*a, train=True, key=None))(params, stats, inputs)
    assert_trees_close((params, stats), before, rtol=0)
    with pytest.raises(AssertionError):
        assert_trees_close(moved, stats, rtol=0.01)
    _, unmoved = jax.jit(lambda *a: model.apply(*a, train=False, key=None))(params, moved, inputs)
    assert_trees_close(unmoved, moved, rtol=0)


def test_apply_in_evaluation_treats_examples_alone(model, init):
    params, stats = init(jax.random.key(0))
    inputs = random_inputs(4)
    evaluate = jax.jit(lambda inputs: model.apply(params, stats, inputs, train=False, key=None)[0])
    outputs, alone = evaluate(inputs), evaluate(inputs[:1])
    np.testing.assert_allclose(outputs[:1], alone, rtol=1e-4, atol=1e-5)


def test_apply_in_a_scan_equals_a_loop(model, init):
    params, stats = init(jax.random.key(0))
    inputs = random_inputs(2, 4)

    def step(stats, batch):
        outputs, stats = model.apply(params, stats, batch, train=True, key=None)
        return stats, outputs

    scanned = jax.lax.scan(step, stats, inputs)
    stats, first = step(stats, inputs[0])
    stats, second = step(stats, inputs[1])
    assert_trees_close(scanned, (stats, jnp.stack([first, second])), rtol=1e-4, atol=1e-5)


def test_models_hide_no_defaults():
    for name, module in models.MODELS.items():
        parameters = inspect.signature(module.__init__).parameters
        assert all(p.default is p.empty for p in parameters.values()), f"{name} hides a default"
        assert set(parameters) == {"self", "num_classes", "input_shape", "rngs", *TOYS[name]}


def test_unknown_model_lists_the_known():
    with pytest.raises(ValueError, match="'resnt'; did you mean 'resnet'.*known: resnet"):
        models.build("resnt", num_classes=2, input_shape=SHAPE)


def test_unknown_argument_is_named_with_its_nearest():
    with pytest.raises(ValueError, match="'widht'; did you mean 'width'.*depth, dtype, form, shortcut") as caught:
        models.build("resnet", num_classes=2, input_shape=SHAPE, **TOYS["resnet"], widht=1.0)
    assert "\n" not in str(caught.value)


def test_missing_arguments_are_named():
    args = {k: v for k, v in TOYS["resnet"].items() if k not in ("depth", "stem")}
    with pytest.raises(ValueError, match="needs the argument 'depth' .*form, depth, width"):
        models.build("resnet", num_classes=2, input_shape=SHAPE, **args)
