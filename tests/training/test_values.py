"""Values that mean nothing are refused in one line, before anything is compiled; those that mean something are not."""

import numpy as np
import pytest

from configs import common, lm_warmup, phase_diagram, resnet_warmup, transformer_warmup
from warmup_jax.training import build, chunks, effects, experiment, probes, program, schema, sweep

SHARPNESS = dict(every=50, until=None, batch="fixed", examples=16, iterations=3, count=1)
CRITICAL_RATE = dict(every=50, until=None, batch="fixed", examples=16, guess=0.1, max_passes=15, tolerance=0.1)


def changed(config, changes):
    """Returns a copy of a config with the values of dotted keys changed."""
    config = sweep.assign(config.to_dict(), {})
    for key, value in changes.items():
        *path, name = key.split(".")
        holder = config
        for part in path:
            holder = holder[part]
        holder[name] = value
    return config


def resnet(**changes):
    return changed(resnet_warmup.get_config("smoke"), {"sweep": {}, "warmup_steps": 2} | changes)


def lm(**changes):
    return changed(lm_warmup.get_config("smoke"), {"sweep": {}, "warmup_steps": 2} | changes)


def refused(function, config, message):
    """Checks that a config is refused with one line that contains `message`."""
    with pytest.raises(ValueError) as caught:
        function(config)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        # A value of another type than the argument's.
        ({"schedule_args.exponent": (1.0, 2.0)}, "schedule_args.exponent=(1.0, 2.0); allowed: numbers"),
        ({"schedule_args.exponent": "1"}, "schedule_args.exponent='1'; allowed: numbers"),
        ({"optimizer_args.nesterov": np.inf}, "optimizer_args.nesterov=inf; allowed: True or False"),
        ({"optimizer_args.momentum": True}, "optimizer_args.momentum=True; allowed: numbers"),
        ({"schedule_args.exponent": {"a": 1.0}}, "schedule_args.exponent={'a': 1.0}; allowed: numbers"),
        ({"dataset.workers": 1.5}, "dataset.workers=1.5; allowed: integers"),
        ({"model.depth": 8.0}, "model.depth=8.0; allowed: integers"),
        ({"diagnostics.sharpness": SHARPNESS | dict(iterations=2.5)}, "sharpness.iterations=2.5; allowed: integers"),
        (
            {"schedule": "cosine_restarts", "schedule_args": {"cycle_steps": 2.0, "num_cycles": 2.0}},
            "schedule_args.num_cycles=2.0; allowed: integers",
        ),
        (
            {"schedule": "multistep", "schedule_args": {"boundaries": (1, 2), "factor": (0.1, 0.2, 0.3)}},
            "factor of shape (3,); allowed: one number, or one for each of the boundaries",
        ),
        # Numbers that int32 or float32 does not hold.
        ({"num_steps": 2**31}, f"num_steps={2**31}; allowed: integers below 2147483648"),
        ({"eval_every": 10**20 - 1}, "eval_every=99999999999999999999; allowed: integers below 2147483648"),
        ({"log_every": 2**31}, "log_every="),
        ({"chunk_steps": 2**40}, "chunk_steps="),
        ({"optimizer_args.weight_decay": 10**39}, "optimizer_args.weight_decay=1000"),
        ({"peak_lr": 1e-46}, "peak_lr=1e-46; allowed: 0 and numbers of a size from 1.2e-38 to 3.4e+38"),
        ({"sweep": {"peak_lr": (0.1, 1e-46)}}, "peak_lr=1e-46; allowed: 0 and numbers"),
        ({"optimizer_args.weight_decay": 1e39}, "optimizer_args.weight_decay=1e+39; allowed: 0 and numbers"),
        ({"optimizer_args.momentum": 0.999999999}, "optimizer_args.momentum=0.999999999 is 1 in float32"),
        ({"model.width": 1e-50}, "model.width=1e-50; allowed: 0 and numbers"),
        ({"schedule_args.exponent": np.inf}, "schedule_args.exponent=inf; allowed: finite numbers"),
        ({"diagnostics.critical_rate": CRITICAL_RATE | dict(guess=1e-46)}, "critical_rate.guess=1e-46; allowed"),
        ({"seed": 2**32 - 1, "sweep": {"seeds": 2}}, "seed=4294967296; allowed: integers from 0 to 4294967295"),
        (
            {"sweep": {"seeds": 10**12}},
            "sweep has 1000000000000 runs, with sweep.seeds=1000000000000; allowed: at most",
        ),
        ({"sweep": {"peak_lr": (0.1, 10**400)}}, "allowed: numbers that a float holds"),
        # Values without effect.
        ({"recipe_args": {"foo": 1}}, "recipe_args={'foo': 1} has no effect with recipe=None; allowed: {}"),
        ({"schedule": "constant", "schedule_args": {}, "end_lr": 0.05}, "has no effect with schedule='constant'"),
        ({"warmup": "none", "warmup_steps": None, "init_lr": 0.05}, "has no effect with warmup='none'; allowed: 0.0"),
        ({"transforms": ("scale_by_warmup",), "init_lr": 0.1}, "no effect with transforms=('scale_by_warmup',)"),
        (
            {"schedule": "multistep", "schedule_args": {"boundaries": (2,), "factor": 0.1}, "combination": "multiply"},
            "combination='multiply' has no effect with schedule='multistep'; allowed: 'join'",
        ),
        (
            {"recipe": "noam", "recipe_args": {"d_model": 64.0}, "sweep": {"peak_lr": (0.1, 1.0)}},
            "sweep.peak_lr=(0.1, 1.0) has no effect with recipe='noam'; allowed: None",
        ),
        ({"recipe": "gpt", "end_lr": 0.05}, "end_lr=0.05 has no effect with recipe='gpt'; allowed: 0.0"),
        ({"recipe": "gpt", "sweep": {"exponent": (1.0, 2.0)}}, "sweep.exponent=(1.0, 2.0) has no effect with recipe="),
        ({"recipe": "gpt", "sweep": {"schedule": ("cosine", "polynomial")}}, "has no effect with recipe='gpt'"),
        ({"recipe": "gpt", "warmup_args": {"count": "zero"}}, "warmup_args={'count': 'zero'} has no effect"),
        ({"sweep": {"peak_lr": (0.1, 0.2, 0.1)}}, "sweep.peak_lr=(0.1, 0.2, 0.1) repeats 0.1; allowed: every value"),
        (
            {"transforms": ("scale_by_warmup",), "warmup": "none", "warmup_steps": None},
            "transforms=('scale_by_warmup',) has no effect with warmup='none'",
        ),
        (
            {"optimizer_args.momentum": 0.0, "optimizer_args.nesterov": True},
            "optimizer_args.nesterov=True has no effect with momentum=0.0; allowed: False",
        ),
        ({"optimizer_args.momentum": 0.0, "sweep": {"nesterov": (True, False)}}, "nesterov=True has no effect"),
        ({"warmup_steps": 0, "sweep": {"init_lr": (0.0, 0.1)}}, "sweep.init_lr=(0.0, 0.1) has no effect with warmup_"),
        ({"warmup_steps": 0, "init_lr": 0.1}, "init_lr=0.1 has no effect with warmup_steps=0; allowed: 0.0"),
        (
            {"warmup_steps": None, "warmup_epochs": 0.0, "init_lr": 0.1},
            "init_lr=0.1 has no effect with warmup_epochs=0.0; allowed: 0.0",
        ),
        (
            {"warmup_steps": 0, "sweep": {"warmup": ("linear", "cosine")}},
            "sweep.warmup=('linear', 'cosine') has no effect with warmup_steps=0; allowed: None",
        ),
        ({"warmup_steps": 0, "sweep": {"combination": ("join", "multiply")}}, "sweep.combination="),
        (
            {"dataset.residency": "device", "dataset.workers": 2},
            "dataset.workers=2 has no effect with residency='device'; allowed: 0",
        ),
        ({"schedule": "cosine_restarts", "schedule_args": {"cycle_steps": 2.0, "num_cycles": 2**20}}, "num_cycles"),
        ({"dataset": {}}, "dataset={} has no name; allowed: dicts with the name of a data set"),
        # Arguments of diagnostics.
        ({"diagnostics.critical_rate": CRITICAL_RATE | dict(guess=0.0)}, "critical_rate.guess=0.0; allowed: numbers"),
        ({"diagnostics.critical_rate": CRITICAL_RATE | dict(guess=-1.0)}, "critical_rate.guess=-1.0; allowed: numbers"),
        ({"diagnostics.critical_rate": CRITICAL_RATE | dict(tolerance=0.0)}, "critical_rate.tolerance=0.0; allowed"),
        ({"diagnostics.critical_rate": CRITICAL_RATE | dict(guess=None)}, "critical_rate.guess=None; allowed"),
        ({"diagnostics.sharpness": SHARPNESS | dict(iterations=10**9)}, "sharpness.iterations=1000000000; allowed"),
        ({"diagnostics.sharpness": SHARPNESS | dict(every=2**31)}, "diagnostics.sharpness.every=2147483648; allowed"),
    ],
)
def test_a_value_that_means_nothing_is_named(changes, message):
    refused(schema.validate, resnet(**changes), message)


