"""What the tests share: a tiny config, and running the program as a user does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """One cache of compiled programs for all tests and the processes that they start."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder


@pytest.fixture
def tiny_config():
    """The smallest real run: ResNet-8 at a quarter of its width on digits, two runs of six updates."""
    from configs import resnet_warmup
    config = resnet_warmup.get_config("smoke").to_dict()
    config["model"]["width"] = 0.25
    config["batch_size"], config["num_steps"] = 32, 6
    config["eval_every"], config["checkpoint_every"] = 3, 3
    return config


@pytest.fixture(scope="session")
def train():
    """Runs `python train.py` with the given arguments; returns the finished process."""
    def run(*args, **kwargs):
        return subprocess.run([sys.executable, "train.py", *map(str, args)], cwd=ROOT, text=True,
                              capture_output=True, timeout=300, **kwargs)
    return run
