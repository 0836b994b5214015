"""Every factor, decay and combination against its closed form, and under every transformation."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from warmup_jax import schedules

T = 40
LENGTHS = (0, 1, 2, 10, T, T + 7)
PEAK, INIT, END = 0.3, 0.01, 0.02


def x(t, length, count="one"):
    """The progress of a warmup, in plain Python."""
    above, below = {
        "one": (t + 1, length),
        "zero": (t, length),
        "one_over": (t + 1, length + 1),
        "linspace": (t, length - 1),
    }[count]
    return 1.0 if length <= 0 or below <= 0 else min(1.0, above / below)


def q(t, start):
    return float(np.clip((t - start) / max(T - start, 1), 0, 1))


def rho(s, beta2):
    return 2 / (1 - beta2) - 1 - 2 * s * beta2**s / (1 - beta2**s)


def rectifier(t, beta2):
    first = next(s for s in range(1, 100) if rho(s, beta2) > 4)
    r, limit = rho(t + first, beta2), 2 / (1 - beta2) - 1
    return np.sqrt((r - 4) * (r - 2) * limit / ((limit - 4) * (limit - 2) * r))


# Name: arguments, and w(t) of a warmup of the given length.
WARMUPS = {
    "none": ({}, lambda t, n: 1.0),
    "linear": ({}, lambda t, n: x(t, n)),
    "constant": ({"value": 0.1}, lambda t, n: 0.1 if t < n else 1.0),
    "power": ({"exponent": 2.5}, lambda t, n: x(t, n) ** 2.5),
    "cosine": ({}, lambda t, n: (1 - np.cos(np.pi * x(t, n))) / 2),
    "sqrt_complement": ({}, lambda t, n: 1 - np.sqrt(1 - x(t, n))),
    "exponential": ({"tau": 7.0}, lambda t, n: 1 - np.exp(-(t + 1) / 7)),
    "geometric": ({"start": 0.01}, lambda t, n: 0.01 ** (1 - x(t, n))),
    "logarithmic": ({}, lambda t, n: 1.0 if n <= 1 else min(1.0, np.log(t + 1) / np.log(n))),
    "sigmoid": ({}, lambda t, n: np.exp(-5 * (1 - x(t, n)) ** 2)),
    "untuned_linear": ({"beta2": 0.95}, lambda t, n: min(1.0, (t + 1) * 0.05 / 2)),
    "untuned_exponential": ({"beta2": 0.95}, lambda t, n: 1 - np.exp(-0.05 * (t + 1))),
    "radam": ({"beta2": 0.99}, lambda t, n: rectifier(t, 0.99)),
}
COOLDOWNS = {
    "linear": lambda r: 1 - r,
    "cosine": lambda r: (1 + np.cos(np.pi * r)) / 2,
    "exponential": lambda r: (0.5**r - 0.5) / 0.5,
    "sqrt": lambda r: 1 - np.sqrt(r),
    "square": lambda r: 1 - r**2,
    "mirror_cosine": lambda r: 2 * (1 - r) - (1 + np.cos(np.pi * r)) / 2,
}


def restarts(t, start):
    t, length, peak = max(t - start, 0), 6.0, 1.0
    while t >= length:
        t, length, peak = t - length, length * 1.5, peak * 0.8
    return peak * (1 + np.cos(np.pi * t / length)) / 2


# Name: arguments, and d(t) of a decay that begins at s.
DECAYS = {
    "constant": ({}, lambda t, s: 1.0),
    "linear": ({}, lambda t, s: 1 - q(t, s)),
    "polynomial": ({"exponent": 1.5}, lambda t, s: (1 - q(t, s)) ** 1.5),
    "cosine": ({"exponent": 1.5}, lambda t, s: ((1 + np.cos(np.pi * q(t, s))) / 2) ** 1.5),
    "exponential": ({"final": 0.1}, lambda t, s: (0.1 ** q(t, s) - 0.1) / 0.9),
    "geometric": ({"decay_rate": 0.5, "transition_steps": 4.0}, lambda t, s: 0.5 ** (max(t - s, 0) / 4)),
    "inverse_sqrt": ({"timescale": 5.0}, lambda t, s: 1 / np.sqrt(1 + max(t - s, 0) / 5)),
    "multistep": ({"boundaries": (12, 20), "factor": 0.1}, lambda t, s: 0.1 ** ((t >= 12) + (t >= 20))),
    "cooldown": ({"shape": "square"}, lambda t, s: 1 - q(t, s) ** 2),
    "wsd": (
        {"decay_fraction": 0.25, "shape": "sqrt"},
        lambda t, s: 1 - np.sqrt(np.clip((t - max(30, s)) / max(T - max(30, s), 1), 0, 1)),
    ),
    "one_cycle": ({}, lambda t, s: (1 + np.cos(np.pi * np.clip((t - s) / max(T - 1 - s, 1), 0, 1))) / 2),
    "cosine_restarts": ({"cycle_steps": 6.0, "cycle_mult": 1.5, "peak_decay": 0.8}, restarts),
}


# Every edge of every length, and of the run: one array, so that each operation compiles once for all tests.
TIMES = np.array(sorted({t for n in LENGTHS for t in (n - 1, n, n + 1)} | {T - 1, T, T + 1, 10 * T}))[1:]


def build(warmup, schedule, combination, length, peak=PEAK, total=T):
    return schedules.build(
        warmup=warmup,
        schedule=schedule,
        combination=combination,
        warmup_args=WARMUPS[warmup][0],
        schedule_args=DECAYS[schedule][0],
        warmup_steps=length,
        num_steps=total,
        peak_lr=peak,
        init_lr=INIT,
        end_lr=END,
    )


def expected(warmup, schedule, combination, length, t):
    t = min(max(t, 0), T)
    w = WARMUPS[warmup][1](t, length)
    d = DECAYS[schedule][1](t, length if combination == "join" else 0)
    return w * (d * PEAK + (1 - d) * END) + (1 - w) * INIT


# Every warmup and every decay, joined; and every decay multiplied by a warmup.
JOINED = [(w, "cosine", "join") for w in schedules.WARMUPS] + [("linear", d, "join") for d in schedules.DECAYS]
MULTIPLIED = [("linear", d, "multiply") for d in schedules.DECAYS]
every_schedule = pytest.mark.parametrize("warmup, schedule, combination", JOINED + MULTIPLIED)


def test_every_entry_has_its_closed_form():
    assert set(WARMUPS) == set(schedules.WARMUPS)
    assert set(DECAYS) == set(schedules.DECAYS)
    assert set(COOLDOWNS) == set(schedules.SHAPES)


@every_schedule
def test_closed_form(warmup, schedule, combination):
    for length in LENGTHS:
        rate = build(warmup, schedule, combination, length)
        want = [expected(warmup, schedule, combination, length, t) for t in TIMES.tolist()]
        np.testing.assert_allclose(rate(TIMES), want, rtol=2e-6, atol=2e-8)
        assert float(rate(1)) == pytest.approx(want[1], rel=2e-6, abs=2e-8)


@every_schedule
def test_closed_form_in_double_precision(warmup, schedule, combination, x64):
    for length in (0, 1, 10):
        rate = build(warmup, schedule, combination, length)
        got = rate(jnp.array(TIMES))
        assert got.dtype == jnp.float64
        want = [expected(warmup, schedule, combination, length, t) for t in TIMES.tolist()]
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("count", schedules.COUNTS)
@pytest.mark.parametrize("name", ["linear", "power", "cosine", "sqrt_complement", "geometric", "sigmoid"])
def test_counts(name, count):
    args, formula = WARMUPS[name]
    for length in (0, 1, 2, 5, 8):
        factor = schedules.WARMUPS[name](warmup_steps=length, count=count, **args)
        # of x, whose own progress, (t + 1) / 1, is the x wanted
        want = [formula(x(t, length, count) - 1, 1) for t in range(10)]
        np.testing.assert_allclose(factor(np.arange(10)), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", COOLDOWNS)
def test_cooldown_shapes(shape):
    want = [COOLDOWNS[shape](np.clip((t - 10) / 10, 0, 1)) for t in range(30)]
    np.testing.assert_allclose(schedules.cooldown(10, 20, shape)(np.arange(30)), want, atol=1e-6)


@pytest.mark.parametrize("warmup, schedule, combination", [*JOINED, ("linear", "cosine", "multiply")])
def test_jit_equals_eager_vmap_equals_loop_and_gradients_are_finite(warmup, schedule, combination):
    loop = [build(warmup, schedule, combination, length)(TIMES) for length in LENGTHS]

    def total(peak, length, last):
        rates = build(warmup, schedule, combination, length, peak, last)(jnp.array(TIMES))
        return rates.sum(), rates

    mapped = jax.jit(jax.vmap(jax.grad(total, (0, 1, 2), has_aux=True), (None, 0, None)))
    gradients, rates = mapped(PEAK, jnp.array(LENGTHS, float), float(T))
    np.testing.assert_allclose(rates, np.stack(loop), rtol=2e-6, atol=1e-7)
    assert np.isfinite(gradients).all() and (gradients[0] > 0).all()


def traced_arguments(names):
    table = WARMUPS if names is schedules.WARMUPS else DECAYS
    return [(name, arg) for name in names for arg, value in table[name][0].items() if isinstance(value, float)]


@pytest.mark.parametrize("name, arg", traced_arguments(schedules.WARMUPS) + traced_arguments(schedules.DECAYS))
def test_own_numbers_may_be_mapped(name, arg):
    table, own = (schedules.WARMUPS, WARMUPS) if arg in WARMUPS.get(name, ({},))[0] else (schedules.DECAYS, DECAYS)
    offered = {"warmup_steps": 8, "start": 3, "stop": T}
    wanted = inspect.signature(table[name]).parameters
    make = lambda value: table[name](
        **{k: v for k, v in offered.items() if k in wanted and k not in own[name][0]}, **own[name][0] | {arg: value}
    )
    centre = own[name][0][arg]
    values = np.float32([centre, centre * (0.9 if arg == "beta2" else 0.7)])
    t = jnp.arange(30)
    mapped = jax.jit(jax.vmap(lambda value: make(value)(t)))(values)
    np.testing.assert_allclose(mapped, [make(float(value))(t) for value in values], rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", schedules.WARMUPS)
@pytest.mark.parametrize("length", LENGTHS)
def test_a_warmup_rises_within_0_and_1(name, length):
    wanted = inspect.signature(schedules.WARMUPS[name]).parameters
    factor = schedules.WARMUPS[name](
        **WARMUPS[name][0], **({"warmup_steps": length} if "warmup_steps" in wanted else {})
    )
    values = np.asarray(factor(jnp.arange(-5, 3 * T)))
    assert (np.diff(values) >= -1e-7).all() and values.min() >= 0 and values.max() <= 1
    assert (values[:6] == values[5]).all(), "time before the start is the start"
    if "warmup_steps" in wanted:
        assert (values[5 + max(length - 1 if name != "constant" else length, 0) :] == 1).all()
        if length == 0:
            assert (values == 1).all()


@pytest.mark.parametrize("length", LENGTHS)
def test_linear_warmup_is_that_of_optax_one_update_later(length):
    factor = schedules.linear_warmup(length)
    peer = optax.linear_schedule(0.0, 1.0, max(length, 1))
    t = np.arange(2 * T)
    np.testing.assert_allclose(factor(t), peer(t + 1), rtol=1e-6)


@pytest.mark.parametrize("warmup", ["none", "linear", "power", "cosine", "sqrt_complement", "geometric", "sigmoid"])
def test_the_peak_is_reached_exactly(warmup):
    for length in (0, 1, 10):
        rate = build(warmup, "constant", "join", length)
        assert float(rate(max(length - 1, 0))) == np.float32(PEAK)
        if length == 10 and warmup != "none":
            assert float(rate(length - 2)) < np.float32(PEAK)


def test_composition():
    t = np.arange(20)
    slope = lambda t: 1.0 * jnp.asarray(t)
    np.testing.assert_array_equal(schedules.delay(slope, 3)(t), np.maximum(t - 3, 0))
    np.testing.assert_array_equal(schedules.join(slope, lambda t: 100.0 + t, 5)(t), np.where(t < 5, t, 95 + t))
    factor = schedules.linear_warmup(4)
    again = np.where(t < 7, 1, np.minimum(1, (t - 7 + 1) / 4))
    np.testing.assert_allclose(schedules.rewarm(slope, 7, factor)(t), t * again)
    jagged = np.where(t < 6, 1, np.minimum(1, (t % 6 + 1) / 4))
    np.testing.assert_allclose(schedules.jagged_restarts(slope, 6, factor)(t), t * jagged)


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: schedules.linear_warmup(-1), "warmup_steps=-1; allowed: finite numbers from 0"),
        (lambda: schedules.linear_warmup(2.5), "warmup_steps=2.5; allowed: whole numbers of updates"),
        (lambda: schedules.linear_warmup(float("nan")), "warmup_steps"),
        (lambda: schedules.linear_warmup("ten"), "warmup_steps='ten'; allowed: numbers"),
        (lambda: schedules.linear_warmup(3, "two"), "unknown count 'two'.*linspace"),
        (lambda: schedules.constant_warmup(3, 1.5), "value=1.5; allowed: numbers from 0 and up to 1"),
        (lambda: schedules.power_warmup(3, 0.0), "exponent"),
        (lambda: schedules.exponential_warmup(0), "tau"),
        (lambda: schedules.geometric_warmup(3, 0.0), "start"),
        (lambda: schedules.untuned_linear_warmup(1.0), "beta2=1.0; allowed: numbers above 0 and below 1"),
        (lambda: schedules.untuned_exponential_warmup(-0.1), "beta2"),
        (lambda: schedules.radam_warmup(0.6), "beta2=0.6; allowed: numbers above 0.6 and below 1"),
        (lambda: schedules.inverse_sqrt_decay(0, 0.0), "timescale"),
        (lambda: schedules.polynomial_decay(0, 9, -1.0), "exponent"),
        (lambda: schedules.exponential_decay(0, 9, 1.0), "final"),
        (lambda: schedules.geometric_decay(0, 0.0, 3), "decay_rate"),
        (lambda: schedules.multistep_decay((-3, 5), 0.1), "boundaries"),
        (lambda: schedules.cooldown(0, 9, "sine"), "unknown shape 'sine'; did you mean 'linear'|unknown shape 'sine'"),
        (lambda: schedules.wsd_decay(0, 9, 1.5), "decay_fraction"),
        (lambda: schedules.cosine_restarts_decay(0, 0), "cycle_steps"),
        (lambda: schedules.delay(schedules.no_warmup(), -1), "steps"),
        (lambda: build("linear", "cosine", "join", 10, peak=float("nan")), "peak_lr"),
        (lambda: build("linear", "cosine", "join", 10, peak=-1.0), "peak_lr=-1.0; allowed: finite numbers from 0"),
        (lambda: build("linear", "cosine", "join", 10, total=-3), "num_steps"),
        (lambda: build("linear", "cosine", "add", 10), "unknown combination 'add'.*join"),
    ],
)
def test_bad_input_names_the_culprit(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_nothing_is_checked_on_tracers():
    rates = jax.jit(lambda w, p: build("linear", "cosine", "join", w, p)(0))(-3, jnp.nan)
    assert np.isnan(rates)


@pytest.mark.parametrize(
    "function",
    [*schedules.WARMUPS.values(), *schedules.DECAYS.values(), *schedules.RECIPES.values()],
    ids=lambda function: function.__name__,
)
def test_every_public_function_has_an_example(function):
    assert ">>>" in function.__doc__ and "Returns:" in function.__doc__