@pytest.mark.parametrize("key, value", [("peak_lr", 0.5), ("schedule", "linear"), ("schedule_args.exponent", 2.0)])
def test_a_value_that_the_user_gave_must_be_read(key, value, tmp_path):
    config = resnet(**{"recipe": "noam", "recipe_args": {"d_model": 64.0}, key: value})
    if key == "schedule":
        config["schedule_args"] = {}
    schema.validate(config)
    refused(lambda config: effects.check_given(config, ["num_steps", key]), config, f"{key}={value!r} has no effect")
    effects.check_given(config, ["num_steps", "recipe", "recipe_args.d_model", "model.depth", "sweep.warmup_steps"])
    effects.check_given(config | {"recipe": None, "recipe_args": {}}, [key])
    with pytest.raises(experiment.UserError, match="has no effect with recipe='noam'"):
        experiment.run(config, tmp_path / "run", given=[key])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"model.norm": "none", "model.norm_kind": "rms"},
            "model.norm_kind='rms' has no effect with norm='none' and qk_norm=False; allowed: 'layer'",
        ),
        (
            {"model.norm": "rezero", "sweep": {"norm_kind": ("layer", "rms")}},
            "sweep.norm_kind=('layer', 'rms') has no effect with norm='rezero' and qk_norm=False; allowed: None",
        ),
    ],
)
def test_a_kind_of_normalisation_needs_a_normalisation(changes, message):
    refused(schema.validate, lm(**changes), message)


