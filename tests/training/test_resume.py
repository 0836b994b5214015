"""A run that is made longer, and the keys that may change when one goes on."""

from functools import partial

import numpy as np
import pytest
from test_rearrange import files, stop_after

from configs import phase_diagram, resnet_warmup
from warmup_jax.training import build, experiment, schema, stored
from warmup_jax.workdir import json_files, lock

pytestmark = pytest.mark.usefixtures("no_pictures")
WSD = {"schedule": "wsd", "schedule_args": {"decay_fraction": 0.25, "shape": "sqrt"}}
INVERSE_SQRT = {"schedule": "inverse_sqrt", "schedule_args": {"timescale": 4.0}}
CONSTANT = {"schedule": "constant", "schedule_args": {}}


def config(**changes):
    """A config of two tiny runs."""
    found = resnet_warmup.get_config("smoke").to_dict()
    found["model"] = phase_diagram.get_config("smoke").to_dict()["model"]
    found["sweep"] = {"warmup_steps": (0, 4)}
    return found | dict(peak_lr=0.2, batch_size=32, num_steps=17, eval_every=5, checkpoint_every=5) | changes


def metrics(workdir):
    return (workdir / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    "schedule, goes_on_from",
    [
        pytest.param(CONSTANT, 17, id="constant", marks=pytest.mark.slow),
        pytest.param(WSD | {"sweep": {"warmup_steps": (4,)}}, 10, id="wsd"),
        pytest.param(WSD, 10, id="wsd-sweep", marks=pytest.mark.slow),
        pytest.param(INVERSE_SQRT, 17, id="inverse_sqrt", marks=pytest.mark.slow),
        pytest.param(WSD | {"runs_at_once": 2}, 10, id="wsd-grouped", marks=pytest.mark.slow),
        pytest.param(WSD | {"runs_at_once": 2, "chunk_steps": 1}, 13, id="wsd-grouped-one", marks=pytest.mark.slow),
    ],
)
def test_an_extended_run_is_one_that_was_long_from_the_start(tmp_path, capsys, schedule, goes_on_from):
    """To the byte, and the shorter run stays as it was, a workdir of its own."""
    workdir = tmp_path / "run"
    experiment.run(config(**schedule), workdir)
    shorter = metrics(workdir)
    experiment.run(config(**schedule, num_steps=31), workdir)
    said = capsys.readouterr().out
    assert f"num_steps is 17 there and 31 here: goes on from update {goes_on_from}" in said
    experiment.run(config(**schedule, num_steps=31), tmp_path / "long")
    assert metrics(workdir) == metrics(tmp_path / "long")
    assert metrics(workdir / "shorter_17") == shorter
    assert json_files.read_json(workdir / "config.json")["num_steps"] == 31
    assert not (workdir / stored.STARTS).exists()
    experiment.run(config(**schedule), workdir / "shorter_17")  # finished, with its checkpoints
    assert metrics(workdir / "shorter_17") == shorter


@pytest.mark.slow
def test_a_stopped_run_is_extended_and_again(tmp_path, monkeypatch):
    """With several groups, of which the last has not begun, and stopped again in between."""
    workdir = tmp_path / "run"
    stop_after(monkeypatch, 2, config(**CONSTANT), workdir)
    stop_after(monkeypatch, 2, config(**CONSTANT, num_steps=22), workdir)
    experiment.run(config(**CONSTANT, num_steps=31), workdir)
    experiment.run(config(**CONSTANT, num_steps=31), tmp_path / "long")
    assert metrics(workdir) == metrics(tmp_path / "long")
    assert not list(workdir.glob("shorter_*")), "nothing was cut off"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        from warmup_jax import report

        for name in ("curves", "diagnostics"):
            patch.setattr(report, name, lambda workdir: None)
        experiment.run(config(), workdir)
    return workdir


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            {"num_steps": 31},
            r"num_steps is 17 there and 31 here.* of run 0 differ from update 2 on.*\(15, 17\).*init_from=",
        ),
        ({"num_steps": 9}, "another config: num_steps is 17 there and 9 here; choose another"),
        ({"num_steps": None, "num_epochs": 0.2}, "another config: num_epochs is None there and 0.2 here, num_steps"),
        ({"num_steps": 31, "peak_lr": 0.3}, "another config: peak_lr is 0.2 there and 0.3 here; choose"),
    ],
)
def test_what_is_refused_is_one_line_and_changes_nothing(finished, changes, said):
    before = files(finished)
    with pytest.raises(experiment.UserError, match=said) as caught:
        experiment.run(config(**changes), finished)
    assert "\n" not in str(caught.value) and files(finished) == before


