"""Alignment of representations and its invariances; distance of weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toynetwork import Observed, jit, loss, make_batch, make_params, outputs

from warmup_jax.diagnostics import DIAGNOSTICS, ProbeInput, linear_cka, weight_distance
from warmup_jax.diagnostics.similarity import probe_representation, probe_weight_distance

cka = jit(linear_cka)


def observe(params, batch):
    return Observed(outputs(params, batch), {}, {})


def draw(seed, rows, columns, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, size=(rows, columns)).astype(np.float32)


def rotation(seed, size):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0].astype(np.float32)


def by_gram(x, y):
    """HSIC of the centred Gram matrices, over those with themselves (Kornblith et al. 2019, equation 3)."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    centre = np.eye(len(x)) - 1 / len(x)
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    return np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))


@pytest.mark.parametrize("rows, columns, others", [(40, 5, 7), (6, 20, 30), (20, 5, 30)])
def test_cka_is_the_gram_formula_and_does_not_see_rotation_or_scale(rows, columns, others):
    x, y = draw(0, rows, columns, mean=3.0), draw(1, rows, others)
    y[:, :3] += x[:, :3]
    expected = by_gram(x, y)
    assert 0.05 < expected < 0.95
    assert cka(x, y) == pytest.approx(expected, rel=1e-4)
    turned = 1e10 * x @ rotation(2, columns) + 5, 1e-10 * y @ rotation(3, others)
    assert cka(*turned) == pytest.approx(expected, rel=1e-3)
    assert cka(x, x @ rotation(4, columns)) == pytest.approx(1, rel=1e-4)


def test_cka_of_unrelated_or_constant_representations():
    assert cka(draw(0, 4000, 3), draw(1, 4000, 3)) < 0.01
    assert jnp.isnan(cka(jnp.ones((5, 2)), draw(0, 5, 2)))
    with pytest.raises(ValueError, match="representations of 4 and 5 examples; allowed: the same"):
        linear_cka(jnp.ones((4, 2)), jnp.ones((5, 2)))


def test_distance_of_weights():
    reference = {"a": jnp.array([3.0, 4.0]), "decoder": {"w": jnp.ones((2, 3))}, "zero": jnp.zeros(2)}
    params = {"a": jnp.array([3.0, 4.5]), "decoder": {"w": jnp.ones((2, 3)).at[1].add(1)}, "zero": jnp.ones(2)}
    found = jit(lambda: weight_distance(params, reference, "init", layers=True))()
    expected = {
        "": (np.sqrt(0.25 + 3 + 2), np.sqrt(5.25 / 31)),
        "/a": (0.5, 0.1),
        "/decoder_0": (0, 0),
        "/decoder_1": (np.sqrt(3), 1),
        "/zero": (np.sqrt(2), np.inf),
    }
    assert set(found) == {f"diag/{kind}distance_init{layer}" for kind in ("", "relative_") for layer in expected}
    for layer, (absolute, relative) in expected.items():
        assert found[f"diag/distance_init{layer}"] == pytest.approx(absolute, abs=1e-6)
        assert found[f"diag/relative_distance_init{layer}"] == pytest.approx(relative, abs=1e-6)


def test_probes_compare_with_the_beginning_and_the_end_of_the_warmup():
    params, earlier, batch = make_params(0), make_params(1), make_batch(0)
    probe = ProbeInput(
        params,
        (),
        0.1,
        {},
        loss,
        batch,
        observe=observe,
        warmup_ends=False,
        carry=DIAGNOSTICS["representation"].init_carry(earlier),
    )
    found, carry = jit(lambda: probe_representation(probe))()
    assert set(found) == {f"diag/cka_{name}/{layer}" for name in ("init", "warmup") for layer in ("hidden", "head")}
    then = by_gram(outputs(params, batch)["hidden"], outputs(earlier, batch)["hidden"])
    assert found["diag/cka_init/hidden"] == pytest.approx(then, rel=1e-4)
    assert np.isnan(found["diag/cka_warmup/head"]) and np.isnan(jax.tree.leaves(carry["warmup"])[0]).all()
    found, carry = jit(lambda: probe_representation(probe._replace(warmup_ends=True)))()
    assert found["diag/cka_warmup/head"] == pytest.approx(1, rel=1e-4)
    later = probe._replace(params=make_params(2), carry=carry)
    found, carry = jit(lambda: probe_weight_distance(later, layers=False))()
    assert len(found) == 4 and found["diag/distance_warmup"] > 1 and found["diag/relative_distance_init"] > 0.5
    for name, then in (("init", earlier), ("warmup", params)):
        jax.tree.map(np.testing.assert_array_equal, carry[name], then)


def test_padding_is_no_part_of_a_representation():
    mask = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0]], bool)
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)

    def observe(params, batch):
        return Observed({"decoder_0": params}, {}, {"decoder_0": mask})

    probe = ProbeInput(x[0], (), 0.1, {}, None, None, observe=observe, carry={"init": x[1], "warmup": x[1]})
    found, _ = probe_representation(probe)
    x[:, ~mask] = 0
    assert found["diag/cka_init/decoder_0"] == pytest.approx(by_gram(*x.reshape(2, 4, -1)), rel=1e-4)
