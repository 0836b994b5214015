"""Runs of a sweep over several devices: virtual ones of a CPU, in processes of their own."""

import json
import os
import shutil

import pytest

from warmup_jax.runtime import devices
from warmup_jax.workdir import json_files


@pytest.fixture(scope="module")
def on_devices(forked):
    """Runs Python with so many devices, None: as many as the program chooses; returns the finished process."""

    def run(count, *arguments, **variables):
        flags = "" if count is None else f"--xla_force_host_platform_device_count={count}"
        return forked(*arguments, JAX_PLATFORMS="cpu", XLA_FLAGS=flags, **variables)

    return run


@pytest.fixture(scope="module")
def train(on_devices):
    """Trains a small sweep on so many devices."""

    def run(workdir, count, *flags, program=("train.py",)):
        return on_devices(
            count,
            *program,
            "--config=configs/phase_diagram.py:smoke",
            f"--workdir={workdir}",
            "--config.sweep.peak_lr=(0.001,1e30,0.002)",
            "--config.sweep.seeds=1",
            *flags,
        )

    return run


@pytest.fixture(scope="module")
def train_one(on_devices):
    """Trains one small ResNet, whose batches the devices share as those of accelerators do; says what it compiles."""

    def run(workdir, count):
        return on_devices(
            count,
            "-c",
            COUNTED + SHARING_TOO + PROGRAM,
            f"--workdir={workdir}",
            "--config=configs/resnet_warmup.py:smoke,diagnose=sharpness",
            "--config.sweep.warmup_steps=(2,)",
            "--config.batch_size=64",
            "--config.model.width=0.5",
            "--config.diagnostics.sharpness.examples=64",
            "--config.diagnostics.sharpness.iterations=1",
            NPROC="8",
        )  # XLA's threads: more than can wait for the sums of other devices

    return run


COUNTED = """
import jax
from warmup_jax.runtime import process
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *args, fun_name=None, **kwargs: event == process.COMPILED and print("compiled", fun_name))
"""
SHARING_TOO = """
from warmup_jax.runtime import defaults
defaults.TABLE |= {name: row._replace(shares_batch=True) for name, row in defaults.TABLE.items()}
"""
PROGRAM = """
import runpy, sys
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""


def updates_compiled(done):
    """How many programs a finished process has compiled to train with."""
    return done.stdout.count("compiled jit(train_chunk)")


def broken_off(whole, workdir):
    """In a new workdir, what is left of a whole run of four updates if it breaks off after the second."""
    shutil.copytree(whole, workdir)
    for path in (workdir / "checkpoints").glob("runs_*/4/state/**/*"):
        if path.is_file():
            path.write_bytes(b"")
    (workdir / "summary.json").unlink()
    return workdir


def assert_same_log(folder, other):
    """The same lines, and the same numbers but for rounding."""
    key = lambda line: (line["run"], line["step"], sorted(line))
    mine, others = (sorted(json_files.read_lines(each / "metrics.jsonl"), key=key) for each in (folder, other))
    assert [key(line) for line in mine] == [key(line) for line in others]
    for one, two in zip(mine, others):
        for name, value in one.items():
            assert two[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), (one["run"], name)


@pytest.fixture(scope="module")
def alone(train, tmp_path_factory):
    """The sweep on one device."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    assert train(workdir, 1).returncode == 0
    return workdir


@pytest.mark.parametrize("runs, at_once, count", [(144, 32, 8), (5, 2, 2), (7, 32, 4), (1, 1, 1), (9, 4, 4), (3, 8, 2)])
def test_lanes_fill_the_devices_and_stay_within_the_memory(runs, at_once, count):
    lanes = devices.lanes_per_group(runs, at_once, count)
    assert lanes % count == 0 and lanes <= at_once
    groups = -(-runs // lanes)
    assert groups * lanes - runs < count * groups, "no more idle lanes than the division by devices asks for"


@pytest.fixture(scope="module")
def two(train, tmp_path_factory):
    """The sweep on two devices with two lanes each: six runs in groups of four, where two lanes train a run again."""
    workdir = tmp_path_factory.mktemp("two") / "run"
    done = train(workdir, 2, "--config.runs_at_once=4", program=("-c", COUNTED + PROGRAM))
    assert done.returncode == 0, done.stderr
    return workdir, done


def assert_same_sweep(alone, workdir, done):
    """A sweep in groups of four lanes is that on one device, by one program that was compiled before the states."""
    assert updates_compiled(done) == 1
    first_states = "compiled jit(<lambda>)"
    assert done.stdout.index("compiled jit(train_chunk)") < done.stdout.index(first_states), "both at once take memory"
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"runs_0-3", "runs_4-5"}
    assert_same_log(alone, workdir)
    ends = [
        [run["diverged_at"] for run in json_files.read_json(folder / "summary.json")["runs"]]
        for folder in (alone, workdir)
    ]
    assert ends[0] == ends[1] and None in ends[0] and any(end is not None for end in ends[0])