@pytest.mark.parametrize(
    "changes",
    [
        {"model.norm": "none"},
        {"model.norm": "none", "model.norm_kind": "rms", "model.qk_norm": True},
        {"model.norm_kind": "rms", "sweep": {"norm": ("none", "post")}},
        {"init_lr": 1e-4, "warmup_steps": None, "sweep": {"warmup_steps": (0, 2)}},
        {"warmup": "power", "warmup_args": {"exponent": 2.0}, "warmup_steps": 0},  # a run without it to compare with
    ],
)
def test_a_value_that_some_run_reads_is_allowed(changes):
    schema.validate(lm(**changes))


@pytest.mark.parametrize("key, axis", [("peak_lr", (0.1, 0.2)), ("model.depth", (8, 14)), ("seed", 2)])
def test_a_value_that_every_run_of_a_sweep_replaces_means_nothing(key, axis):
    name = "seeds" if key == "seed" else key.rpartition(".")[2]
    config = resnet(sweep={name: axis})
    if key == "seed":
        effects.check_given(config, [key, "sweep.seeds"])  # the first of its seeds
    else:
        refused(lambda config: effects.check_given(config, [f"sweep.{name}", key]), config, f"with sweep.{name}={axis}")
        effects.check_given(config, [f"sweep.{name}", "end_lr", "model.width"])


