"""From a config to its runs."""

import numpy as np
import pytest

from warmup_jax.training import sweep

BASE = {
    "seed": 5,
    "batch_size": 8,
    "model": {"norm": "post", "depth": 2},
    "peak_lr": 0.1,
    "init_lr": 0.0,
    "end_lr": 0.0,
    "warmup_steps": None,
    "label_smoothing": 0.0,
    "optimizer_args": {"momentum": 0.9, "nesterov": False, "clip_norm": None},
    "warmup_args": {},
    "schedule_args": {"boundaries": (3, 5), "factor": 0.1},
    "recipe_args": {},
    "transforms_args": {"warmup_until": {"metric": "error", "threshold": 0.8}},
    "sweep": {},
}


def expand(**axes):
    return sweep.expand(BASE | {"sweep": axes})


def test_no_sweep_is_one_run():
    assert expand() == expand(peak_lr=None, seeds=None) == [{}]


def test_product_with_seeds_fastest():
    runs = expand(warmup_steps=(0, 3), momentum=(0.5,), seeds=2)
    assert runs == [{"warmup_steps": w, "momentum": 0.5, "seed": s} for w in (0, 3) for s in (5, 6)]
    assert sweep.label(runs[1]) == "warmup_steps=0, momentum=0.5, seed=6"


def test_static_names_are_outermost_and_each_of_their_values_is_a_program():
    runs = expand(warmup_steps=(0, 3), norm=("post", "pre"), nesterov=(True,))
    assert runs == [{"norm": n, "nesterov": True, "warmup_steps": w} for n in ("post", "pre") for w in (0, 3)]
    programs = sweep.programs(BASE, runs)
    assert programs == [
        ({"norm": "post", "nesterov": True}, range(2)),
        ({"norm": "pre", "nesterov": True}, range(2, 4)),
    ]
    changed = sweep.assign(BASE, runs[2])
    assert changed["model"]["norm"] == "pre" and changed["optimizer_args"]["nesterov"] is True
    assert sweep.assign(BASE, expand(batch_size=(16,))[0])["batch_size"] == 16


def test_a_sweep_of_numbers_is_one_program():
    runs = expand(warmup_steps=(0, 3), momentum=(0.5, 0.9), clip_norm=(1.0,), seeds=2)
    assert sweep.programs(BASE, runs) == [({}, range(8))] and sweep.programs(BASE, [{}]) == [({}, range(1))]


def test_values_take_the_type_of_their_knob():
    runs = expand(peak_lr=(1, 2), clip_norm=[1])
    assert [type(run["peak_lr"]) for run in runs] == [float, float]
    assert type(runs[0]["clip_norm"]) is float


def test_assign_changes_a_copy():
    run = sweep.assign(BASE, {"peak_lr": 1.0, "momentum": 0.0})
    assert run["peak_lr"] == 1.0 and run["optimizer_args"]["momentum"] == 0.0
    assert BASE["peak_lr"] == 0.1 and BASE["optimizer_args"]["momentum"] == 0.9


def test_a_knob_of_a_transformation_is_found_by_its_name():
    run = sweep.assign(BASE, expand(threshold=(0.5, 0.7))[1])
    assert run["transforms_args"] == {"warmup_until": {"metric": "error", "threshold": 0.7}}
    assert BASE["transforms_args"]["warmup_until"]["threshold"] == 0.8


def test_numbers_replace_their_own_places():
    args = {"a": 0.5, "name": "x", "inner": {"b": 1.0, "c": None}}
    assert sweep.merge(args, sweep.traced(args)) == args
    assert sweep.merge(args, {"a": 2.0, "inner": {"b": 3.0}}) == {"a": 2.0, "name": "x", "inner": {"b": 3.0, "c": None}}


def test_floats_and_tuples_are_traced_and_the_rest_static():
    traced = sweep.traced({"a": 0.5, "b": (1, 2.5), "c": 3, "d": True, "e": "name", "f": None, "g": ("x",)})
    assert set(traced) == {"a", "b"}
    np.testing.assert_array_equal(traced["b"], np.float32([1, 2.5]))


def test_groups_cover_every_run_once():
    assert [list(group) for group in sweep.groups(range(1, 6), 2)] == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize(
    "axes, named",
    [
        ({"num_steps": (8, 16)}, "unknown knob to sweep 'num_steps'"),
        ({"norm": ()}, r"sweep.norm=\(\); allowed: tuples of at least one value"),
        ({"peak_rl": (0.1,)}, "did you mean 'peak_lr'"),
        ({"peak_lr": ()}, r"sweep.peak_lr=\(\); allowed: tuples of at least one value"),
        ({"peak_lr": 0.1}, "sweep.peak_lr=0.1; allowed: tuples of at least one value"),
        ({"peak_lr": (0.1, "x")}, r"sweep.peak_lr=\(0.1, 'x'\); allowed: tuples of numbers"),
        ({"warmup_steps": (0, 2.5)}, r"sweep.warmup_steps=\(0, 2.5\); allowed: tuples of integers"),
        ({"seeds": 0}, "sweep.seeds=0; allowed: integers from 1"),
        ({"seeds": (0, 1)}, r"sweep.seeds=\(0, 1\); allowed: integers from 1"),
        ({"seed": (0, 1)}, "sweep.seeds"),
    ],
)
def test_bad_input_names_the_culprit(axes, named):
    with pytest.raises(ValueError, match=named):
        expand(**axes)
