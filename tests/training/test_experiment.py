"""The loop as a whole: what a run leaves behind, and that no interruption changes it."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from commands import ROOT

from configs import phase_diagram, resnet_warmup
from warmup_jax import models
from warmup_jax.data import batches
from warmup_jax.runtime import defaults, process
from warmup_jax.training import chunks, experiment, loop, program
from warmup_jax.workdir import json_files, lock
from warmup_jax.workdir.checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("no_pictures")
SMOKE = "--config=configs/resnet_warmup.py:smoke"


def metrics(workdir):
    return (workdir / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A config of two tiny runs, the workdir in which they have finished, and their summary."""
    config = resnet_warmup.get_config("smoke").to_dict()
    config["model"] = phase_diagram.get_config("smoke").to_dict()["model"]  # compiles in a tenth of a ResNet's time
    config |= dict(peak_lr=0.2, batch_size=32, num_steps=6, chunk_steps=1, eval_every=3, checkpoint_every=3)
    workdir = tmp_path_factory.mktemp("finished") / "run"
    return config, workdir, experiment.run(config, workdir)


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the workdir of the finished runs."""
    return shutil.copytree(finished[1], tmp_path / "copied")


def test_what_a_run_leaves_in_its_workdir(finished):
    config, workdir, summary = finished
    assert {path.name for path in workdir.iterdir()} >= {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "runs.json",
        "timing.jsonl",
        "summary.json",
        "curves.png",
        "checkpoints",
        "tensorboard",
    }
    assert json_files.read_json(workdir / "config.json")["sweep"]["warmup_steps"] == [0, 50]
    described = json_files.read_json(workdir / "runs.json")["runs"]
    assert described == [{key: run[key] for key in ("run", "label", "changes")} for run in summary["runs"]]
    lines = json_files.read_lines(workdir / "metrics.jsonl")
    for run in (0, 1):
        trained = [line for line in lines if line["run"] == run and "train/loss" in line]
        evaluated = [line for line in lines if line["run"] == run and "eval/loss" in line]
        assert [line["step"] for line in trained] == [1, 2, 3, 4, 5, 6]
        assert [line["step"] for line in evaluated] == [3, 6]
        assert trained[0].keys() == {
            "step",
            "run",
            "train/loss",
            "train/accuracy",
            "opt/learning_rate",
            "opt/grad_norm",
        }
        assert 0 < evaluated[-1]["eval/accuracy"] < 1
    assert [run["label"] for run in summary["runs"]] == ["warmup_steps=0", "warmup_steps=50"]
    assert {run["parameters"] for run in summary["runs"]} == {64 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10}
    assert summary["runs"][0]["diverged_at"] is None and summary["seconds"]["to_first_step"] > 0
    assert (workdir / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_logged_rate_is_the_schedule_at_each_update(finished):
    _, workdir, _ = finished
    rates = [
        [
            line["opt/learning_rate"]
            for line in json_files.read_lines(workdir / "metrics.jsonl")
            if line["run"] == run and "opt/learning_rate" in line
        ]
        for run in (0, 1)
    ]
    np.testing.assert_allclose(rates[0], 0.1 + 0.1 * np.cos(np.pi * np.arange(6) / 6), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(rates[1], 0.2 * (np.arange(6) + 1) / 50, rtol=1e-6)


def test_the_same_config_leaves_the_same_bytes_and_traces_one_train_step(finished, tmp_path, monkeypatch):
    config, workdir, _ = finished
    traces, original = [], program.train_chunk
    monkeypatch.setattr(program, "train_chunk", lambda *args: traces.append(1) or original(*args))
    experiment.run(config, tmp_path / "again")
    assert metrics(tmp_path / "again") == metrics(workdir)
    assert len(traces) == 1


def test_a_finished_run_is_not_trained_again(finished):
    config, workdir, summary = finished
    before = metrics(workdir)
    again = experiment.run(config, workdir)
    assert metrics(workdir) == before
    assert [run["final"] for run in again["runs"]] == [run["final"] for run in summary["runs"]]


def test_resident_and_streamed_runs_are_the_same(finished, tmp_path, monkeypatch):
    config, workdir, _ = finished
    streamed = config | {"dataset": config["dataset"] | {"residency": "stream"}}
    steps, read = [], batches._train_batch
    monkeypatch.setattr(batches, "_train_batch", lambda *args: steps.append(args[-1]) or read(*args))
    experiment.run(streamed, tmp_path / "streamed")
    assert metrics(tmp_path / "streamed") == metrics(workdir)
    assert sorted(steps) == sorted([*range(6)] * 2), "each run reads each of its batches once"


def test_results_do_not_depend_on_the_grouping(finished, tmp_path):
    config, workdir, _ = finished
    experiment.run(config | {"runs_at_once": 2, "chunk_steps": 3}, tmp_path / "grouped")
    key = lambda line: (line["run"], line["step"], sorted(line))
    alone, grouped = (
        sorted(json_files.read_lines(folder / "metrics.jsonl"), key=key) for folder in (workdir, tmp_path / "grouped")
    )
    assert [key(line) for line in alone] == [key(line) for line in grouped]
    for one, other in zip(alone, grouped):
        for name in one:
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), (one["run"], name, one["step"])


@pytest.mark.parametrize("stops", [True, False])
def test_divergence_is_recorded_and_the_others_go_on(finished, tmp_path, stops):
    config, _, _ = finished
    config = config | {"sweep": {"peak_lr": (1e30, 0.1)}, "warmup_steps": 0, "stop_when_diverged": stops}
    summary = experiment.run(config, tmp_path / "diverging")
    diverged, sound = summary["runs"]
    assert diverged["diverged_at"] == 2 and sound["diverged_at"] is None
    assert diverged["steps"] == (3 if stops else 6) and sound["steps"] == 6
    lines = [line for line in json_files.read_lines(tmp_path / "diverging" / "metrics.jsonl") if line["run"] == 0]
    assert not np.isfinite(lines[1]["train/loss"] + lines[1]["opt/grad_norm"])
    for text in metrics(tmp_path / "diverging").decode().splitlines():
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert experiment.run(config, tmp_path / "diverging")["runs"][0]["diverged_at"] == 2  # resumes as ended


def test_a_signal_during_an_evaluation_loses_nothing(finished, tmp_path, monkeypatch):
    config, workdir, _ = finished
    evaluate = loop.evaluate

    def interrupted(host, *args):
        host.shutdown.requested = "SIGTERM"
        evaluate(host, *args)

    monkeypatch.setattr(loop, "evaluate", interrupted)
    with pytest.raises(experiment.Interrupted, match="stopped by SIGTERM after step 3 of run 0; all is saved"):
        experiment.run(config | {"checkpoint_every": 6}, tmp_path / "run")
    monkeypatch.undo()
    experiment.run(config | {"checkpoint_every": 6}, tmp_path / "run")
    assert metrics(tmp_path / "run") == metrics(workdir)


def test_a_signal_in_one_group_lets_the_save_of_the_group_before_end(finished, tmp_path, monkeypatch):
    config, _, _ = finished
    train_group = experiment.train_group

    def interrupted(host, group, saved, checkpoints):
        if group.runs[0] == 1:
            raise experiment.Interrupted("at once")
        train_group(host, group, saved, checkpoints)

    closed, close = [], Checkpoints.close
    monkeypatch.setattr(experiment, "train_group", interrupted)
    monkeypatch.setattr(Checkpoints, "close", lambda self: (closed.append(self.folder.name), close(self)))
    with pytest.raises(experiment.Interrupted):
        experiment.run(config, tmp_path / "run")
    assert closed == ["runs_0-0"] and (tmp_path / "run" / "checkpoints" / "runs_0-0" / "6" / "state").is_dir()


def test_every_model_has_its_defaults_on_every_platform():
    assert defaults.KINDS.keys() == models.MODELS.keys()
    assert defaults.TABLE.keys() == {"accelerator", *(f"cpu {kind}" for kind in defaults.KINDS.values())}


@pytest.mark.parametrize("pixels, order", [(1, "tltltl"), (2**30, "ttltll")])
def test_a_large_update_is_dispatched_when_the_one_before_has_ended(finished, tmp_path, monkeypatch, pixels, order):
    """One that takes much memory. The other waits on the device while the one before is computed; the numbers agree."""
    calls = []
    for name in ("train", "log_chunk"):
        function = getattr(loop, name)
        called = lambda *args, name=name, function=function: calls.append(name[0]) or function(*args)
        monkeypatch.setattr(loop, name, called)
    monkeypatch.setitem(defaults.TABLE, "cpu dense", defaults.TABLE["cpu dense"]._replace(max_pixels_ahead=pixels))
    config, workdir, _ = finished
    experiment.run(config, tmp_path)
    assert "".join(calls).startswith(order) and metrics(tmp_path) == metrics(workdir)


def test_a_workdir_of_another_config_says_what_differs(finished):
    config, workdir, _ = finished
    with pytest.raises(experiment.UserError, match="peak_lr is 0.2 there and 0.5 here"):
        experiment.run(config | {"peak_lr": 0.5}, workdir)


def test_a_workdir_in_use_is_refused(finished, tmp_path):
    config, _, _ = finished
    with lock.open_workdir(tmp_path, config):
        with pytest.raises(experiment.UserError, match="another process"):
            experiment.run(config, tmp_path)


@pytest.mark.parametrize(
    "stop_every, checkpoint_every, chosen, length",
    [(20, 100, None, 20), (25, 100, 5, 5), (7, 100, None, 1), (500, 500, None, 100)],
)
def test_chunks_end_where_an_evaluation_or_checkpoint_is_due(stop_every, checkpoint_every, chosen, length):
    config = {"eval_every": stop_every, "checkpoint_every": checkpoint_every, "chunk_steps": chosen}
    assert chunks.chunk_length(config, 1000, 100, {}) == length


def test_a_chunk_that_does_not_divide_is_refused(finished, tmp_path):
    config, _, _ = finished
    with pytest.raises(experiment.UserError, match="chunk_steps=2 must divide eval_every=3"):
        experiment.run(config | {"chunk_steps": 2}, tmp_path / "run")


def test_a_damaged_newest_checkpoint_costs_steps_but_no_result(finished, copied):
    config, workdir, _ = finished
    newest = copied / "checkpoints" / "runs_1-1" / "6"
    for path in (newest / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    experiment.run(config, copied)
    assert metrics(copied) == metrics(workdir)


def command(workdir, *flags):
    """The arguments of a run long enough to be killed somewhere in the middle."""
    return [
        SMOKE,
        f"--workdir={workdir}",
        "--config.model.width=0.25",
        "--config.num_steps=60",
        "--config.batch_size=32",
        "--config.eval_every=10",
        "--config.checkpoint_every=10",
        *flags,
    ]


def start(workdir, *flags, before="", **environment):
    """Starts it as a process of its own."""
    line = shlex.join([sys.executable, "train.py", *command(workdir, *flags)])
    return subprocess.Popen(
        ["bash", "-c", f"{before} exec {line}"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
    )


def wait_for_lines(process, workdir, count):
    """Until the log holds that many lines, or the process has ended."""
    file = workdir / "metrics.jsonl"
    while process.poll() is None and not (file.exists() and file.read_bytes().count(b"\n") >= count):
        time.sleep(0.005)


@pytest.fixture(scope="module")
def complete(train):
    """Runs the program of `start` until it has done all, or the rest; returns the finished process."""

    def run(workdir):
        done = train(*command(workdir))
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def unbroken(complete, tmp_path_factory):
    """The workdir of a run that nothing has interrupted."""
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    assert "warmup_steps=50" in complete(workdir).stdout
    return workdir


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_signal_saves_and_exits_cleanly(complete, unbroken, tmp_path, name):
    workdir = tmp_path / "run"
    process = start(workdir)
    wait_for_lines(process, workdir, 15)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and f"stopped by {name}" in out and "Traceback" not in err, err
    saved = [int(path.name) for path in workdir.glob("checkpoints/runs_0-*/*") if path.name.isdigit()]
    assert f"after step {max(saved)} of run 0" in out and max(saved) < 30, "it saved where it was"
    assert not (workdir / "summary.json").exists()
    complete(workdir)
    assert metrics(workdir) == metrics(unbroken)


@pytest.mark.slow
def test_a_second_signal_exits_at_once(tmp_path):
    process = start(
        tmp_path / "run", "--config.num_steps=100000", "--config.model.depth=56", "--config.batch_size=1024"
    )  # one step takes seconds
    wait_for_lines(process, tmp_path / "run", 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert time.monotonic() - begin < 5


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_what_was_saved_is_gone_on_from(complete, unbroken, tmp_path):
    """A limit on the size of files stands for the full disk; the log fits, a checkpoint does not."""
    workdir = tmp_path / "run"
    out, err = (process := start(workdir, before="ulimit -f 10 &&", JAX_ENABLE_COMPILATION_CACHE="0")).communicate()
    assert process.returncode == 1
    assert err.startswith("error: cannot save") and str(workdir) in err and err.count("\n") == 1
    complete(workdir)
    assert metrics(workdir) == metrics(unbroken)


def test_compiled_programs_are_kept_in_the_users_cache_unless_the_user_has_chosen_a_folder(cache_folder):
    chosen = jax.config.jax_compilation_cache_dir
    process.enable_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == chosen is not None
    options = {"jax_compilation_cache_dir": None, "jax_persistent_cache_min_compile_time_secs": 0.0}
    before = {name: getattr(jax.config, name) for name in options}
    try:
        for name, value in options.items():
            jax.config.update(name, value)
        process.enable_compilation_cache()
        assert jax.config.jax_compilation_cache_dir == str(cache_folder / "warmup_jax" / "compiled")
        assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.2
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
