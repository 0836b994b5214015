"""Endings of whole runs, in every phase; and that a run never replaces or ends a process that is not its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from warmup_jax import report, streams
from warmup_jax.runtime import process
from warmup_jax.training import experiment, loop
from warmup_jax.workdir import shutdown

ROOT = Path(__file__).parent.parent.parent
NAMES = ["SIGINT", "SIGTERM", "SIGHUP"]


def config():
    from configs import lm_warmup

    chosen = lm_warmup.get_config("smoke").to_dict()
    return chosen | {"num_steps": 4, "sweep": {}, "warmup_steps": 2}


# Whose process it is.


@pytest.fixture
def own(monkeypatch):
    """A process that runs `python train.py`, and whether it was started again."""
    restarted = []
    main = SimpleNamespace(__file__=str(ROOT / "train.py"), __spec__=None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "orig_argv", ["python", str(ROOT / "train.py"), "--config=x"])
    monkeypatch.setattr(process, "with_huge_pages", lambda: process.HUGE_PAGES)
    monkeypatch.setattr(os, "execve", lambda *args: restarted.append(args))
    for name in process.NOT_ALONE:
        monkeypatch.delitem(sys.modules, name, raising=False)
    trace = sys.gettrace()
    sys.settrace(None)
    yield SimpleNamespace(main=main, restarted=restarted)
    sys.settrace(trace)


def test_a_program_starts_itself_again_and_takes_signals_after_it(own):
    process.restart_with_huge_pages()
    assert len(own.restarted) == 1 and process.may_restart()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(shutdown.SIGNALS)


@pytest.mark.parametrize("how", ["-m", "-c"])
def test_a_module_or_a_command_can_be_started_again(own, monkeypatch, how):
    monkeypatch.setattr(sys, "orig_argv", ["python", how, "a.module"])
    own.main.__spec__ = "a module's" if how == "-m" else None
    assert process.may_restart()


@pytest.mark.parametrize(
    "where",
    ["ipykernel", "debugpy", "pydevd", "IPython", "stdin", "another script", "trace", "monitoring", "worker"],
)
def test_a_process_that_is_not_its_own_is_not_replaced(own, monkeypatch, where):
    if where in process.NOT_ALONE:
        monkeypatch.setitem(sys.modules, where, ModuleType(where))
    elif where == "IPython":
        monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    elif where == "stdin":
        del own.main.__file__
        monkeypatch.setattr(sys, "orig_argv", ["python", "-"])
    elif where == "another script":
        monkeypatch.setattr(sys, "orig_argv", ["python", "outer.py"])
    elif where == "trace":
        sys.settrace(lambda *args: None)
    elif where == "monitoring":
        monitoring = SimpleNamespace(get_tool=lambda tool: "a debugger" if tool == 0 else None)
        monkeypatch.setattr(sys, "monitoring", monitoring, raising=False)
    else:
        monkeypatch.setattr(sys.modules["multiprocessing.process"], "parent_process", lambda: "the parent")
    process.restart_with_huge_pages()
    assert not own.restarted
    sys.settrace(None)


def test_a_thread_does_not_replace_its_process(own):
    thread = threading.Thread(target=process.restart_with_huge_pages)
    thread.start()
    thread.join()
    assert not own.restarted


def test_a_program_from_standard_input_is_not_started_again():
    code = "from warmup_jax.runtime import process; process.with_huge_pages = lambda: {'A': 'b'}\n"
    code += "process.restart_with_huge_pages(); print(process.may_restart())"
    done = subprocess.run([sys.executable, "-"], input=code, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


# Runs in a process that is not their own.


@pytest.mark.slow
def test_a_run_in_a_thread(tmp_path, no_pictures):
    done = []
    thread = threading.Thread(target=lambda: done.append(experiment.run(config(), tmp_path / "run")))
    thread.start()
    thread.join()
    assert done[0]["runs"][0]["steps"] == 4


@pytest.fixture
def stopped(monkeypatch, no_pictures):
    """Presses Stop in a function of a module, some times."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def press(module, name, times=1):
        original = getattr(module, name)

        def pressed(*args, **kwargs):
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(shutdown.SAME * 1.5)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, pressed)

    yield press
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_stop_while_a_run_trains_saves_it(tmp_path, stopped):
    stopped(loop, "evaluate")
    with pytest.raises(experiment.Interrupted, match="stopped by SIGINT after step 2 of run 0; all is saved"):
        experiment.run(config(), tmp_path / "run")


def test_stop_twice_is_a_keyboard_interrupt_and_the_kernel_lives(tmp_path, stopped):
    stopped(loop, "evaluate", times=2)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(config(), tmp_path / "run")


@pytest.mark.parametrize("module, name", [(experiment, "set_up"), (experiment.resume, "find"), (report, "table")])
def test_stop_with_nothing_to_save_is_a_keyboard_interrupt(tmp_path, stopped, module, name):
    stopped(module, name)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(config(), tmp_path / "run")


