"""Layers, norms and turning of the weights against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toynetwork import jit, stack

from warmup_jax.diagnostics import angle, each_layer, norms, relative_norm, relative_update
from warmup_jax.numerics import norm


def tree(seed, scale=1.0):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(scale * rng.normal(size=shape), jnp.float32)

    return {
        "stem": {"kernel": draw(3, 4)},
        "decoder": {"ffn": {"kernel": draw(2, 4, 5), "bias": draw(2, 5)}},
        "head": {"kernel": draw(4, 2), "bias": draw(2)},
        "empty": {},
    }


def rotated(length, by, size=2):
    """(w, u) as lists: a vector of `size` dimensions and the update that turns it by an angle."""
    w, across = np.zeros(size), np.zeros(size)
    w[0], across[1] = length, length
    return [jnp.asarray(w, jnp.float32)], [jnp.asarray(w * (np.cos(by) - 1) + across * np.sin(by), jnp.float32)]


def test_layers_are_children_and_stacked_ones_come_apart():
    params = tree(0)
    layers = each_layer(list, params)
    assert list(layers) == ["stem", "decoder_0", "decoder_1", "head"]
    np.testing.assert_array_equal(layers["decoder_1"][1], params["decoder"]["ffn"]["kernel"][1])
    assert len(layers["head"]) == 2


def test_norms_are_numpys():
    trees = dict(zip(("param", "grad", "update"), (tree(0), tree(1, 3.0), tree(2, 0.1))))
    found = jit(lambda trees: norms(*trees, layers=True))(list(trees.values()))
    assert len(found) == 3 * (1 + 4)
    for name, whole in trees.items():
        leaves = [np.asarray(leaf).ravel() for leaf in jax.tree.leaves(whole)]
        assert found[f"diag/{name}_norm"] == pytest.approx(np.linalg.norm(np.concatenate(leaves)), rel=1e-6)
        for layer, leaves in each_layer(list, whole).items():
            expected = np.linalg.norm(np.concatenate([np.asarray(leaf).ravel() for leaf in leaves]))
            assert found[f"diag/{name}_norm/{layer}"] == pytest.approx(expected, rel=1e-6)
    whole = jax.eval_shape(lambda trees: norms(*trees, layers=False), list(trees.values()))
    assert set(whole) == {f"diag/{name}_norm" for name in trees}


@pytest.mark.parametrize("dtype, rel", [(jnp.float32, 1e-6), (jnp.bfloat16, 1e-2)])
def test_a_norm_is_summed_in_float32(dtype, rel):
    found = norm({"layer": jnp.ones(4096, dtype)})  # a bfloat16 sum would stop at 256
    assert found == pytest.approx(64, rel=rel) and found.dtype == jnp.float32


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e3])
def test_angle_of_any_size(length):
    angles = [1e-9, 1e-7, 1e-5, 1e-3, 0.1, 1.5, 3.0, np.pi]
    found = jax.vmap(angle)(*stack(*[rotated(length, by) for by in angles]))
    np.testing.assert_allclose(found, angles, rtol=2e-6)


def test_angle_of_tiny_rotations_among_many_weights():
    rng = np.random.default_rng(0)
    w = rng.normal(size=5000)
    across = rng.normal(size=5000)
    across -= w * (across @ w) / (w @ w)
    u = 1e-6 * across * np.linalg.norm(w) / np.linalg.norm(across) - 0.01 * w  # beside a far larger decay
    found = angle([jnp.asarray(w, jnp.float32)], [jnp.asarray(u, jnp.float32)])
    assert found == pytest.approx(1e-6 / 0.99, rel=3e-3)  # u itself is rounded to 1e-9


def test_edges_of_the_relative_update():
    zero, one = [jnp.zeros(3)], [jnp.ones(3)]
    assert relative_norm(zero, zero) == 0 and relative_norm(zero, one) == jnp.inf and relative_norm(one, zero) == 0
    assert angle(one, zero) == 0 and angle(zero, zero) == 0
    assert angle(one, [0.5 * jnp.ones(3)]) == pytest.approx(0, abs=1e-7)
    assert angle(zero, one) == pytest.approx(np.pi / 2)
    assert jnp.isnan(angle(one, [jnp.full(3, jnp.nan)]))


def test_relative_update_by_layer_and_over_runs():
    params, updates = tree(0), tree(1, 0.01)
    runs = (stack(params, tree(5)), stack(updates, tree(6)))
    found = jit(jax.vmap(lambda p, u: relative_update(p, u, layers=True)))(*runs)
    for layer, leaves in each_layer(list, params).items():
        w = np.concatenate([np.asarray(leaf, float).ravel() for leaf in leaves])
        u = np.concatenate([np.asarray(leaf, float).ravel() for leaf in each_layer(list, updates)[layer]])
        cosine = w @ (w + u) / np.linalg.norm(w) / np.linalg.norm(w + u)
        assert found[f"diag/relative_update/{layer}"][0] == pytest.approx(np.linalg.norm(u) / np.linalg.norm(w))
        assert found[f"diag/angle/{layer}"][0] == pytest.approx(np.arccos(cosine), rel=1e-5)
    alone = jit(lambda p, u: relative_update(p, u, layers=True))(tree(5), tree(6))
    for name, value in alone.items():
        assert found[name][1] == pytest.approx(float(value), rel=1e-5)
