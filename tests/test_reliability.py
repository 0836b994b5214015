"""The reliability benchmark: its parts in small, and that its judgement notices what is wrong."""

import importlib
import json
import shutil

import pytest
from commands import CAN_FORK, ROOT

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="the benchmark forks")


@pytest.fixture
def part(monkeypatch):
    """A module of the benchmark by its name, as the command imports it."""
    for folder in (ROOT, ROOT / "benchmarks"):
        monkeypatch.syspath_prepend(folder)
    return lambda name: importlib.import_module(f"reliability_{name}")


# Its parts.


@pytest.fixture
def measured(forked, tmp_path):
    """Runs the benchmark; returns its tables and the records of its trials, all of which went right."""

    def run(*arguments):
        trials = tmp_path / "trials.jsonl"
        done = forked("benchmarks/reliability.py", f"--trials={trials}", "--jobs=2", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, [json.loads(line) for line in trials.read_bytes().splitlines()]

    return run


def test_a_kill_and_some_values(measured):
    tables, records = measured("--parts=kills,overrides", "--count=2")
    assert "| sweep | 2 | 1 of 1 | 2 of 2 |" in tables and "## Overrides" in tables
    assert [(record["part"], record["number"]) for record in records[:1]] == [("kills", 0)] and len(records) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, count", [("kills", 15), ("flips", 30), ("signals", 27), ("disks", 6), ("overrides", 130)]
)
def test_a_part(measured, name, count):
    tables, records = measured(f"--parts={name}", f"--count={count}")
    assert f"## {name.capitalize()}" in tables and (records or "Not measured" in tables)


@pytest.mark.slow
def test_one_trial_is_repeated_alone_and_the_document_says_how_it_was_made(measured, tmp_path):
    command = ("--only=overrides:7", "--seed=3", "--markdown")
    (text, first), (_, second) = measured(*command), measured(*command)
    assert len(first) == 1 and first[0]["number"] == 7 and first[0]["case"] == second[0]["case"]
    assert "python benchmarks/reliability.py --markdown --parts=overrides --seed=3" in text
    assert "With the seed 3" in text and "jax " in text


@pytest.mark.parametrize("arguments", [["--parts=kils"], ["--count=0"], ["--only=kills"], ["--jobs=0"]])
def test_a_mistake_is_named(forked, arguments):
    done = forked("benchmarks/reliability.py", *arguments)
    assert done.returncode == 2 and f"{arguments[0].partition('=')[0]}=" in done.stderr and "allowed" in done.stderr


# Its judgement.


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.json", "metrics.jsonl", "curves.png"):
        (folder / name).write_text(f"the content of {name}\n")
    (folder / "summary.json").write_text('{"runs": [{"final": 1}], "seconds": 3}')
    return folder


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "curves.png", "summary.json"])
def test_a_file_that_differs_is_noticed(part, workdir, tmp_path, name):
    other = shutil.copytree(workdir, tmp_path / "other")
    differences = part("programs").differences
    (other / "summary.json").write_text('{"runs": [{"final": 1}], "seconds": 4}')  # a number that may differ
    assert differences(other, workdir) == []
    (other / name).write_text((other / name).read_text().replace("f", "g"))
    assert [reason.split()[0].strip(":") for reason in differences(other, workdir)] == [name]
    (other / name).unlink()
    assert len(differences(other, workdir)) == 1
    assert name == "summary.json" or len(differences(workdir, other)) == 1


@pytest.mark.parametrize(
    "err, right",
    [
        ("error: one line\n", True),
        ("warning: the event file ends here\nerror: one line\n", True),
        ("", False),
        ("error: one line\nerror: another\n", False),
        ("Traceback (most recent call last):\nValueError\n", False),
    ],
)
def test_one_line(part, err, right):
    assert part("programs").one_line(err) == right