@pytest.mark.slow
def test_a_sweep_on_two_devices_is_that_on_one(alone, two):
    assert_same_sweep(alone, *two)


@pytest.mark.slow
def test_a_sweep_on_four_devices_is_that_on_one(train, alone, tmp_path):
    done = train(tmp_path / "four", 4, program=("-c", COUNTED + PROGRAM))
    assert done.returncode == 0, done.stderr
    assert json_files.read_json(tmp_path / "four" / "environment.json")["devices"][3].startswith("cpu:3")
    assert_same_sweep(alone, tmp_path / "four", done)


def test_lanes_that_share_a_device_resume_on_it(train, two, tmp_path):
    """Broken off and gone on with."""
    whole, _ = two
    broken = broken_off(whole, tmp_path / "broken")
    done = train(broken, 2, "--config.runs_at_once=4")
    assert done.returncode == 0 and "passed over" in done.stdout, done.stderr
    assert (broken / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_each_core_is_a_device_where_one_run_leaves_cores_idle(train, alone, tmp_path):
    assert train(tmp_path / "run", None).returncode == 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert len(json_files.read_json(tmp_path / "run" / "environment.json")["devices"]) == cores
    by_run = lambda folder: sorted(
        (folder / "metrics.jsonl").read_text().splitlines(),
        key=lambda line: (json.loads(line)["run"], json.loads(line)["step"]),
    )
    assert by_run(tmp_path / "run") == by_run(alone), "to the last bit"


@pytest.mark.slow
def test_a_finished_sweep_on_another_number_of_devices_keeps_its_numbers(train, alone, tmp_path):
    workdir = shutil.copytree(alone, tmp_path / "run")
    done = train(workdir, 2)
    assert done.returncode == 0 and "grouped anew" in done.stdout, done.stderr
    assert_same_log(workdir, alone)


MESHES = """
from configs import lm_warmup, phase_diagram, resnet_warmup
from warmup_jax.runtime import defaults
from warmup_jax.training import program
def mesh(config, **changes):
    config = config.get_config("smoke").to_dict() | {"sweep": {"warmup_steps": (1,)}} | changes
    over = program.set_up(config).groups[0].plan.mesh
    return None if over is None else dict(over.shape)
print(mesh(resnet_warmup, batch_size=1024))
defaults.TABLE |= {name: row._replace(shares_batch=True) for name, row in defaults.TABLE.items()}
print([mesh(resnet_warmup, batch_size=size) for size in (511, 512, 1024, 1026, 1027)],
      mesh(resnet_warmup, batch_size=1024, sweep={"warmup_steps": (0, 1, 2)}),
      mesh(resnet_warmup, batch_size=1024, sweep={"warmup_steps": (0, 1, 2)}, runs_at_once=1),
      [mesh(of_kind, batch_size=1024) for of_kind in (phase_diagram, lm_warmup)], sep="\\n")
"""


def test_devices_share_a_batch_that_they_can_divide_but_those_of_a_cpu_do_not(on_devices):
    done = on_devices(4, "-c", MESHES)
    assert done.stdout.splitlines() == [
        "None",
        "[None, {'data': 4}, {'data': 4}, {'data': 3}, None]",
        "{'runs': 3}",
        "{'data': 4}",
        "[{'data': 4}, {'data': 4}]",
    ], done.stderr


@pytest.fixture(scope="module")
def shared(train_one, tmp_path_factory):
    """One run on two devices that share its batches."""
    workdir = tmp_path_factory.mktemp("shared") / "run"
    done = train_one(workdir, 2)
    assert done.returncode == 0, done.stderr
    assert updates_compiled(done) == 1
    return workdir


@pytest.mark.slow
def test_a_run_on_devices_that_share_its_batches_is_that_on_one(train_one, shared, tmp_path):
    done = train_one(tmp_path / "one", 1)
    assert done.returncode == 0, done.stderr
    assert updates_compiled(done) == 1
    assert_same_log(tmp_path / "one", shared)
    assert (tmp_path / "one" / "metrics.jsonl").read_bytes() != (shared / "metrics.jsonl").read_bytes(), (
        "other sums, so shared"
    )


@pytest.mark.slow
def test_a_run_on_devices_that_share_its_batches_resumes(train_one, shared, tmp_path):
    """To the same numbers on as many devices, to rounding on one."""
    on_two, on_one = (broken_off(shared, tmp_path / name) for name in ("two", "one"))
    for workdir, count in ((on_two, 2), (on_one, 1)):
        done = train_one(workdir, count)
        assert done.returncode == 0 and "passed over" in done.stdout, done.stderr
    assert (on_two / "metrics.jsonl").read_bytes() == (shared / "metrics.jsonl").read_bytes()
    assert_same_log(on_one, shared)
