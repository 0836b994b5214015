"""The schema of a config, and its units."""

import inspect

import jax
import numpy as np
import optax
import pytest

from configs import resnet_warmup
from warmup_jax import optimizers, schedules, transforms
from warmup_jax.training import build, schema


def changed(**changes):
    config = resnet_warmup.get_config().to_dict()
    for key, value in changes.items():
        *path, key = key.split("__")
        holder = config
        for name in path:
            holder = holder[name]
        holder[key] = value
    return config


@pytest.mark.parametrize(
    "arg",
    [None, "digits", "cifar10", "imagenet", "imagenet,batch_size=8192", "smoke", "cifar10,smoke", "imagenet,smoke"],
)
def test_every_variant_is_valid(arg):
    schema.validate(resnet_warmup.get_config(arg).to_dict())


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_has_its_arguments_in_the_config(name):
    config = resnet_warmup.get_config(f"optimizer={name}").to_dict()
    schema.validate(config)
    assert config["optimizer"] == name and config["optimizer_args"].keys() >= {"weight_decay", "clip_norm"}


def test_goyal_scales_the_rate_with_the_batch():
    config = resnet_warmup.get_config("imagenet,batch_size=8192").to_dict()
    assert config["peak_lr"] == pytest.approx(3.2)
    assert config["schedule_args"]["boundaries"] == (4692, 9384, 12511)
    steps = build.num_steps(config, resnet_warmup.IMAGENET_SIZE)
    assert steps == round(90 * 1_281_167 / 8192)
    assert build.warmup_steps(config, num_steps=steps, train_size=resnet_warmup.IMAGENET_SIZE) == 782


@pytest.mark.parametrize(
    "unit, value, steps",
    [
        ("warmup_steps", 7, 7),
        ("warmup_steps", 0, 0),
        ("warmup_epochs", 2.0, 25),
        ("warmup_epochs", 0.001, 1),
        ("warmup_examples", 100, 1),
        ("warmup_fraction", 0.25, 50),
        ("warmup_fraction", 0.0, 0),
    ],
)
def test_units_of_the_warmup(unit, value, steps):
    config = changed(sweep__warmup_steps=None, **{unit: value})
    schema.validate(config)
    assert build.warmup_steps(config, num_steps=200, train_size=1600) == steps


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"peak_rl": 0.1}, "did you mean 'peak_lr'"),
        ({"num_steps": 10.0}, "num_steps=10.0; allowed: integers and None"),
        ({"peak_lr": 1}, "peak_lr=1; allowed: floats"),
        ({"stop_when_diverged": 1}, "stop_when_diverged=1; allowed: True and False"),
        ({"num_epochs": 2.0}, "num_steps=200, num_epochs=2.0"),
        ({"num_steps": None}, "none is"),
        ({"warmup_steps": 5}, r"warmup_steps=5, sweep.warmup_steps=\(0, 50\)"),
        ({"sweep__warmup_steps": None}, "exactly one of warmup_steps"),
        ({"sweep__warmup_steps": None, "warmup_steps": 5, "warmup_epochs": 1.0}, "warmup_steps=5, warmup_epochs=1.0"),
        ({"warmup": "none", "sweep__warmup_steps": None, "warmup_steps": 5}, "'none' has no length"),
        ({"warmup": "liner"}, "did you mean 'linear'"),
        ({"warmup_args": {"warmup_steps": 3}}, "config.warmup_steps"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"schedule_args": {"power": 2.0}}, "'power'"),
        ({"combination": "add"}, "unknown combination 'add'"),
        ({"optimizer": "adamm"}, "did you mean 'adam"),
        ({"optimizer": "adam"}, "'momentum'"),
        ({"batch_size": 0}, "batch_size=0; allowed: integers from 1"),
        ({"num_steps": -5}, "num_steps=-5; allowed: integers from 1"),
        ({"sweep__warmup_steps": (0, -5)}, "warmup_steps=-5; allowed: integers from 0"),
        ({"sweep__warmup_steps": None, "warmup_fraction": 1.5}, "warmup_fraction"),
        ({"peak_lr": float("nan")}, "peak_lr"),
        ({"peak_lr": float("inf")}, "peak_lr"),
        ({"optimizer_args__momentum": 1.0}, "momentum=1.0; allowed: numbers from 0 and below 1"),
        ({"optimizer_args__clip_norm": 0.0}, "clip_norm=0.0; allowed: finite numbers above 0"),
        ({"seed": -1}, "seed=-1; allowed: integers from 0 to 4294967295"),
        ({"log_every": 0}, "log_every=0; allowed: integers from 1"),
    ],
)
def test_bad_input_names_the_culprit(changes, named):
    with pytest.raises(ValueError, match=named):
        schema.validate(changed(**changes))


def test_a_missing_key_is_named():
    config = changed()
    del config["end_lr"]
    with pytest.raises(ValueError, match="lacks the key 'end_lr'"):
        schema.validate(config)


@pytest.mark.parametrize(
    "arg, named", [("cifar", "'cifar'"), ("cifar10,imagenet", "'imagenet'"), ("batch_size=x", "batch_size=x")]
)
def test_a_bad_argument_of_the_config_file_is_named(arg, named):
    with pytest.raises(ValueError, match=named):
        resnet_warmup.get_config(arg)


