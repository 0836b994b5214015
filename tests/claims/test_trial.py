"""Studies are configs that the trainer takes, and claims share their trainings."""

import pytest

from warmup_jax.claims import claim, trial
from warmup_jax.claims.catalog import CLAIMS
from warmup_jax.claims.claim import Criterion, Study
from warmup_jax.report import run_record
from warmup_jax.training import schema, sweep
from warmup_jax.workdir.json_files import read_json

STUDIES = [(id, scale, name) for id, each in CLAIMS.items() for scale, of in each.studies.items() for name in of]
TOY = Study("configs/phase_diagram.py", {"sweep.peak_lr": "(0.1,)", "sweep.warmup_steps": "(0,)"})


@pytest.mark.parametrize("id, scale, name", STUDIES)
def test_a_study_is_a_config_that_the_trainer_takes(id, scale, name):
    study = CLAIMS[id].studies[scale][name]
    for smoke, seeds in ((False, range(10, 15)), (True, range(10, 12))):
        found = trial.config(study, smoke).to_dict()
        schema.validate(found)
        assert {run["seed"] for run in sweep.expand(found)} == set(seeds)


def test_equal_configs_share_a_workdir():
    names = [trial.name(trial.config(study), study) for study in (
        TOY, TOY._replace(overrides=dict(reversed(TOY.overrides.items()))), TOY._replace(seeds=4)
    )]  # fmt: skip
    assert names[0] == names[1] != names[2] and names[0].startswith("phase_diagram-")
    r_2, r_6 = (CLAIMS[id].studies["cpu"]["first_steps"] for id in ("R-2", "R-6"))
    assert r_2 == r_6


def test_a_finished_training_is_judged_without_another(tmp_path, write_study, monkeypatch, git):
    from warmup_jax.training import experiment

    monkeypatch.setattr(experiment, "run", lambda *args: pytest.fail("it was trained again"))
    of = CLAIMS["K-1"]._replace(
        studies={"cpu": {"fcn": TOY}},
        measure=lambda records: {"x": [run["final"]["train/loss"] for run in records["fcn"].runs]},
        criteria=(Criterion("", "T", "x", parameters={"delta": 0.0}),),
    )
    workdir = tmp_path / "runs"
    folder = workdir / trial.name(trial.config(TOY), TOY)
    write_study(folder, TOY, lambda changes: {1: {"train/loss": 1.0 + changes["seed"]}}, git("rev-parse", "HEAD"))
    entry = trial.run(of, "cpu", workdir, tmp_path)
    assert entry["verdict"] == "holds" and entry["numbers"] == {"x": [11.0, 12.0, 13.0, 14.0, 15.0]}
    assert entry["exploratory"], "it was not frozen"
    study = entry["studies"]["fcn"]
    assert study["cells"]["peak_lr=0.1, warmup_steps=0"]["train_loss"] == entry["numbers"]["x"]
    assert study["command"].startswith("python train.py --config=configs/phase_diagram.py --config.sweep.peak_lr=")
    assert claim.seeds(of, "cpu") == entry["seeds"] == [10, 11, 12, 13, 14]


def test_a_resumed_training_keeps_the_commit_at_which_it_began(tmp_path, write_study, monkeypatch):
    from warmup_jax.training import experiment

    began = []

    def train(config, folder):
        began.append(read_json(folder / trial.BEGAN))
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(experiment, "run", train)
    monkeypatch.setattr(run_record, "read", lambda folder: folder)
    of = CLAIMS["K-1"]._replace(studies={"cpu": {"fcn": TOY}})
    for commit in ("first", "second"):
        trial.records(of, "cpu", tmp_path, commit, smoke=False)
    assert began == [{"commit": "first"}] * 2


def test_another_config_in_the_workdir_is_no_finished_training(tmp_path, write_study):
    write_study(tmp_path / "a", TOY, lambda changes: {1: {"train/loss": 1.0}})
    assert trial._is_finished(tmp_path / "a", trial.config(TOY))
    assert not trial._is_finished(tmp_path / "a", trial.config(TOY._replace(seeds=4)))
    assert not trial._is_finished(tmp_path / "b", trial.config(TOY))
