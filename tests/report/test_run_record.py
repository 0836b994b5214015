"""The record of a finished and of an unfinished run."""

import json

import pytest

from warmup_jax.report import run_record


@pytest.mark.parametrize("state", ["trained", "diverged"])
def test_an_unfinished_run_says_what_its_log_holds(write, state):
    finished = write(
        [({"peak_lr": 0.25}, state)],
        "finished",
        more=lambda *_: {20: {"train/diverged_at": 11}} if state == "diverged" else {},
    )
    unfinished = write(
        [({"peak_lr": 0.25}, state)],
        "unfinished",
        summary=None,
        more=lambda *_: {20: {"train/diverged_at": 11}} if state == "diverged" else {},
    )
    (told,), (read,) = run_record.read(finished).runs, run_record.read(unfinished).runs
    assert read["label"] == "" and read["changes"] == {} and run_record.read(unfinished).summary is None
    for key in ("run", "steps", "highest_rate", "best", "diverged_at"):
        assert read[key] == told[key]
    assert {key: str(value) for key, value in read["final"].items()} == {
        key: str(value) for key, value in told["final"].items() if key != "train/diverged_at"
    }


def test_an_unfinished_run_is_called_as_its_sweep_calls_it(write):
    workdir = write([({"peak_lr": 0.25}, "trained"), ({"peak_lr": 0.5}, "stuck")], summary=None)
    named = [
        {"run": run, "label": f"peak_lr={rate}", "changes": {"peak_lr": rate}} for run, rate in ((0, 0.25), (1, 0.5))
    ]
    (workdir / "runs.json").write_text(json.dumps({"runs": named}))
    assert [(run["label"], run["changes"]) for run in run_record.read(workdir).runs] == [
        ("peak_lr=0.25", {"peak_lr": 0.25}),
        ("peak_lr=0.5", {"peak_lr": 0.5}),
    ]
    (workdir / "runs.json").write_text(json.dumps({"runs": [{"run": 0, "label": 3, "changes": {}}]}))
    with pytest.raises(ValueError, match="runs.json is damaged: label=3; allowed: text"):
        run_record.read(workdir)
    damages = []
    assert [run["label"] for run in run_record.read(workdir, damages).runs] == ["", ""] and len(damages) == 1


def test_a_ratio_to_the_rate_of_the_last_update_has_no_value_before_the_first(write):
    ratios = {"diag/stability_ratio": 0.0, "diag/sharpness": 4.0}
    workdir = write([({}, "trained")], more=lambda *_: {0: ratios, 10: ratios})
    steps = {key: steps.tolist() for key, (steps, _) in run_record.read(workdir).series[0].items() if key in ratios}
    assert steps == {"diag/stability_ratio": [10], "diag/sharpness": [0, 10]}
