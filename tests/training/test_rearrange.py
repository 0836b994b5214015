"""A sweep that goes on with other groups: on another number of devices, or with another number of runs at once."""

import contextlib
import shutil
from pathlib import Path

import pytest

from configs import phase_diagram
from warmup_jax.training import experiment, loop, rearrange, resume, stored
from warmup_jax.workdir import json_files, lock, swap

pytestmark = pytest.mark.usefixtures("no_pictures")

STOPS = """
import os, runpy, sys
from warmup_jax.training import loop
evaluate, left = loop.evaluate, [int(os.environ["EVALUATIONS"])]
def evaluated(host, *args):
    left[0] -= 1
    if not left[0]:
        host.shutdown.requested = "SIGTERM"
    evaluate(host, *args)
loop.evaluate = evaluated
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""
FLAGS = [
    "--config=configs/phase_diagram.py:smoke",
    "--config.sweep.peak_lr=(0.001,1e30,0.002)",
    "--config.sweep.seeds=1",
    "--config.num_steps=6",
    "--config.eval_every=2",
    "--config.checkpoint_every=2",
    "--config.log_every=1",
]


def sweep(**changes):
    """A config of four runs of which one diverges, that train one after another."""
    config = phase_diagram.get_config("smoke").to_dict()
    config |= dict(num_steps=4, eval_every=2, checkpoint_every=2, log_every=1, warmup_steps=0)
    config["sweep"] = {"peak_lr": (0.001, 0.002, 1e30, 0.003)}
    return config | changes


def by_run(workdir):
    return sorted(
        json_files.read_lines(workdir / "metrics.jsonl"), key=lambda line: (line["run"], line["step"], sorted(line))
    )


def assert_same(workdir, other):
    """The same lines, and the same numbers but for rounding."""
    mine, others = by_run(workdir), by_run(other)
    assert [(line["run"], line["step"], sorted(line)) for line in mine] == [
        (line["run"], line["step"], sorted(line)) for line in others
    ]
    for one, two in zip(mine, others):
        for name, value in one.items():
            assert two[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), (one["run"], one["step"], name)


def stop_after(monkeypatch, evaluations, config, workdir):
    """Runs a config until so many evaluations are done."""
    evaluate, done = loop.evaluate, []

    def evaluated(host, *args):
        done.append(1)
        if len(done) == evaluations:
            host.shutdown.requested = "SIGTERM"
        evaluate(host, *args)

    monkeypatch.setattr(loop, "evaluate", evaluated)
    with pytest.raises(experiment.Interrupted):
        experiment.run(config, workdir)
    monkeypatch.setattr(loop, "evaluate", evaluate)


def files(workdir):
    return {path: path.read_bytes() for path in sorted(workdir.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The sweep without an interruption, one run after another."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        from warmup_jax import report

        for name in ("curves", "diagnostics"):
            patch.setattr(report, name, lambda workdir: None)
        experiment.run(sweep(), workdir)
    return workdir


@pytest.mark.slow
def test_a_sweep_goes_on_in_other_groups_twice(whole, tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "run"
    stop_after(monkeypatch, 3, sweep(), workdir)  # run 0 has ended, run 1 is at update 2, two have not begun
    stop_after(monkeypatch, 1, sweep(runs_at_once=2), workdir)
    assert "runs grouped anew: goes on from update 2, 4" in capsys.readouterr().out
    assert {group.folder.name for group in stored.groups(workdir, stored.STARTS)} == {"runs_0-0", "runs_1-1"}
    assert json_files.read_json(workdir / "config.json")["runs_at_once"] == 2
    stop_after(monkeypatch, 1, sweep(runs_at_once=2), workdir)  # as before, now among the others
    experiment.run(sweep(runs_at_once=3), workdir)
    assert_same(workdir, whole)
    assert not (workdir / stored.STARTS).exists()
    ends = [
        [run["diverged_at"] for run in json_files.read_json(each / "summary.json")["runs"]] for each in (workdir, whole)
    ]
    assert ends[0] == ends[1] and ends[0].count(None) == 3


@pytest.mark.slow
def test_regrouped_to_where_it_was_the_log_is_the_same_to_the_byte(whole, tmp_path, monkeypatch):
    """Its lines are put in the order of an uninterrupted run, and single runs compute to the last bit as before."""
    workdir = tmp_path / "run"
    stop_after(monkeypatch, 3, sweep(), workdir)
    job = experiment.set_up(sweep())
    with lock.open_workdir(workdir, sweep()):
        rearrange.rearrange(job, workdir, None)
    assert not stored.groups(workdir) and len(stored.groups(workdir, stored.STARTS)) == 2
    experiment.run(sweep(), workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    "at", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("begin", "copied", "decided")), "moved"]
)
def test_a_kill_while_the_workdir_is_rearranged_loses_nothing(whole, tmp_path, monkeypatch, at):
    workdir = tmp_path / "run"
    stop_after(monkeypatch, 3, sweep(), workdir)

    class Killed(BaseException):
        pass

    def kill(*args, **kwargs):
        raise Killed

    rename = Path.rename

    def kill_after_the_first_move(path, target):
        rename(path, target)
        if path.name == "checkpoints":
            raise Killed

    with monkeypatch.context() as patch:
        if at == "begin":
            patch.setattr(rearrange, "_write_start", kill)
        if at == "copied":
            patch.setattr(swap, "write_json", kill)
        if at == "decided":
            patch.setattr(swap, "finish", kill)
            patch.setattr(lock, "open_workdir", lambda *args: contextlib.nullcontext(lock.as_json(sweep())))
        if at == "moved":
            patch.setattr(Path, "rename", kill_after_the_first_move)
        with pytest.raises(Killed):
            experiment.run(sweep(runs_at_once=2), workdir)
    experiment.run(sweep(runs_at_once=2), workdir)
    assert_same(workdir, whole)
    assert not (workdir / swap.BEGUN).exists() and not (workdir / swap.DECIDED).exists()


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_costs_steps_but_no_result_in_other_groups_too(whole, tmp_path):
    workdir = shutil.copytree(whole, tmp_path / "run")
    for run in (1, 3):  # not the last group alone: the lines after a state that is passed over are not kept twice
        for path in (workdir / "checkpoints" / f"runs_{run}-{run}" / "4" / "state").rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    experiment.run(sweep(runs_at_once=2), workdir)
    assert_same(workdir, whole)


def test_nothing_intact_is_refused_and_nothing_changes(whole, tmp_path):
    workdir = shutil.copytree(whole, tmp_path / "run")
    for path in (workdir / "checkpoints" / "runs_1-1").rglob("*"):
        if path.is_file() and "state" in path.parts:
            path.write_bytes(b"")
    before = files(workdir)
    with pytest.raises(experiment.UserError, match="every checkpoint in .*runs_1-1 is damaged"):
        experiment.run(sweep(runs_at_once=2), workdir)
    assert files(workdir) == before


@pytest.mark.slow
def test_a_damaged_start_is_one_line(tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    stop_after(monkeypatch, 3, sweep(), workdir)
    begin = resume.begin

    def damaged(host, group, *args):
        for path in (workdir / stored.STARTS).rglob("*"):
            if path.is_file() and "state" in path.parts:
                path.write_bytes(b"")
        return begin(host, group, *args)

    monkeypatch.setattr(resume, "begin", damaged)
    with pytest.raises(experiment.UserError, match="every checkpoint in .*starts/runs_0-0 is damaged"):
        experiment.run(sweep(runs_at_once=2), workdir)


@pytest.mark.slow
def test_on_one_then_two_then_three_devices(forked, tmp_path):
    """Stopped in the middle of the sweep each time."""

    def train(workdir, count, evaluations):
        done = forked(
            "-c",
            STOPS,
            *FLAGS,
            f"--workdir={workdir}",
            JAX_PLATFORMS="cpu",
            XLA_FLAGS=f"--xla_force_host_platform_device_count={count}",
            EVALUATIONS=str(evaluations),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    train(tmp_path / "whole", 1, 1000)
    assert "stopped by SIGTERM after step 2 of run 1" in train(tmp_path / "run", 1, 4)
    assert "stopped by SIGTERM after step 2 of run 2" in train(tmp_path / "run", 2, 3)
    assert "stopped by" not in train(tmp_path / "run", 3, 1000)
    assert_same(tmp_path / "run", tmp_path / "whole")
