"""The file of results: which workdirs it takes, what it keeps of them, and that it notices a change by hand."""

import json

import numpy as np
import pytest

from warmup_jax.report import documented, results, run_record
from warmup_jax.report.documented import Experiment

ENVIRONMENT = {
    "git_commit": "0123abc",
    "git_dirty": False,
    "date": "2030-01-31",
    "cpu": "AMD EPYC",
    "cores": 2,
    "devices": ["cpu:0 cpu", "cpu:1 cpu"],
    "python": "3.11.7",
    "packages": {"jax": "0.10.2", "grain": "1"},
}
TOY = Experiment("configs/toy.py", {"sweep.seeds": "3"}, ("eval/accuracy", "train/loss@10"))
CONFIG = {"seed": 7, "sweep": {"warmup_steps": [0, 50], "seeds": 3}}


@pytest.fixture
def finished(write):
    """Writes a workdir of the toy experiment, for each length the states of its three seeds; returns its path."""

    def write_finished(name="run", first=("trained",) * 3, **kwargs):
        runs = [
            ({"warmup_steps": length, "seed": seed}, state)
            for length, states in ((0, first), (50, ("trained",) * 3))
            for seed, state in zip((7, 8, 9), states)
        ]
        workdir = write(runs, name, **({"config": CONFIG} | kwargs))
        (workdir / "environment.json").write_text(json.dumps(ENVIRONMENT))
        return workdir

    return write_finished


def entry(workdir, experiment=TOY):
    return results.entry(experiment, run_record.read(workdir), {"toy.png": b"picture"}, alone=False)


def test_a_workdir_is_recognised_by_its_config(finished):
    configs = {"other": CONFIG | {"seed": 8}, "toy": CONFIG | {"added_since": None}}
    name, record = results.recognise(finished(), configs)
    assert name == "toy" and len(record.runs) == 6


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"config": {"seed": 7, "peak_lr": 3.0}}, "holds none of the documented experiments: peak_lr is 3.0 there and"),
        ({"summary": None}, "is unfinished; run: python train.py --config=configs/toy.py --config.sweep.seeds=3 --wor"),
    ],
)
def test_another_or_unfinished_workdir_is_refused_in_one_line(finished, monkeypatch, kwargs, message):
    monkeypatch.setattr(documented, "EXPERIMENTS", {"toy": TOY})
    with pytest.raises(ValueError) as error:
        results.recognise(finished(**kwargs), {"toy": CONFIG})
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_entry_says_what_was_run_where_and_with_which_result(finished):
    found = entry(finished())
    assert found["command"] == "python train.py --config=configs/toy.py --config.sweep.seeds=3"
    assert (found["commit"], found["date"], found["cpu"], found["cores"]) == ("0123abc", "2030-01-31", "AMD EPYC", 2)
    assert found["versions"] == {"python": "3.11.7", "jax": "0.10.2"}
    assert (found["seconds"], found["alone"], found["runs"], found["seeds"]) == (61.0, False, 6, [7, 8, 9])
    assert [group["knobs"] for group in found["groups"]] == [{"warmup_steps": 0}, {"warmup_steps": 50}]
    accuracy = found["groups"][0]["metrics"]["eval/accuracy"]
    assert accuracy == {"mean": 0.9, "sd": 0.0, "median": 0.9, "values": [0.9] * 3}
    assert found["groups"][1]["metrics"]["train/loss@10"]["mean"] == 1.0
    assert found["phase"] is None


def test_mean_and_sample_deviation(finished):
    workdir = finished()
    summary = json.loads((workdir / "summary.json").read_text())
    values = (0.5, 0.25, 0.125)
    for run, value in zip(summary["runs"], values):
        run["final"]["eval/accuracy"] = value
    (workdir / "summary.json").write_text(json.dumps(summary))
    accuracy = entry(workdir)["groups"][0]["metrics"]["eval/accuracy"]
    assert accuracy["mean"] == pytest.approx(np.mean(values), rel=1e-5)
    assert accuracy["sd"] == pytest.approx(np.std(values, ddof=1), rel=1e-5)
    assert (accuracy["median"], accuracy["values"]) == (0.25, list(values))


@pytest.mark.parametrize("lost, median", [(1, 0.9), (2, "-inf"), (3, "-inf")])
def test_diverged_seeds_have_a_median_and_no_mean(finished, lost, median):
    group = entry(finished(first=("diverged",) * lost + ("trained",) * (3 - lost)))["groups"][0]
    accuracy = group["metrics"]["eval/accuracy"]
    assert group["diverged"] == [7, 8, 9][:lost]
    assert (accuracy["mean"], accuracy["sd"], accuracy["median"]) == (None, None, median)
    assert json.loads(json.dumps(group)) == group  # strings for what JSON has no numbers for


