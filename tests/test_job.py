"""A config made concrete."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from configs import phase_diagram
from warmup_jax.runtime import process
from warmup_jax.training import program


def test_the_program_for_the_first_states_is_there_until_the_last_runs_have_begun():
    config = phase_diagram.get_config("smoke").to_dict() | {
        "sweep": {"warmup_steps": (1,), "peak_lr": (0.1, 0.2), "seeds": 2},
        "runs_at_once": 2,
    }
    groups = program.set_up(config).groups
    assert [group.runs for group in groups] == [range(2), range(2, 4)] and groups[0].plan is groups[1].plan
    programs = groups[0].plan.init
    first = groups[0].init(groups[0].knobs())
    assert programs._cache_size() == 1
    last = groups[1].init(groups[1].knobs())
    assert programs._cache_size() == 0
    jax.tree.map(np.testing.assert_array_equal, first.params, last.params)  # of the same seeds


@pytest.mark.parametrize(
    "cores, devices, expected", [(1, 1, 1), (2, 1, 2), (64, 1, 4), (2, 2, 1), (8, 4, 2), (2, 4, 1)]
)
def test_batches_are_evaluated_side_by_side_where_runs_leave_cores_idle(monkeypatch, cores, devices, expected):
    monkeypatch.setattr(process, "cores", lambda: cores)
    small = SimpleNamespace(input_shape=(8, 8, 1), num_classes=10, texts=None)
    arguments = {"eval_batch_size": 512}, small, SimpleNamespace(size=devices) if devices > 1 else None, devices
    assert program.evaluated_at_once(*arguments) == expected
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert program.evaluated_at_once(*arguments) == 1


@pytest.mark.parametrize(
    "shape, classes, size, expected",
    [
        ((32, 32, 3), 10, 512, 4),
        ((224, 224, 3), 1000, 32, 4),
        ((224, 224, 3), 1000, 64, 2),
        ((224, 224, 3), 1000, 512, 1),
        ((128, 128), 6000, 64, 2),
        ((1024,), 50257, 4, 1),
        ((64,), 65, 256, 4),
    ],
)
def test_batches_side_by_side_take_a_bounded_memory(monkeypatch, shape, classes, size, expected):
    monkeypatch.setattr(process, "cores", lambda: 64)
    dataset = SimpleNamespace(input_shape=shape, num_classes=classes, texts=None if len(shape) == 3 else ())
    assert program.evaluated_at_once({"eval_batch_size": size}, dataset, None, 1) == expected
    assert program.evaluated_at_once({"eval_batch_size": size}, dataset, None, 64) == 1
