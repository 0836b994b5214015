"""Eigenvalues against dense Hessians, thresholds against the descent that they are about."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from toynetwork import dense_hessian, jit, loss, make_batch, make_params, stack

from warmup_jax import optimizers
from warmup_jax.diagnostics import (
    CurvatureCarry,
    ProbeInput,
    adam_edge,
    adam_preconditioner,
    edge,
    hessian_vector_product,
    second_moment,
    sharpness,
    stability_ratio,
    top_eigenvalues,
)
from warmup_jax.diagnostics.curvature import probe_preconditioned_sharpness, probe_sharpness

BATCH = make_batch(0)
ADAM = dict(beta1=0.9, beta2=0.99, eps=1e-8)


def loss_of(params):
    return loss(params, BATCH)


@partial(jit, static_argnums=(2, 3, 4))
def of_network(params, start, iterations, count=1, unroll=False):
    return top_eigenvalues(hessian_vector_product(loss_of, params), start, iterations, count, unroll)


@partial(jit, static_argnums=(2, 3))
def of_diagonal(values_N, start_N, iterations, count=1):
    return top_eigenvalues(lambda tree: {"w": values_N * tree["w"]}, {"w": start_N}, iterations, count)


def cosine(a, b):
    a, b = (np.asarray(ravel_pytree(tree)[0], float) for tree in (a, b))
    return abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)


def dense_spectrum(params):
    values, vectors = np.linalg.eigh(np.asarray(dense_hessian(params, BATCH), float))
    return values[::-1], vectors[:, ::-1]


@pytest.fixture(scope="module")
def params():
    return make_params(3)


@pytest.fixture(scope="module")
def spectrum(params):
    """(eigenvalues, the largest first, eigenvectors as columns) of the whole Hessian."""
    return dense_spectrum(params)


@pytest.fixture(scope="module")
def adam(params):
    """(parameters, state, gradient, update) of Adam's third update at rate 0.01 and no decay."""
    tx = optimizers.build("adam", ADAM | dict(weight_decay=0.0), lambda t: 0.01)

    @jit
    def step(params, state):
        grads = jax.grad(loss_of)(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, updates

    state = tx.init(params)
    for _ in range(3):
        params, state, updates = step(params, state)
    return params, state, updates


@pytest.fixture(scope="module")
def found_R(params):
    """What 20 iterations find for two runs at once, the first that of `params`."""
    return jit(
        jax.vmap(
            lambda params: top_eigenvalues(
                hessian_vector_product(loss_of, params), jax.tree.map(jnp.zeros_like, params), 20, 3
            )
        )
    )(stack(params, make_params(4)))


def test_top_eigenvalues_of_two_networks_at_once(params, found_R):
    for lane, of_run in enumerate((params, make_params(4))):
        values, vectors = dense_spectrum(of_run)
        found = jax.tree.map(lambda leaf, lane=lane: leaf[lane], found_R)
        np.testing.assert_allclose(found.values, values[:3], rtol=5e-4)
        assert cosine(found.vector, vectors[:, 0]) > 0.999
        assert jax.tree.structure(found.vector) == jax.tree.structure(params)
        assert np.linalg.norm(ravel_pytree(found.vector)[0]) == pytest.approx(1, rel=1e-5)


def test_three_iterations_with_a_loop_or_without_one(params, spectrum, found_R):
    """From the last vector they follow a moving Hessian; from elsewhere the error covers how far they are off."""
    vector = jax.tree.map(lambda leaf: leaf[0], found_R.vector)
    moved = jit(lambda: jax.tree.map(lambda w, g: w - 0.03 * g, params, jax.grad(loss_of)(params)))()
    values = np.linalg.eigvalsh(np.asarray(dense_hessian(moved, BATCH), float))
    assert abs(values[-1] / spectrum[0][0] - 1) > 0.02  # it did change
    looped, unrolled = of_network(moved, vector, 3), of_network(moved, vector, 3, unroll=True)
    assert looped.values[0] == pytest.approx(values[-1], rel=0.01)
    np.testing.assert_allclose(unrolled.values, looped.values, rtol=1e-5)
    assert cosine(unrolled.vector, looped.vector) > 0.9999
    for begin in (params, moved, vector):
        found = of_network(moved, begin, 3)
        assert np.abs(values - float(found.values[0])).min() <= found.error and found.values[0] <= values[-1] * 1.00001

    loops = [of_network.lower(moved, vector, 3, unroll=unroll).as_text().count("stablehlo.while") for unroll in (0, 1)]
    assert loops[0] == loops[1] + 1  # the random numbers have one of their own


def test_largest_algebraic_not_largest_in_size():
    found = of_diagonal(jnp.array([-50.0, -3.0, 2.0, 5.0, 4.0]), jnp.ones(5), 8, 4)
    np.testing.assert_allclose(found.values, [5, 4, 2, -3], rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize(
    "begin", [[0, 1.0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 3.0, 0, 2, 0], [np.nan, 1, 1, 1, 1], [0, 1e-25, 0, 0, 0]]
)
def test_no_start_hides_the_largest(scale, begin):
    """An eigenvector, zeros, an invariant plane, not a number, too small to square: 7 is found from all of them."""
    found = of_diagonal(scale * np.float32([7, 2, 1, -1, -2]), np.float32(begin), 8, 4)
    assert found.values[0] == pytest.approx(7 * scale, rel=1e-4)
    assert abs(found.vector["w"][0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.zeros(5), [0]),
        (np.full(5, 3.0), [3]),
        (np.array([4.0, 0, 0, 0, 0]), [4, 0]),
        (np.array([4.0, 4.0, 1.0, 1.0, 1.0]), [4, 1]),
        (-np.ones(5), [-1]),
        (np.array([2.0]), [2]),
    ],
)
def test_spaces_that_end_early(values, expected):
    """Fewer different eigenvalues than iterations: what is there is right; none is invented, and no NaN comes first."""
    found = of_diagonal(jnp.asarray(values, jnp.float32), jnp.ones(len(values)), 8, 4)
    real = np.asarray(found.values)[np.isfinite(found.values)]
    np.testing.assert_allclose(real[0], expected[0], atol=1e-6, rtol=1e-5)
    distance = np.abs(real[:, None] - np.append(values, values)).min(1)
    assert (distance < 1e-5).all() and np.isfinite(np.asarray(found.values)[: len(real)]).all()
    assert len(real) >= len(expected) and np.isfinite(found.error) and np.isfinite(found.vector["w"]).all()


def test_bad_numbers_are_said():
    with pytest.raises(ValueError, match="iterations=0; allowed: 1 and more"):
        of_diagonal(jnp.ones(3), jnp.ones(3), 0)
    with pytest.raises(ValueError, match="count=5; allowed: 1 to iterations=4"):
        of_diagonal(jnp.ones(3), jnp.ones(3), 4, 5)


@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.5, False), (0.9, False), (0.9, True)])
def test_momentum_is_stable_below_its_edge_only(momentum, nesterov):
    rate = 0.1
    tx = optax.chain(optax.trace(momentum, nesterov), optax.scale(-rate))
    assert edge(rate, 0.0) == pytest.approx(2 / rate) and stability_ratio(rate, edge(rate)) == pytest.approx(1)
    below, above = _descent(tx, edge(rate, momentum, nesterov) * np.array([0.97, 1.03]))
    assert below < 1e-2 and above > 1e2


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
def test_adam_is_stable_below_its_edge_only(beta1):
    """Adam with its preconditioner held fixed; the curvature is the preconditioned one."""
    tx = optax.chain(optax.ema(beta1, debias=False), optax.scale(-0.1))
    assert adam_edge(1.0, 0.9) == pytest.approx(38)
    below, above = _descent(tx, adam_edge(0.1, beta1) * np.array([0.97, 1.03]))
    assert below < 1e-2 and above > 1e2