def test_a_name_that_two_components_have_is_called_ambiguous():
    config = resnet(
        optimizer="adam",
        optimizer_args={**common.ADAM, "weight_decay": 0.0, "clip_norm": None},
        warmup="untuned_linear",
        warmup_args={"beta2": 0.99},
        warmup_steps=None,
        sweep={"beta2": (0.9, 0.99)},
    )
    refused(schema.validate, config, "sweep.beta2 is ambiguous, since optimizer_args.beta2 and warmup_args.beta2")


@pytest.mark.parametrize(
    "changes",
    [
        {"peak_lr": 0.0, "optimizer_args.weight_decay": 0.0},
        {"end_lr": 0.05},
        {"end_lr": 0.05, "sweep": {"schedule": ("constant", "linear")}, "schedule_args": {}},
        {"recipe": "gpt", "recipe_args": {"end_fraction": 0.2}, "sweep": {"peak_lr": (0.1, 1.0)}},
        {"recipe": "wsd", "end_lr": 0.05},
        {"recipe": "inverse_sqrt", "init_lr": 0.05},
        {"recipe": "rewarm", "recipe_args": {"at": 3.0}, "end_lr": 0.1, "sweep": {"exponent": (1.0, 2.0)}},
        {"recipe": "gpt", "sweep": {"end_fraction": (0.1, 0.2)}, "recipe_args": {"end_fraction": 0.2}},
        {"combination": "multiply"},
        {"schedule": "multistep", "schedule_args": {"boundaries": [1, 3], "factor": (0.1, 0.2)}},
        {"diagnostics": {"sharpness": None}},
        {"num_steps": 2**31 - 1, "eval_every": 2**31 - 1, "sweep": {"seeds": 1000}},
        {"seed": 2**32 - 2, "sweep": {"seeds": 2}},
    ],
)
def test_a_value_that_means_something_is_accepted(changes):
    schema.validate(resnet(**changes))


@pytest.mark.parametrize(
    "family, variants",
    [
        (resnet_warmup, ("digits", "cifar10", "imagenet")),
        (lm_warmup, ("pydoc", "shakespeare", "gpt2")),
        (transformer_warmup, ("numbers", "multi30k", "iwslt", "wmt")),
        (phase_diagram, ("fcn", "resnet", "transformer")),
    ],
)
def test_every_variant_is_accepted(family, variants):
    for variant in variants:
        for option in ("", ",smoke", ",diagnose=" + "+".join(common.DIAGNOSTICS)):
            schema.validate(family.get_config(variant + option).to_dict())


