"""Gain of an update on its own batch and on another one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toynetwork import jit, loss, make_batch, make_params, stack

from warmup_jax.diagnostics import ProbeInput, early_overfitting
from warmup_jax.diagnostics.early_overfitting import probe_early_overfitting

quick_loss = jit(loss)


def test_gain_on_the_batch_used_and_on_another():
    """A step on |w - b|^2 / 2 from 0 to the batch's own b wins b^2 / 2 there, and b (2 c - b) / 2 on the batch c."""

    def half_square(params, batch):
        return 0.5 * jnp.sum((params - batch) ** 2)

    used, fresh, ratio = early_overfitting(half_square, jnp.zeros(1), jnp.full(1, 2.0), jnp.full(1, 2.0), jnp.ones(1))
    assert (used, fresh, ratio) == (2, 0, 0)
    used, fresh, ratio = early_overfitting(half_square, jnp.zeros(1), jnp.full(1, 6.0), jnp.full(1, 2.0), jnp.ones(1))
    assert (used, fresh, ratio) == (-6, -12, 2)  # overshoot: the ratio alone does not tell it

    params, before = stack(make_params(0), make_params(1)), stack(make_params(1), make_params(2))
    batch, fresh = make_batch(0), make_batch(1)

    def measure(params, before):
        return probe_early_overfitting(
            ProbeInput(params, (), 0.1, {}, loss, batch, previous_params=before, used_batch=batch, fresh_batch=fresh)
        )[0]

    found = jit(jax.vmap(measure))(params, before)
    for lane in range(2):
        earlier, later = make_params(lane + 1), make_params(lane)
        for name, of in (("used", batch), ("fresh", fresh)):
            assert found[f"diag/decrease_{name}"][lane] == pytest.approx(
                float(quick_loss(earlier, of) - quick_loss(later, of)), rel=1e-4
            )
    np.testing.assert_allclose(found["diag/decrease_ratio"], found["diag/decrease_fresh"] / found["diag/decrease_used"])