# What each entry needs beside what every config offers.
WARMUP_ARGS = {
    "constant": {"value": 0.1},
    "power": {"exponent": 2.0},
    "exponential": {"tau": 10.0},
    "geometric": {"start": 0.01},
    "untuned_linear": {"beta2": 0.9},
    "untuned_exponential": {"beta2": 0.9},
    "radam": {"beta2": 0.9},
}
DECAY_ARGS = {
    "polynomial": {"exponent": 2.0},
    "exponential": {"final": 0.1},
    "wsd": {"decay_fraction": 0.3},
    "geometric": {"decay_rate": 0.5, "transition_steps": 10.0},
    "inverse_sqrt": {"timescale": 10.0},
    "multistep": {"boundaries": (5, 8), "factor": 0.1},
    "cosine_restarts": {"cycle_steps": 5.0},
}
RECIPE_ARGS = {
    "noam": {"d_model": 64.0},
    "goyal": {"train_size": 64},
    "trapezoid": {"decay_steps": 3.0},
    "resnet110": {"boundaries": (5, 8)},
    "rewarm": {"at": 6.0},
}
TRANSFORM_ARGS = {
    "cap_by_sharpness": {"c": 2.0},
    "limit_relative_update": {"max_ratio": 0.01},
    "warmup_until": {"metric": "error", "threshold": 0.8, "low": 0.1, "high": 1.0},
    "scale_by_adam_frozen": {"n": 2},
    "clip_by_global_norm_warmup": {"max_norm": {"start": 0.1, "end": 1.0, "steps": 5.0}},
}


def rates(config, num_steps=10):
    """The rates of a config, its numbers traced."""
    schema.validate(config)
    knobs = build.knobs(config, num_steps=num_steps, train_size=100)
    return jax.jit(lambda knobs: build.learning_rate(config, knobs)(np.arange(num_steps)))(knobs)


@pytest.mark.parametrize("name", schedules.WARMUPS)
def test_every_warmup_can_be_chosen(name):
    has_length = "warmup_steps" in inspect.signature(schedules.WARMUPS[name]).parameters
    config = changed(
        warmup=name,
        warmup_args=WARMUP_ARGS.get(name, {}),
        schedule="constant",
        schedule_args={},
        sweep__warmup_steps=None,
        warmup_steps=4 if has_length else None,
    )
    args = WARMUP_ARGS.get(name, {}) | ({"warmup_steps": 4} if has_length else {})
    np.testing.assert_allclose(rates(config), 2 * schedules.WARMUPS[name](**args)(np.arange(10)), rtol=1e-4)


@pytest.mark.parametrize("name", schedules.DECAYS)
def test_every_decay_can_be_chosen(name):
    config = changed(schedule=name, schedule_args=DECAY_ARGS.get(name, {}), sweep__warmup_steps=None, warmup_steps=4)
    offered = {"start": 4, "stop": 10}
    wanted = inspect.signature(schedules.DECAYS[name]).parameters
    decay = schedules.DECAYS[name](**DECAY_ARGS.get(name, {}), **{k: v for k, v in offered.items() if k in wanted})
    expected = 2 * np.minimum(1, (np.arange(10) + 1) / 4) * decay(np.arange(10))
    np.testing.assert_allclose(rates(config), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", schedules.RECIPES)
def test_every_recipe_can_be_chosen(name):
    wanted = inspect.signature(schedules.RECIPES[name]).parameters
    has_length = "warmup_steps" in wanted or "warmup" in wanted
    config = changed(
        recipe=name,
        recipe_args=RECIPE_ARGS.get(name, {}),
        sweep__warmup_steps=None,
        warmup_steps=4 if has_length else None,
    )
    found = rates(config)
    assert np.isfinite(found).all() and found.max() > 0
    if name == "rewarm":
        np.testing.assert_allclose(
            found[6] / found[5], 0.25 * (1 + np.cos(np.pi / 3)) / (1 + np.cos(np.pi / 6)), rtol=1e-4
        )


@pytest.mark.parametrize("name", transforms.TRANSFORMS)
def test_every_transform_can_be_chosen(name):
    preconditions = optimizers.PLACES[name] == "gradient" and name.startswith("scale_by")
    config = changed(
        transforms=(name,),
        transforms_args={name: TRANSFORM_ARGS.get(name, {})},
        sweep__warmup_steps=None,
        warmup_steps=4,
    )
    if preconditions:
        config |= {"optimizer": "none", "optimizer_args": {"weight_decay": 0.0}}
    schema.validate(config)
    params = {"layer": {"kernel": np.ones((3, 2), np.float32)}}

    def train(knobs):
        tx = optax.with_extra_args_support(build.optimizer(config, knobs))
        state, now, applied = tx.init(params), params, []
        for _ in range(3):
            updates, state = tx.update(params, state, now, value=1.0, accuracy=0.1, error=0.9, sharpness=8.0)
            now = optax.apply_updates(now, updates)
            applied.append(transforms.current_learning_rate(state))
        return now, applied

    knobs = build.knobs(config, num_steps=10, train_size=100)
    now, applied = jax.jit(train)(knobs)
    assert np.isfinite(now["layer"]["kernel"]).all()
    expected = {"cap_by_sharpness": [0.25] * 3, "warmup_until": [0.05, 0.1, 0.15]}.get(name, [0.5, 1.0, 1.5])
    np.testing.assert_allclose(applied, expected, rtol=1e-5)


def test_an_argument_for_no_transform_is_named():
    with pytest.raises(ValueError, match="'warmup_until' is not among the transforms"):
        schema.validate(changed(transforms_args={"warmup_until": {}}))