@pytest.mark.parametrize(
    "family, arg, repeated",
    [
        (lm_warmup, "norm=post,norm=pre", "norm=pre"),
        (lm_warmup, "smoke,norm=post,norm=post", "norm=post"),
        (resnet_warmup, "batch_size=8,batch_size=8", "batch_size=8"),
        (resnet_warmup, "diagnose=norms,diagnose=sharpness", "diagnose=sharpness"),
        (resnet_warmup, "diagnose=norms+norms", "diagnose=norms+norms"),
        (resnet_warmup, "smoke,smoke", "smoke"),
        (resnet_warmup, "cifar10,cifar10", "cifar10"),
        (resnet_warmup, "batch_size=99999999999999999999", "batch_size=99999999999999999999"),
    ],
)
def test_a_repeated_word_of_a_config_is_named(family, arg, repeated):
    refused(family.get_config, arg, f"unknown or repeated argument {repeated!r} of the config")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"decoding.length": 99_999}, "decoding.length=99999; allowed: integers from 1 to 24, which with"),
        ({"dataset.prompt_length": 32}, "dataset.prompt_length=32; allowed: below the dataset.length=32 of a row"),
        ({"dataset.prompt_length": 20}, "decoding.length=16; allowed: integers from 1 to 12"),
        ({"decoding.samples": 2.5}, "decoding.samples=2.5; allowed: integers from 0"),
        ({"decoding.examples": 0}, "decoding.examples=0; allowed: integers from 1"),
        ({"model.max_positions": 31}, "length of input_shape=32; allowed: at most max_positions=31"),
        ({"model.width": 10**9}, "width=1000000000; allowed: integers from 1 to 1048576"),
        ({"model.depth": 10**6}, "depth=1000000; allowed: integers from 1 to 10000"),
        ({"model.width": 2**20, "model.heads": 2}, "GB of parameters; allowed: up to"),
        ({"eval_batch_size": 2**30}, "eval_batch_size=1073741824; allowed: integers from 1 to"),
        ({"num_steps": None, "num_epochs": 1e18}, "num_epochs=1e+18 makes"),
        ({"num_steps": None, "num_epochs": 1e308}, "updates; allowed: up to 2147483647"),
        ({"warmup_steps": None, "warmup_examples": 10**12}, "warmup_examples=1000000000000 makes 2.5e+11 updates"),
    ],
)
def test_what_does_not_fit_is_said_at_set_up(changes, message):
    refused(program.set_up, lm(**changes), message)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model.depth": 6 * 10**6 + 2}, "depth=6000002; allowed"),
        ({"model.width": 1e9}, "width=1000000000.0; allowed"),
        ({"model.width": 6e4}, "GB of parameters; allowed: up to"),
        ({"dataset.workers": 10**6}, "workers=1000000; allowed: integers from 0 to 1024"),
        ({"dataset.image_size": 10**6}, "image_size=1000000; allowed"),
        ({"dataset.test_split": "validation"}, "test_split='validation'; allowed for 'digits': None"),
    ],
)
def test_absurd_sizes_of_an_image_model_are_refused(changes, message):
    refused(program.set_up, resnet(**changes), message)


def test_the_longest_run_with_probes_is_set_up_at_once():
    config = resnet(num_steps=2**31 - 1)
    config["diagnostics"] = {"gradient_noise": SHARPNESS | dict(every=1, micro_batches=2)}
    for key in ("iterations", "count"):
        del config["diagnostics"]["gradient_noise"][key]
    (group,) = program.set_up(config).groups
    assert group.plan.pauses.after(10**9) == 10**9 + 1


def test_a_probe_that_is_none_is_dropped():
    config = resnet(**{"diagnostics.sharpness": None})
    (group,) = program.set_up(config).groups
    assert group.plan.probers == {}


@pytest.mark.parametrize(
    "num_steps, every, until, warmups", [(40, 7, None, (0, 5, 9)), (33, 4, 17, (3, 20)), (5, 9, 0, (1,))]
)
def test_pauses_are_those_of_a_list_of_all_steps(num_steps, every, until, warmups):
    from warmup_jax.diagnostics import DIAGNOSTICS, Timing

    config, warmups = {"eval_every": 6, "checkpoint_every": 10}, np.array(warmups)
    for name in ("sharpness", "adaptive_rate", "early_overfitting"):
        entry = DIAGNOSTICS[name]
        prober = probes.Prober(None, name, {}, Timing(every, until, "fixed", 8), None, None, False, None)
        found = chunks.pauses(config, num_steps, *probes.pauses({name: prober}, num_steps, warmups))
        steps = np.arange(num_steps + 1)
        due = steps[probes.due(prober, steps[:, None], warmups).any(-1)]
        due = np.concatenate([due, due - 1]) if entry.compares_update else due
        regular = [np.arange(0, num_steps, config[key]) for key in config]
        listed = np.unique(np.concatenate([due, *regular, [num_steps]]))
        for step in range(num_steps):
            assert found.after(step) == listed[listed > step][0]


def test_lengths_in_other_units_become_the_same_numbers_of_updates():
    config = resnet(**{"warmup_steps": None, "warmup_epochs": 2.0, "num_steps": None, "num_epochs": 4.0})
    assert build.num_steps(config, 1437) == round(4 * 1437 / 8)
    assert build.warmup_steps(config, num_steps=718, train_size=1437) == round(2 * 1437 / 8)
