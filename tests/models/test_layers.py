"""Layers against their formulas."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from toymodels import BLOCKS

from warmup_jax.models.initialisation import StackScales
from warmup_jax.models.layers import BatchNorm, FeedForward, Norm, dropout, subsample
from warmup_jax.models.transformer_config import ALLOWED, TransformerConfig

PLAIN = StackScales(shortcut=1.0, branch=1.0, last=1.0)


def rngs():
    return nnx.Rngs(params=jax.random.key(0))


def random_stream():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 8)), jnp.float32)


@pytest.mark.parametrize("zero_scale", [False, True])
def test_running_statistics_in_closed_form(zero_scale):
    module = BatchNorm(5, zero_scale=zero_scale)
    assert (module.scale[...] == (0.0 if zero_scale else 1.0)).all() and (module.bias[...] == 0).all()
    x, residual = np.random.default_rng(0).normal(size=(2, 6, 4, 4, 5)).astype(np.float32)
    x = x + 2
    for _ in range(3):
        y = module(x, train=True, residual=residual)
    mean, var = np.mean(x, (0, 1, 2)), np.var(x, (0, 1, 2))
    np.testing.assert_allclose(module.mean[...], (1 - 0.9**3) * mean, rtol=1e-5)
    np.testing.assert_allclose(module.var[...], 0.9**3 + (1 - 0.9**3) * var, rtol=1e-5)
    np.testing.assert_allclose(y, residual + (0.0 if zero_scale else (x - mean) / np.sqrt(var + 1e-5)), atol=1e-5)
    expected = residual + module.scale[...] * (x - module.mean[...]) / np.sqrt(module.var[...] + 1e-5)
    y = module(x, train=False, residual=residual)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_subsample_takes_every_other_pixel_and_appends_zeros():
    x = np.arange(2 * 5 * 4 * 3, dtype=np.float32).reshape(2, 5, 4, 3)
    out = np.asarray(subsample(x, 2, 7))
    assert out.shape == (2, 3, 2, 7)
    np.testing.assert_array_equal(out[..., :3], x[:, ::2, ::2])
    assert (out[..., 3:] == 0).all()


def test_norms_by_hand():
    x = 3 + 2 * random_stream()
    layer, rms = Norm(8, "layer", bias=True), Norm(8, "rms", bias=True)
    layer.scale[...], layer.bias[...], rms.scale[...] = 2 * jnp.ones(8), jnp.ones(8), 3 * jnp.ones(8)
    centred = x - x.mean(-1, keepdims=True)
    normed = centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(x), 1 + 2 * normed, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(rms(x), 3 * x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5), rtol=1e-5)
    assert not hasattr(rms, "bias") and not hasattr(Norm(8, "layer", bias=False), "bias")
    # In float32 within: the mean of 512 + 0 and 512 + 1 is lost in bfloat16.
    far = jnp.array([512.0, 516.0] * 4, jnp.bfloat16)
    np.testing.assert_allclose(Norm(8, "layer", bias=True)(far).astype(jnp.float32), [-1, 1] * 4, rtol=0.01)


@pytest.mark.parametrize("activation, f", [
    ("relu", lambda up, gate: np.maximum(up, 0)),
    ("gelu", lambda up, gate: 0.5 * up * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))),
    ("swiglu", lambda up, gate: gate / (1 + np.exp(-gate)) * up),
])  # fmt: skip
def test_activations_by_hand(activation, f):
    ffn, x = FeedForward(TransformerConfig(**dict(BLOCKS, activation=activation)), PLAIN, rngs()), random_stream()
    up = x @ ffn.up.kernel[...]
    gate = x @ ffn.gate.kernel[...] if activation == "swiglu" else None
    np.testing.assert_allclose(ffn(x), f(np.asarray(up), np.asarray(gate)) @ ffn.down.kernel[...], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ALLOWED["activation"])
def test_activations_do_not_hide_a_number_that_is_not_finite(activation):
    ffn = FeedForward(TransformerConfig(**dict(BLOCKS, activation=activation)), PLAIN, rngs())
    assert np.isnan(ffn(jnp.full((1, 1, 8), jnp.nan))).all()


@pytest.mark.parametrize("activation", ALLOWED["activation"])
def test_hidden_units_are_not_computed_again_where_they_are_transposed(activation):
    config = TransformerConfig(**dict(BLOCKS, width=256, ffn_width=512, activation=activation))
    graph, state = nnx.split(FeedForward(config, PLAIN, rngs()))
    rows = jnp.ones((2, 8, 256))
    program = jax.jit(jax.value_and_grad(lambda state: nnx.merge(graph, state)(rows).sum())).lower(state).compile()
    functions = program.as_text().split("\n\n")
    transposing = [
        each for each in functions if re.search(r"f32\[512,16\]\S* transpose\(", each) and "ENTRY" not in each
    ]
    assert not [each for each in transposing if re.search(r" (add|maximum|multiply|select)\(", each)]


def test_dropout_keeps_the_mean():
    x = jnp.full((200, 500), 3.0)
    dropped = np.asarray(dropout(x, 0.3, jax.random.key(0)))
    kept = dropped != 0
    np.testing.assert_allclose(kept.mean(), 0.7, atol=0.01)
    np.testing.assert_allclose(dropped[kept], 3 / 0.7, rtol=1e-6)
    np.testing.assert_allclose(dropped.mean(), 3.0, rtol=0.02)
    assert dropout(x, 0.3, None) is x
