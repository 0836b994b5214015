"""The recorded learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from warmup_jax import schedules, transforms

RATE = schedules.combine(schedules.linear_warmup(4), schedules.linear_decay(4, 10), peak_lr=0.5, num_steps=10)


def test_the_recorded_rate_is_the_applied_one():
    tx = optax.chain(optax.clip(1.0), transforms.scale_by_recorded_learning_rate(RATE))
    state = tx.init(jnp.zeros(3))
    assert float(transforms.current_learning_rate(state)) == 0
    for t in range(12):
        updates, state = tx.update(jnp.ones(3), state)
        assert float(-updates[0]) == float(transforms.current_learning_rate(state)) == float(RATE(t))


def test_low_precision_updates_do_not_quantise_the_rate():
    tx = transforms.scale_by_recorded_learning_rate(lambda t: (t + 1) / 2000)
    state, rates = tx.init(jnp.zeros(1, jnp.bfloat16)), set()
    for _ in range(300):
        updates, state = tx.update(jnp.ones(1, jnp.bfloat16), state)
        assert updates.dtype == jnp.bfloat16
        rates.add(float(transforms.current_learning_rate(state)))
    assert len(rates) == 300


def test_state_is_a_scan_carry():
    tx = transforms.scale_by_recorded_learning_rate(RATE)
    def step(state, _):
        updates, state = tx.update(jnp.ones(()), state)
        return state, -updates
    state, rates = jax.lax.scan(step, tx.init(jnp.zeros(())), length=10)
    np.testing.assert_allclose(rates, [float(RATE(t)) for t in range(10)], rtol=1e-6)
    assert int(state.count) == 10


@pytest.mark.parametrize("copies", [0, 2])
def test_no_single_rate_to_read_is_an_error(copies):
    tx = optax.chain(*[transforms.scale_by_recorded_learning_rate(RATE)] * copies, optax.identity())
    with pytest.raises(ValueError, match=f"holds {copies} recorded"):
        transforms.current_learning_rate(tx.init(jnp.zeros(3)))
