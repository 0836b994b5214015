"""`current_learning_rate` has an answer or advice for every chain, the README's own among them."""

import jax
import jax.numpy as jnp
import optax
import pytest

from warmup_jax import schedules, transforms

RATE = schedules.warmup_linear(0.5, 4, 10)
PARAMS = {"w": jnp.ones(2), "b": jnp.ones(3)}
LABELS = {"w": "slow", "b": "fast"}
FACTOR = schedules.linear_warmup(8)


def after(tx, steps, **extra_args):
    """The state after some updates of constant gradients, and the last update."""
    state, updates = tx.init(PARAMS), None
    update = jax.jit(tx.update)
    for _ in range(steps):
        updates, state = update(PARAMS, state, PARAMS, **extra_args)
    return state, updates


# Chains that record no rate: (optimizer, what it was built with, its rate after 3 updates).
UNRECORDED = {
    "adamw": (optax.adamw(RATE), RATE, RATE(2)),
    "adamw, constant": (optax.adamw(0.1), 0.1, 0.1),
    "sgd": (optax.sgd(RATE), RATE, RATE(2)),
    "named chain": (optax.named_chain(("adam", optax.adam(RATE))), RATE, RATE(2)),
    "scaled": (optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(RATE)), RATE, RATE(2)),
    "warmed": (optax.chain(optax.adamw(0.1), transforms.scale_by_warmup(FACTOR)), 0.1, 0.1 * 3 / 8),
    "warmed schedule": (optax.chain(optax.adamw(RATE), transforms.scale_by_warmup(FACTOR)), RATE, RATE(2) * 3 / 8),
    "MultiSteps": (optax.MultiSteps(optax.adamw(RATE), 1).gradient_transformation(), RATE, RATE(2)),
    "apply_if_finite": (optax.apply_if_finite(optax.adamw(RATE), 3), RATE, RATE(2)),
    "masked": (optax.masked(optax.adamw(RATE), {"w": True, "b": False}), RATE, RATE(2)),
    "partition": (optax.partition({"slow": optax.adam(RATE), "fast": optax.set_to_zero()}, LABELS), RATE, RATE(2)),
    "schedule_free": (optax.contrib.schedule_free(optax.sgd(0.1), 0.1), 0.1, 0.1),
}


@pytest.mark.parametrize("name", UNRECORDED)
def test_the_schedule_gives_the_rate_of_a_state_that_records_none(name):
    tx, schedule, expected = UNRECORDED[name]
    state, _ = after(tx, 3)
    rate = jax.jit(lambda state: transforms.current_learning_rate(state, schedule=schedule))(state)
    assert rate.shape == () and rate.dtype == jnp.float32
    assert float(rate) == pytest.approx(float(expected))


@pytest.mark.parametrize("name", UNRECORDED)
def test_without_it_the_error_says_what_to_do(name):
    with pytest.raises(ValueError) as error:
        transforms.current_learning_rate(UNRECORDED[name][0].init(PARAMS))
    for advice in (
        "current_learning_rate(state, schedule=rate)",
        "optax.chain(optax.scale_by_adam(), transforms.scale_by_recorded_learning_rate(rate))",
        "optax.inject_hyperparams(optax.adamw)(learning_rate=rate)",
    ):
        assert advice in str(error.value)


def test_the_advice_works():
    for tx in (
        optax.chain(optax.scale_by_adam(), transforms.scale_by_recorded_learning_rate(RATE)),
        optax.inject_hyperparams(optax.adamw)(learning_rate=RATE),
    ):
        assert float(transforms.current_learning_rate(after(tx, 3)[0])) == pytest.approx(float(RATE(2)))


def test_the_scheduled_rate_is_the_applied_one():
    """Records the rate of every update, and 0 before the first."""
    tx = optax.sgd(RATE)
    state = tx.init(PARAMS)
    assert float(transforms.current_learning_rate(state, schedule=RATE)) == 0
    for _ in range(12):
        updates, state = tx.update(PARAMS, state)
        assert float(transforms.current_learning_rate(state, schedule=RATE)) == float(-updates["w"][0])


