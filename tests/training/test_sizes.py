"""The number of evaluation batches that a job computes at the same time."""

from types import SimpleNamespace

import jax
import pytest

from warmup_jax.runtime import defaults, process
from warmup_jax.training import sizes

CONFIG = {"eval_batch_size": 512, "model": {"name": "resnet"}}


def dataset(*shape, classes=10):
    """Images of this shape, or texts of this many positions."""
    return SimpleNamespace(input_shape=shape, num_classes=classes, texts=None if len(shape) == 3 else ())


@pytest.mark.parametrize(
    "cores, devices, expected", [(1, 1, 1), (2, 1, 2), (64, 1, 4), (2, 2, 1), (8, 4, 2), (2, 4, 1)]
)
def test_batches_are_evaluated_side_by_side_where_runs_leave_cores_idle(monkeypatch, cores, devices, expected):
    monkeypatch.setattr(process, "cores", lambda: cores)
    mesh = SimpleNamespace(size=devices) if devices > 1 else None
    assert sizes.eval_batches_at_once(CONFIG, dataset(8, 8, 1), mesh, devices) == expected
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert sizes.eval_batches_at_once(CONFIG, dataset(8, 8, 1), mesh, devices) == 1


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize(
    "data, elements", [(dataset(32, 32, 3), 16 * 32 * 32), (dataset(128, 128, classes=6000), 128 * 6000)]
)
def test_batches_side_by_side_take_a_bounded_memory(monkeypatch, data, elements, lanes):
    """Takes as many batches as fit into the bound, and one if not even that fits."""
    monkeypatch.setattr(process, "cores", lambda: 64)
    row = defaults.TABLE["cpu convolutional"]
    for size in (1, 64, 512):
        needed = size * elements * lanes
        for bound, expected in ((needed - 1, 1), (needed, 1), (3 * needed, 3), (100 * needed, row.max_eval_batches)):
            monkeypatch.setitem(defaults.TABLE, "cpu convolutional", row._replace(max_eval_elements=bound))
            assert sizes.eval_batches_at_once(CONFIG | {"eval_batch_size": size}, data, None, lanes) == expected
