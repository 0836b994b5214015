"""Runs of a sweep over several devices: virtual ones of a CPU, in processes of their own."""

import doctest
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from warmup_jax import devices, logs

ROOT = Path(__file__).parent.parent


def train(workdir, count, *flags, config="configs/phase_diagram.py:smoke"):
    """A small sweep on so many devices, None: on as many as the program chooses; returns the finished process."""
    command = [sys.executable, "train.py", f"--config={config}", f"--workdir={workdir}",
               "--config.model.width=8", "--config.sweep.peak_lr=(0.001,1e30,0.002)", "--config.sweep.seeds=1", *flags]
    flags = {} if count is None else {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=300, env=environment | flags)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The sweep on one device."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    assert train(workdir, 1).returncode == 0
    return workdir


def test_examples_in_docstrings():
    result = doctest.testmod(devices)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("runs, at_once, count", [(144, 32, 8), (5, 2, 2), (7, 32, 4), (1, 1, 1), (9, 4, 4), (3, 8, 2)])
def test_lanes_fill_the_devices_and_stay_within_the_memory(runs, at_once, count):
    lanes = devices.lanes(runs, at_once, count)
    assert lanes % count == 0 and lanes <= at_once
    groups = -(-runs // lanes)
    assert groups * lanes - runs < count * groups, "no more idle lanes than the division by devices asks for"


def test_a_sweep_on_four_devices_is_that_on_one(alone, tmp_path):
    """Six runs in groups of four: two lanes train a run again, and are not logged."""
    done = train(tmp_path / "four", 4)
    assert done.returncode == 0, done.stderr
    assert logs.read_json(tmp_path / "four" / "environment.json")["devices"][3].startswith("cpu:3")
    assert {path.name for path in (tmp_path / "four" / "checkpoints").iterdir()} == {"runs_0-3", "runs_4-5"}
    key = lambda line: (line["run"], line["step"], sorted(line))
    one, four = (sorted(logs.read_lines(folder / "metrics.jsonl"), key=key) for folder in (alone, tmp_path / "four"))
    assert [key(line) for line in one] == [key(line) for line in four]
    for mine, other in zip(one, four):
        for name, value in mine.items():
            assert other[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), (mine["run"], name)
    ends = [[run["diverged_at"] for run in logs.read_json(folder / "summary.json")["runs"]]
            for folder in (alone, tmp_path / "four")]
    assert ends[0] == ends[1] and None in ends[0] and any(end is not None for end in ends[0])


def test_lanes_that_share_a_device_resume_on_it(tmp_path):
    """Two devices with two lanes each, broken off and gone on with."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for workdir in (whole, broken):
        assert train(workdir, 2, "--config.runs_at_once=4").returncode == 0
    for path in (broken / "checkpoints").glob("runs_*/4/state/**/*"):
        if path.is_file():
            path.write_bytes(b"")
    (broken / "summary.json").unlink()
    assert train(broken, 2, "--config.runs_at_once=4").returncode == 0
    assert (broken / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_each_core_is_a_device_where_one_run_leaves_cores_idle(alone, tmp_path):
    assert train(tmp_path / "run", None).returncode == 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert len(logs.read_json(tmp_path / "run" / "environment.json")["devices"]) == cores
    by_run = lambda folder: sorted((folder / "metrics.jsonl").read_text().splitlines(), key=lambda line: (
        json.loads(line)["run"], json.loads(line)["step"]))
    assert by_run(tmp_path / "run") == by_run(alone), "to the last bit"


def test_another_number_of_devices_loses_nothing(alone):
    before = (alone / "metrics.jsonl").read_bytes()
    done = train(alone, 2)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "of other runs (runs_0-0" in done.stderr and "here runs_0-1): go on with as many devices" in done.stderr
    assert (alone / "metrics.jsonl").read_bytes() == before
    assert train(alone, 1).returncode == 0, "what the message advises"
    assert (alone / "metrics.jsonl").read_bytes() == before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is a setting of glibc")
@pytest.mark.parametrize("variable, kept", [("WHATEVER", True), ("MALLOC_TRIM_THRESHOLD_", False),
                                            ("GLIBC_TUNABLES", False)])
def test_freed_memory_is_kept_unless_the_user_has_tuned_it(variable, kept):
    """A block of 64 MiB has 16,384 pages, each of which the system hands out anew, or none."""
    code = ("import resource; from warmup_jax import devices; devices.keep_freed_memory(); b'x' * int(2**26)\n"
            "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
            "before = faults(); b'x' * int(2**26); print(faults() - before)")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT,
                          env=environment | {variable: ""}, capture_output=True, text=True, check=True)
    assert (int(done.stdout) < 1000) == kept
