"""Every diagnostic as a config chooses it: inside one compiled loop, over runs, by name."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toynetwork import Observed, jit, loss, make_batch, make_params, outputs, stack

from warmup_jax.diagnostics import (
    DIAGNOSTICS,
    REQUIREMENTS,
    ProbeInput,
    StepInfo,
    check,
    init_carries,
    measure_probe,
    measure_step,
)

CHOSEN = {
    "norms": dict(layers=False),
    "relative_update": dict(layers=False),
    "sharpness": dict(iterations=4, count=2),
    "preconditioned_sharpness": dict(iterations=3),
    "gradient_noise": dict(micro_batches=4),
    "adaptive_rate": dict(layers=False),
    "early_overfitting": {},
    "weight_distance": dict(layers=False),
    "representation": {},
    "dead_units": {},
    "token_variance": {},
    "critical_rate": dict(guess=0.1, max_passes=15, tolerance=0.1),
}
AVAILABLE = {"second_moment", "relus", "tokens", "beta1", "beta2", "eps"}
OF_THE_STEP_ALONE = {"diag/rho", "diag/rectifier", "diag/critical_rate_passes"}  # no NaN if the run has diverged
CHECKED_OVER_RUNS = {"sharpness", "gradient_noise", "critical_rate", "early_overfitting"}  # each in its own file
NUMBERS = dict(beta1=0.9, beta2=0.99, eps=1e-8)


def tokens(params, batch):
    layers = {name: output[:, None] * jnp.arange(1.0, 4)[:, None] for name, output in outputs(params, batch).items()}
    return Observed(layers, layers, {})


def train(chosen, params, steps=2):
    """`steps` updates of Adam, all measured: metrics with leaves [steps], and what is carried at the end."""
    tx, batch, fresh = optax.adam(0.05, 0.9, 0.99, 1e-8), make_batch(0), make_batch(1)

    def step(state, _):
        params, opt_state, carries = state
        grads = jax.grad(loss)(params, batch)
        updates, opt_state = tx.update(grads, opt_state)
        after = optax.apply_updates(params, updates)
        metrics = measure_step(chosen, StepInfo(params, grads, updates, after, opt_state, 0.05))
        probe = ProbeInput(
            after,
            opt_state,
            0.05,
            NUMBERS,
            loss,
            batch,
            previous_params=params,
            used_batch=batch,
            fresh_batch=fresh,
            observe=tokens,
            warmup_ends=True,
        )
        probed, carries = measure_probe(chosen, probe, carries)
        return (after, opt_state, carries), metrics | probed

    (_, _, carries), metrics = jax.lax.scan(step, (params, tx.init(params), init_carries(chosen, params)), length=steps)
    return metrics, carries


@pytest.mark.slow
def test_every_diagnostic_in_a_loop_over_runs():
    assert set(CHOSEN) == set(DIAGNOSTICS)
    runs = [make_params(0), make_params(1)]
    diverged = jax.tree.map(lambda w: w * np.nan, runs[0])
    together, carries = jit(jax.vmap(partial(train, CHOSEN)))(stack(*runs, diverged))
    for name, values_RxC in together.items():
        assert name.startswith("diag/") and values_RxC.shape == (3, 2), name
        assert np.isfinite(values_RxC[:2]).all(), name
        assert np.isnan(values_RxC[2]).all() or name in OF_THE_STEP_ALONE, name
    np.testing.assert_array_equal(carries["critical_rate"], together["diag/critical_rate"][:, -1])
    some = {name: args for name, args in CHOSEN.items() if name not in CHECKED_OVER_RUNS}
    for lane, (metrics, _) in enumerate(map(jit(partial(train, some)), runs)):
        for name, values_C in metrics.items():
            np.testing.assert_allclose(together[name][lane], values_C, rtol=2e-3, atol=1e-6, err_msg=name)
    for name in ("sharpness", "preconditioned_sharpness"):
        lengths_R = jax.vmap(optax.tree.norm)(carries[name].vector)
        np.testing.assert_allclose(lengths_R, [1, 1, np.nan], rtol=1e-5)


def test_nothing_chosen_is_nothing_computed():
    assert measure_step({}, None) == {} and init_carries({}, None) == {} and measure_probe({}, None, {}) == ({}, {})


def test_entries_and_what_they_say_is_missing():
    assert set(REQUIREMENTS) == {need for entry in DIAGNOSTICS.values() for need in entry.requires}
    for name, entry in DIAGNOSTICS.items():
        assert entry.kind in ("step", "probe")
        assert "update" in entry.function.__doc__ and "pass" in entry.function.__doc__  # which state, and its cost
        check(name, CHOSEN[name], AVAILABLE)
        for need in entry.requires:
            with pytest.raises(ValueError, match=f"diagnostic '{name}' needs .*{REQUIREMENTS[need]}"):
                check(name, CHOSEN[name], AVAILABLE - {need})


@pytest.mark.parametrize(
    "name, args, message",
    [
        ("sharpnes", {}, "unknown diagnostic 'sharpnes'; did you mean 'sharpness'"),
        ("sharpness", dict(iterations=3), "diagnostic 'sharpness' needs the argument 'count'"),
        ("sharpness", dict(iteration=3, count=1), "unknown argument 'iteration'; did you mean 'iterations'"),
        ("norms", dict(layers=False, step=1), "unknown argument 'step'"),
    ],
)
def test_a_bad_choice_is_one_line(name, args, message):
    with pytest.raises(ValueError, match=message):
        check(name, args, AVAILABLE)
