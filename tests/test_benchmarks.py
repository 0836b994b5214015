"""The benchmarks run, in tiny sizes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="pinning to cores needs Linux")


def train_step(*args):
    return subprocess.run([sys.executable, "benchmarks/train_step.py", *args], cwd=ROOT, capture_output=True, text=True,
                          timeout=300)


def test_the_train_step_against_its_peer():
    done = train_step("--smoke", "--models=transformer")
    assert done.returncode == 0, done.stderr
    assert re.search(r"transformer +.*ours +\d+\.\d", done.stdout)
    assert "transformer: 1,664 parameters, batch 2 of 8 + 8, 16 classes" in done.stdout
    # without torch, its column is missing and the reason given
    assert ("torch is not installed: this code alone" in done.stdout) != bool(re.search(r"torch +\d+\.\d", done.stdout))


def test_an_unknown_model_is_an_error():
    done = train_step("--models=resnet21")
    assert done.returncode == 2 and "unknown 'resnet21'; allowed: transformer, decoder, tiny" in done.stderr
