"""Programs of the reliability benchmark: tiny trainings, started in forks, ended, and compared file by file."""

import atexit
import contextlib
import ctypes
import importlib
import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import forks

PATIENCE = 600  # seconds for a training that takes two on an idle machine
# The files of a run that depend on its config and seed alone, as docs/experiments.md promises.
SAME_BYTES = ("config.json", "metrics.jsonl", "texts.jsonl", "sweep.csv", "*.png")
TWO_RUNS = ["--config.sweep.warmup_steps=(0,3)"]


def every(steps):
    return [f"--config.eval_every={steps}", f"--config.checkpoint_every={steps}"]


# name: the arguments of a training of about a second, besides its start. {data} is the folder of `write_pictures`.
RUNS = {
    "ResNet": [
        "--config=configs/resnet_warmup.py:smoke",
        "--config.model.width=0.25",
        "--config.batch_size=32",
        "--config.num_steps=40",
        *every(8),
        *TWO_RUNS,
    ],
    "translation": [
        "--config=configs/transformer_warmup.py:smoke",
        "--config.sweep.norm=None",
        "--config.num_steps=40",
        *every(10),
        *TWO_RUNS,
    ],
    "sweep": [
        "--config=configs/phase_diagram.py:smoke",
        "--config.num_steps=60",
        "--config.runs_at_once=2",
        *every(20),
    ],
    "streamed": [
        "--config=configs/resnet_warmup.py:smoke",
        "--config.dataset.name=pictures",
        "--config.dataset.data_dir={data}",
        "--config.dataset.residency=stream",
        "--config.dataset.workers=1",  # one for the training and one for each evaluation, two seconds each
        "--config.model.width=0.25",
        "--config.batch_size=32",
        "--config.num_steps=24",
        "--config.eval_every=12",
        "--config.checkpoint_every=6",
        "--config.sweep.warmup_steps=None",
        "--config.warmup_steps=3",
    ],
    "diagnosed": [
        "--config=configs/lm_warmup.py:smoke,diagnose=norms+sharpness+gradient_noise",
        "--config.batch_size=8",
        "--config.diagnostics.sharpness.every=6",
        "--config.diagnostics.gradient_noise.every=6",
        "--config.diagnostics.sharpness.examples=16",
        "--config.diagnostics.gradient_noise.examples=16",
        "--config.num_steps=36",
        *every(9),
        *TWO_RUNS,
    ],
    "language model": [
        "--config=configs/lm_warmup.py:smoke",
        "--config.sweep.warmup_steps=None",
        "--config.warmup_steps=2",
        "--config.num_steps=20",
        *every(5),
    ],
}


def arguments(name, workdir, scratch, *more):
    """Returns the arguments of `python` that train a run of `RUNS` in a workdir."""
    return [
        "train.py",
        *(argument.format(data=scratch / "data") for argument in RUNS[name]),
        *more,
        f"--workdir={workdir}",
    ]