@pytest.mark.slow
def test_free_keys_may_change_and_the_config_is_that_of_the_last_session(finished, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    changed = config(checkpoint_every=3, runs_at_once=1)
    changed["dataset"] = changed["dataset"] | {"residency": "stream", "data_dir": str(tmp_path)}
    stop_after(monkeypatch, 1, config(), workdir)
    experiment.run(changed, workdir)
    assert metrics(workdir) == metrics(finished)
    assert json_files.read_json(workdir / "config.json") == lock.as_json(changed)


@pytest.mark.parametrize("key", ["checkpoint_every", "dataset.workers", "dataset.residency", "dataset.data_dir"])
@pytest.mark.slow
def test_a_free_key_changes_no_number(tmp_path, key):
    """`runs_at_once` changes the groups, see test_rearrange.py."""
    bound = config(sweep={"warmup_steps": (4,)}, eval_every=20, checkpoint_every=20)
    values = {"checkpoint_every": 1, "workers": 1, "residency": "stream", "data_dir": str(tmp_path)}
    name = key.rpartition(".")[2]
    free = bound | {"dataset": dict(bound["dataset"])}
    holder = free["dataset"] if "." in key else free
    holder[name] = values[name]
    if name == "workers":
        holder["residency"] = "stream"
    experiment.run(bound, tmp_path / "bound")
    experiment.run(free, tmp_path / "free")
    assert metrics(tmp_path / "free") == metrics(tmp_path / "bound")


def test_free_keys_and_lengths_are_keys_of_a_config():
    for key in (*schema.FREE, *schema.LENGTHS):
        holder = config()
        for name in key.split("."):
            holder = holder[name]


def test_a_workdir_older_than_a_key_that_is_not_set_goes_on(tmp_path):
    with lock.open_workdir(tmp_path, {"seed": 1}):
        lock.record(tmp_path, {"seed": 1})
    with lock.open_workdir(tmp_path, {"seed": 1, "init_from": None}) as known:
        assert known == {"seed": 1}


def knobs(found, num_steps):
    return build.knobs(found, num_steps=num_steps, train_size=1437)


@pytest.mark.parametrize(
    "changes, parting",
    [
        (CONSTANT, None),
        (INVERSE_SQRT, None),
        (WSD, 76),
        (WSD | {"warmup_steps": 80}, None),  # the decay begins when the warmup ends: there is no stable phase
        (WSD | {"warmup_steps": None, "warmup_fraction": 0.1}, None),  # a longer run has another warmup
        (WSD | {"warmup": "none", "warmup_steps": None}, 76),
        ({"schedule": "cosine"}, None),
        ({"schedule": "linear", "schedule_args": {}}, None),
        ({"schedule": "multistep", "schedule_args": {"boundaries": (30, 60), "factor": 0.1}}, None),
        (CONSTANT | {"recipe": "trapezoid", "recipe_args": {"decay_steps": 20}}, 81),
    ],
)
def test_where_a_final_decay_begins(changes, parting):
    found = config(sweep={}, warmup_steps=10) | changes
    assert build.parting(partial(build.rates, found), found, knobs(found, 100), 1437) == parting


@pytest.mark.parametrize("changes, shared", [(CONSTANT, 50), (WSD, 38), ({"schedule": "cosine"}, 11)])
def test_how_many_updates_a_longer_run_shares(changes, shared):
    found = config(sweep={}, warmup_steps=10) | changes
    assert build.shared_updates(partial(build.rates, found), knobs(found, 50), knobs(found, 100)) == shared
    rates = [
        np.array([build.learning_rate(found, knobs(found, length))(step) for step in range(50)]) for length in (50, 100)
    ]
    assert np.array_equal(rates[0][:shared], rates[1][:shared])
    assert shared == 50 or rates[0][shared] != rates[1][shared]


def test_the_rates_of_a_long_run_are_compared_in_parts(monkeypatch):
    found = config(sweep={}, warmup_steps=10) | WSD
    expected = build.parting(partial(build.rates, found), found, knobs(found, 100), 1437)
    for block in (1, 7, 76, 77):
        monkeypatch.setattr(build, "BLOCK", block)
        sizes = []
        rates = lambda each, steps: sizes.append(len(steps)) or build.rates(found, each, steps)
        assert build.parting(rates, found, knobs(found, 100), 1437) == expected and max(sizes) <= block


def test_a_warmup_whose_end_moves_is_no_shared_update():
    found = config(sweep={}, warmup_steps=None, warmup_fraction=0.2, warmup="constant") | CONSTANT
    found["warmup_args"] = {"value": 1.0}  # the rates are the same, but probes are taken at the end of the warmup
    assert build.shared_updates(partial(build.rates, found), knobs(found, 50), knobs(found, 100)) == 9
