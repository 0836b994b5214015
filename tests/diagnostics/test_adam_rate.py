"""Adam's effective rate against its updates, RAdam's rho and rectifier against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toynetwork import jit

from warmup_jax.diagnostics import ProbeInput, adaptive_rate, effective_rate, rectifier, rho, second_moment
from warmup_jax.diagnostics.adam_rate import probe_adaptive_rate

PARAMS = {"a": {"kernel": jnp.ones((3, 4))}, "b": {"kernel": jnp.ones((5, 6)), "bias": jnp.ones(6)}}


def states(tx, steps):
    """(update, state) of each of the first updates, with random gradients."""
    rng, state, found = np.random.default_rng(0), tx.init(PARAMS), []
    update = jit(tx.update)
    for _ in range(steps):
        grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), PARAMS)
        updates, state = update(grads, state)
        found.append((updates, state))
    return found


def rho_in_double(count, beta2):
    return 2 / (1 - beta2) - 1 - 2 * count * beta2**count / (1 - beta2**count)


@pytest.mark.parametrize("beta2", [0.5, 0.9, 0.98, 0.999, 0.9999, 0.99999])
def test_rho_and_rectifier_are_their_formulas(beta2):
    beta2 = float(np.float32(beta2))
    counts = np.array([1, 2, 3, 4, 5, 6, 7, 10, 30, 100, 1000, 10_000, 100_000])
    expected, last = rho_in_double(counts, beta2), 2 / (1 - beta2) - 1
    found, factor = jit(jax.vmap(lambda t: (rho(t, beta2), rectifier(t, beta2))))(counts)
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt((expected - 4) * (expected - 2) * last / ((last - 4) * (last - 2) * expected))
    on = expected > 4
    assert (np.asarray(factor)[~on] == 0).all()
    np.testing.assert_allclose(np.asarray(factor)[on], root[on], rtol=1e-3, atol=1e-5)


def test_the_rectifier_is_what_radam_multiplies_by():
    tx = optax.chain(optax.scale_by_radam(0.9, 0.99, 1e-8))

    @jit
    def both(updates, state):
        nu, count = second_moment(state)
        rate = effective_rate([nu["a"]["kernel"]], count, 0.99, 1e-8)[0]
        mu = optax.tree.get(state, "mu")["a"]["kernel"]
        return rectifier(count, 0.99), updates["a"]["kernel"] / (rate * mu / (1 - 0.9**count))

    for updates, state in states(tx, 8)[5:]:
        np.testing.assert_allclose(*both(updates, state), rtol=1e-3)


def test_quantiles_of_the_rate_that_adam_applies():
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1, 0.9, 0.99, 1e-8))
    updates, state = states(tx, 3)[-1]
    probe = ProbeInput(PARAMS, state, 0.1, {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}, None, None)
    found, carry = jit(lambda: probe_adaptive_rate(probe, layers=True))()
    assert carry is None and len(found) == 7 * 3 + 2
    mu = optax.tree.get(state, "mu")
    rates = jax.tree.map(lambda u, m: np.asarray(u / -0.1 / (m / (1 - 0.9**3)), float).ravel(), updates, mu)
    for layer in ("a", "b"):
        flat = np.concatenate(jax.tree.leaves(rates[layer]))
        expected = dict(zip(("min", "q05", "median", "q95", "max"), np.quantile(flat, [0, 0.05, 0.5, 0.95, 1])))
        for part, value in (expected | {"mean": flat.mean(), "variance": flat.var()}).items():
            assert found[f"diag/adaptive_rate_{part}/{layer}"] == pytest.approx(value, rel=1e-3)
    assert found["diag/adaptive_rate_max"] == max(found[f"diag/adaptive_rate_max/{layer}"] for layer in ("a", "b"))
    assert found["diag/rho"] == pytest.approx(rho_in_double(3, 0.99), rel=1e-4)


def test_before_the_first_update_there_is_no_rate():
    nu, count = second_moment(optax.adam(0.1).init(PARAMS))
    found = jit(lambda: adaptive_rate(nu, count, 0.999, 1e-8, layers=False))()
    assert len(found) == 7 and np.isnan(list(found.values())).all()


def test_the_second_moment_is_found_wherever_it_stands():
    adam = optax.adam(0.1)
    for tx in (
        adam,
        optax.chain(optax.clip(1.0), adam),
        optax.MultiSteps(adam, 2),
        optax.inject_hyperparams(optax.adam)(0.1),
        optax.adabelief(0.1),
        optax.partition({"all": adam}, "all"),
    ):
        nu, count = second_moment(tx.init(PARAMS))
        assert count == 0 and jax.tree.structure(nu) == jax.tree.structure(PARAMS)
    for tx, count in ((optax.sgd(0.1), 0), (optax.chain(adam, adam), 2)):
        with pytest.raises(ValueError, match=f"holds {count} second moments, expected 1"):
            second_moment(tx.init(PARAMS))
