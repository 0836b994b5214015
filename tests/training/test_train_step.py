"""The train step against updates worked out by hand, and lanes against single runs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from warmup_jax import optimizers, schedules
from warmup_jax.losses import LOSSES
from warmup_jax.training import sweep, train_step
from warmup_jax.training.train_step import NEVER, Knobs, Program

FEATURES, CLASSES, BATCH = 4, 3, 8
SGD = dict(momentum=0.9, nesterov=False, weight_decay=0.01)


def linear_init(key):
    return {"head": {"kernel": jax.random.normal(key, (FEATURES, CLASSES)), "bias": jnp.zeros(CLASSES)}}, {
        "seen": jnp.zeros(())
    }


def linear_apply(params, stats, inputs, *, train, key):
    logits = inputs @ params["head"]["kernel"] + params["head"]["bias"]
    return logits, {"seen": stats["seen"] + 1.0 if train else stats["seen"]}


def optimizer(knobs):
    rate = schedules.combine(
        schedules.linear_warmup(knobs.warmup_steps),
        schedules.constant_decay(),
        peak_lr=knobs.peak_lr,
        num_steps=knobs.num_steps,
    )
    return optimizers.build("sgd", dict(SGD) | knobs.optimizer_args, rate)


PROGRAM = Program(
    init=linear_init,
    apply=linear_apply,
    optimizer=optimizer,
    loss=LOSSES["cross_entropy"].each,
    prepare=lambda arrays, batch, key, train: batch,
    diagnostics={},
)


def knobs(peak_lr=0.5, warmup_steps=4, seed=0, label_smoothing=0.0):
    zero = np.float32(0)
    return Knobs(
        np.uint32(seed),
        np.float32(peak_lr),
        zero,
        zero,
        np.int32(warmup_steps),
        np.int32(10),
        np.float32(label_smoothing),
        {"momentum": np.float32(0.9)},
        {},
        {},
        {},
        {},
    )


def batch(step=0):
    keys = jax.random.split(jax.random.key(step))
    return {
        "inputs": jax.random.normal(keys[0], (BATCH, FEATURES)),
        "labels": jax.random.randint(keys[1], (BATCH,), 0, CLASSES),
    }


def stacked(count):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[batch(step) for step in range(count)])


CHUNK = jax.jit(partial(train_step.train_chunk, PROGRAM))
INIT = jax.jit(jax.vmap(partial(train_step.init_state, PROGRAM)))


def inputs(knobs_R, first, batches):
    """The inputs of a chunk of updates on these batches, after the `first`."""
    steps = np.arange(first, first + len(batches["labels"]), dtype=np.int32)
    return train_step.ChunkInputs(
        knobs=knobs_R, feedback={}, arrays={}, batches=batches, steps=steps, key=jax.random.key(9)
    )


def chunk(knobs_R, states, first, length):
    batches = jax.tree.map(lambda x: x[first : first + length], stacked(8))
    return CHUNK(states, inputs(knobs_R, first, batches))


def start(*runs):
    stack = sweep.stack(list(runs))
    return stack, INIT(stack)


def assert_equal(got, want, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), got, want)


def test_two_updates_by_hand():
    run, state = start(knobs(label_smoothing=0.1))
    kernel, velocity = np.asarray(state.params["head"]["kernel"][0], np.float64), 0.0
    bias, bias_velocity = np.zeros(CLASSES), 0.0
    for step in range(2):
        examples, labels = (np.asarray(x) for x in batch(step).values())
        logits = examples @ kernel + bias
        probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        targets = 0.9 * np.eye(CLASSES)[labels] + 0.1 / CLASSES
        gradient = examples.T @ (probs - targets) / BATCH
        bias_gradient = (probs - targets).mean(0)
        state, metrics = train_step.train_step(PROGRAM, run, state, batch(step), {})
        rate = 0.5 * (step + 1) / 4
        assert float(metrics["train/loss"][0]) == pytest.approx(-(targets * np.log(probs)).sum(-1).mean(), rel=1e-5)
        assert float(metrics["train/accuracy"][0]) == (logits.argmax(-1) == labels).mean()
        assert float(metrics["opt/learning_rate"][0]) == pytest.approx(rate, rel=1e-6)
        norm = np.sqrt((gradient**2).sum() + (bias_gradient**2).sum())
        assert float(metrics["opt/grad_norm"][0]) == pytest.approx(norm, rel=1e-5)
        velocity = gradient + 0.01 * kernel + 0.9 * velocity
        bias_velocity = bias_gradient + 0.9 * bias_velocity
        kernel, bias = kernel - rate * velocity, bias - rate * bias_velocity
        np.testing.assert_allclose(state.params["head"]["kernel"][0], kernel, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.params["head"]["bias"][0], bias, rtol=1e-5, atol=1e-6)
    assert int(state.step[0]) == 2 and float(state.stats["seen"][0]) == 2


def test_nothing_lies_between_the_arithmetic_of_an_update_and_the_state():
    jaxpr, shapes = jax.make_jaxpr(partial(train_step.train_step, PROGRAM), return_shape=True)(
        *start(knobs()), batch(), {}
    )
    outputs = jax.tree.unflatten(jax.tree.structure(shapes), jaxpr.jaxpr.outvars)
    made_by = {var: equation.primitive.name for equation in jaxpr.jaxpr.eqns for var in equation.outvars}
    for var in jax.tree.leaves((outputs[0].params, outputs[0].opt_state)):
        assert made_by[var] not in ("reshape", "broadcast_in_dim", "squeeze")


def test_a_chunk_is_its_steps():
    runs, states = start(knobs(), knobs(peak_lr=2.0))
    together, metrics = chunk(runs, states, 0, 6)
    for step in range(6):
        states, alone = chunk(runs, states, step, 1)
        assert_equal(
            {k: v[:, 0] for k, v in alone.items()}, {k: v[:, step] for k, v in metrics.items()}, rtol=1e-5, atol=1e-6
        )
    assert_equal(states, together, rtol=1e-5, atol=1e-6)


def test_a_lane_is_that_run_alone():
    each = [knobs(), knobs(peak_lr=2.0, warmup_steps=0), knobs(seed=3)]
    together, metrics = chunk(*start(*each), 0, 6)
    for lane, one in enumerate(each):
        alone, alone_metrics = chunk(*start(one), 0, 6)
        assert_equal(
            jax.tree.map(lambda x: x[lane], together), jax.tree.map(lambda x: x[0], alone), rtol=1e-5, atol=1e-6
        )
        assert_equal(
            {k: v[lane] for k, v in metrics.items()}, {k: v[0] for k, v in alone_metrics.items()}, rtol=1e-5, atol=1e-6
        )


def test_divergence_is_recorded_and_leaves_other_lanes_alone():
    sound, _ = chunk(*start(knobs(), knobs(seed=1)), 0, 6)
    mixed, metrics = chunk(*start(knobs(), knobs(seed=1, peak_lr=1e38, warmup_steps=0)), 0, 6)
    first_lane = lambda states: jax.tree.map(lambda x: np.asarray(x[0]), states)
    jax.tree.map(np.testing.assert_array_equal, first_lane(mixed), first_lane(sound))
    bad = ~np.isfinite(metrics["train/loss"][1] + metrics["opt/grad_norm"][1])
    assert mixed.diverged_at.tolist() == [NEVER, 1 + int(np.argmax(bad))]
    assert bad.any() and not bad[0]


def test_evaluation_weighs_and_ignores_padding():
    _, states = start(knobs(), knobs(seed=1))
    full = batch()
    weights = jnp.array([1.0] * 5 + [0.0] * 3)
    padded = {"inputs": full["inputs"].at[5:].set(jnp.nan), "labels": full["labels"], "weights": weights}
    sums = train_step.eval_step(PROGRAM, states, {}, padded)
    for lane in range(2):
        head = jax.tree.map(lambda x: x[lane], states.params)["head"]
        logits = full["inputs"][:5] @ head["kernel"] + head["bias"]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, full["labels"][:5])
        assert float(sums["loss"][lane]) == pytest.approx(float(losses.sum()), rel=1e-5)
        assert float(sums["correct"][lane]) == int((logits.argmax(-1) == full["labels"][:5]).sum())
        assert float(sums["weight"][lane]) == 5


def test_a_diverged_network_predicts_nothing_right():
    _, states = start(knobs())
    states = states._replace(params=jax.tree.map(lambda p: p * jnp.nan, states.params))
    assert float(train_step.eval_step(PROGRAM, states, {}, batch())["correct"][0]) == 0


def test_every_knob_value_runs_the_same_program():
    count = 0

    def counted(*args):
        nonlocal count
        count += 1
        return train_step.train_chunk(PROGRAM, *args)

    compiled = jax.jit(counted)
    for one in (knobs(), knobs(0.1, 0), knobs(7.0, 100, 5, 0.2)):
        runs, states = start(one)
        for step in range(3):
            states, _ = compiled(states, inputs(runs, step, jax.tree.map(lambda x: x[:1], stacked(1))))
    assert count == 1
