"""Adam's variants against the software they come from, against closed forms and at their edges."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from recorded import names, vector

from warmup_jax import schedules, transforms

# Vector -> what of this library (and optax) gives its trajectory, and the learning rate.
TRAJECTORIES = {
    "traj_optax_radam": (transforms.scale_by_rectified_adam(), 0.01),
    "traj_torch_radam": (transforms.scale_by_rectified_adam(raw_eps=True), 0.01),
    "traj_radam_original_skip": (transforms.scale_by_rectified_adam(degenerate="skip", raw_eps=True), 0.01),
    "traj_gi_adam": (transforms.scale_by_gi_adam(), 0.01),
    "traj_radam_repo_adam2k_freeze5": (transforms.scale_by_adam_frozen(5), 0.01),
    # Adam with the eps of old torch, and a warmup that is 1e-8 above the line while it lasts.
    "traj_radam_repo_adamw_warmup5": (
        transforms.scale_by_adam_frozen(0),
        lambda t: 0.01 * schedules.linear_warmup(5)(t) + 1e-8 * (t + 1 < 5),
    ),
    # int(2 / (1 - 0.95)) is 39 in floating point.
    "traj_torch_adam_untuned_linear": (optax.scale_by_adam(b2=0.95), lambda t: 0.05 * schedules.linear_warmup(39)(t)),
    "traj_optax_adam_nowarmup": (optax.scale_by_adam(), lambda t: 0.01 * schedules.no_warmup()(t)),
    "traj_optax_lamb": (optax.chain(optax.scale_by_adam(eps=1e-6), optax.scale_by_trust_ratio()), 0.01),
}


def sizes(tx, grads):
    """The updates for a sequence of scalar gradients."""

    def step(state, grad):
        update, state = tx.update(grad, state)
        return state, update

    return jax.lax.scan(step, tx.init(jnp.zeros(())), jnp.asarray(grads, float))[1]


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_trajectory_of_the_peer(name, x64):
    peer = vector(name)
    direction, rate = TRAJECTORIES[name]
    tx = optax.chain(direction, transforms.scale_by_recorded_learning_rate(rate))

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jnp.array([1.0, 3.0]) * params, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = jnp.array(peer["params"]["params0"])
    _, path = jax.lax.scan(step, (start, tx.init(start)), length=len(peer["steps"]))
    np.testing.assert_allclose(path, peer["values"], rtol=0, atol=1e-12)


def test_every_recorded_trajectory_has_an_expression():
    assert names("traj_") == set(TRAJECTORIES)


@pytest.mark.parametrize("b2", [0.9, 0.99, 0.999, 0.9999, 0.99999])
def test_rectification_is_exact_in_single_precision(b2):
    """With a constant gradient the update of "skip" is the rectification; float32 must find the same steps."""
    t, rho_inf = np.arange(1, 12), 2 / (1 - b2) - 1
    rho = rho_inf - 2 * t * b2**t / (1 - b2**t)
    root = np.sqrt(np.maximum((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho), 0))
    got = sizes(transforms.scale_by_rectified_adam(b2=b2, degenerate="skip"), np.ones(11))
    np.testing.assert_allclose(got, np.where(rho >= 5, root, 0), rtol=2e-3)


@pytest.mark.parametrize("b2", [0.0, 0.5, 0.6, 2 / 3 - 1e-3])
def test_rectified_adam_with_a_small_beta2_is_momentum_for_ever(b2):
    sevens = np.full(30, 7.0)
    np.testing.assert_allclose(sizes(transforms.scale_by_rectified_adam(b2=b2), sevens), sevens, rtol=1e-5)
    assert not sizes(transforms.scale_by_rectified_adam(b2=b2, degenerate="skip"), sevens).any()


def test_rectification_has_a_finite_gradient_in_every_number():
    grads = jnp.array([1.0, 2.0, -1.0, 0.5, 1.0, 2.0, 3.0])

    def total(b1, b2, eps, threshold):
        return sizes(transforms.scale_by_rectified_adam(b1, b2, eps, threshold), grads).sum()

    assert np.isfinite(jax.grad(total, (0, 1, 2, 3))(0.9, 0.99, 1e-8, 5.0)).all()


@pytest.mark.parametrize("b2", [0.9, 0.999])
def test_gi_adam_with_a_constant_gradient_ramps_as_the_root(b2, x64):
    t = np.arange(1, 20)
    got = sizes(transforms.scale_by_gi_adam(b2=b2), np.full(19, 7.0))
    np.testing.assert_allclose(got, np.sqrt(1 - b2**t), rtol=1e-7)


def test_gi_adam_takes_a_zero_first_gradient():
    assert sizes(transforms.scale_by_gi_adam(), [0.0, 0.0]).tolist() == [0.0, 0.0]


def test_ri_adam_starts_at_random_numbers_of_the_size_of_the_squared_gradient():
    grads = {"w": jnp.linspace(-1, 2, 12).reshape(3, 4), "b": jnp.zeros(2), "s": jnp.float32(3)}
    tx = transforms.scale_by_ri_adam(b2=0.9)
    _, state = tx.update(grads, tx.init(grads))
    begun = jax.tree.map(lambda v, g: (v - 0.1 * g**2) / 0.9, state.nu, grads)
    for name, g in grads.items():
        assert jnp.linalg.norm(begun[name]) == pytest.approx(float(jnp.linalg.norm(g**2)), rel=1e-5)
    assert jnp.corrcoef(begun["w"].ravel(), (grads["w"] ** 2).ravel())[0, 1] < 0.9
    _, after = tx.update(grads, state)
    jax.tree.map(
        lambda v, old, g: np.testing.assert_allclose(v, 0.9 * old + 0.1 * g**2, rtol=1e-5), after.nu, state.nu, grads
    )
    _, other = transforms.scale_by_ri_adam(b2=0.9, seed=1).update(grads, tx.init(grads))
    assert not np.allclose(other.nu["w"], state.nu["w"])


@pytest.mark.parametrize("n", [0, 1, 3, 30])
def test_frozen_adam_by_hand(n, x64):
    grads, b1, b2, eps = np.sin(np.arange(1, 9)), 0.8, 0.95, 1e-3
    m = v = 0.0
    want = []
    for t, g in enumerate(grads, start=1):
        v = b2 * v + (1 - b2) * g**2
        if t <= n:
            want.append(0.0)
            continue
        m = b1 * m + (1 - b1) * g
        want.append(m / (1 - b1**t) * np.sqrt(1 - b2**t) / (np.sqrt(v) + eps))
    got = sizes(transforms.scale_by_adam_frozen(n, b1, b2, eps), grads)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_frozen_for_no_update_without_eps_is_adam():
    grads = np.cos(np.arange(6))
    np.testing.assert_allclose(
        sizes(transforms.scale_by_adam_frozen(0, eps=0.0), grads), sizes(optax.scale_by_adam(eps=0.0), grads), rtol=1e-5
    )


VARIANTS = {
    "rectified": transforms.scale_by_rectified_adam,
    "gi": transforms.scale_by_gi_adam,
    "frozen": lambda **args: transforms.scale_by_adam_frozen(1, **args),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_low_precision_moments_do_not_stall(name):
    tx = VARIANTS[name](b2=0.999)
    params = jnp.zeros(3, jnp.bfloat16)
    state, update = tx.init(params), jax.jit(tx.update)
    for t in range(40):
        updates, state = update(jnp.full(3, 1.0 + t, jnp.bfloat16), state)
    assert updates.dtype == jnp.bfloat16 and state.nu.dtype == state.mu.dtype == jnp.float32
    squares = [1.0] * (name == "gi") + [(1.0 + t) ** 2 for t in range(40)]
    weights = [0.999**40] * (name == "gi") + [0.001 * 0.999 ** (39 - t) for t in range(40)]
    np.testing.assert_allclose(state.nu, np.dot(squares, weights), rtol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_complex_parameters(name):
    tx, grad = VARIANTS[name](b1=0.0, b2=0.0, eps=0.0), jnp.array([3 + 4j])
    state = tx.init(grad)
    for _ in range(3):
        updates, state = tx.update(grad, state)
    assert state.nu.dtype == jnp.float32 and float(state.nu[0]) == 25
    np.testing.assert_allclose(updates, grad if name == "rectified" else grad / 5, rtol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        *[
            (lambda make=make, name=name, bad=bad: make(**{name: bad}), f"{name}={bad}; allowed: ")
            for make in VARIANTS.values()
            for name, bad in (("b1", 1.0), ("b1", -0.1), ("b2", 1.5), ("b2", float("nan")), ("eps", -1e-8))
        ],
        (lambda: transforms.scale_by_adam_frozen(-1), "n=-1; allowed: "),
        (lambda: transforms.scale_by_rectified_adam(threshold=4.0), "threshold=4.0; allowed: "),
        (lambda: transforms.scale_by_rectified_adam(threshold=float("nan")), "threshold=nan; allowed: "),
        (lambda: transforms.scale_by_rectified_adam(degenerate="adam"), "unknown degenerate 'adam'.*sgd, skip"),
    ],
)
def test_bad_input_names_the_culprit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
