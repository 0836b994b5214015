"""Arms: named changes to a config that one sweep compares."""

import pytest
from ml_collections import ConfigDict

from configs import phase_diagram
from warmup_jax import config_files
from warmup_jax.training import arms, experiment, program, schema, sweep
from warmup_jax.workdir import json_files

ADAM = dict(beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, clip_norm=None)


def config(**of_arms):
    base = phase_diagram.get_config("smoke").to_dict()
    base |= dict(diagnostics={}, num_steps=8, eval_every=8, checkpoint_every=8, chunk_steps=4)
    base["sweep"] = {"peak_lr": (0.1, 0.2), "warmup_steps": (0, 4), "seeds": 2}
    return base | {"sweep": base["sweep"] | {"arms": of_arms or None}}


COOLDOWN = {"schedule": "wsd", "schedule_args": {"decay_fraction": 0.5, "shape": "linear"}}


def test_a_dict_changes_the_keys_that_it_names():
    found = arms.configs(config(wide={"model": {"width": 24}}, plain={}))
    assert list(found) == ["wide", "plain"]
    base = config()
    assert found["wide"]["model"] == base["model"] | {"width": 24} and found["plain"]["model"] == base["model"]
    assert "arms" not in found["plain"]["sweep"] and found["plain"] == arms.configs(base)[""]


def test_the_arguments_of_a_chosen_component_are_the_given_ones_alone():
    found = arms.configs(config(adam={"optimizer": "adam", "optimizer_args": ADAM}, none={"optimizer": "none"}))
    assert found["adam"]["optimizer_args"] == ADAM and found["none"]["optimizer_args"] == {}


def test_an_arm_changes_axes_and_drops_them():
    runs = sweep.expand(
        config(
            fast={"sweep": {"peak_lr": (1.0,)}},
            untuned={"warmup": "untuned_linear", "warmup_args": {"beta2": 0.9}, "sweep": {"warmup_steps": None}},
        )
    )
    fast = [{"arm": "fast", "peak_lr": 1.0, "warmup_steps": steps, "seed": s} for steps in (0, 4) for s in (0, 1)]
    assert runs[:4] == fast
    assert runs[4:] == [{"arm": "untuned", "peak_lr": r, "seed": s} for r in (0.1, 0.2) for s in (0, 1)]
    assert sweep.label(runs[4]) == "arm=untuned, peak_lr=0.1, seed=0"


def test_each_arm_is_a_program_of_its_own():
    job = program.set_up(config(constant={}, cooldown=COOLDOWN))
    plans = list({id(group.plan): group.plan for group in job.groups}.values())
    assert [(plan.config["schedule"], plan.runs) for plan in plans] == [
        ("constant", range(8)),
        ("wsd", range(8, 16)),
    ]
    assert [float(knobs.peak_lr) for knobs in plans[1].knobs[::4]] == pytest.approx([0.1, 0.2])


@pytest.mark.usefixtures("no_pictures")
def test_the_runs_of_an_arm_are_those_of_its_config_alone(tmp_path):
    of_arms = config(constant={}, cooldown=COOLDOWN)
    together = experiment.run(of_arms, tmp_path / "together")["runs"]
    alone = experiment.run(arms.configs(of_arms)["cooldown"], tmp_path / "alone")["runs"]
    assert [run["final"] for run in together[8:]] == [run["final"] for run in alone]
    assert together[0]["final"] != together[8]["final"]
    assert json_files.read_json(tmp_path / "together" / "config.json")["sweep"]["arms"]["constant"] == {}
    again = experiment.run(of_arms, tmp_path / "together")
    assert again["runs"] == together


@pytest.mark.parametrize(
    "of_arms, named",
    [
        (["a"], r"sweep.arms=\['a'\]; allowed: a dict"),
        ({}, "sweep.arms={}; allowed: a dict"),
        ({"a": 1}, "sweep.arms.a=1; allowed: a dict of changes"),
        ({"a": {"peak_rl": 0.1}}, "unknown config key in sweep.arms.a 'peak_rl'; did you mean 'peak_lr'"),
        ({"a": {"seed": 3}}, "sweep.arms.a.seed: the arms of a sweep share seed, dataset, runs_at_once, init_from"),
        ({"a": {"init_from": "runs/one"}}, "sweep.arms.a.init_from: the arms of a sweep share"),
        ({"a": {"sweep": {"seeds": 3}}}, "sweep.arms.a.sweep.seeds: the arms of a sweep share seeds, share_order"),
        ({"": {}, "b": {}}, "sweep.arms has the name ''; allowed: texts of at least one letter"),
        ({1: {}}, "sweep.arms has the name 1"),
        (
            {"a": {"model": {"name": "resnett"}}},
            "sweep.arms.a.model.name='resnett'; allowed, of the kind of 'fcn': 'fcn'",
        ),
        ({"a": {"sweep": {"arms": {}}}}, "sweep.arms.a.sweep.arms: the arms of a sweep share"),
        ({"a": {"model": {"name": "resnet"}}}, "of the kind of 'fcn': 'fcn'"),
        ({"a": {}, "b": {"peak_lr": -1.0, "sweep": {"peak_lr": None}}}, "in sweep.arms.b: peak_lr"),
        ({"a": {"optimizer": "adam"}}, "in sweep.arms.a: .*beta1"),
        ({"a": {"model": 3}}, "sweep.arms.a.model=3; allowed: a dict"),
        ({"a": {"sweep": None}}, "sweep.arms.a.sweep=None; allowed: a dict"),
        ({"a": {"init_lr": 0.1, "warmup": "none", "sweep": {"warmup_steps": None}}}, "in sweep.arms.a: init_lr=0.1"),
    ],
)
def test_bad_arms_name_the_culprit(of_arms, named):
    changed = config()
    changed["sweep"]["arms"] = of_arms
    with pytest.raises(ValueError, match=named):
        schema.validate(changed)


def test_arms_are_given_on_the_command_line():
    found = ConfigDict(config())
    config_files.override(
        found,
        [
            ("config.sweep.arms", "{'constant': {}}"),
            ("config.sweep.arms.cooldown.schedule", "wsd"),
            ("config.sweep.arms.cooldown.schedule_args.decay_fraction", "0.5"),
            ("config.sweep.arms.cooldown.peak_lr", "1"),
            ("config.sweep.arms.cooldown.sweep.peak_lr", "None"),
            ("config.sweep.arms.long.sweep.warmup_steps", "8"),
            ("config.sweep.arms.long.num_steps", "16"),
        ],
    )
    assert found.sweep.arms.to_dict() == {
        "constant": {},
        "cooldown": {
            "schedule": "wsd",
            "schedule_args": {"decay_fraction": 0.5},
            "peak_lr": 1.0,
            "sweep": {"peak_lr": None},
        },
        "long": {"sweep": {"warmup_steps": (8,)}, "num_steps": 16},
    }
    with pytest.raises(ValueError, match="allowed: .*number"):
        config_files.override(found, [("config.sweep.arms.long.peak_lr", "high")])