def _descent(tx, curvatures):
    """|w| after 2000 updates on w' diag(curvatures) w / 2 from ones."""

    def step(state, _):
        w, state = state
        updates, state = tx.update(jnp.asarray(curvatures, jnp.float32) * w, state)
        return (jnp.clip(w + updates, -1e6, 1e6), state), None

    w = jnp.ones(2)
    return np.abs(jit(lambda: jax.lax.scan(step, (w, tx.init(w)), length=2000))()[0][0])


def test_the_preconditioner_is_what_adam_divides_by(adam):
    _, state, updates = adam
    found = adam_preconditioner(*second_moment(state), **ADAM)
    mu = optax.tree.get(state, "mu")
    jax.tree.map(lambda p, m, u: np.testing.assert_allclose(p, -0.01 * m / u, rtol=1e-5), found, mu, updates)


def test_preconditioned_sharpness_is_the_dense_one(adam):
    params, state, _ = adam
    preconditioner = adam_preconditioner(*second_moment(state), **ADAM)
    flat = np.asarray(ravel_pytree(preconditioner)[0], float)
    dense = np.asarray(dense_hessian(params, BATCH), float) / np.sqrt(np.outer(flat, flat))
    values, vectors = np.linalg.eigh(dense)
    probe = ProbeInput(params, state, 0.01, ADAM, loss, BATCH, carry=CurvatureCarry(0.0, params))
    metrics, carry = jit(lambda: probe_preconditioned_sharpness(probe, iterations=20))()
    value = metrics["diag/preconditioned_sharpness"]
    assert value == pytest.approx(values[-1], rel=1e-3)
    assert value == pytest.approx(np.linalg.eigvals(dense * np.sqrt(flat / flat[:, None])).real.max(), rel=1e-3)
    assert metrics["diag/preconditioned_edge_ratio"] == pytest.approx(values[-1] * 0.01 / 38, rel=1e-3)
    assert cosine(carry.vector, vectors[:, -1]) > 0.999 and carry.value == value
    part = probe._replace(params=params | {"more": jnp.ones(2)})
    with pytest.raises(ValueError, match="second moment of a part of the parameters only"):
        probe_preconditioned_sharpness(part, iterations=20)


def test_probe_of_sharpness_beside_its_thresholds(params, spectrum):
    probe = ProbeInput(
        params, (), 0.05, {"momentum": 0.9, "nesterov": False}, loss, BATCH, carry=CurvatureCarry(0.0, params)
    )
    probed, plain = jit(
        lambda: (probe_sharpness(probe, iterations=20, count=3), sharpness(loss_of, params, params, 20))
    )()
    metrics, carry = probed
    largest = spectrum[0][0]
    expected = {
        "sharpness": largest,
        "eigenvalue_2": spectrum[0][1],
        "eigenvalue_3": spectrum[0][2],
        "stability_ratio": 0.05 * largest / 2,
        "edge_ratio": largest / (3.8 / 0.05),
    }
    assert set(metrics) == {f"diag/{name}" for name in expected} | {"diag/sharpness_error"}
    for name, value in expected.items():
        assert metrics[f"diag/{name}"] == pytest.approx(value, rel=1e-3)
    assert plain[0] == metrics["diag/sharpness"] and cosine(plain[1], carry.vector) > 0.9999
