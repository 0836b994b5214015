"""The usual schedules in one line: closed forms, and the contract of every schedule."""

import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from warmup_jax import schedules

T, PEAK = 40, 0.3
LENGTHS = (0, 1, 10, T, T + 7)  # none, none, usual, as long as the run, longer


def q(t, start, stop=T):
    return float(np.clip((t - start) / max(stop - start, 1), 0, 1))


# Name: d(t) after a warmup of W updates, in plain Python.
DECAYS = {
    "warmup_constant": lambda t, w: 1.0,
    "warmup_linear": lambda t, w: 1 - q(t, w),
    "warmup_cosine": lambda t, w: (1 + np.cos(np.pi * q(t, w))) / 2,
    "warmup_inverse_sqrt": lambda t, w: np.sqrt(max(w, 1) / max(t, w, 1)),
    "warmup_wsd": lambda t, w: 1 - np.sqrt(q(t, max(0.8 * T, w))),
}
every_name = pytest.mark.parametrize("name", DECAYS)


def times(length):
    return sorted({0, 1, max(length - 1, 0), length, length + 1, 35, T - 1, T, T + 1, 10 * T})


def own_rates(name):
    return {
        rate: 0.01 for rate in ("init_lr", "end_lr") if rate in inspect.signature(getattr(schedules, name)).parameters
    }


@every_name
def test_closed_form(name):
    for length in LENGTHS:
        for rates in ({}, own_rates(name)):
            rate = getattr(schedules, name)(PEAK, length, T, **rates)
            for t in times(length):
                last = min(t, T)
                w = 1.0 if length == 0 else min(1.0, (last + 1) / length)
                d = DECAYS[name](last, length)
                want = w * (d * PEAK + (1 - d) * rates.get("end_lr", 0)) + (1 - w) * rates.get("init_lr", 0)
                assert float(rate(t)) == pytest.approx(want, rel=2e-6, abs=2e-8)


@every_name
def test_no_warmup_is_zero_or_one_update_of_it_and_the_peak_comes_first(name):
    for length in (0, 1):
        assert float(getattr(schedules, name)(PEAK, length, T)(0)) == pytest.approx(PEAK)


@every_name
def test_the_rate_does_not_change_after_the_end(name):
    for length in LENGTHS:
        rates = np.asarray(getattr(schedules, name)(PEAK, length, T)(jnp.arange(T, 5 * T)))
        assert (rates == rates[0]).all() and rates[0] >= 0


@every_name
def test_all_numbers_may_be_traced(name):
    t = jnp.array(times(10))
    make = lambda peak, length, last: getattr(schedules, name)(peak, length, last)(t)
    loop = [make(PEAK, length, T) for length in LENGTHS]
    count = len(LENGTHS)
    mapped = jax.jit(jax.vmap(make))(jnp.full(count, PEAK), jnp.array(LENGTHS), jnp.full(count, T))
    np.testing.assert_allclose(mapped, np.stack(loop), rtol=2e-6, atol=1e-7)
    gradient = jax.jit(jax.grad(lambda *numbers: make(*numbers).sum(), (0, 1, 2)))
    for length in map(float, LENGTHS):
        found = gradient(PEAK, length, float(T))
        assert np.isfinite(found).all() and found[0] > 0


def test_the_share_and_shape_of_a_cooldown_are_arguments():
    rate = schedules.warmup_wsd(0.1, 10, 100, decay_fraction=0.5, shape="linear", end_lr=0.02)
    assert [round(float(rate(t)), 3) for t in (9, 50, 75, 100)] == [0.1, 0.1, 0.06, 0.02]


def test_they_are_what_the_longer_form_gives():
    """The same numbers to the last bit, so that one form may stand for the other."""
    t = jnp.arange(2 * T)
    pairs = (
        (schedules.warmup_wsd(PEAK, 10, T), schedules.wsd(PEAK, 10, T)),
        (schedules.warmup_cosine(PEAK, 10, T, end_lr=0.1 * PEAK), schedules.gpt(PEAK, 10, T)),
        (
            schedules.warmup_linear(PEAK, 10, T),
            schedules.combine(schedules.linear_warmup(10), schedules.linear_decay(10, T), peak_lr=PEAK, num_steps=T),
        ),
    )
    for short, long in pairs:
        assert (short(t) == long(t)).all()


@every_name
def test_an_optimizer_of_optax_takes_them(name):
    tx = optax.sgd(getattr(schedules, name)(PEAK, 10, T))
    updates, _ = jax.jit(tx.update)(jnp.ones(2), tx.init(jnp.ones(2)))
    assert float(-updates[0]) == pytest.approx(PEAK / 10)


@every_name
@pytest.mark.parametrize(
    "numbers, message",
    [
        ((-0.1, 10, T), "peak_lr=-0.1; allowed: finite numbers from 0"),
        ((0.1, -1, T), "warmup_steps=-1; allowed: finite numbers from 0"),
        ((0.1, 2.5, T), "warmup_steps=2.5; allowed: whole numbers"),
        ((0.1, 10, -1), "num_steps=-1; allowed: finite numbers from 0"),
        ((0.1, 10, 2.5), "num_steps=2.5; allowed: whole numbers"),
    ],
)
def test_a_number_out_of_its_range_is_named(name, numbers, message):
    with pytest.raises(ValueError, match=message):
        getattr(schedules, name)(*numbers)


@every_name
def test_it_is_public_and_documented(name):
    function = getattr(schedules, name)
    assert name in schedules.__all__
    for section in ("Args:", "Returns:", "Raises:", "Examples:", ">>>", "References:"):
        assert section in function.__doc__
    for argument in inspect.signature(function).parameters:
        assert re.search(rf"^ *{argument}: ", function.__doc__, re.MULTILINE)


def test_each_has_its_row_in_the_documents():
    text = (Path(__file__).parents[2] / "docs/schedules.md").read_text()
    section = text.partition("\n## In one line\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)(\(.*?\))` \|", section, re.MULTILINE))
    assert set(rows) == set(DECAYS)
    for name, call in rows.items():
        signature = inspect.signature(getattr(schedules, name))
        bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        assert call == str(signature.replace(parameters=bare, return_annotation=signature.empty))