def test_a_value_that_is_not_finite_counts_as_diverged(finished):
    workdir = finished()
    summary = json.loads((workdir / "summary.json").read_text())
    summary["runs"][1]["final"]["eval/accuracy"] = "nan"
    (workdir / "summary.json").write_text(json.dumps(summary))
    accuracy = entry(workdir)["groups"][0]["metrics"]["eval/accuracy"]
    assert (accuracy["mean"], accuracy["median"], accuracy["values"]) == (None, 0.9, [0.9, "nan", 0.9])


def test_a_loss_that_diverged_is_the_highest(finished):
    workdir = finished(first=("diverged", "diverged", "trained"))
    group = entry(workdir, TOY._replace(metrics=("train/loss",)))["groups"][0]
    assert group["metrics"]["train/loss"]["median"] == "inf"


def test_what_is_quoted_and_not_logged_is_an_error(finished):
    with pytest.raises(ValueError, match="run has no eval/bleu"):
        entry(finished(), TOY._replace(metrics=("eval/bleu",)))


@pytest.mark.parametrize(
    "changes, lacks", [({"cpu": None, "cores": None}, "cores, cpu"), ({"packages": ["jax"]}, "packages")]
)
def test_an_environment_of_an_older_version_or_a_damaged_one_is_an_error(finished, changes, lacks):
    workdir = finished()
    (workdir / "environment.json").write_text(json.dumps(ENVIRONMENT | changes))
    with pytest.raises(ValueError, match=rf"environment\.json lacks {lacks}; train again"):
        entry(workdir)


def test_a_workdir_without_a_git_checkout_has_no_commit(finished):
    workdir = finished()
    (workdir / "environment.json").write_text(json.dumps(ENVIRONMENT | {"git_commit": None, "git_dirty": None}))
    assert (entry(workdir)["commit"], entry(workdir)["uncommitted_changes"]) == (None, None)


def test_the_largest_rates_of_a_phase_diagram(write_sweep):
    def sharp(run, changes):
        return {1: {"diag/sharpness": 300.0 + run}, 20: {"diag/sharpness": 8.0}}

    workdir = write_sweep(
        (0.25, 0.5, 1.0),
        {(0, 0): "tdd", (0, 1): "ttd", (20, 0): "dtt", (20, 1): "ttt"},
        more=sharp,
        uninformed_loss=1.0,
    )
    (workdir / "environment.json").write_text(json.dumps(ENVIRONMENT))
    phase = entry(workdir, TOY._replace(metrics=()))["phase"]
    assert phase["rates"] == [0.25, 0.5, 1.0]
    assert phase["largest"] == [
        {"knobs": {}, "warmup_steps": 0, "median": 0.25, "by_seed": [0.25, 0.5]},
        {"knobs": {}, "warmup_steps": 20, "median": None, "by_seed": [None, 1.0]},
    ]
    assert phase["states"] == {"trained": 8, "stuck": 0, "diverged": 4}
    assert phase["initial_sharpness"] == [300.0, 311.0]
    assert phase["edge"] == [1.2, 4.0]  # quantiles of rate x 8 / 2 of those that trained with warmup: 1, 2, 2, 4, 4


def test_the_file_of_results_is_read_as_it_was_written(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(documented, "EXPERIMENTS", {"toy": TOY})
    path = tmp_path / results.NAME
    assert results.read(path) == {}
    found = {"toy": entry(finished())}
    path.write_text(results.text(found))
    assert results.read(path) == found
    assert results.text(results.read(path)) == path.read_text()


@pytest.mark.parametrize(
    "old, new", [("61.0", "62.0"), ("2030-01-31", "2030-01-30"), ("0.9", "0.8"), ("false", "true")]
)
def test_a_change_by_hand_is_noticed(finished, tmp_path, monkeypatch, old, new):
    monkeypatch.setattr(documented, "EXPERIMENTS", {"toy": TOY})
    path = tmp_path / results.NAME
    text = results.text({"toy": entry(finished())})
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match="toy does not fit its digest: it was changed by hand"):
        results.read(path)


def test_a_config_counts_by_what_is_set():
    config = {"a": 1, "model": {"b": None}}
    assert results.config_digest(config) == results.config_digest({"model": {}, "c": None, "a": 1})
    assert results.config_digest(config) != results.config_digest({"a": 2, "model": {}})
