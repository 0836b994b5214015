"""The log files: numbers, cutting back, atomic JSON."""

import json
import math
import re

import numpy as np
import pytest
from commands import python

from warmup_jax.workdir import environment, json_files, logs, progress


@pytest.mark.parametrize(
    "value, text",
    [
        (np.float32(0.1), "0.1"),
        (0.1, "0.1"),
        (np.float32("nan"), '"nan"'),
        (np.float32("inf"), '"inf"'),
        (-math.inf, '"-inf"'),
        (3, "3"),
        (np.int32(3), "3"),
        (np.float32(1e-30), "1e-30"),
    ],
)
def test_numbers_are_json(value, text):
    assert json.dumps(json_files.json_number(value)) == text


def test_numbers_lose_no_bit():
    for value in np.random.default_rng(0).normal(size=1000).astype(np.float32):
        assert np.float32(json_files.json_number(value)) == value


def test_lines_read_back(tmp_path):
    log = logs.MetricsLog(tmp_path, {}, 0)
    log.write(1, 0, {"train/loss": np.float32("nan"), "opt/learning_rate": np.float32(0.5)})
    log.write(1, 1, {"train/loss": np.float32(-np.inf)})
    log.close()
    one, other = json_files.read_lines(tmp_path / "metrics.jsonl")
    assert one["step"] == 1 and one["run"] == 0 and one["opt/learning_rate"] == 0.5 and math.isnan(one["train/loss"])
    assert other == {"step": 1, "run": 1, "train/loss": -math.inf}
    assert list((tmp_path / "tensorboard" / "run_1").iterdir())


def test_a_log_is_cut_back_to_a_position(tmp_path):
    log = logs.MetricsLog(tmp_path, {}, 0)
    log.write(1, 0, {"a/b": 1.0})
    positions = log.sync()
    log.write(2, 0, {"a/b": 2.0})
    log.close()
    again = logs.MetricsLog(tmp_path, positions, 1)
    again.write(2, 0, {"a/b": 3.0})
    again.close()
    assert [line["a/b"] for line in json_files.read_lines(tmp_path / "metrics.jsonl")] == [1.0, 3.0]


def test_json_is_written_whole_or_not_at_all(tmp_path):
    json_files.write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(TypeError):
        json_files.write_json(tmp_path / "a.json", {"x": object()})
    assert json_files.read_json(tmp_path / "a.json") == {"x": 1}


def test_the_environment_says_what_numbers_depend_on():
    found = environment.environment()
    assert found["packages"].keys() >= {"jax", "flax", "optax"} and found["devices"]
    json.dumps(found)
    assert found["cores"] >= 1 and re.fullmatch(r"20\d\d-\d\d-\d\d", found["date"])


@pytest.mark.parametrize(
    "cpuinfo, name",
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmodel name\t: another\n", "AMD EPYC 7B13"),
        ("model name\t: Intel(R) Xeon(R) CPU @ 2.20GHz\n", "Intel Xeon @ 2.20GHz"),
        ("processor\t: 0\n", "maker's"),
        (None, "maker's"),
    ],
)
def test_the_cpu_has_a_name(monkeypatch, cpuinfo, name):
    def read_text(path, **kwargs):
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return cpuinfo

    monkeypatch.setattr(environment.Path, "read_text", read_text)
    monkeypatch.setattr(environment.platform, "processor", lambda: "maker's")
    assert environment.cpu() == name


def test_progress_tells_runs_done_and_diverged_and_the_time_left(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    shown = progress.Progress(total=100, runs=4)
    shown.skip(20)  # done by an earlier session
    shown.runs_ended(1, 1)
    shown.advance(10, "compiled")  # the time of the compilation does not count
    now[0] += 30
    shown.advance(10, "loss 1", always=True)
    shown.skip(20)  # all runs have diverged
    shown.runs_ended(2, 1)
    now[0] += 30
    shown.advance(10, "loss 2", always=True)
    shown.close()
    assert capsys.readouterr().out.splitlines() == [
        "40/100 steps, ETA 180 s, 1/4 runs done, 1 diverged; loss 1",
        "70/100 steps, ETA 90 s, 3/4 runs done, 2 diverged; loss 2",
    ]


def test_a_board_is_closed_with_its_run(tmp_path):
    log = logs.MetricsLog(tmp_path, {}, 0)
    log.write(1, 0, {"a/b": 1.0})
    log.write(1, 1, {"a/b": 1.0})
    log.run_ended(0)
    log.run_ended(7)  # wrote nothing
    assert log.sync()["metrics.jsonl"] > 0
    log.close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_event_files_do_not_need_torch(tmp_path):
    """Does not import torch, even where it is installed."""
    code = (
        "import sys, pathlib; from warmup_jax.workdir import logs\n"
        "log = logs.MetricsLog(pathlib.Path(sys.argv[1]), {}, 0); log.write(1, 0, {'train/loss': 2.5}); log.close()\n"
        "print('torch' in sys.modules)"
    )
    done = python("-c", code, tmp_path)
    assert done.stdout.strip() == "False" and len(list(tmp_path.glob("tensorboard/run_0/*"))) == 1