def test_the_examples_of_the_readme():
    rate = schedules.warmup_cosine(1e-3, 500, 10_000)
    state, _ = after(optax.adamw(rate), 2)
    assert float(transforms.current_learning_rate(state, schedule=rate)) == pytest.approx(1e-3 * 2 / 500)
    plateau = optax.chain(
        optax.adamw(1e-3),
        optax.contrib.reduce_on_plateau(patience=5),
        transforms.scale_by_warmup(schedules.untuned_linear_warmup(beta2=0.999)),
    )
    state, _ = after(plateau, 2, value=1.0)
    assert float(transforms.current_learning_rate(state, schedule=1e-3)) == pytest.approx(1e-3 * 2 / 2000)
    until = optax.chain(optax.sgd(0.1, momentum=0.9), transforms.warmup_until("error", 0.8, low=0.1, high=1.0))
    for error, expected in ((0.9, 0.01), (0.7, 0.1)):
        state, _ = after(until, 1, error=error)
        assert float(transforms.current_learning_rate(state, schedule=0.1)) == pytest.approx(expected)


def test_groups_are_read_by_label():
    tx = optax.partition({"slow": optax.adam(RATE), "fast": optax.sgd(lambda t: 0.3)}, LABELS)
    state, _ = after(tx, 3)
    assert float(transforms.current_learning_rate(state, "slow", schedule=RATE)) == pytest.approx(float(RATE(2)))
    with pytest.raises(ValueError, match="2 counters of optax.scale_by_schedule.*by label .known: fast, slow"):
        transforms.current_learning_rate(state, schedule=RATE)


def test_the_step_of_a_line_search_is_a_rate_or_a_factor_on_one():
    tx = optax.chain(optax.sgd(0.5), optax.scale_by_backtracking_linesearch(4, store_grad=True))
    value = lambda params: 2 * jnp.square(params["w"]).sum()  # a step of 0.5 along the gradient overshoots
    grad = jax.grad(value)(PARAMS)
    update = jax.jit(lambda state: tx.update(grad, state, PARAMS, value=value(PARAMS), grad=grad, value_fn=value))
    updates, state = update(tx.init(PARAMS))
    step = float(transforms.current_learning_rate(state))
    rate = float(transforms.current_learning_rate(state, schedule=0.5))
    assert step < 1 and rate == 0.5 * step
    assert float(updates["w"][0]) == pytest.approx(-rate * float(grad["w"][0]))


@pytest.mark.parametrize(
    "tx, options, message",
    [
        (optax.adamw(0.1), {"schedule": RATE}, "0 counters of optax.scale_by_schedule"),
        (optax.inject_hyperparams(optax.adamw)(RATE), {"schedule": RATE}, "records its learning rate"),
        (
            optax.inject_hyperparams(lambda lr: optax.sgd(lr))(lr=0.1),
            {},
            "records lr; name the argument .*learning_rate",
        ),
        (optax.adamw(RATE), {"label": "slow"}, "unknown label 'slow'"),
        (
            optax.chain(optax.sgd(0.1), optax.masked(transforms.scale_by_warmup(0.5), {"w": True, "b": False})),
            {"schedule": 0.1},
            "part of the parameters",
        ),
    ],
)
def test_what_cannot_be_read_is_said(tx, options, message):
    with pytest.raises(ValueError, match=message):
        transforms.current_learning_rate(tx.init(PARAMS), **options)


# Optimizers of optax that a rate alone makes, and those that set it themselves.
BY_RATE = (
    *("adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan", "amsgrad"),
    *("fromage", "lamb", "lars", "lion", "nadam", "nadamw", "novograd", "optimistic_gradient_descent"),
    *("radam", "rmsprop", "rprop", "sgd", "sign_sgd", "sm3", "yogi"),
)
CONTRIBUTED = (
    "ademamix",
    "cocob",
    "dadapt_adamw",
    "dog",
    "momo",
    "momo_adam",
    "muon",
    "prodigy",
    "schedule_free_adamw",
)
MADE = {name: getattr(optax, name)(0.1) for name in BY_RATE} | {
    name: getattr(optax.contrib, name)(*([0.1] if name in ("ademamix", "muon", "schedule_free_adamw") else []))
    for name in CONTRIBUTED
}


@pytest.mark.parametrize("name", MADE)
def test_every_optimizer_of_optax_has_an_answer_or_advice(name):
    state = jax.eval_shape(MADE[name].init, PARAMS)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
    with pytest.raises(ValueError, match="schedule=rate"):
        transforms.current_learning_rate(state)
    assert float(transforms.current_learning_rate(state, schedule=0.1)) == pytest.approx(0.1)
