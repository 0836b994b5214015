"""Fixtures of all tests: one cache, programs run as a user runs them, and small data sets."""

import os
import platform
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def share_compiled_programs():
    """Makes all tests, the processes that they start and later sessions compile each program once.

    Most of a first session is compilation. `pytest --cache-clear` forgets the programs.
    """
    folder = ROOT / ".pytest_cache" / "d" / "compiled" / platform.node()  # another machine's may not run on this one
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    # Nothing that is tested depends on how far LLVM optimises, which would take most of the time. With the variable at
    # 0 the tests compile as training does.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


def receive_signals():
    """Receives the signals that a parent may ignore: SIGINT of a background job, SIGHUP under `nohup`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


share_compiled_programs()  # before anything imports JAX
receive_signals()

from commands import Forks  # noqa: E402
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
    """The user's cache folder, for the arrays of data sets: a new one."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_device():
    """JAX begins with one device, whichever test comes first."""
    import jax

    jax.devices()


@pytest.fixture(scope="session")
def forked():
    """Runs `python ARGUMENTS` in a fork of a process that has imported the training code."""
    with Forks() as run:
        yield run


@pytest.fixture(scope="session")
def train(forked):
    """Runs `python train.py` with the given arguments; returns the finished process."""
    return lambda *arguments, **environment: forked("train.py", *arguments, **environment)


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
