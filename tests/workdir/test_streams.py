"""What a run says never decides about it: closed pipes, full devices, encodings, readers that stand still."""

import io
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tqdm import tqdm

from warmup_jax import streams

ROOT = Path(__file__).parent.parent.parent
SAY = "; ".join(
    [
        "import sys; from warmup_jax import streams; streams.make_safe()",
        "[print('a line', 'of \\u00fc\\ud800', flush=True) for i in range(3)]",
        "print('x' * 100_000); print('to stderr \\u00fc', file=sys.stderr)",
        "open(sys.argv[1], 'w').write('done')",
    ]
)
SMOKE = [
    "--config=configs/lm_warmup.py:smoke",
    "--config.sweep.warmup_steps=None",
    "--config.warmup_steps=2",
    "--config.eval_every=20000",
    "--config.checkpoint_every=20000",
    "--config.num_steps=20000",
]


def shell(command, **environment):
    """Status, stdout and stderr of a command of bash that may use $PYTHON."""
    python = {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        capture_output=True,
        timeout=100,
        env=os.environ | python | environment,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "redirection",
    [
        "| head -1",
        "| true",
        "> /dev/full",
        "2> /dev/full",
        "> /dev/full 2>&1",
        "2> >(true)",
        ">&-",
        "2>&-",
        "<&- >&- 2>&-",
    ],
)
@pytest.mark.parametrize("flags", ["", "-u"])
def test_a_program_whose_output_is_lost_ends_well(tmp_path, redirection, flags):
    if "full" in redirection and not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    done = tmp_path / "done"
    status, _, err = shell(f"$PYTHON {flags} -c {shlex.quote(SAY)} {done} {redirection}")
    assert (status, done.read_text()) == (0, "done"), err
    assert b"Traceback" not in err and b"Exception" not in err


@pytest.mark.parametrize(
    "encoding, said", [("ascii", rb"a line of \xfc\ud800"), ("utf-8", b"a line of \xc3\xbc\\ud800")]
)
def test_a_character_that_the_stream_lacks_is_escaped(tmp_path, encoding, said):
    status, out, err = shell(f"$PYTHON -c {shlex.quote(SAY)} {tmp_path / 'done'}", PYTHONIOENCODING=encoding)
    assert status == 0 and out.splitlines()[:3] == [said] * 3
    assert out.splitlines()[3] == b"x" * 100_000 and err.startswith(b"to stderr ")


def test_a_file_of_the_run_does_not_get_the_descriptor_of_a_closed_stream(tmp_path):
    """Else the message of a signal would go to the log, which is opened next."""
    code = (
        f"from warmup_jax import streams; streams.make_safe(); file = open({str(tmp_path / 'log')!r}, 'wb'); "
        "streams.say_at_once('a signal'); print('a line', flush=True); file.close()"
    )
    status, *_ = shell(f"$PYTHON -c {shlex.quote(code)} <&- >&- 2>&-")
    assert status == 0 and (tmp_path / "log").read_bytes() == b""


@pytest.fixture
def pipe():
    """Both ends of a pipe, and a safe stream on its writing end."""
    reader, writer = os.pipe()
    yield reader, writer, io.TextIOWrapper(io.BufferedWriter(streams.SafeFile(writer)), "ascii", "backslashreplace")
    os.close(writer)


def test_a_bar_on_a_closed_pipe_goes_on(pipe):
    reader, _, stream = pipe
    os.close(reader)
    bar = tqdm(total=3, file=stream, mininterval=0)
    for _ in range(3):
        bar.update()
    bar.close()
    stream.close()


def test_a_reader_that_stands_still_is_waited_for_until_the_run_is_to_stop(pipe, monkeypatch):
    reader, writer, stream = pipe
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 65536)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    monkeypatch.setattr(streams, "_waits", True)
    monkeypatch.setattr(streams, "PATIENCE", 0.01)
    looks = []
    select = streams.select.select
    monkeypatch.setattr(
        streams.select,
        "select",
        lambda *args: looks.append(1) or (len(looks) > 3 and streams.stop_waiting()) or select(*args),
    )
    stream.write("nobody reads this")
    stream.flush()
    assert len(looks) == 4
    os.close(reader)
    stream.close()


def test_a_stream_that_may_not_block_gets_all(pipe):
    """A terminal shared with another program can be in that state."""
    reader, writer, stream = pipe
    os.set_blocking(writer, False)
    process = subprocess.Popen(["wc", "-c"], stdin=reader, stdout=subprocess.PIPE, close_fds=True)
    os.close(reader)
    stream.write("x" * 300_000)
    stream.close()
    os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # closes the pipe; the fixture closes the descriptor
    assert int(process.communicate(timeout=20)[0]) == 300_000


def test_streams_of_a_notebook_or_a_test_stay_as_they_are(monkeypatch):
    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    with streams.safe():
        print("a line")
        assert sys.stdout is mine
    assert sys.stdout is mine and mine.getvalue() == "a line\n"


def test_the_streams_of_a_caller_come_back(tmp_path, monkeypatch):
    with open(tmp_path / "out", "w", encoding="ascii") as mine:
        monkeypatch.setattr(sys, "stdout", mine)
        print("before")
        with streams.safe():
            print("ü")
        print("after")
        assert sys.stdout is mine
    assert (tmp_path / "out").read_text() == "before\n\\xfc\nafter\n"


@pytest.mark.parametrize("module", ["schedules", "data"])
def test_a_listing_may_be_cut_off(module):
    status, out, err = shell(f"$PYTHON -m warmup_jax.{module} list | head -1")
    assert status == 0 and out.count(b"\n") == 1 and err == b""


def until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2> >(true)", "2>&1 | (head -1; sleep 1)", "> /dev/full 2>&1"])
def test_a_signal_to_a_run_whose_reader_is_gone_saves_all(tmp_path, redirection):
    command = shlex.join(["train.py", *SMOKE, f"--workdir={tmp_path}"])
    process = subprocess.Popen(
        [
            "bash",
            "-o",
            "pipefail",
            "-c",
            f"(echo $BASHPID > {tmp_path}/pid; exec {sys.executable} {command}) {redirection}",
        ],
        cwd=ROOT,
    )
    log = tmp_path / "metrics.jsonl"
    until(lambda: log.exists() and log.read_bytes().count(b"\n") > 5)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert [path for path in tmp_path.glob("checkpoints/runs_0-0/*") if path.name.isdigit()]


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["| head -1", "> /dev/full", "| cat"])
def test_a_run_trains_to_its_end_whatever_reads_it(tmp_path, redirection):
    """With `cat` as ASCII: its texts are not, from the first evaluation on."""
    command = shlex.join(["train.py", *SMOKE, "--config.num_steps=4", f"--workdir={tmp_path}"])
    status, _, err = shell(f"$PYTHON {command} {redirection}", PYTHONIOENCODING="ascii")
    assert status == 0 and err == b"" and (tmp_path / "summary.json").exists()
