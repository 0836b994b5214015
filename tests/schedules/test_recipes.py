"""Recipes against the formulas of their papers."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax import schedules

T = np.arange(400)
# Name: arguments, and the rate of update t.
RECIPES = {
    "noam": (dict(d_model=512, warmup_steps=50), lambda t: 512**-0.5 * np.minimum((t + 1) ** -0.5, (t + 1) * 50**-1.5)),
    "goyal": (
        dict(batch_size=512, train_size=5120, num_epochs=30.0, warmup_epochs=5.0, decay_epochs=(10, 20)),
        lambda t: np.where(t < 50, 0.1 + 0.1 * (t + 1) / 50, 0.2 * 0.1 ** (1 * (t >= 100) + (t >= 200))),
    ),
    "resnet110": (
        dict(boundaries=(100, 200), num_steps=300, warmup_steps=40),
        lambda t: np.where(t < 40, 0.01, 0.1 * 0.1 ** (1 * (t >= 100) + (t >= 200))),
    ),
    "inverse_sqrt": (
        dict(peak_lr=0.1, warmup_steps=40, init_lr=0.01),
        lambda t: np.where(t < 40, 0.01 + 0.09 * (t + 1) / 40, 0.1 * np.sqrt(40 / np.maximum(t, 1))),
    ),
    "wsd": (
        dict(peak_lr=0.1, warmup_steps=20, num_steps=300, decay_fraction=0.2),
        lambda t: 0.1 * np.minimum(1, (t + 1) / 20) * (1 - np.sqrt(np.clip((t - 240) / 60, 0, 1))),
    ),
    "trapezoid": (
        dict(peak_lr=0.1, warmup_steps=20, decay_steps=100, num_steps=300),
        lambda t: 0.1 * np.minimum(1, (t + 1) / 20) * (1 - np.clip((t - 200) / 100, 0, 1)),
    ),
    "one_cycle": (
        dict(peak_lr=0.1, num_steps=301),
        lambda t: np.where(
            t < 90,
            0.004 + 0.096 * (1 - np.cos(np.pi * t / 90)) / 2,
            4e-7 + (0.1 - 4e-7) * (1 + np.cos(np.pi * np.minimum((t - 90) / 210, 1))) / 2,
        ),
    ),
    "gpt": (
        dict(peak_lr=0.1, warmup_steps=20, num_steps=300),
        lambda t: np.where(
            t < 20, 0.1 * (t + 1) / 20, 0.01 + 0.09 * (1 + np.cos(np.pi * np.minimum((t - 20) / 280, 1))) / 2
        ),
    ),
}


def test_every_recipe_has_its_formula():
    assert set(RECIPES) == set(schedules.RECIPES) - {"rewarm"}  # which takes a schedule: see test_composition


@pytest.mark.parametrize("name", RECIPES)
def test_closed_form(name):
    args, formula = RECIPES[name]
    rates = schedules.RECIPES[name](**args)(T)
    np.testing.assert_allclose(
        rates, formula(np.minimum(T, 300 if name in ("goyal", "resnet110") else 400)), rtol=3e-6, atol=1e-8
    )


@pytest.mark.parametrize("name", RECIPES)
def test_numbers_may_be_mapped_and_differentiated(name):
    args, _ = RECIPES[name]
    rate = lambda number, arg: schedules.RECIPES[name](**args | {arg: number})(jnp.asarray(T))
    for arg, value in args.items():
        if isinstance(value, (int, float)):
            values = jnp.array([value, value // 2 if isinstance(value, int) else value / 2], jnp.float32)
            mapped = jax.jit(jax.vmap(lambda number: rate(number, arg)))(values)
            np.testing.assert_allclose(mapped, [rate(float(v), arg) for v in values], rtol=1e-5, atol=1e-7)
    first = next(
        arg for arg in ("peak_lr", "base_lr", "scale") if arg in inspect.signature(schedules.RECIPES[name]).parameters
    )
    assert np.isfinite(jax.jacobian(lambda number: rate(number, first))(0.1)).all()


@pytest.mark.parametrize("name", [name for name in RECIPES if "warmup_steps" in RECIPES[name][0]])
@pytest.mark.parametrize("length", [0, 1, 300, 1000])
def test_edges_of_the_warmup(name, length):
    rates = np.asarray(schedules.RECIPES[name](**RECIPES[name][0] | {"warmup_steps": length})(T))
    assert np.isfinite(rates).all() and (rates >= 0).all()