def test_stop_during_the_summary_ends_the_run_before_its_pictures(tmp_path, stopped):
    stopped(experiment, "summarise")
    with pytest.raises(experiment.Interrupted, match="stopped by SIGINT; all runs are trained"):
        experiment.run(config(), tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_signal_while_a_later_group_compiles_is_not_waited_for(tmp_path, stopped, monkeypatch):
    """A signal while a later group compiles ends the run at once, since the group before is saved by then."""
    two = config() | {"sweep": {"norm": ("post", "pre")}}
    compiled = []

    def stop_at_the_second(job, group, knobs, batch):
        if compiled:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        compiled.append(group.name)
        return original(job, group, knobs, batch)

    original = loop.compile_update
    with monkeypatch.context() as patch:
        patch.setattr(loop, "compile_update", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            experiment.run(two, tmp_path / "run")
    assert compiled == ["runs_0-0"]
    assert [path.name for path in (tmp_path / "run").glob("checkpoints/*/4")] == ["4"]
    monkeypatch.setattr(loop, "compile_update", lambda *args: compiled.append(args[1].name) or original(*args))
    assert [run["steps"] for run in experiment.run(two, tmp_path / "run")["runs"]] == [4, 4]
    assert compiled == ["runs_0-0", "runs_1-1"]


@pytest.mark.slow
def test_a_signal_between_two_groups_stops_the_run_before_the_next_one_compiles(tmp_path, stopped, monkeypatch):
    stopped(experiment, "leave_nothing_to_save")
    monkeypatch.setattr(streams, "_waits", True)
    with pytest.raises(experiment.Interrupted, match="stopped by SIGINT between two groups of runs; all is saved"):
        experiment.run(config() | {"sweep": {"norm": ("post", "pre")}}, tmp_path / "run")


# Programs.

SMOKE = "--config=configs/lm_warmup.py:smoke --config.sweep.warmup_steps=None --config.warmup_steps=2".split()
LONG = ["--config.num_steps=100000", "--config.eval_every=100000", "--config.checkpoint_every=50000"]
WORKERS = [
    "--config=configs/resnet_warmup.py:smoke",
    "--config.dataset.residency=stream",
    "--config.dataset.workers=2",
    "--config.model.width=0.25",
    "--config.batch_size=32",
    *LONG,
]


def start(workdir, *arguments, code=""):
    """`python train.py` as the first of its group of processes, perhaps after some code."""
    main = ["train.py"]
    if code:
        main = [
            "-c",
            f"{code}\nimport runpy, sys; sys.argv[0] = 'train.py'; runpy.run_path('train.py', run_name='__main__')",
        ]
    return subprocess.Popen(
        [sys.executable, *main, *arguments, f"--workdir={workdir}"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"GLIBC_TUNABLES": ""},  # no restart
    )


def until(found, running, seconds=120):
    end = time.monotonic() + seconds
    while not found() and running.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)


def lines(workdir):
    log = workdir / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seconds", [0.4, 1, 2])
def test_a_signal_during_imports_and_set_up_ends_with_status_0(tmp_path, name, seconds):
    running = start(tmp_path / "run", *SMOKE, *LONG, "--config.sweep.seeds=1000000")
    time.sleep(seconds)
    running.send_signal(getattr(signal, name))
    begin = time.monotonic()
    _, err = running.communicate(timeout=60)
    assert running.returncode == 0 and f"{name}: stopped" in err and "Traceback" not in err
    assert time.monotonic() - begin < 10


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_signal_during_the_final_report_ends_with_status_0(tmp_path, name):
    slow = "import time; from warmup_jax import report; report.curves = lambda workdir: time.sleep(60)"
    running = start(tmp_path / "run", *SMOKE, code=slow)
    until((tmp_path / "run" / "summary.json").exists, running)
    time.sleep(0.5)
    running.send_signal(getattr(signal, name))
    _, err = running.communicate(timeout=60)
    assert running.returncode == 0 and f"{name}: stopped; nothing is lost" in err and "Traceback" not in err


def group_is_gone(number):
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("signals", [["SIGKILL"], ["SIGTERM", "SIGTERM"], ["SIGINT"], ["SIGTERM"]])
def test_no_worker_process_stays(tmp_path, signals):
    running = start(tmp_path / "run", *WORKERS)
    until(lambda: lines(tmp_path / "run") > 5, running)
    for name in signals:
        running.send_signal(getattr(signal, name))
        time.sleep(0.3)
    running.communicate(timeout=60)
    until_gone = time.monotonic() + 20
    while not group_is_gone(running.pid) and time.monotonic() < until_gone:
        time.sleep(0.1)
    assert group_is_gone(running.pid)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_the_whole_group_lets_workers_read_until_all_is_saved(tmp_path, name):
    """Signals the whole group, like Ctrl-C on a terminal or `timeout`."""
    running = start(tmp_path / "run", *WORKERS)
    until(lambda: lines(tmp_path / "run") > 5, running)
    os.killpg(running.pid, getattr(signal, name))
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0 and "all is saved" in out and "Traceback" not in err, err


# Phase -> code that names the function by which it begins.
PHASES = {
    "set-up": "from warmup_jax.training import experiment as module; name = 'set_up'",
    "data": "from warmup_jax import data as module; name = 'load'",
    "sampler": "from warmup_jax import data as module; name = 'train_batches'",
    "compile": "from warmup_jax.training import loop as module; name = 'compile_update'",
    "first probe": "from warmup_jax.training import loop as module; name = 'probe'",
    "train": "from warmup_jax.training import loop as module; name = 'log_chunk'",
    "evaluate": "from warmup_jax.training import evaluation as module; name = 'scores'",
    "decode": "from warmup_jax.training import evaluation as module; name = 'decode_texts'",
    "save": "from warmup_jax.training import loop as module; name = 'save'",
    "summary": "from warmup_jax.training import experiment as module; name = 'summarise'",
    "report": "from warmup_jax import report as module; name = 'table'",
}
LASTS = """
import pathlib, time
original = getattr(module, name)
def lasts(*args, **kwargs):
    setattr(module, name, original)
    pathlib.Path({there!r}).touch()
    time.sleep({seconds})
    return original(*args, **kwargs)
setattr(module, name, lasts)
"""
SAVED = ("train", "evaluate", "decode", "save", "summary")  # phases in which there are updates to save


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_in_any_phase_ends_with_status_0_and_the_run_resumes(tmp_path, phase, name):
    there, workdir = tmp_path / "there", tmp_path / "run"
    waited = 1 if phase in SAVED else 60
    running = start(workdir, *SMOKE, code=PHASES[phase] + LASTS.format(there=str(there), seconds=waited))
    until(there.exists, running)
    running.send_signal(getattr(signal, name))
    begin = time.monotonic()
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0 and "Traceback" not in err and group_is_gone(running.pid), err
    if phase in SAVED:
        trained = "all runs are trained" if phase == "summary" else "all is saved"
        assert f"stopped by {name}" in out and trained in out and f"--workdir={workdir}" in out.splitlines()[-1]
        assert f"{name}: saving after this step" in err
    else:
        assert f"{name}: stopped; nothing is lost" in err and time.monotonic() - begin < 20


@pytest.mark.slow
def test_a_program_is_not_waited_for_while_a_later_group_compiles(tmp_path):
    """It resumes at that group, and its log is that of an uninterrupted run."""
    there, two = tmp_path / "there", [*SMOKE, "--config.sweep.norm=('post','pre')"]
    code = PHASES["compile"] + LASTS.format(there=str(there), seconds=60)
    second = code.replace("def lasts(*args", "def lasts(*args, calls=[]").replace(
        "    setattr", "    calls.append(1)\n    if len(calls) == 1: return original(*args, **kwargs)\n    setattr", 1
    )
    running = start(tmp_path / "run", *two, code=second)
    until(there.exists, running)
    begin = time.monotonic()
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0 and "SIGTERM: stopped; nothing is lost" in err and "run 0" in out, err
    assert time.monotonic() - begin < 20
    (out, err), (_, whole) = (start(tmp_path / name, *two).communicate(timeout=300) for name in ("run", "whole"))
    assert "run 1" in out and "run 0 (" not in out, err
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("run", "whole")]
    assert logs[0] == logs[1], whole


