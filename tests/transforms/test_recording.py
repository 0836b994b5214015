"""The recorded learning rate, read from states of any nesting; the clock of such states, moved."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from warmup_jax import schedules, transforms

RATE = schedules.combine(schedules.linear_warmup(4), schedules.linear_decay(4, 10), peak_lr=0.5, num_steps=10)
PARAMS = {"w": jnp.ones(2), "b": jnp.ones(3)}
LABELS = {"w": "slow", "b": "fast"}
IS_W = {"w": True, "b": False}


def recorded(schedule=RATE):
    return optax.chain(optax.scale_by_adam(), transforms.scale_by_recorded_learning_rate(schedule))


def multisteps(tx, every):
    return optax.MultiSteps(tx, every).gradient_transformation()


# Optimizers that record one learning rate, RATE(t) at their t-th update.
NESTED = {
    "chain": recorded(),
    "chain in a chain": optax.chain(optax.clip(1.0), recorded(), optax.identity()),
    "masked": optax.masked(recorded(), IS_W),
    "partition": optax.partition({"slow": recorded(), "fast": optax.set_to_zero()}, LABELS),
    "MultiSteps": multisteps(recorded(), 1),
    "inject": optax.inject_hyperparams(optax.adamw)(RATE),
    "inject ours": optax.inject_hyperparams(transforms.scale_by_recorded_learning_rate)(RATE),
    "inject both": optax.inject_hyperparams(
        lambda learning_rate: transforms.scale_by_recorded_learning_rate(learning_rate)
    )(learning_rate=RATE),
    "inject in MultiSteps": multisteps(optax.inject_hyperparams(optax.sgd)(RATE), 1),
    "inject in partition": optax.partition(
        {"slow": optax.inject_hyperparams(optax.sgd)(RATE), "fast": optax.identity()}, LABELS
    ),
    "apply_if_finite": optax.apply_if_finite(recorded(), 3),
}


def run(tx, steps, state=None):
    """The learning rates read after each of some updates, and the state after them."""
    state, rates = tx.init(PARAMS) if state is None else state, []
    update = jax.jit(tx.update)
    for _ in range(steps):
        _, state = update(PARAMS, state, PARAMS)
        rates.append(float(transforms.current_learning_rate(state)))
    return rates, state


def test_the_recorded_rate_is_the_applied_one():
    tx = optax.chain(optax.clip(1.0), transforms.scale_by_recorded_learning_rate(RATE))
    state = tx.init(jnp.zeros(3))
    assert float(transforms.current_learning_rate(state)) == 0
    for t in range(12):
        updates, state = tx.update(jnp.ones(3), state)
        assert float(-updates[0]) == float(transforms.current_learning_rate(state)) == float(RATE(t))


@pytest.mark.parametrize("name", NESTED)
def test_the_rate_is_read_from_any_nesting(name):
    rates, _ = run(NESTED[name], 6)
    np.testing.assert_allclose(rates, [float(RATE(t)) for t in range(6)], rtol=1e-6)


@pytest.mark.parametrize("name", NESTED)
def test_a_fast_forwarded_state_has_the_rates_of_one_that_ran_there(name):
    tx = NESTED[name]
    _, ran = run(tx, 5)
    jumped = transforms.fast_forward(tx.init(PARAMS), 5)
    assert jax.tree.structure(jumped) == jax.tree.structure(ran)
    assert [x.dtype for x in jax.tree.leaves(jumped)] == [x.dtype for x in jax.tree.leaves(ran)]
    assert run(tx, 4, jumped)[0] == run(tx, 4, ran)[0] != run(tx, 4)[0]


def test_multisteps_counts_optimizer_updates():
    tx = multisteps(recorded(), 3)
    np.testing.assert_allclose(run(tx, 9)[0], np.repeat([0, *map(RATE, range(3))], [2, 3, 3, 1]), rtol=1e-6)
    jumped = transforms.fast_forward(tx.init(PARAMS), 4)
    assert (int(jumped.gradient_step), int(jumped.mini_step)) == (4, 0)
    assert run(tx, 3, jumped)[0][-1] == pytest.approx(float(RATE(4)))


def test_optax_does_not_reach_the_clock_that_we_move():
    """The trap that `fast_forward` is for: the counter that optax sets drives nothing."""
    tx = optax.inject_hyperparams(optax.sgd)(RATE)
    naive = optax.tree.set(tx.init(PARAMS), count=5)
    assert run(tx, 1, naive)[0] == pytest.approx([float(RATE(0))])
    ours = transforms.fast_forward(tx.init(PARAMS), 5)
    assert (int(ours.count), int(ours.hyperparams_states["learning_rate"].count)) == (5, 5)


def test_fast_forward_moves_the_clock_of_optax_schedules_and_not_that_of_moments():
    tx = optax.chain(
        optax.adam(RATE),
        optax.add_noise(0.1, 0.5, jax.random.key(0)),
        optax.conditionally_transform(optax.scale(2.0), lambda step: step > 3),
    )
    state = transforms.fast_forward(tx.init(PARAMS), jnp.asarray(7))
    (adam, schedule), noise, conditional = state
    assert (int(schedule.count), int(noise.count), int(conditional.step)) == (7, 7, 7)
    assert int(adam.count) == 0


def test_fast_forward_moves_every_lane_of_a_sweep_and_can_be_jitted():
    tx = recorded()
    stacked = jax.vmap(lambda _: tx.init(PARAMS))(jnp.arange(3))
    moved = jax.jit(transforms.fast_forward)(stacked, 5)
    assert moved[1].count.tolist() == [5, 5, 5]


def test_fast_forward_moves_our_own_clocks():
    half = lambda t: t / 8
    tx = optax.chain(
        transforms.clip_by_global_norm_warmup(half),
        transforms.scale_by_warmup(half),
        transforms.cap_by_sharpness(half, 2.0),
        transforms.warmup_until("value", 0, 0.5, 1),
    )
    _, state = tx.update(PARAMS, transforms.fast_forward(tx.init(PARAMS), 4), value=1.0, sharpness=0.0)
    assert [int(part.count) for part in state] == [5, 5, 5, 5]
    assert [float(x) for x in (state[0].max_norm, state[1].factor, state[2].learning_rate)] == [0.5] * 3


@pytest.mark.parametrize(
    "tx, step, message",
    [
        (optax.scale_by_adam(), 3, "no counter of a schedule"),
        (recorded(), -1, "step=-1; allowed: "),
    ],
)
def test_fast_forward_that_would_do_nothing_is_an_error(tx, step, message):
    with pytest.raises(ValueError, match=message):
        transforms.fast_forward(tx.init(PARAMS), step)


def test_the_factors_on_a_rate_are_part_of_it():
    tx = optax.chain(
        recorded(0.5),
        transforms.scale_by_warmup(schedules.linear_warmup(4)),
        transforms.warmup_until("value", 0.0, 0.1, 1.0),
        optax.contrib.reduce_on_plateau(factor=0.5, patience=1),
    )
    state, rates = tx.init(PARAMS), []
    for value in (3.0, 3.0, -1.0, -1.0):
        updates, state = tx.update(PARAMS, state, PARAMS, value=value)
        rates.append(float(transforms.current_learning_rate(state)))
        assert float(-updates["w"][0]) == pytest.approx(rates[-1], rel=1e-4)  # Adam's eps and float32
    np.testing.assert_allclose(rates, [0.5 * f for f in (0.1 / 4, 0.1 / 4, 3 / 4 / 2, 1 / 2)], rtol=1e-6)


def test_groups_with_rates_of_their_own_are_read_by_label():
    parts = optax.partition({"slow": recorded(0.1), "fast": recorded(0.4)}, LABELS)
    warmed = optax.chain(parts, transforms.scale_by_warmup({"slow": 0.5, "fast": 1.0}, LABELS))
    _, state = parts.update(PARAMS, parts.init(PARAMS))
    assert float(transforms.current_learning_rate(state, "slow")) == pytest.approx(0.1)
    _, state = warmed.update(PARAMS, warmed.init(PARAMS))
    assert float(transforms.current_learning_rate(state, "slow")) == pytest.approx(0.05)
    assert float(transforms.current_learning_rate(state, "fast")) == pytest.approx(0.4)
    one = optax.partition(
        {"slow": optax.chain(recorded(0.1), transforms.scale_by_warmup(0.5)), "fast": optax.set_to_zero()}, LABELS
    )
    _, state = one.update(PARAMS, one.init(PARAMS))
    assert float(transforms.current_learning_rate(state)) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "tx, label, message",
    [
        (optax.identity(), None, "holds 0 recorded"),
        (optax.chain(recorded(), recorded()), None, "holds 2 recorded"),
        (optax.partition({"slow": recorded(0.1), "fast": recorded(0.4)}, LABELS), None, "2 recorded.*fast, slow"),
        (optax.chain(recorded(), transforms.scale_by_warmup({"slow": 1.0, "fast": 1.0}, LABELS)), None, "fast, slow"),
        (optax.chain(recorded(), transforms.scale_by_warmup({"slow": 1.0, "fast": 1.0}, LABELS)), "slwo", "'slow'"),
        (recorded(), "slow", "unknown label 'slow'"),
        (optax.chain(recorded(), optax.masked(transforms.scale_by_warmup(0.5), IS_W)), None, "part of the parameters"),
        (optax.inject_hyperparams(optax.trace)(0.9), None, "holds 0 recorded"),
    ],
)
def test_no_single_rate_to_read_is_an_error(tx, label, message):
    with pytest.raises(ValueError, match=message):
        transforms.current_learning_rate(tx.init(PARAMS), label)


def test_low_precision_updates_do_not_quantise_the_rate():
    """The rate stays float32, and the product alone is rounded, once."""
    tx = transforms.scale_by_recorded_learning_rate(lambda t: (t + 1) / 2000)
    grad = jnp.full(1, 1.7, jnp.bfloat16)
    state, rates = tx.init(grad), set()
    for _ in range(300):
        updates, state = tx.update(grad, state)
        rate = transforms.current_learning_rate(state)
        assert updates.dtype == jnp.bfloat16
        assert updates[0] == (-rate * grad[0].astype(jnp.float32)).astype(jnp.bfloat16)
        rates.add(float(rate))
    assert len(rates) == 300
