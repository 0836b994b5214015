"""Schedules against their closed forms, against optax, and under every transformation."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from warmup_jax import schedules

T = 40
LENGTHS = (0, 1, 2, 10, T, T + 7)
PEAK, INIT, END = 0.3, 0.01, 0.02
# Name: arguments, and d(t) in plain numpy for a decay that starts at s.
DECAYS = {
    "constant": ({}, lambda t, s: 1.0),
    "linear": ({}, lambda t, s: 1 - progress(t, s)),
    "cosine": ({"exponent": 1.5}, lambda t, s: ((1 + np.cos(np.pi * progress(t, s))) / 2) ** 1.5),
    "multistep": ({"boundaries": (12, 20), "factor": 0.1}, lambda t, s: 0.1 ** ((t >= 12) + (t >= 20))),
    "inverse_sqrt": ({"timescale": 5.0}, lambda t, s: 1 / np.sqrt(1 + max(t - s, 0) / 5)),
}
WARMUPS = {
    "none": lambda t, length: 1.0,
    "linear": lambda t, length: min(1.0, (t + 1) / max(length, 1)),
}


def progress(t, start):
    return np.clip((t - start) / max(T - start, 1), 0, 1)


def times(length):
    return sorted({0, 1, max(length - 1, 0), length, length + 1, T - 1, T, T + 1, 10 * T})


def build(warmup, schedule, combination, length, peak=PEAK, total=T):
    return schedules.build(
        warmup=warmup, schedule=schedule, combination=combination, warmup_args={},
        schedule_args=DECAYS[schedule][0], warmup_steps=length, num_steps=total,
        peak_lr=peak, init_lr=INIT, end_lr=END)


def expected(warmup, schedule, combination, length, t):
    t = min(max(t, 0), T)
    w = WARMUPS[warmup](t, length)
    d = DECAYS[schedule][1](t, length if combination == "join" else 0)
    return w * (d * PEAK + (1 - d) * END) + (1 - w) * INIT


every_schedule = pytest.mark.parametrize("warmup, schedule, combination", [
    (w, d, c) for w in schedules.WARMUPS for d in schedules.DECAYS for c in schedules.COMBINATIONS])


def test_every_entry_has_its_closed_form():
    assert set(WARMUPS) == set(schedules.WARMUPS)
    assert set(DECAYS) == set(schedules.DECAYS)


@every_schedule
def test_closed_form(warmup, schedule, combination):
    for length in LENGTHS:
        rate = build(warmup, schedule, combination, length)
        got = [float(rate(t)) for t in times(length)]
        want = [expected(warmup, schedule, combination, length, t) for t in times(length)]
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-9)


@every_schedule
def test_jit_equals_eager_and_vmap_equals_loop(warmup, schedule, combination):
    t = jnp.array(times(10))
    loop = [build(warmup, schedule, combination, length)(t) for length in LENGTHS]
    traced = lambda length, peak, total: build(warmup, schedule, combination, length, peak, total)(t)
    count = len(LENGTHS)
    mapped = jax.jit(jax.vmap(traced))(jnp.array(LENGTHS), jnp.full(count, PEAK), jnp.full(count, T))
    np.testing.assert_allclose(mapped, np.stack(loop), rtol=1e-6, atol=1e-8)


@every_schedule
def test_gradient_with_respect_to_the_numbers_is_finite(warmup, schedule, combination):
    def total(peak, length):
        return build(warmup, schedule, combination, length, peak)(jnp.arange(2 * T)).sum()
    for length in map(float, LENGTHS):
        assert np.isfinite(jax.grad(total, (0, 1))(PEAK, length)).all()
        assert jax.grad(total)(PEAK, length) > 0


@pytest.mark.parametrize("length", LENGTHS)
def test_linear_warmup_is_that_of_optax_one_update_later(length):
    factor = schedules.linear_warmup(length)
    peer = optax.linear_schedule(0.0, 1.0, max(length, 1))
    for t in range(2 * T):
        assert float(factor(t)) == pytest.approx(float(peer(t + 1)), rel=1e-6)


def test_without_warmup_the_cosine_is_that_of_optax():
    ours = build("linear", "cosine", "join", 0)
    peer = optax.cosine_decay_schedule(PEAK - END, T, exponent=1.5)
    for t in range(2 * T):
        assert float(ours(t)) == pytest.approx(float(peer(t)) + END, rel=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_warmup_never_falls_and_reaches_exactly_the_peak(length):
    rate = build("linear", "constant", "join", length)
    values = np.array([float(rate(t)) for t in range(T)])
    assert (np.diff(values) >= 0).all()
    if length <= T:
        assert values[max(length - 1, 0)] == np.float32(PEAK)
        assert length < 2 or values[length - 2] < np.float32(PEAK)


def test_time_before_the_start_is_the_start():
    rate = build("linear", "cosine", "join", 10)
    assert float(rate(-5)) == float(rate(0))


def test_double_precision_is_exact():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        rate = build("linear", "cosine", "join", 10)
        for t in times(10):
            assert float(rate(t)) == pytest.approx(expected("linear", "cosine", "join", 10, t), rel=1e-12)


@pytest.mark.parametrize("call, named", [
    (lambda: schedules.linear_warmup(-1), "warmup_steps"),
    (lambda: schedules.inverse_sqrt_decay(0, 0.0), "timescale"),
    (lambda: build("linear", "cosine", "join", 10, peak=float("nan")), "peak_lr"),
    (lambda: build("linear", "cosine", "join", 10, peak=-1.0), "peak_lr"),
    (lambda: build("linear", "cosine", "add", 10), "join"),
    (lambda: schedules.build(warmup="liner", schedule="constant", combination="join", warmup_args={},
                             schedule_args={}, warmup_steps=1, num_steps=2, peak_lr=1., init_lr=0., end_lr=0.),
     "'linear'"),
    (lambda: schedules.build(warmup="linear", schedule="constant", combination="join", warmup_args={},
                             schedule_args={"power": 2.}, warmup_steps=1, num_steps=2, peak_lr=1., init_lr=0.,
                             end_lr=0.), "'power'"),
])
def test_bad_input_names_the_culprit(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_examples_in_docstrings():
    from warmup_jax import sweep, transforms
    for module in (schedules, transforms, sweep):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed
