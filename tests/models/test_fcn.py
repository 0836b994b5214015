"""The fully connected network against its formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax import models

SMALL = dict(depth=4, width=6, activation="relu", parametrisation="standard", bias=True, dtype="float32")


def build(num_classes=3, input_shape=(4, 2), **changes):
    return models.build("fcn", num_classes=num_classes, input_shape=input_shape, **{**SMALL, **changes})


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_parameters(depth, bias):
    params, stats = jax.eval_shape(build(depth=depth, bias=bias).init, jax.random.key(0))
    weights = 8 * 6 + (depth - 2) * 6 * 6 + 6 * 3
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == weights + bias * ((depth - 1) * 6 + 3)
    assert set(params) == {*(f"layer{i}" for i in range(1, depth)), "head"} and stats == {}
    assert set(params["head"]) == ({"kernel", "bias"} if bias else {"kernel"})


@pytest.mark.parametrize("activation, gain", [("relu", 2), ("gelu", 2), ("tanh", 1)])
@pytest.mark.parametrize("parametrisation", ["standard", "mup"])
def test_initial_variances(activation, gain, parametrisation, quick_jit):
    model = build(100, (10, 5), depth=3, width=100, activation=activation, parametrisation=parametrisation)
    params, _ = quick_jit(model.init)(jax.random.key(1))
    variances = {
        "layer1": gain / 50,
        "layer2": gain / 100,
        "head": gain / 100 if parametrisation == "standard" else gain / 100**2,
    }
    for name, variance in variances.items():
        kernel = np.asarray(params[name]["kernel"])
        np.testing.assert_allclose(kernel.var(), variance, rtol=0.05)
        np.testing.assert_allclose(kernel.mean(), 0, atol=5 * np.sqrt(variance / kernel.size))
        np.testing.assert_allclose(np.mean(np.abs(kernel) < np.sqrt(variance)), 0.6827, atol=0.03)  # a normal
        assert not np.asarray(params[name]["bias"]).any()


def test_mup_is_standard_with_a_smaller_output_layer(quick_jit):
    standard, mup = (quick_jit(build(parametrisation=name).init)(jax.random.key(0))[0] for name in ("standard", "mup"))
    standard["head"]["kernel"] /= np.sqrt(6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), mup, standard)


def by_hand(params, inputs, function):
    x = np.asarray(inputs).reshape(len(inputs), -1)
    for name in ("layer1", "layer2", "layer3"):
        x = function(x @ params[name]["kernel"] + params[name]["bias"])
    return x @ params["head"]["kernel"] + params["head"]["bias"]


@pytest.mark.parametrize(
    "activation, function",
    [
        ("relu", lambda x: np.maximum(x, 0)),
        ("tanh", np.tanh),
        ("gelu", lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    ],
)
def test_logits_by_hand(activation, function, quick_jit):
    model = build(activation=activation)
    params, _ = quick_jit(model.init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf + rng.normal(size=leaf.shape).astype(np.float32) / 4, params)
    inputs = rng.normal(size=(5, 4, 2)).astype(np.float32)
    logits, _ = quick_jit(lambda p, x: model.apply(p, {}, x, train=True, key=None))(params, inputs)
    np.testing.assert_allclose(logits, by_hand(jax.device_get(params), inputs, function), rtol=1e-4, atol=1e-5)


def test_bfloat16_keeps_parameters_and_logits_float32(quick_jit):
    results, inputs = {}, np.random.default_rng(0).normal(size=(16, 4, 2)).astype(np.float32)
    for dtype in ("float32", "bfloat16"):
        model = build(width=32, dtype=dtype)
        params, _ = quick_jit(model.init)(jax.random.key(0))
        logits, _ = quick_jit(lambda p, m=model: m.apply(p, {}, inputs, train=True, key=None))(params)
        assert {leaf.dtype for leaf in jax.tree.leaves((params, logits))} == {jnp.dtype("float32")}
        assert np.isfinite(logits).all()
        results[dtype] = logits
    difference = np.abs(results["float32"] - results["bfloat16"]).max()
    assert 0 < difference < 0.05 * np.abs(results["float32"]).max()


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(depth=1), "depth=1; allowed: integers from 2"),
        (dict(depth=2.0), "depth=2.0; allowed"),
        (dict(depth=True), "depth=True; allowed"),
        (dict(width=0), "width=0; allowed: integers from 1"),
        (dict(width="8"), "width='8'; allowed"),
        (dict(activation="silu"), "activation='silu'; allowed: 'relu', 'gelu', 'tanh'"),
        (dict(parametrisation="ntk"), "parametrisation='ntk'; allowed: 'standard', 'mup'"),
        (dict(bias=None), "bias=None; allowed: False, True"),
        (dict(dtype="float16"), "dtype='float16'; allowed: 'float32', 'bfloat16'"),
    ],
)
def test_bad_values_are_named_with_the_allowed_ones(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(**changes)
    assert "\n" not in str(caught.value)
