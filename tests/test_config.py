"""What a config may hold, and its units."""

import pytest

from configs import resnet_warmup
from warmup_jax import config as configuration
from warmup_jax import optimizers


def changed(**changes):
    config = resnet_warmup.get_config().to_dict()
    for key, value in changes.items():
        *path, key = key.split("__")
        holder = config
        for name in path:
            holder = holder[name]
        holder[key] = value
    return config


@pytest.mark.parametrize("arg", [None, "digits", "cifar10", "imagenet", "imagenet,batch_size=8192", "smoke",
                                 "cifar10,smoke", "imagenet,smoke"])
def test_every_variant_is_valid(arg):
    configuration.validate(resnet_warmup.get_config(arg).to_dict())


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_has_its_arguments_in_the_config(name):
    config = resnet_warmup.get_config(f"optimizer={name}").to_dict()
    configuration.validate(config)
    assert config["optimizer"] == name and config["sweep"].keys() >= {"weight_decay", "clip_norm"}


def test_goyal_scales_the_rate_with_the_batch():
    config = resnet_warmup.get_config("imagenet,batch_size=8192").to_dict()
    assert config["peak_lr"] == pytest.approx(3.2)
    assert config["schedule_args"]["boundaries"] == (4692, 9384, 12511)
    steps = configuration.num_steps(config, resnet_warmup.IMAGENET_SIZE)
    assert steps == round(90 * 1_281_167 / 8192)
    assert configuration.warmup_steps(config, num_steps=steps, train_size=resnet_warmup.IMAGENET_SIZE) == 782


@pytest.mark.parametrize("unit, value, steps", [
    ("warmup_steps", 7, 7), ("warmup_steps", 0, 0), ("warmup_epochs", 2.0, 25), ("warmup_epochs", 0.001, 1),
    ("warmup_examples", 100, 1), ("warmup_fraction", 0.25, 50), ("warmup_fraction", 0.0, 0)])
def test_units_of_the_warmup(unit, value, steps):
    config = changed(sweep__warmup_steps=None, **{unit: value})
    configuration.validate(config)
    assert configuration.warmup_steps(config, num_steps=200, train_size=1600) == steps


@pytest.mark.parametrize("changes, named", [
    ({"peak_rl": 0.1}, "did you mean 'peak_lr'"),
    ({"num_steps": 10.0}, "num_steps must be None or of type int, got 10.0"),
    ({"peak_lr": 1}, "peak_lr must be of type float, got 1"),
    ({"stop_when_diverged": 1}, "of type bool, got 1"),
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
    ({"batch_size": 0}, "batch_size must be above 0, got 0"),
    ({"num_steps": -5}, "num_steps must be above 0"),
    ({"sweep__warmup_steps": (0, -5)}, "warmup_steps must be at least 0.*got -5"),
    ({"sweep__warmup_steps": None, "warmup_fraction": 1.5}, "warmup_fraction"),
    ({"peak_lr": float("nan")}, "peak_lr"),
    ({"peak_lr": float("inf")}, "peak_lr"),
    ({"optimizer_args__momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
    ({"optimizer_args__clip_norm": 0.0}, "clip_norm must be above 0"),
    ({"seed": -1}, "seed must be at least 0"),
    ({"log_every": 0}, "log_every must be above 0"),
])
def test_bad_input_names_the_culprit(changes, named):
    with pytest.raises(ValueError, match=named):
        configuration.validate(changed(**changes))


def test_a_missing_key_is_named():
    config = changed()
    del config["end_lr"]
    with pytest.raises(ValueError, match="lacks the key 'end_lr'"):
        configuration.validate(config)


@pytest.mark.parametrize("arg, named", [("cifar", "'cifar'"), ("cifar10,imagenet", "'imagenet'"),
                                        ("batch_size=x", "batch_size=x")])
def test_a_bad_argument_of_the_config_file_is_named(arg, named):
    with pytest.raises(ValueError, match=named):
        resnet_warmup.get_config(arg)
