"""Warmup as a factor: by the clock, per group, in front of a plateau rule; ended by a measurement."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from recorded import vector

from warmup_jax import schedules, transforms


def applied(tx, params, steps, **extra_args):
    """Updates of a constant gradient 1, one tree a step; extra arguments are indexed by step."""
    state, grads, rows = tx.init(params), jax.tree.map(jnp.ones_like, params), []
    for t in range(steps):
        updates, state = tx.update(grads, state, params, **{k: v[t] for k, v in extra_args.items()})
        rows.append(jax.tree.leaves(jax.tree.map(lambda u: float(-u), updates)))
    return np.array(rows), state


def test_it_dampens_a_chain_that_it_does_not_know():
    tx = optax.chain(
        optax.sgd(optax.cosine_decay_schedule(0.2, 20)), transforms.scale_by_warmup(schedules.linear_warmup(8))
    )
    got, _ = applied(tx, jnp.zeros(()), 12)
    want = [0.1 * (1 + np.cos(np.pi * t / 20)) * min(1, (t + 1) / 8) for t in range(12)]
    np.testing.assert_allclose(got[:, 0], want, rtol=1e-6)


def test_groups_are_those_of_pytorch_warmup(x64):
    peer = vector("pytorch_warmup_linear_per_group_5_10")
    params = {"first": jnp.zeros(()), "second": jnp.zeros(())}
    factors = {"first": schedules.linear_warmup(5), "second": schedules.linear_warmup(10)}
    tx = optax.chain(optax.sgd(0.1), transforms.scale_by_warmup(factors, {"first": "first", "second": "second"}))
    got, _ = applied(tx, params, len(peer["steps"]))
    np.testing.assert_allclose(got, peer["values"], rtol=1e-12)


def test_a_scheduler_that_waits_for_the_warmup_is_that_of_pytorch_warmup(x64):
    peer = vector("pytorch_warmup_linear10_then_cosine20")
    cosine = optax.cosine_decay_schedule(0.1, 20)
    tx = optax.chain(
        transforms.scale_by_recorded_learning_rate(lambda t: cosine(jnp.maximum(t - 9, 0))),
        transforms.scale_by_warmup(schedules.linear_warmup(10)),
    )
    got, _ = applied(tx, jnp.zeros(()), 30)
    np.testing.assert_allclose(got[:, 0], peer["values"][:30], rtol=1e-12, atol=1e-15)


def test_constant_factors_are_the_layerwise_scales_of_timm(x64):
    """timm starts its cosine at update 0 and so falls at the hand-over; its warmup factor is t / W."""
    peer = vector("timm_cosine_layerwise_lr_scale")
    cosine = optax.cosine_decay_schedule(0.1, 20)
    rate = lambda t: jnp.where(t < 4, 0.1 * t / 4, cosine(t))
    params = {"a": jnp.zeros(()), "b": jnp.zeros(()), "c": jnp.zeros(())}
    scale = transforms.scale_by_warmup(dict(zip("abc", peer["params"]["lr_scale"])), {x: x for x in "abc"})
    got, _ = applied(optax.chain(transforms.scale_by_recorded_learning_rate(rate), scale), params, 22)
    np.testing.assert_allclose(got, peer["values"], rtol=1e-12, atol=1e-15)


def test_warmup_in_front_of_a_plateau_rule_is_that_of_timm(x64):
    """timm's plateau rule sleeps during the warmup, and its patience lets one more epoch pass than optax's.

    Hence `conditionally_transform` and `patience + 1`. The metric of epoch k is known to update k + 1.
    """
    peer = vector("timm_plateau_warmup")
    args = peer["params"]
    plateau = optax.contrib.reduce_on_plateau(args["decay_rate"], args["patience_t"] + 1)
    warmup = lambda t: 0.1 + 0.9 * jnp.minimum(t / args["warmup_t"], 1)
    tx = optax.chain(
        transforms.scale_by_recorded_learning_rate(args["lr"]),
        optax.conditionally_transform(plateau, lambda step, **_: step > args["warmup_t"], forward_extra_args=True),
        transforms.scale_by_warmup(warmup),
    )
    values = [jnp.asarray(value, float) for value in (np.inf, *args["metrics"])]
    state = tx.init(jnp.zeros(()))
    for value, want in zip(values, peer["values"]):
        update, state = tx.update(jnp.ones(()), state, value=value)
        assert float(-update) == pytest.approx(want, rel=1e-12)
        assert float(transforms.current_learning_rate(state)) == pytest.approx(want, rel=1e-12)


def test_labels_can_be_a_prefix_or_a_function():
    params = {"body": [jnp.ones(()), jnp.ones(())], "head": jnp.ones(())}
    factors = {"low": 0.5, "full": 1.0}
    by_size = lambda tree: jax.tree.map(lambda leaf: "low", tree) | {"head": "full"}
    for labels in ({"body": "low", "head": "full"}, by_size):
        got, _ = applied(transforms.scale_by_warmup(factors, labels), params, 1)
        np.testing.assert_array_equal(-got, [[0.5, 0.5, 1.0]])


@pytest.mark.parametrize(
    "factor, labels, message",
    [
        ({"a": 1.0}, None, "exactly when labels are given"),
        (schedules.no_warmup(), {"w": "a"}, "exactly when labels are given"),
        ({"body": 1.0}, {"w": "bdoy"}, "'bdoy'; did you mean 'body'"),
    ],
)
def test_labels_and_factors_must_fit(factor, labels, message):
    with pytest.raises(ValueError, match=message):
        transforms.scale_by_warmup(factor, labels).init({"w": jnp.ones(())})


ERRORS = [0.9, float("nan"), 0.8, 0.79, 0.95, float("nan")]


@pytest.mark.parametrize(
    "metric, threshold, mode, argument",
    [
        ("error", 0.8, "below", ERRORS),
        ("accuracy", 0.2, "above", [1 - e if e != 0.8 else 0.2 for e in ERRORS]),  # 1 - 0.8 is not 0.2
        (lambda extra: extra["error"] < 0.8, None, "below", ERRORS),
    ],
)
def test_the_rule_of_he_et_al(metric, threshold, mode, argument):
    """Strictly past the threshold, from that update on, for ever; NaN decides nothing."""
    tx = transforms.warmup_until(metric, threshold, 0.1, 1.0, mode)
    name = "error" if callable(metric) else metric
    got, state = applied(tx, jnp.zeros(()), 6, **{name: argument})
    np.testing.assert_allclose(-got[:, 0], [0.1, 0.1, 0.1, 1, 1, 1])
    assert bool(state.ended) and int(state.ended_at) == 3 and int(state.count) == 6


def test_the_warmup_of_the_110_layer_resnet_is_in_the_rate_that_is_read():
    tx = optax.chain(
        optax.trace(0.9),
        transforms.scale_by_recorded_learning_rate(0.1),
        transforms.warmup_until("error", 0.8, low=0.1, high=1.0),
    )
    state, rates = tx.init(jnp.zeros(())), []
    for error in (0.9, 0.85, 0.7):
        _, state = tx.update(jnp.ones(()), state, error=error, unused="passes")
        rates.append(float(transforms.current_learning_rate(state)))
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: transforms.warmup_until("error", 0.8, 0.1, 1.0, mode="under"), "unknown mode 'under'.*above, below"),
        (lambda: transforms.warmup_until("error", float("nan"), 0.1, 1.0), "threshold=nan; allowed: "),
        (
            lambda: transforms.warmup_until("error", None, 0.1, 1.0),
            "threshold=None; allowed for metric='error': finite numbers",
        ),
        (
            lambda: transforms.warmup_until(lambda extra: True, 0.8, 0.1, 1.0),
            "threshold=0.8; allowed for metric=.*: None",
        ),
        (lambda: transforms.warmup_until("error", 0.8, -0.1, 1.0), "low=-0.1; allowed: "),
        (lambda: transforms.warmup_until("error", 0.8, 0.1, float("nan")), "high=nan; allowed: "),
        (
            lambda: applied(transforms.warmup_until("error", 0.8, 0.1, 1.0), jnp.zeros(()), 1, loss=[1.0]),
            r"'error': call update\(..., error=...\) \(given: loss\)",
        ),
        (
            lambda: applied(transforms.warmup_until("error", 0.8, 0.1, 1.0), jnp.zeros(()), 1, error=jnp.ones((1, 2))),
            r"scalar 'error', not one of shape \(2,\)",
        ),
    ],
)
def test_bad_input_names_the_culprit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
