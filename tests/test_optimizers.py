"""Every optimizer against optax's own or a hand-made update; decay, clipping and traced numbers."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from warmup_jax import optimizers, transforms

RATE = lambda t: 0.1 / (t + 1)
ARGS = {
    "momentum": 0.9,
    "nesterov": False,
    "beta1": 0.8,
    "beta2": 0.95,
    "eps": 1e-6,
    "weight_decay": 0.02,
    "trust_coefficient": 0.01,
    "beta3": 0.99,
    "alpha": 3.0,
}
MASK = optimizers.decay_mask
PEERS = {
    "sgd": lambda: optax.chain(optax.add_decayed_weights(0.02, MASK), optax.sgd(RATE, 0.9)),
    "adam": lambda: optax.chain(optax.add_decayed_weights(0.02, MASK), optax.adam(RATE, 0.8, 0.95, 1e-6)),
    "adamw": lambda: optax.adamw(RATE, 0.8, 0.95, 1e-6, weight_decay=0.02, mask=MASK),
    "radam": lambda: optax.chain(
        optax.scale_by_radam(0.8, 0.95, 1e-6), optax.add_decayed_weights(0.02, MASK), optax.scale_by_learning_rate(RATE)
    ),
    "adabelief": lambda: optax.chain(
        optax.scale_by_belief(0.8, 0.95, 1e-6),
        optax.add_decayed_weights(0.02, MASK),
        optax.scale_by_learning_rate(RATE),
    ),
    "gi_adam": lambda: optax.chain(
        transforms.scale_by_gi_adam(0.8, 0.95, 1e-6),
        optax.add_decayed_weights(0.02, MASK),
        optax.scale_by_learning_rate(RATE),
    ),
    "ademamix": lambda: optax.contrib.ademamix(RATE, 0.8, 0.95, 0.99, 3.0, 1e-6, weight_decay=0.02, mask=MASK),
    "novograd": lambda: optax.chain(
        optax.scale_by_novograd(0.8, 0.95, 1e-6),
        optax.add_decayed_weights(0.02, MASK),
        optax.scale_by_learning_rate(RATE),
    ),
    "lamb": lambda: optax.lamb(RATE, 0.8, 0.95, 1e-6, weight_decay=0.02, mask=MASK),
    "lars": lambda: optax.lars(RATE, 0.02, MASK, 0.01, 1e-6, MASK, 0.9),
    "lion": lambda: optax.lion(RATE, 0.8, 0.95, weight_decay=0.02, mask=MASK),
}


@pytest.fixture
def params():
    keys = iter(jax.random.split(jax.random.key(0), 10))
    normal = lambda *shape: jax.random.normal(next(keys), shape)
    return {
        "stem": {"kernel": normal(3, 3, 1, 4)},
        "block": {"conv": {"kernel": normal(3, 3, 4, 6)}, "norm": {"scale": normal(6), "bias": normal(6)}},
        "head": {"kernel": normal(6, 5), "bias": normal(5)},
    }


def gradient(params, step):
    return jax.tree.map(lambda p: jnp.sin(p + step), params)


def arguments(name):
    wanted = inspect.signature(optimizers.OPTIMIZERS[name]).parameters
    return {arg: ARGS[arg] for arg in wanted if arg not in ("rate", "mask")}


def train(tx, params, steps=7):
    state = tx.init(params)
    for step in range(steps):
        updates, state = tx.update(gradient(params, step), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def assert_equal(got, want, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), got, want)


@pytest.mark.parametrize("name", PEERS)
def test_equals_optax(name, params):
    got, state = train(optimizers.build(name, arguments(name), RATE), params)
    want, _ = train(PEERS[name](), params)
    assert_equal(got, want, rtol=2e-5, atol=1e-6)
    assert float(transforms.current_learning_rate(state)) == pytest.approx(0.1 / 7)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_by_hand(nesterov, params):
    tx = optimizers.build("sgd", dict(momentum=0.9, nesterov=nesterov, weight_decay=0.02), RATE)
    got, _ = train(tx, params, steps=3)
    kernel, velocity = np.asarray(params["head"]["kernel"], np.float64), 0.0
    for step in range(3):
        grad = np.sin(kernel + step) + 0.02 * kernel
        velocity = grad + 0.9 * velocity
        kernel = kernel - 0.1 / (step + 1) * (grad + 0.9 * velocity if nesterov else velocity)
    np.testing.assert_allclose(got["head"]["kernel"], kernel, rtol=1e-5)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_numbers_may_be_traced_and_mapped(name, params):
    args = arguments(name)
    static = {key: value for key, value in args.items() if isinstance(value, bool)}
    numbers = {key: jnp.array([value, 0.5 * value]) for key, value in args.items() if key not in static}
    run = lambda numbers: train(optimizers.build(name, static | numbers | {"clip_norm": 2.0}, RATE), params, 2)
    mapped, _ = jax.jit(jax.vmap(run))(numbers)
    for lane in range(2):
        alone, _ = run({key: float(value[lane]) for key, value in numbers.items()})
        assert_equal(jax.tree.map(lambda x: x[lane], mapped), alone, rtol=1e-3, atol=1e-4)


def test_all_but_biases_and_normalisation_decay(params):
    assert optimizers.decay_mask(params) == {
        "stem": {"kernel": True},
        "block": {"conv": {"kernel": True}, "norm": {"scale": False, "bias": False}},
        "head": {"kernel": True, "bias": False},
    }


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_decay_acts_on_the_masked_parameters_alone(name, params):
    one, other = (
        train(optimizers.build(name, arguments(name) | {"weight_decay": decay}, RATE), params, 2)[0]
        for decay in (0.0, 0.3)
    )
    moved = jax.tree.map(lambda a, b: bool(np.abs(a - b).max() > 1e-6), one, other)
    if name == "lion":  # its sign hides a small decay of the direction, not of the weights
        moved["block"]["conv"]["kernel"] |= True
    assert moved == optimizers.decay_mask(params)


def test_clipping_bounds_the_global_norm(params):
    args = dict(momentum=0.0, nesterov=False, weight_decay=0.0)
    for clip_norm, bound in ((0.5, 0.5), (1e6, float(optax.tree.norm(gradient(params, 0)))), (None, None)):
        tx = optimizers.build("sgd", args | {"clip_norm": clip_norm}, lambda t: 1.0)
        updates, _ = tx.update(gradient(params, 0), tx.init(params), params)
        bound = float(optax.tree.norm(gradient(params, 0))) if bound is None else bound
        assert float(optax.tree.norm(updates)) == pytest.approx(bound, rel=1e-5)


def test_muon_orthogonalises_hidden_kernels(params):
    args = arguments("muon") | {"weight_decay": 0.0}
    tx = optimizers.build("muon", args, lambda t: 1.0)
    updates, _ = tx.update(gradient(params, 0), tx.init(params), params)
    singular = np.linalg.svd(np.asarray(updates["block"]["conv"]["kernel"]).reshape(-1, 6), compute_uv=False)
    assert singular.max() / singular.min() < 2  # the gradient's own ratio is far larger
    raw = np.linalg.svd(np.asarray(gradient(params, 0)["block"]["conv"]["kernel"]).reshape(-1, 6), compute_uv=False)
    assert raw.max() / raw.min() > singular.max() / singular.min()
    # Adam's first update has one size; with Nesterov momentum it is 1 + beta1 (1 - beta1) / (1 - beta1^2).
    np.testing.assert_allclose(np.abs(updates["head"]["kernel"]), 1 + 0.8 * 0.2 / 0.36, rtol=1e-3)


def test_muon_sees_each_layer_of_a_stack_as_a_matrix():
    dimensions = optimizers.muon_dimensions(
        {"decoder": {"kernel": np.zeros((3, 6, 4))}, "decoder_0": {"kernel": np.zeros((6, 4))}}
    )
    assert (dimensions["decoder"]["kernel"].reduction_axis, dimensions["decoder"]["kernel"].output_axis) == ((1,), 2)
    assert (dimensions["decoder_0"]["kernel"].reduction_axis, dimensions["decoder_0"]["kernel"].output_axis) == (
        (0,),
        1,
    )


@pytest.mark.parametrize(
    "name, args, named",
    [
        ("sgdd", {}, "did you mean 'sgd'"),
        ("sgd", {"momentum": 0.9, "nesterov": False}, "'weight_decay'"),
        ("adam", arguments("adam") | {"momentum": 0.9}, "'momentum'"),
    ],
)
def test_bad_input_names_the_culprit(name, args, named):
    with pytest.raises(ValueError, match=named):
        optimizers.build(name, args, RATE)
