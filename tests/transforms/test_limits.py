"""Bounds on the rate, on the relative update and on the gradient norm, by hand; ramps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from warmup_jax import transforms


def test_the_capped_rate_keeps_a_quadratic_stable_and_is_the_one_that_is_read():
    """At rate 1 gradient descent on a sharpness of 8 diverges by a factor of 7 a step; at 1 / 8 it is there in one."""
    tx = transforms.cap_by_sharpness(1.0, c=1.0)
    param, state = jnp.asarray(3.0), tx.init(0.0)
    update, state = tx.update(8 * param, state, param, sharpness=8.0, loss="passes")
    assert float(param + update) == 0
    assert float(transforms.current_learning_rate(state)) == 0.125
    _, state = tx.update(param, state, sharpness=0.5)
    assert float(transforms.current_learning_rate(state)) == 1


@pytest.mark.parametrize(
    "sharpness, rate", [(0.0, 0.5), (-3.0, 0.5), (float("nan"), 0.5), (4.0, 0.5), (4.1, 2 / 4.1), (float("inf"), 0.0)]
)
def test_what_is_no_sharpness_is_no_cap(sharpness, rate):
    tx = transforms.cap_by_sharpness(lambda t: 0.5, c=2.0)
    _, state = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), sharpness=sharpness)
    assert float(state.learning_rate) == pytest.approx(rate)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_relative_updates_are_bounded_leaf_by_leaf(dtype):
    params = {"large": jnp.full(100, 2.0, dtype), "small": jnp.full(4, 0.5, dtype), "zero": jnp.zeros(4, dtype)}
    updates = {"large": jnp.full(100, 0.1, dtype), "small": jnp.full(4, -3.0, dtype), "zero": jnp.full(4, 5.0, dtype)}
    tx = transforms.limit_relative_update(0.1, eps=0.01)
    got, _ = tx.update(updates, tx.init(params), params)
    np.testing.assert_array_equal(got["large"], updates["large"])  # within: not even rounded
    norms = {k: float(jnp.linalg.norm(v.astype(jnp.float32))) for k, v in got.items()}
    assert norms["small"] == pytest.approx(0.1 * 1.0, rel=5e-3)
    assert norms["zero"] == pytest.approx(0.1 * 0.01, rel=5e-3)
    assert (got["small"] < 0).all()


@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_zero_weights_and_zero_updates_make_no_nan(eps):
    tx = transforms.limit_relative_update(0.5, eps)
    for update, want in ((0.0, 0.0), (2.0, 0.5 * eps)):
        got, _ = tx.update(jnp.full((), update), tx.init(0.0), jnp.zeros(()))
        assert float(got) == pytest.approx(want)


def test_a_norm_that_bfloat16_cannot_add_up_is_right():
    params = jnp.ones(4096, jnp.bfloat16)
    tx = transforms.limit_relative_update(0.5)
    got, _ = tx.update(2 * params, tx.init(params), params)
    np.testing.assert_array_equal(got.astype(jnp.float32), 0.5)


def test_clipping_follows_its_threshold():
    tx = transforms.clip_by_global_norm_warmup(transforms.ramp(1.0, 9.0, 4))
    grads = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}
    state = tx.init(grads)
    for t in range(6):
        updates, state = tx.update(grads, state)
        threshold = min(1 + 2 * t, 9)
        assert float(state.max_norm) == threshold
        assert float(optax.tree.norm(updates)) == pytest.approx(min(threshold, 5))
        peer, _ = optax.clip_by_global_norm(threshold).update(grads, optax.EmptyState())
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), updates, peer)


@pytest.mark.parametrize("grad, threshold, want", [(0.0, 0.0, 0.0), (2.0, 0.0, 0.0), (2.0, jnp.inf, 2.0)])
def test_clipping_at_the_edges(grad, threshold, want):
    tx = transforms.clip_by_global_norm_warmup(lambda t: threshold)
    assert float(tx.update(jnp.full((), grad), tx.init(0.0))[0]) == want


def test_momentum_ramps_from_085_to_095_over_300_steps():
    tx = optax.inject_hyperparams(optax.trace)(decay=transforms.ramp(0.85, 0.95, 300))
    update = jax.jit(tx.update)
    state, velocity = tx.init(jnp.zeros(())), 0.0
    for t in range(310):
        got, state = update(jnp.ones(()), state, jnp.zeros(()))
        x = min(t / 300, 1)
        assert float(state.hyperparams["decay"]) == pytest.approx((1 - x) * 0.85 + x * 0.95, rel=1e-6)
        velocity = 1 + ((1 - x) * 0.85 + x * 0.95) * velocity
        assert float(got) == pytest.approx(velocity, rel=1e-5)


@pytest.mark.parametrize(
    "factory, argument",
    [
        (optax.scale_by_adam, "b2"),
        (optax.add_decayed_weights, "weight_decay"),
        (optax.clip_by_global_norm, "max_norm"),
        (transforms.scale_by_gi_adam, "b2"),
        (transforms.limit_relative_update, "max_ratio"),
    ],
)
def test_any_number_can_ramp(factory, argument):
    tx = optax.inject_hyperparams(factory)(**{argument: transforms.ramp(0.2, 0.6, 2)})
    params, seen = jnp.ones(2), []
    state = tx.init(params)
    for _ in range(4):
        _, state = tx.update(params, state, params)
        seen.append(float(state.hyperparams[argument]))
    np.testing.assert_allclose(seen, [0.2, 0.4, 0.6, 0.6], rtol=1e-6)


@pytest.mark.parametrize(
    "shape, middle",
    [
        ("linear", 0.25 * 0.9 + 0.75 * 0.5),
        ("cosine", 0.9 + (0.5 - 0.9) * (1 - np.cos(np.pi * 0.75)) / 2),
        ("geometric", 0.9**0.25 * 0.5**0.75),
        ("half_life", 0.5 ** (1 / (0.25 * np.log(0.5) / np.log(0.9) + 0.75))),
    ],
)
def test_ramp_shapes(shape, middle):
    value = transforms.ramp(0.9, 0.5, 8, shape)
    got = [float(value(t)) for t in (-1, 0, 6, 8, 9, 800)]
    np.testing.assert_allclose(got, [0.9, 0.9, middle, 0.5, 0.5, 0.5], rtol=1e-6)
    assert float(transforms.ramp(0.9, 0.5, 0, shape)(0)) == pytest.approx(0.5)
    lengths = jnp.array([0, 1, 8, 50])
    mapped = jax.jit(jax.vmap(lambda n: transforms.ramp(0.9, 0.5, n, shape)(6)))(lengths)
    np.testing.assert_allclose(mapped, [float(transforms.ramp(0.9, 0.5, int(n), shape)(6)) for n in lengths], rtol=1e-6)


def test_every_ramp_shape_is_tested():
    assert set(transforms.RAMP_SHAPES) == {mark[0] for mark in test_ramp_shapes.pytestmark[0].args[1]}


def update(tx, *params, **extra_args):
    return tx.update(jnp.ones(()), tx.init(jnp.ones(())), *params, **extra_args)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: transforms.cap_by_sharpness(0.1, 0.0), "c=0.0; allowed: "),
        (lambda: transforms.cap_by_sharpness(0.1, float("nan")), "c=nan; allowed: "),
        (lambda: update(transforms.cap_by_sharpness(0.1, 2.0)), r"'sharpness'.*\(given: none\)"),
        (lambda: update(transforms.cap_by_sharpness(0.1, 2.0), sharpness=jnp.ones(3)), r"shape \(3,\)"),
        (lambda: transforms.limit_relative_update(-0.1), "max_ratio=-0.1; allowed: "),
        (lambda: transforms.limit_relative_update(0.1, eps=-1.0), "eps=-1.0; allowed: "),
        (lambda: update(transforms.limit_relative_update(0.1)), "needs the parameters"),
        (lambda: transforms.clip_by_global_norm_warmup(-1.0), "max_norm=-1.0; allowed: "),
        (lambda: transforms.ramp(0.1, 0.2, -1), "steps=-1; allowed: "),
        (lambda: transforms.ramp(0.1, float("nan"), 3), "end=nan; allowed: "),
        (lambda: transforms.ramp(0.0, 0.2, 3, "geometric"), "start=0.0; allowed: "),
        (lambda: transforms.ramp(0.1, 1.0, 3, "half_life"), "end=1.0; allowed: "),
        (lambda: transforms.ramp(0.1, 0.2, 3, "liner"), "'linear'"),
    ],
)
def test_bad_input_names_the_culprit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