@pytest.mark.parametrize(
    "given, err, unclear",
    [
        ({"peak_lr": "-1"}, "error: peak_lr must be at least 0, got -1.0", ""),
        ({"peak_lr": "1e400"}, "error: peak_lr=inf; allowed: finite numbers", ""),
        ({"model.name": "x"}, "error: unknown model 'x' (known: fcn, resnet)", ""),
        ({"warmup_args.x": "1"}, "error: warmup 'linear': unknown argument 'x' (it takes none)", ""),
        ({"sweep.peak_lr": "(nan,)"}, "error: peak_lr must be at least 0, got nan", ""),
        ({"peak_lr": "-1"}, "error: a rate must be at least 0, got -1.0", "names no key"),
        ({"peak_lr": "-1"}, "error: peak_lr must be at least 0", "names no value"),
        ({"peak_lr": "-1"}, "error: peak_lr=-1.0 is wrong", "does not say what is allowed"),
    ],
)
def test_what_a_refusal_names(part, given, err, unclear):
    assert part("overrides").unnamed({"given": given}, err) == unclear


UNREAD = """
import sys
from pathlib import Path
sys.path[:0] = ["benchmarks"]
import reliability_overrides as overrides
from warmup_jax.training import build

case = {"config": "phase_diagram.py:smoke", "given": {"schedule": "linear"}, "train": False}
for broken in (False, True):
    if broken:  # an update that reads nothing of the schedule
        build.learning_rate = lambda config, knobs: lambda step: 0.1
    overrides.BASE.clear()
    print(overrides.trial(case, Path(sys.argv[1], str(broken)), None)["wrong"])
"""


def test_a_value_that_is_accepted_and_not_read_is_noticed(forked, tmp_path):
    done = forked("-c", UNREAD, tmp_path)
    assert done.stdout == "[]\n[\"{'schedule': 'linear'} was accepted and changes nothing\"]\n", done.stderr


def test_the_kinds_of_files_are_equally_likely(part, tmp_path):
    flips = part("flips")
    for number in range(20):
        path = tmp_path / "checkpoints" / "runs_0-3" / "8" / "state" / "d" / f"{number:032x}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"array")
    (tmp_path / "config.json").write_bytes(b"{}")
    draws = [{"kind": kind, "file": file, "by_size": False} for kind in (0.1, 0.9) for file in range(20)]
    chosen = [flips.choose(tmp_path, draw) for draw in draws]
    assert [flips.kind(path, tmp_path) for path in chosen] == ["checkpoints/state/d"] * 20 + ["config.json"] * 20
    assert len(set(chosen)) > 10
    flips.flip(chosen[0], {"byte": 0.99, "bit": 3})
    assert chosen[0].read_bytes() == b"arra" + bytes([ord("y") ^ 8])


LEAVES = """
import sys
from pathlib import Path
sys.path[:0] = ["benchmarks"]
import reliability_programs as programs
programs.adopt()
code = "import subprocess; subprocess.Popen(['sleep', '60'])"
program = programs.Program(["-c", code], Path(sys.argv[1]))
print(program.wait(), len(program.left()), program.none_left(0.1))
print(program.left())
"""


def test_a_process_that_is_left_is_noticed_and_killed(forked, tmp_path):
    done = forked("-c", LEAVES, tmp_path)
    assert done.stdout == "0 1 None\n[]\n", done.stdout + done.stderr


def test_a_trial_that_dies_is_recorded_and_the_others_go_on(part, forked, tmp_path):
    code = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
sys.path[:0] = ["benchmarks"]
import reliability

def trial(case, folder, scratch):
    if case["number"] == 1:
        os._exit(7)
    if case["number"] == 2:
        raise ValueError("in it")
    return {"wrong": []}

part = SimpleNamespace(BATCH=3, trial=trial)
options = SimpleNamespace(jobs=2, scratch=Path(sys.argv[1]), trials=Path(sys.argv[1], "trials"))
for record in reliability.run("kills", part, [{"number": number} for number in range(4)], options):
    print(record["number"], record["wrong"])
"""
    done = forked("-c", code, tmp_path)
    assert done.stdout.splitlines()[-4:] == [
        "0 []",
        '1 ["the trial\'s process ended with status 7"]',
        "2 ['ValueError: in it']",
        "3 []",
    ], done.stdout + done.stderr
