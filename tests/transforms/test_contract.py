"""What every transformation promises: one state structure, one program, the update's dtype, any number traced."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from warmup_jax import transforms

EXTRA = {"sharpness": 3.0, "error": 0.5}
LABELS = {"w": "a", "b": "b"}
GROUPS = {"a": lambda t: (t + 1) / 4, "b": lambda t: 0.5}

# Name -> a factory of one number, that number, and another one that matters.
OF_ONE_NUMBER = {
    "scale_by_recorded_learning_rate": (transforms.scale_by_recorded_learning_rate, 0.1, 0.3),
    "cap_by_sharpness": (lambda c: transforms.cap_by_sharpness(lambda t: 0.9 + t, c), 2.0, 0.5),
    "scale_by_warmup": (lambda w: transforms.scale_by_warmup(lambda t: jnp.minimum((t + 1) / w, 1)), 4.0, 9.0),
    "warmup_until": (lambda low: transforms.warmup_until("error", 0.2, low, 1.0), 0.1, 0.2),
    "scale_by_rectified_adam": (lambda b2: transforms.scale_by_rectified_adam(b2=b2), 0.9, 0.99),
    "scale_by_gi_adam": (lambda b1: transforms.scale_by_gi_adam(b1=b1), 0.9, 0.5),
    "scale_by_ri_adam": (lambda b2: transforms.scale_by_ri_adam(b2=b2), 0.9, 0.99),
    "scale_by_adam_frozen": (transforms.scale_by_adam_frozen, 2, 4),
    "limit_relative_update": (transforms.limit_relative_update, 0.1, 0.3),
    "clip_by_global_norm_warmup": (lambda n: transforms.clip_by_global_norm_warmup(lambda t: n * (t + 1)), 0.1, 0.2),
}
MAKE = {name: (lambda make=make, number=number: make(number)) for name, (make, number, _) in OF_ONE_NUMBER.items()}
MAKE["scale_by_warmup with labels"] = lambda: transforms.scale_by_warmup(GROUPS, LABELS)
MAKE["warmup_until a predicate"] = lambda: transforms.warmup_until(lambda extra: extra["error"] < 1, None, 0.1, 0.7)

every = pytest.mark.parametrize("name", MAKE)
every_number = pytest.mark.parametrize("name", OF_ONE_NUMBER)


def params(dtype=jnp.float32):
    return {"w": jnp.linspace(-1, 2, 6, dtype=dtype).reshape(2, 3), "b": jnp.zeros(3, dtype)}


def grads(t, dtype=jnp.float32):
    return {
        "w": jnp.cos(t + jnp.arange(6.0)).reshape(2, 3).astype(dtype),
        "b": jnp.sin(t + jnp.arange(3.0)).astype(dtype),
    }


def run(tx, steps=7, dtype=jnp.float32, jit=True):
    """All updates stacked, and the final state."""
    tx = optax.with_extra_args_support(tx)

    def step(state, t):
        updates, state = tx.update(grads(t, dtype), state, params(dtype), **EXTRA)
        return state, updates

    state = tx.init(params(dtype))
    if jit:
        state, out = jax.lax.scan(step, state, jnp.arange(steps))
        return out, state
    out = []
    for t in range(steps):
        state, updates = step(state, t)
        out.append(updates)
    return jax.tree.map(lambda *rows: jnp.stack(rows), *out), state


@functools.cache
def plain(name):
    return run(MAKE[name]())


def assert_close(got, want, rtol=1e-5, atol=1e-7):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x.astype(float), y.astype(float), rtol=rtol, atol=atol)


def test_every_entry_is_tested_and_public():
    assert set(OF_ONE_NUMBER) == set(transforms.TRANSFORMS)
    for name, factory in transforms.TRANSFORMS.items():
        assert getattr(transforms, name) is factory
    assert all(hasattr(transforms, name) for name in transforms.__all__)


@every
def test_the_scanned_equal_the_eager_updates(name):
    """A scan also demands that structure, shapes and dtypes of the state stay those of `init`."""
    assert_close(run(MAKE[name](), steps=3), run(MAKE[name](), steps=3, jit=False))


@every
def test_updates_are_finite_and_change_something(name):
    updates, _ = plain(name)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(updates))
    given = jax.vmap(grads)(jnp.arange(7))
    assert not np.allclose(updates["w"], given["w"])


@every
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes_are_kept(name, dtype):
    updates, _ = run(MAKE[name](), dtype=dtype)
    assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
    exact, _ = plain(name)
    for x, y in zip(jax.tree.leaves(updates), jax.tree.leaves(exact)):
        assert np.abs(x.astype(jnp.float32) - y).max() <= 0.03 * np.abs(y).max()


@every
def test_five_steps_are_one_program(name):
    tx = optax.with_extra_args_support(MAKE[name]())
    compiled = 0

    @jax.jit
    def step(state, t):
        nonlocal compiled
        compiled += 1
        return tx.update(grads(t), state, params(), **EXTRA)[1]

    state = tx.init(params())
    for t in range(5):
        state = step(state, t)
    assert compiled == 1


@every_number
def test_numbers_can_be_mapped(name):
    make, first, second = OF_ONE_NUMBER[name]
    mapped, _ = jax.vmap(lambda number: run(make(number)))(jnp.array([first, second]))
    for lane, number in enumerate((first, second)):
        assert_close(jax.tree.map(lambda x: x[lane], mapped), run(make(number))[0], rtol=1e-3, atol=1e-5)
    assert not np.allclose(mapped["w"][0], mapped["w"][1])


@every_number
def test_numbers_can_be_injected(name):
    make, number, other = OF_ONE_NUMBER[name]

    def factory(number):
        return optax.with_extra_args_support(make(number))

    injected = optax.inject_hyperparams(factory)
    want, _ = plain(name)
    assert_close(run(injected(number))[0], want, rtol=1e-3, atol=1e-5)
    scheduled, _ = run(injected(lambda t: jnp.where(t < 3, number, other)))
    assert not np.allclose(scheduled["w"], want["w"])


@every
def test_inside_masked_and_partition(name):
    masked, _ = run(optax.masked(MAKE[name](), {"w": True, "b": False}))
    split, _ = run(optax.partition({"a": MAKE[name](), "b": optax.set_to_zero()}, LABELS))
    given = jax.vmap(grads)(jnp.arange(7))
    np.testing.assert_array_equal(masked["b"], given["b"])
    np.testing.assert_array_equal(split["b"], jnp.zeros_like(given["b"]))
    np.testing.assert_allclose(split["w"], masked["w"], rtol=1e-6)
    if name != "clip_by_global_norm_warmup":  # the only one that looks across leaves
        np.testing.assert_allclose(masked["w"], plain(name)[0]["w"], rtol=1e-5, atol=1e-7)


@every
def test_inside_multisteps(name):
    """Every second call applies the mean of two gradients, and only that one moves the state."""
    accumulated = optax.MultiSteps(MAKE[name](), 2)  # its .gradient_transformation() drops extra arguments
    tx = optax.GradientTransformationExtraArgs(accumulated.init, accumulated.update)
    alone = optax.with_extra_args_support(MAKE[name]())
    updates, state = run(tx, steps=6)
    inner = alone.init(params())
    for t in range(3):
        mean = jax.tree.map(lambda x, y: (x + y) / 2, grads(2 * t), grads(2 * t + 1))
        want, inner = alone.update(mean, inner, params(), **EXTRA)
        assert not jax.tree.leaves(jax.tree.map(lambda u: u[2 * t].any(), updates))[0]
        assert_close(jax.tree.map(lambda u: u[2 * t + 1], updates), want, atol=1e-6)
    assert_close(state.inner_opt_state, inner, atol=1e-6)


@every
def test_a_state_is_saved_and_restored_by_structure(name):
    """Interrupted after four updates, flattened, rebuilt: the same as uninterrupted, bit for bit."""
    tx = optax.with_extra_args_support(MAKE[name]())
    update = jax.jit(lambda t, state: tx.update(grads(t), state, params(), **EXTRA))
    state = tx.init(params())
    for t in range(4):
        _, state = update(t, state)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    restored = jax.tree.unflatten(jax.tree.structure(tx.init(params())), leaves)
    for got, want in zip(jax.tree.leaves(update(4, restored)), jax.tree.leaves(update(4, state))):
        np.testing.assert_array_equal(got, want)


@every
def test_double_precision_stays_double(name, x64):
    updates, _ = run(MAKE[name](), dtype=jnp.float64)
    assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype(jnp.float64)}


@pytest.mark.parametrize("name", transforms.__all__)
def test_every_public_function_has_its_sections(name):
    item = getattr(transforms, name)
    if inspect.isfunction(item):
        assert all(section in item.__doc__ for section in ("Args:", "Returns:", "Examples:", ">>> "))
