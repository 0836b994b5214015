"""Lint, effective length, durations and pictures."""

import numpy as np
import optax
import pytest

from warmup_jax import schedules


def cosine(warmup_steps, **changes):
    return schedules.combine(
        schedules.linear_warmup(warmup_steps),
        schedules.cosine_decay(warmup_steps, 100),
        **{"peak_lr": 0.1, "num_steps": 100} | changes,
    )


def test_a_sound_schedule_has_no_lint():
    assert schedules.lint(cosine(10), 100, peak_lr=0.1, warmup_steps=10) == []
    assert schedules.lint(cosine(10, end_lr=0.01), 100, peak_lr=0.1, warmup_steps=10, end_lr=0.01) == []
    for name in ("noam", "gpt", "wsd"):
        args = {"noam": (512, 10), "gpt": (0.1, 10, 100), "wsd": (0.1, 10, 100)}[name]
        assert schedules.lint(schedules.RECIPES[name](*args), 100) == []


@pytest.mark.parametrize(
    "schedule, options, said",
    [
        (optax.warmup_cosine_decay_schedule(0, 0.1, 10, 100), {}, "first 1 of 100 updates is 0"),
        (schedules.delay(optax.linear_schedule(0, 1, 9), 2), {}, "first 3 of 100 updates is 0"),
        (lambda t: 0.0 * t, {}, "first 100 of 100 updates is 0"),
        (cosine(10), {"peak_lr": 0.2}, "highest rate is 0.1, not the peak of 0.2"),
        (
            lambda t: np.where(np.asarray(t) < 10, 0.001 * np.asarray(t) + 0.001, 0.1),
            {"warmup_steps": 10},
            "jumps from",
        ),
        (cosine(150), {"warmup_steps": 150}, "longer than the run of 100"),
        (lambda t: 0.1 - 0.002 * t, {}, "rate of update 51 is negative"),
        (lambda t: 0.1 - 0.0009 * t, {}, "after the end of the run, at t = 112, the rate is negative"),
        (lambda t: 0.05 * (1 + np.cos(np.pi * np.asarray(t) / 100)), {}, "rises again"),
        (cosine(10), {"end_lr": 0.01}, "below the floor of 0.01"),
        (lambda t: np.where(np.asarray(t) == 5, np.nan, 0.1), {}, "update 5 is not finite"),
    ],
)
def test_lint(schedule, options, said):
    assert any(said in sentence for sentence in schedules.lint(schedule, 100, **options))


def test_effective_warmup_compares_shapes():
    assert schedules.effective_warmup(schedules.linear_warmup(201), 1000) == pytest.approx(100)
    assert schedules.effective_warmup(schedules.untuned_linear_warmup(0.99), 5000) == pytest.approx(99.5)
    exponential = schedules.effective_warmup(schedules.untuned_exponential_warmup(0.99), 5000)
    assert exponential == pytest.approx(1 / (np.exp(0.01) - 1), rel=1e-4)
    assert schedules.effective_warmup(schedules.no_warmup(), 10) == 0


@pytest.mark.parametrize(
    "length, updates",
    [
        (dict(steps=7), 7),
        (dict(steps=0), 0),
        (dict(epochs=2.0, batch_size=128, train_size=1600), 25),
        (dict(epochs=0.001, batch_size=128, train_size=1600), 1),
        (dict(examples=1000, batch_size=128), 8),
        (dict(tokens=10**6, tokens_per_batch=4096), 244),
        (dict(fraction=0.25, num_steps=200), 50),
        (dict(fraction=0.0, num_steps=200), 0),
        (dict(fraction=0.0125, num_steps=200), 2),
    ],
)
def test_durations(length, updates):
    assert schedules.warmup_steps_from(**length) == updates


@pytest.mark.parametrize(
    "length, named",
    [
        ({}, "got none"),
        (dict(steps=3, epochs=1.0), "got steps=3, epochs=1.0"),
        (dict(epochs=1.0), "batch_size"),
        (dict(fraction=1.5, num_steps=10), "fraction=1.5; allowed: numbers from 0 and up to 1"),
        (dict(steps=-1), "steps=-1; allowed: finite numbers from 0"),
        (dict(steps=2.5), "whole number"),
        (
            dict(tokens=5, tokens_per_batch=0),
            "tokens_per_batch=0; allowed for a warmup in tokens: finite numbers above 0",
        ),
    ],
)
def test_bad_durations_name_the_culprit(length, named):
    with pytest.raises(ValueError, match=named):
        schedules.warmup_steps_from(**length)