@pytest.fixture
def mount():
    """Mounts file systems, or skips where that is not allowed; unmounts them at the end."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    mounted = []

    def mount(*arguments, folder):
        folder.mkdir(parents=True)
        if subprocess.run(["mount", *arguments, str(folder)], capture_output=True).returncode:
            pytest.skip("this container may not mount")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


OFTEN = ["--config.num_steps=3000", "--config.eval_every=100", "--config.checkpoint_every=100"]


def ends_with_one_line(running, kind):
    """Checks that a program that can save no longer ends soon, with status 1 and one line on stderr."""
    said = running.stderr.readline()
    begin = time.monotonic()
    assert running.wait(timeout=60) == 1 and said.startswith("error: cannot ") and kind in said, said
    assert time.monotonic() - begin < 10
    assert running.communicate()[1] == "" and group_is_gone(running.pid)


@pytest.mark.slow
def test_a_disk_without_inodes_ends_the_run_within_seconds(tmp_path, mount):
    mount("-t", "tmpfs", "-o", "nr_inodes=45,size=200m", "none", folder=tmp_path / "disk")
    ends_with_one_line(start(tmp_path / "disk" / "run", *SMOKE, *OFTEN), "No space left")


@pytest.mark.slow
def test_a_disk_that_becomes_read_only_ends_the_run_within_seconds(tmp_path, mount):
    """The folder of the checkpoints alone, since the system keeps a disk with open logs writable."""
    folder, disk = tmp_path / "run" / "checkpoints", tmp_path / "disk"
    disk.mkdir()
    mount("--bind", str(disk), folder=folder)
    running = start(tmp_path / "run", *SMOKE, *OFTEN)
    until(lambda: list(folder.glob("*/100")), running)
    locked = ["mount", "-o", "remount,ro,bind", str(folder)]
    until(lambda: subprocess.run(locked, capture_output=True).returncode == 0, running)  # busy during a save
    ends_with_one_line(running, "Read-only file system")
