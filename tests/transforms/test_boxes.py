"""Optimizer states whose leaves are boxed, as Flax boxes them: the boxes stay, and what is in them is read."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

from warmup_jax import schedules, transforms

RATE = schedules.warmup_linear(0.5, 4, 10)
PARAMS = {"w": jnp.ones(2)}
CHAINS = {
    "adamw": optax.adamw(RATE),
    "ours": optax.chain(
        transforms.clip_by_global_norm_warmup(1.0),
        optax.scale_by_adam(),
        transforms.scale_by_recorded_learning_rate(RATE),
        transforms.scale_by_warmup(schedules.linear_warmup(100)),
    ),
    "groups": optax.chain(
        optax.scale_by_adam(),
        transforms.scale_by_recorded_learning_rate(RATE),
        transforms.scale_by_warmup({"all": schedules.linear_warmup(100)}, labels=lambda params: "all"),
    ),
    "inject": optax.inject_hyperparams(optax.adamw)(RATE),
    "MultiSteps": optax.MultiSteps(optax.adamw(RATE), 1).gradient_transformation(),
    "masked": optax.masked(optax.adamw(RATE), lambda params: jax.tree.map(lambda _: True, params)),
}
SCHEDULE = {"adamw": RATE, "MultiSteps": RATE, "masked": RATE}
WARMED = ("ours", "groups")


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Box:
    """A box as Flax has them: a node of the tree with one leaf and some metadata."""

    value: jax.Array
    names: tuple = dataclasses.field(metadata={"static": True}, default=("embed",))


def boxed(state):
    return jax.tree.map(Box, state)


def unboxed(state):
    return jax.tree.map(lambda box: box.value, state, is_leaf=lambda node: isinstance(node, Box))


def ran(name, steps):
    tx = CHAINS[name]
    state, update = tx.init(PARAMS), jax.jit(tx.update)
    for _ in range(steps):
        _, state = update(PARAMS, state, PARAMS)
    return state


@pytest.mark.parametrize("name", CHAINS)
def test_fast_forward_keeps_boxes(name):
    state = CHAINS[name].init(PARAMS)
    moved = transforms.fast_forward(boxed(state), 7)
    assert jax.tree.structure(moved) == jax.tree.structure(boxed(state))
    expected = transforms.fast_forward(state, 7)
    assert all(map(jnp.array_equal, *map(jax.tree.leaves, (unboxed(moved), expected))))
    assert [leaf.dtype for leaf in jax.tree.leaves(moved)] == [leaf.dtype for leaf in jax.tree.leaves(state)]


@pytest.mark.parametrize("name", CHAINS)
def test_the_rate_is_read_from_boxes(name):
    state, options = ran(name, 3), {"schedule": SCHEDULE.get(name)}
    rate = transforms.current_learning_rate(boxed(state), **options)
    assert isinstance(rate, jax.Array) and rate.shape == ()
    assert float(rate) == float(transforms.current_learning_rate(state, **options))
    assert float(rate) == pytest.approx(float(RATE(2)) * (3 / 100 if name in WARMED else 1))


@pytest.mark.parametrize("name", CHAINS)
def test_the_state_of_an_nnx_optimizer(name):
    """It is moved and set back in both ways that NNX offers, and trains on from there."""
    nnx = pytest.importorskip("flax.nnx")

    def optimizer():
        model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        return model, nnx.Optimizer(model, CHAINS[name], wrt=nnx.Param)

    for assigned in (True, False):
        model, moved = optimizer()
        state = transforms.fast_forward(moved.opt_state, 7)
        assert jax.tree.structure(state) == jax.tree.structure(moved.opt_state)
        if assigned:
            moved.opt_state = state
        else:
            nnx.update(moved.opt_state, nnx.state(state))
        moved.update(model, nnx.grad(lambda model: model(jnp.ones((1, 2))).sum())(model))
        rate = transforms.current_learning_rate(moved.opt_state, schedule=SCHEDULE.get(name))
        assert float(rate) == pytest.approx(float(RATE(7)) * (8 / 100 if name in WARMED else 1))


@pytest.mark.parametrize("name", CHAINS)
def test_the_boxes_of_linen(name):
    """Parameters with names of axes give moments in boxes, which stay; a state may also be boxed leaf by leaf."""
    linen = pytest.importorskip("flax.linen")
    params = {"w": linen.LogicallyPartitioned(jnp.ones(2), ("embed",))}
    state = CHAINS[name].init(params)
    moved = transforms.fast_forward(state, 7)
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    _, after = CHAINS[name].update(params, moved, params)
    every = jax.tree.map(lambda leaf: linen.Partitioned(leaf, ("embed",)), after)
    for read in (after, every):
        rate = transforms.current_learning_rate(read, schedule=SCHEDULE.get(name))
        assert float(rate) == pytest.approx(float(RATE(7)) * (8 / 100 if name in WARMED else 1))
    assert jax.tree.structure(transforms.fast_forward(every, 9)) == jax.tree.structure(every)


def test_a_whole_nnx_optimizer_will_do_and_a_state_without_types_is_refused():
    """`nnx.state` and `nnx.split` turn the named tuples of optax into dicts: a factor in them would be overlooked."""
    nnx = pytest.importorskip("flax.nnx")
    optimizer = nnx.Optimizer(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), CHAINS["ours"], wrt=nnx.Param)
    moved = transforms.fast_forward(optimizer, 7)
    assert int(moved.opt_state[2].count[...]) == 7
    assert float(transforms.current_learning_rate(optimizer)) == 0
    for state in (nnx.state(optimizer), nnx.split(optimizer)[1], {"0": {"count": jnp.zeros([], int)}}):
        for read in (
            transforms.current_learning_rate,
            lambda state: transforms.current_learning_rate(state, schedule=0.1),
            lambda state: transforms.fast_forward(state, 7),
        ):
            with pytest.raises(ValueError, match="no optimizer state: give .*optimizer.opt_state"):
                read(state)
