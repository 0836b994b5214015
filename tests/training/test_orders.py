"""The order of the data: of each seed, or one that all seeds of a sweep share."""

import numpy as np
import pytest

from configs import phase_diagram
from warmup_jax.training import experiment, orders, program, schema
from warmup_jax.workdir import json_files
from warmup_jax.workdir.checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("no_pictures")


def config(**changes):
    """Two seeds of a tiny network, whose batches hold a part of the data, cropped and flipped."""
    base = phase_diagram.get_config("smoke").to_dict()
    base["dataset"] |= dict(augment="crop_flip")
    base |= dict(batch_size=32, num_steps=4, chunk_steps=2, eval_every=4, checkpoint_every=4, diagnostics={})
    base |= dict(warmup_steps=2, peak_lr=0.1)
    return base | {"sweep": {"seeds": 2}} | changes


def lines(config, workdir, run):
    experiment.run(config, workdir)
    found = [line for line in json_files.read_lines(workdir / "metrics.jsonl") if line["run"] == run]
    return [{key: value for key, value in line.items() if key != "run"} for line in found]


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_seed_of_a_sweep_is_the_run_of_that_seed_alone(tmp_path, at_once):
    swept = config(runs_at_once=at_once)
    for run in (0, 1):
        alone = lines(config(seed=run, sweep={}), tmp_path / f"alone_{run}", 0)
        together = lines(swept, tmp_path / f"together_{run}", run)
        for one, other in zip(alone, together, strict=True):
            assert one == pytest.approx(other, rel=1e-5)


def test_seeds_share_an_order_if_the_sweep_says_so(tmp_path):
    shared = config(sweep={"seeds": 2, "share_order": True})
    assert program.set_up(shared).groups[0].orders == (0,)
    first = lines(config(seed=1, sweep={}), tmp_path / "alone", 0)[0]
    assert lines(shared, tmp_path / "shared", 1)[0]["train/loss"] != pytest.approx(first["train/loss"], rel=1e-3)


def test_batches_of_lanes_and_steps_are_stacked():
    job = program.set_up(config())
    found = list(orders.batches(job.dataset, (5, 7, 5), 0, batch_size=4, start=1, stop=4))
    alone = list(orders.batches(job.dataset, (7,), None, batch_size=4, start=1, stop=4))
    assert [batch["index"].shape for batch in found] == [(3, 4)] * 3
    np.testing.assert_array_equal(found[2]["index"][1], alone[2]["index"])
    np.testing.assert_array_equal(found[0]["index"][0], found[0]["index"][2])
    assert orders.stack_steps(found, 0)["index"].shape == (3, 3, 4)
    assert orders.stack_steps(alone, None)["index"].shape == (3, 4)


def test_a_diagnostic_of_the_training_batch_sees_that_of_its_run(tmp_path):
    timing = dict(every=1, until=2, batch="training", examples=None)
    of_seed = {"early_overfitting": timing}
    together = lines(config(diagnostics=of_seed), tmp_path / "together", 1)
    alone = lines(config(diagnostics=of_seed, seed=1, sweep={}), tmp_path / "alone", 0)
    found = [[line["diag/decrease_used"] for line in of if "diag/decrease_used" in line] for of in (together, alone)]
    assert len(found[0]) == 2 and found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize(
    "sweep, named",
    [
        ({"seeds": 2, "share_order": 1}, "sweep.share_order=1; allowed: True, False or None"),
        ({"share_order": True}, "sweep.share_order=True has no effect with one seed"),
    ],
)
def test_a_bad_order_is_refused(sweep, named):
    with pytest.raises(ValueError, match=named):
        schema.validate(config(sweep=sweep))


def test_seeds_that_an_older_version_trained_in_one_order_do_not_go_on(tmp_path, monkeypatch):
    swept, save = config(), Checkpoints.save
    older = lambda self, step, arrays, meta: save(self, step, arrays, {**meta, "own_orders": False})
    monkeypatch.setattr(Checkpoints, "save", older)
    experiment.run(swept, tmp_path / "run")
    log = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(experiment.UserError, match="older version, whose seeds share the order"):
        experiment.run(swept, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == log
