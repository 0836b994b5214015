"""The benchmarks run, in tiny sizes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="pinning to cores needs Linux")


def run(benchmark, *args):
    return subprocess.run([sys.executable, f"benchmarks/{benchmark}.py", *args], cwd=ROOT, capture_output=True,
                          text=True, timeout=300)


def test_the_train_step_against_its_peer():
    done = run("train_step", "--smoke", "--models=transformer")
    assert done.returncode == 0, done.stderr
    assert re.search(r"transformer +.*ours +\d+\.\d", done.stdout)
    assert "transformer: 1,664 parameters, batch 2 of 8 + 8, 16 classes" in done.stdout
    # without torch, its column is missing and the reason given
    assert ("torch is not installed: this code alone" in done.stdout) != bool(re.search(r"torch +\d+\.\d", done.stdout))


def test_an_unknown_model_is_an_error():
    done = run("train_step", "--models=resnet21")
    assert done.returncode == 2 and "unknown 'resnet21'; allowed: transformer, decoder, tiny" in done.stderr


def test_a_sweep_against_one_run_and_its_peer():
    done = run("sweep", "--smoke")
    assert done.returncode == 0, done.stderr
    assert "4 runs (2 peak_lr x 1 seeds x 2 warmup_steps) of 4 updates, 42,634 parameters" in done.stdout
    assert re.search(r"all updates, empty compilation cache +\d+\.\d\d +\d+\.\d\d +\d+\.\d", done.stdout)
    assert re.search(r"one run: \d+\.\d+ s .*, CPU \d+\.\d+ s", done.stdout)
    # without torch, its lines are missing and the reason given
    peers = re.findall(r"torch, (?:one run after another|\d runs stacked) +\d+\.\d\d ", done.stdout)
    assert len(peers) == (0 if "torch is not installed: this code alone" in done.stdout else 2)
