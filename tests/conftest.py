"""What the tests share: one cache, running the program as a user does, and small data sets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Nothing that is tested depends on how far LLVM optimises, which would take most of the time. With the variable at 0
# the tests compile as training does.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from toysets import (  # noqa: E402, F401
    array_cache,
    assert_same_set,
    encode,
    real_cifar10,
    real_multi30k,
    real_tiny_shakespeare,
    write_documents,
    write_pairs,
    write_set,
    write_toy,
)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """One cache of compiled programs for all tests and the processes that they start."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_device():
    """JAX begins with one device, whichever test comes first."""
    import jax

    jax.devices()


@pytest.fixture(scope="session")
def train():
    """Runs `python train.py` with the given arguments; returns the finished process."""

    def run(*args):
        return subprocess.run(
            [sys.executable, "train.py", *map(str, args)], cwd=ROOT, text=True, capture_output=True, timeout=300
        )

    return run


@pytest.fixture
def no_pictures(monkeypatch):
    """Runs end without their pictures, for tests that look at none: to draw some takes longer than to train."""
    from warmup_jax import report

    for name in ("curves", "diagnostics"):
        monkeypatch.setattr(report, name, lambda workdir: None)


@pytest.fixture
def x64():
    """Double precision for one test."""
    import jax

    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        yield
