"""Lint names a fraction that stands where a rate should, and a warmup that takes the whole run."""

import inspect

import jax
import jax.numpy as jnp
import optax
import pytest

from warmup_jax import schedules, transforms
from warmup_jax.schedules import ports
from warmup_jax.schedules.fractions import fraction_kind
from warmup_jax.schedules.inspection import unfinished

# A value for each argument that has no default.
ARGUMENTS = {
    "beta2": 0.95,
    "boundaries": (10,),
    "cycle_steps": 6,
    "decay_fraction": 0.2,
    "decay_rate": 0.5,
    "exponent": 2.0,
    "factor": 0.1,
    "final": 0.1,
    "start": 0.5,
    "stop": 40,
    "tau": 3.0,
    "timescale": 5.0,
    "transition_steps": 4,
    "value": 0.1,
    "warmup_steps": 5,
}


def made(function):
    parameters = inspect.signature(function).parameters.values()
    return function(**{p.name: ARGUMENTS[p.name] for p in parameters if p.default is p.empty})


@pytest.mark.parametrize("name", schedules.WARMUPS)
def test_every_warmup_is_known_as_a_factor(name):
    found = schedules.lint(made(schedules.WARMUPS[name]), 100)
    assert found[0].startswith("this is a warmup factor in [0, 1] and not a rate")


@pytest.mark.parametrize("name", schedules.DECAYS)
def test_every_decay_is_known_as_one(name):
    found = schedules.lint(made(schedules.DECAYS[name]), 100)
    assert found[0].startswith("this is a decay in [0, 1] and not a rate")


def test_the_sentence_says_what_to_do():
    (found,) = schedules.lint(schedules.linear_warmup(5), 100)
    assert "as a rate its peak is 1;" in found and "combine(warmup, decay, peak_lr=...)" in found


@pytest.mark.parametrize(
    "schedule, kind",
    [
        (schedules.delay(schedules.linear_warmup(5), 2), "warmup factor"),
        (schedules.join(schedules.linear_warmup(5), schedules.cosine_decay(0, 95), 5), "product of fractions"),
        (schedules.rewarm(schedules.cosine_decay(0, 95), 5, schedules.linear_warmup(5)), "product of fractions"),
        (schedules.jagged_restarts(schedules.linear_warmup(9), 20, schedules.linear_warmup(5)), "warmup factor"),
        (ports.pytorch_warmup.UntunedLinearWarmup(0.9), "warmup factor"),
        (ports.mean_teacher.cosine_rampdown(50), "decay"),
        (jax.jit(schedules.linear_warmup(5)), "warmup factor"),
    ],
)
def test_what_is_made_of_fractions_is_one(schedule, kind):
    assert schedules.lint(schedule, 100)[0].startswith(f"this is a {kind} ")


@pytest.mark.parametrize(
    "rate",
    [
        schedules.warmup_constant(1.0, 5, 100),  # a peak of 1 is a rate like any other
        schedules.combine(schedules.linear_warmup(5), schedules.constant_decay(), peak_lr=1.0, num_steps=100),
        schedules.delay(schedules.warmup_cosine(1.0, 5, 100), 2),
        schedules.rewarm(schedules.warmup_cosine(1.0, 5, 100), 50, schedules.linear_warmup(5)),
        lambda t: 0.1 * schedules.linear_warmup(5)(t),
        optax.linear_schedule(0.0, 1.0, 5),
        schedules.noam(512, 10),
    ],
)
def test_a_rate_is_not_taken_for_a_fraction(rate):
    assert fraction_kind(rate) is None
    assert not any("not a rate" in sentence for sentence in schedules.lint(rate, 100))


def test_a_fraction_that_is_given_as_the_rate_of_a_transformation_warns():
    with pytest.warns(UserWarning, match="scale_by_recorded_learning_rate: this is a warmup factor.* not a rate"):
        transforms.scale_by_recorded_learning_rate(schedules.linear_warmup(5))
    with pytest.warns(UserWarning, match="cap_by_sharpness: this is a decay"):
        transforms.cap_by_sharpness(schedules.constant_decay(), c=2.0)


@pytest.mark.filterwarnings("error")
def test_a_rate_or_a_constant_does_not_warn():
    transforms.scale_by_recorded_learning_rate(schedules.warmup_cosine(1.0, 5, 100))
    transforms.scale_by_recorded_learning_rate(jnp.float32(1.0))
    transforms.scale_by_warmup(schedules.linear_warmup(5))


@pytest.mark.parametrize(
    "rate, num_steps, options",
    [
        (schedules.warmup_constant(0.1, 100, 100), 100, {}),
        (schedules.warmup_constant(0.1, 1000, 100), 100, {}),
        (schedules.warmup_cosine(0.1, 100, 100), 100, {"warmup_steps": 0}),  # a length that the caller does not know
        (optax.linear_schedule(0.001, 0.1, 500), 100, {}),
        (schedules.linear_warmup(2), 2, {}),
    ],
)
def test_a_warmup_as_long_as_the_run_is_seen_without_its_length(rate, num_steps, options):
    said = f"its warmup takes the whole run of {num_steps} updates"
    assert any(said in sentence for sentence in schedules.lint(rate, num_steps, **options))


@pytest.mark.parametrize(
    "rate",
    [
        schedules.warmup_constant(0.1, 99, 100),
        schedules.combine(
            schedules.untuned_exponential_warmup(0.9), schedules.constant_decay(), peak_lr=0.1, num_steps=200
        ),
        lambda t: 0.1 + 0.0 * t,
    ],
)
def test_a_warmup_that_ends_or_nearly_does_is_fine(rate):
    assert schedules.lint(rate, 100) == []


def test_its_length_is_said_once_if_it_is_known():
    found = schedules.lint(schedules.warmup_constant(0.1, 150, 100), 100, warmup_steps=150)
    assert found == ["the warmup of 150 updates is longer than the run of 100: the full rate is never reached"]


def test_lengths_of_several_runs_are_one_sentence():
    assert unfinished([0, 1, 10, 99], 100) == []
    assert unfinished([0, 1], 1) == []  # W = 1 is no warmup
    assert unfinished([100, 5], 100) == ["the warmup of 100 updates takes the whole run: no update follows it"]
    assert unfinished([300, 5, 200, 300], 100) == [
        "warmups of 200, 300 updates are longer than the run of 100: the full rate is never reached"
    ]
