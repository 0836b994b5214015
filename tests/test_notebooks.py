"""Notebooks: cells that train, as a kernel executes them; Stop saves and never ends the kernel."""

import importlib.util
import os
import signal
import threading
import time

import pytest
from commands import ROOT

from warmup_jax.workdir import json_files

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
if importlib.util.find_spec("ipykernel") is None:  # not imported: it marks a process as a notebook's
    pytest.skip("needs ipykernel", allow_module_level=True)
pytestmark = pytest.mark.slow

SMOKE = "--config=configs/lm_warmup.py:smoke --config.sweep.warmup_steps=None --config.warmup_steps=2"
EVALUATION = "run 0 (run) update 4 of 4: test loss"
SET_UP = """
import os, threading, time
from configs import lm_warmup
from warmup_jax.training import loop, run
from warmup_jax.training.experiment import Interrupted

def config(num_steps=4):
    smoke = lm_warmup.get_config("smoke").to_dict()
    return smoke | dict(num_steps=num_steps, eval_every=num_steps, checkpoint_every=num_steps, sweep={}, warmup_steps=2)
"""


class Kernel:
    """A notebook with a running kernel."""

    def __init__(self, client):
        self._client = client
        self.pid = int(self.run("import os; print(os.getpid())")[0])

    def run(self, source):
        """Executes a cell; returns what it prints, and the name of its error or None."""
        cells = self._client.nb.cells
        cells.append(nbformat.v4.new_code_cell(source))
        self._client.execute_cell(cells[-1], len(cells) - 1)
        texts = [output.get("text", "") for output in cells[-1].outputs]
        errors = [output["ename"] for output in cells[-1].outputs if output["output_type"] == "error"]
        return "".join(texts), (errors or [None])[0]

    def stop(self, when, *pauses):
        """Presses Stop once the log of a workdir has lines, and again after each pause."""

        def press():
            end = time.monotonic() + 120
            while not (when.exists() and when.read_bytes().count(b"\n") > 5) and time.monotonic() < end:
                time.sleep(0.02)
            for pause in (0, *pauses):
                time.sleep(pause)
                os.killpg(os.getpgid(self.pid), signal.SIGINT)  # as Jupyter does

        thread = threading.Thread(target=press)
        thread.start()
        return thread

    def lives(self):
        """Returns True if the process and the variables of its first cells are still there."""
        return self.run("print(os.getpid(), config()['num_steps'])")[0] == f"{self.pid} 4\n"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp("jupyter")))
        notebook = nbformat.v4.new_notebook()
        client = nbclient.NotebookClient(
            notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": str(ROOT)}}
        )
        # Under pytest a kernel would not show what is written to its file descriptors.
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        with client.setup_kernel(env=environment):
            kernel = Kernel(client)
            assert kernel.run(SET_UP) == ("", None)
            yield kernel


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "run"


def steps(workdir):
    return [line["step"] for line in json_files.read_lines(workdir / "metrics.jsonl") if "train/loss" in line]


def test_run_magic_trains_as_often_as_it_is_called(kernel, workdir):
    for name in ("first", "second"):
        said, error = kernel.run(f"%run train.py {SMOKE} --workdir={workdir / name}")
        assert error is None and EVALUATION in said and f"picture: {workdir / name}/curves.png" in said, said
    assert (workdir / "first" / "metrics.jsonl").read_bytes() == (workdir / "second" / "metrics.jsonl").read_bytes()
    assert kernel.lives()


def test_a_mistake_in_run_magic_leaves_the_kernel(kernel):
    said, _ = kernel.run("%run train.py --config=configs/lm_warmup.py:smoke --config.peak_lr=fast")
    assert "peak_lr=fast; allowed: a number" in said
    assert kernel.lives()


def test_a_shell_command_shows_its_evaluations(kernel, workdir):
    said, error = kernel.run(f"import sys\n!{{sys.executable}} train.py {SMOKE} --workdir={workdir}")
    assert error is None and any(line.strip().startswith(EVALUATION) for line in said.splitlines()), said
    assert f"picture: {workdir}/curves.png" in said


def test_a_cell_trains_and_returns_the_summary(kernel, workdir):
    said, error = kernel.run(f"print(run(config(), '{workdir}')['runs'][0]['steps'])")
    assert error is None and EVALUATION in said and said.endswith("\n4\n"), said


def test_stop_saves_and_the_same_cell_resumes(kernel, workdir):
    cell = f"run(config(200), '{workdir}')"
    pressed = kernel.stop(workdir / "metrics.jsonl")
    said, error = kernel.run(cell)
    pressed.join()
    assert error == "Interrupted" and "SIGINT: saving after this step" in said, said
    stopped = steps(workdir)
    assert stopped[-1] < 200 and [path.name for path in workdir.glob("checkpoints/*/*")] == [str(stopped[-1])]
    assert kernel.lives()
    _, error = kernel.run(cell)
    assert error is None and steps(workdir) == [*range(1, 201)]


def test_stop_twice_is_a_keyboard_interrupt_and_the_kernel_lives(kernel, workdir):
    slow = "save = loop.save\ndef slow(*args):\n    time.sleep(3)\n    save(*args)\nloop.save = slow\n"
    pressed = kernel.stop(workdir / "metrics.jsonl", 0.7)
    said, error = kernel.run(slow + f"try:\n    run(config(100_000), '{workdir}')\nfinally:\n    loop.save = save")
    pressed.join()
    assert error == "KeyboardInterrupt", said
    assert kernel.lives()


@pytest.mark.parametrize("pauses", [(0.05,), (0.3, 0.3, 0.3)])
def test_impatient_stops_leave_the_kernel(kernel, workdir, pauses):
    pressed = kernel.stop(workdir / "metrics.jsonl", *pauses)
    kernel.run(f"run(config(100_000), '{workdir}')")
    pressed.join()
    assert not (workdir / "summary.json").exists() and kernel.lives()


def test_a_thread_trains_and_stop_leaves_it_alone(kernel, workdir):
    said, error = kernel.run(
        f"thread = threading.Thread(target=run, args=(config(200), '{workdir}'))\nthread.start()\ntime.sleep(0.1)"
    )
    assert error is None, said
    pressed = kernel.stop(workdir / "metrics.jsonl")
    _, error = kernel.run("while thread.is_alive(): time.sleep(0.1)")
    pressed.join()
    assert error == "KeyboardInterrupt"  # of the cell
    assert kernel.lives()
    _, error = kernel.run("thread.join()")
    assert error is None and (workdir / "summary.json").exists() and steps(workdir) == [*range(1, 201)]
