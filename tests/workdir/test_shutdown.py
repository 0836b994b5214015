"""Endings: at once while nothing would be lost, else after saving; no process stays, and no end waits for a thread."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from warmup_jax import streams
from warmup_jax.workdir import shutdown

ROOT = Path(__file__).parent.parent.parent
NAMES = ["SIGINT", "SIGTERM", "SIGHUP"]
PROGRAM = """
import sys, threading, time
from warmup_jax.workdir import shutdown
shutdown.exit_on_signal()
with shutdown.shutdown_on_signal() as flag:
    flag.to_save = {to_save}
    print("ready", flush=True)
    {then}
"""
UNTIL = "\n    ".join(["while not flag.requested: time.sleep(0.01)", "print('saved', flag.requested, flush=True)"])


def program(to_save, then, before=""):
    """A program that watches its signals, up to the line that it is ready."""
    process = subprocess.Popen(
        ["bash", "-c", before + shlex.join(["exec", sys.executable, "-c", PROGRAM.format(to_save=to_save, then=then)])],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_while_there_is_nothing_to_save_ends_with_status_0(name):
    process = program(False, "time.sleep(60)")
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", f"\n{name}: stopped; nothing is lost\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_while_there_is_something_to_save_is_left_to_the_loop(name):
    process = program(True, UNTIL)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, f"saved {name}\n") and "saving after this step" in err


@pytest.mark.parametrize("name", NAMES)
def test_a_second_signal_ends_at_once_with_its_number_and_its_workers(name, tmp_path):
    number = getattr(signal, name)
    then = (
        "import multiprocessing; worker = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,)); "
        "worker.start(); print(worker.pid, flush=True); threading.Event().wait()"
    )
    process = program(True, then)
    worker = int(process.stdout.readline())
    process.send_signal(number)
    time.sleep(shutdown.SAME + 0.2)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM and "latest updates are not saved" in err
    end = time.monotonic() + 5
    while Path(f"/proc/{worker}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def test_two_signals_in_one_moment_are_one():
    """`timeout` sends its signal to the process and then to the group of the process."""
    process = program(True, UNTIL + "; time.sleep(1)")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "saved SIGTERM\n")


def test_a_signal_during_long_c_code_does_not_wait_for_it():
    """As during a compilation."""
    process = program(False, "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2**30)")  # minutes
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0
    process.communicate()


def test_the_loss_of_the_terminal_is_ignored_under_nohup():
    process = program(True, UNTIL, before="trap '' HUP; ")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10)[0] == "saved SIGTERM\n"


def test_a_signal_before_the_program_watches_arrives_when_it_does():
    """The restart with huge pages blocks the signals until then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, shutdown.SIGNALS)  # a process inherits it
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import time; time.sleep(0.5)" + PROGRAM.format(to_save=False, then="time.sleep(9)"),
            ],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, shutdown.SIGNALS)
    process.send_signal(signal.SIGTERM)
    assert b"SIGTERM: stopped" in process.communicate(timeout=20)[1] and process.returncode == 0


@pytest.mark.parametrize("ending", ["shutdown.end(1)", "shutdown.end_soon(); raise SystemExit(1)"])
def test_an_error_does_not_wait_for_a_background_thread(ending):
    waits = "threading.Thread(target=threading.Event().wait).start(); shutdown.GRACE = 0.5"
    then = f"{waits}; time.sleep(0.3); print('said'); {ending}"
    process = program(True, then)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (1, "said\n", "")


# In a library: the handlers of the caller.


@pytest.fixture
def mine():
    """Handlers of the caller, which count."""
    got = []
    before = {number: signal.signal(number, lambda number, frame: got.append(number)) for number in shutdown.SIGNALS}
    waits = streams._waits
    yield got
    streams._waits = waits
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", NAMES)
def test_in_a_library_the_first_signal_sets_the_flag_and_the_second_is_the_callers(mine, name, monkeypatch, capfd):
    number = getattr(signal, name)
    monkeypatch.setattr(shutdown, "SAME", 0)
    with shutdown.shutdown_on_signal() as flag:
        os.kill(os.getpid(), number)
        assert mine == [number] and not flag.requested  # there is nothing to save yet
        flag.to_save = True
        os.kill(os.getpid(), number)
        assert mine == [number] and flag.requested == name
        os.kill(os.getpid(), number)
        assert mine == [number] * 2
    os.kill(os.getpid(), number)
    assert mine == [number] * 3
    assert capfd.readouterr().err.count("saving after this step") == 1


def test_in_a_notebook_stop_is_a_keyboard_interrupt():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        with shutdown.shutdown_on_signal():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_outside_the_main_thread_no_handler_is_installed():
    before = [signal.getsignal(number) for number in shutdown.SIGNALS]
    found = []

    def run():
        with shutdown.shutdown_on_signal() as flag:
            found.append((flag.requested, [signal.getsignal(number) for number in shutdown.SIGNALS] == before))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(None, True)]


def test_the_end_of_a_program_is_an_exception_where_the_process_is_not_its_own():
    with pytest.raises(SystemExit):
        shutdown.end(1)
    shutdown.end_soon()