class Program:
    """A program in a fork of this process, the first of a session of its own.

    Args:
      arguments: of `python`, from the root of the repository.
      folder: of its output, created if need be.
      before: called in the fork, for example to change a function that the program will call.
      anew: whether it is started as a new Python, as a user starts it. Otherwise it begins with what this process has
        imported.
      environment: variables to set.
    """

    def __init__(self, arguments, folder, before=None, anew=False, **environment):
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err, self.status = folder / "stdout", folder / "stderr", None
        for path in (self._out, self._err):
            path.write_bytes(b"")
        self.started = time.monotonic()
        self.pid = os.fork()
        if not self.pid:
            self._begin(arguments, before, anew, environment)

    @property
    def out(self):
        return self._out.read_text(errors="replace")

    @property
    def err(self):
        return self._err.read_text(errors="replace")

    def ended(self):
        """Returns whether the program has ended; sets `status`, minus the signal if one has killed it."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status, self.seconds = os.waitstatus_to_exitcode(status), time.monotonic() - self.started
        return self.status is not None

    def wait(self, seconds=PATIENCE):
        """Waits for the end and returns the status; kills the program after so many seconds, which raises."""
        if not self.until(lambda: False, seconds):
            self.clean()
            raise TimeoutError(f"no end within {seconds} s; stderr: {self.err[-300:]!r}")
        return self.status

    def until(self, found, seconds=PATIENCE):
        """Waits until a condition holds or the program has ended; returns False if neither is so in time."""
        end = time.monotonic() + seconds
        while not self.ended() and not found():
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True

    def send(self, number):
        """Sends a signal, if there still is a program to get it; returns whether there was."""
        if self.ended():
            return False
        os.kill(self.pid, number)
        return True

    def handles_signals(self):
        """Returns whether the program has replaced what SIGTERM does by default; Python itself does not."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return False
        return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (signal.SIGTERM - 1) & 1)

    def left(self):
        """Returns the processes that the program started and that still run."""
        with contextlib.suppress(ChildProcessError):
            while self.ended() and os.waitpid(-self.pid, os.WNOHANG)[0]:
                pass
        return [pid for pid in session(self.pid) if pid != self.pid or not self.ended()]

    def none_left(self, seconds=20):
        """Waits until no process of the program runs and returns how long that took, None if it takes longer."""
        begin = time.monotonic()
        while self.left():
            if time.monotonic() > begin + seconds:
                self.clean()
                return None
            time.sleep(0.01)
        return time.monotonic() - begin

    def clean(self):
        """Kills what runs of the program."""
        while left := self.left():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _begin(self, arguments, before, anew, environment):
        """Runs the program and ends this process; never returns."""
        status = 1
        try:
            os.setsid()
            end_with_parent(signal.SIGKILL)
            for number, path in ((1, self._out), (2, self._err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
            signal.alarm(0)
            for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ.update(environment)
            if anew:
                del os.environ["GLIBC_TUNABLES"]
                os.execve(sys.executable, [sys.executable, *arguments], os.environ)
            sys.orig_argv = [sys.executable, *arguments]
            if before is not None:
                before()
            status = forks.execute(arguments)
            threading._shutdown()  # as at the end of an interpreter
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            traceback.print_exc()
        os._exit(status)


def end_all():
    """Kills the programs of this process, with all that they left."""
    while children := [pid for pid, parent in parents().items() if parent == os.getpid()]:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def parents():
    """Returns the parent of each process."""
    return {pid: int(fields[1]) for pid, fields in processes()}


def processes():
    """Yields (pid, fields of its status from the state on) of all processes."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            yield int(path.parent.name), path.read_text().rpartition(")")[2].split()


def preload():
    """Imports what trainings and reports import, for all forks; otherwise a resumed one takes 1.4 s instead of 0.6."""
    from warmup_jax.workdir import boards

    boards._tensorboard()
    for name in (
        "grain",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "orbax.checkpoint",
        "sacrebleu",
        "sklearn.datasets",
    ):
        importlib.import_module(name)
    for name in ("report.pages", "training.experiment"):
        importlib.import_module(f"warmup_jax.{name}")


def adopt():
    """Makes this process the parent of what its programs leave behind, so that none of it escapes."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def end_with_parent(number):
    """Makes this process get a signal when its parent ends."""
    ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG


def session(leader):
    """Returns the processes of a session that are not zombies."""
    return [pid for pid, fields in processes() if int(fields[3]) == leader and fields[0] != "Z"]


def lines(workdir):
    """Returns the number of whole lines of a run's log."""
    log = workdir / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def one_line(err):
    """Returns whether a program said what is wrong in one line, besides its warnings."""
    said = [line for line in err.splitlines() if not line.startswith("warning: ")]
    return len(said) == 1 and said[0].startswith("error: ") and "Traceback" not in err


def differences(workdir, reference):
    """Returns the promised files in which a run differs from one that nothing has interrupted, with a reason."""
    found = []
    names = {path.name for pattern in SAME_BYTES for path in reference.glob(pattern)}
    names |= {path.name for pattern in SAME_BYTES for path in workdir.glob(pattern)}
    for name in sorted(names):
        here, there = workdir / name, reference / name
        if not here.exists() or not there.exists():
            found.append(f"{name} is {'missing' if there.exists() else 'new'}")
        elif here.read_bytes() != there.read_bytes():
            found.append(f"{name} differs")
    try:
        here, there = (json.loads((folder / "summary.json").read_bytes())["runs"] for folder in (workdir, reference))
        if here != there:
            found.append("summary.json differs")
    except (OSError, ValueError, KeyError) as error:
        found.append(f"summary.json: {error}")
    return found


def finish(program):
    """Waits for the end of a program, with all that it started; returns it."""
    program.wait()
    program.clean()
    return program


def complete(name, workdir, scratch, folder, *more, **options):
    """Trains a run to its end, or the rest of it; returns the finished program."""
    return finish(Program(arguments(name, workdir, scratch, *more), folder, **options))


def reference(name, scratch):
    """Returns the workdir of a run that nothing has interrupted."""
    return scratch / "references" / name


def train_references(names, scratch):
    """Trains the runs that the trials are compared with, each once and all at the same time."""
    if "streamed" in names and not (scratch / "data").exists():
        code = f"import reliability_programs; reliability_programs.write_pictures({str(scratch / 'data')!r})"
        writer = finish(Program(["-c", code], scratch / "output"))
        if writer.status:
            raise RuntimeError(f"the pictures cannot be written: {writer.err}")
    started = {
        name: Program(arguments(name, reference(name, scratch), scratch), scratch / "references" / f"{name} output")
        for name in sorted(names)
        if not reference(name, scratch).exists()
    }
    for name, program in started.items():
        if finish(program).status:
            raise RuntimeError(f"the run {name} does not train: {program.err}")
        (scratch / "references" / f"{name} seconds").write_text(str(program.seconds))


def pace(name, scratch):
    """Returns the seconds of an uninterrupted run."""
    return float((scratch / "references" / f"{name} seconds").read_text())


def write_pictures(folder):
    """Writes the data set of the run `streamed`, 160 small pictures, as TFDS prepares it."""
    import numpy as np
    import tensorflow_datasets as tfds
    from PIL import Image

    class Pictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=(8, 8, 3)), "label": tfds.features.ClassLabel(num_classes=4)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(128), "test": self._generate_examples(32)}

        def _generate_examples(self, number):
            draw = np.random.default_rng(number)
            for index in range(number):
                file = io.BytesIO()
                Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
                yield index, {"image": file.getvalue(), "label": int(draw.integers(0, 4))}

    Pictures.name = "pictures"
    Pictures(data_dir=folder, file_format="array_record").download_and_prepare()
