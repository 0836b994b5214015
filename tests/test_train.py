"""The command line: every mistake of a user's is one clear line and exit status 2."""

import os
import subprocess
import sys

import pytest
from commands import ROOT

import train as train_program
from warmup_jax import cli
from warmup_jax.training import experiment
from warmup_jax.workdir import json_files

CONFIG = "--config=configs/resnet_warmup.py"
TRANSLATE = "--config=configs/transformer_warmup.py"


@pytest.mark.parametrize(
    "args, named",
    [
        (["--config=configs/resnet.py"], "configs/resnet.py"),
        ([], "--config is missing"),
        ([CONFIG + ":digit"], "unknown or repeated argument 'digit'"),
        ([CONFIG, "--config.peak_rl=0.1"], "unknown config key 'peak_rl'; did you mean 'peak_lr'"),
        ([CONFIG, "--config.model.dept=8"], "unknown config key in model 'dept'; did you mean 'depth'"),
        ([CONFIG, "--config.peak_rl=None"], "did you mean 'peak_lr'"),
        ([CONFIG, "--config.num_steps=many"], "many"),
        ([CONFIG, "--config.num_steps=1.5"], "1.5"),
        ([CONFIG, "--config.peak_lr=fast"], "fast"),
        ([CONFIG, "--confg.peak_lr=1"], "confg"),
        ([CONFIG, "stray"], "'stray'"),
        ([CONFIG, "--config.dataset.name=digitz"], "did you mean 'digits'"),
        ([CONFIG, "--config.model.name=resnett"], "did you mean 'resnet'"),
        ([CONFIG, "--config.model.depth=21"], "depth=21"),
        ([CONFIG, "--config.optimizer=sdg"], "did you mean 'sgd'"),
        ([CONFIG, "--config.schedule=cosin"], "did you mean 'cosine'"),
        ([CONFIG, "--config.warmup=linaer"], "did you mean 'linear'"),
        ([CONFIG, "--config.warmup_epochs=2"], "warmup_epochs=2.0, sweep.warmup_steps=(0, 50)"),
        ([CONFIG, "--config.num_epochs=2"], "num_steps=200, num_epochs=2.0"),
        ([CONFIG, "--config.batch_size=1438"], "batch_size=1438 is larger than the training data (1437 examples)"),
        ([CONFIG, "--config.batch_size=0"], "batch_size=0; allowed: integers from 1"),
        ([CONFIG, "--config.num_steps=-3"], "num_steps=-3; allowed: integers from 1"),
        ([CONFIG, "--config.sweep.peak_lr=()"], "sweep.peak_lr"),
        ([CONFIG, "--config.warmup_args.exponent=2.0"], "unknown argument 'exponent'"),
        ([CONFIG, "--config.optimizer_args.momentum=fast"], "momentum=fast"),
        ([CONFIG, "--config.optimiser_args.momentum=0.5"], "did you mean 'optimizer_args'"),
        ([CONFIG, "--config.transforms=('warmup_untill',)"], "did you mean 'warmup_until'"),
        ([CONFIG, "--config.recipe=gtp"], "did you mean 'gpt'"),
        (
            [CONFIG, "--config.transforms=('cap_by_sharpness',)", "--config.transforms_args.cap_by_sharpness.c=2.0"],
            "this one: nothing",
        ),
        ([CONFIG, "--workdir=/proc/nowhere"], "/proc/nowhere"),
        ([CONFIG, "--config.sweep.num_steps=(1,2)"], "unknown knob to sweep 'num_steps'"),
        ([CONFIG, "--config.sweep.form=('cifar','cifer')"], "form='cifer'"),
        ([CONFIG, "--config.sweep.batch_size=(8,0)"], "batch_size=0; allowed: integers from 1"),
        ([TRANSLATE, "--config.model.heads=3"], "heads=3"),
        ([TRANSLATE, "--config.sweep.norm=('post','before')"], "norm='before'"),
        (
            [TRANSLATE, "--config.dataset.source_length=2000"],
            "source length of input_shape=2000; allowed: at most max_positions=1024",
        ),
        ([TRANSLATE, "--config.dataset.tokenizer=words"], "tokenizer"),
        ([TRANSLATE, "--config.decoding.beams=0"], "decoding.beams=0; allowed: integers from 1"),
        ([TRANSLATE, "--config.decoding.name=beem"], "did you mean 'beam'"),
        ([TRANSLATE + ":norm=before"], "'norm=before'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(train, tmp_path, args, named):
    workdir = [] if any(arg.startswith("--workdir") for arg in args) else [f"--workdir={tmp_path / 'run'}"]
    answer = train(*args, *workdir)
    assert answer.returncode == 2, answer.stderr
    assert named in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_dataset_that_is_not_on_disk_says_at_once_what_to_do(train, tmp_path):
    answer = train(
        CONFIG + ":cifar10", f"--config.dataset.data_dir={tmp_path / 'nothing'}", f"--workdir={tmp_path / 'run'}"
    )
    assert answer.returncode == 2 and answer.stderr.count("\n") == 1
    assert str(tmp_path / "nothing") in answer.stderr
    assert "python -m warmup_jax.data prepare cifar10" in answer.stderr


def test_a_workdir_that_cannot_be_written_is_named(train, tmp_path):
    (tmp_path / "file").write_text("")
    answer = train(CONFIG, f"--workdir={tmp_path / 'file'}")
    assert answer.returncode == 2 and str(tmp_path / "file") in answer.stderr


@pytest.mark.slow
def test_the_command_line_gives_arguments_of_components_and_another_unit_in_place_of_one_unset(train, tmp_path):
    answer = train(
        CONFIG + ":smoke",
        "--config.model.width=0.25",
        "--config.sweep.warmup_steps=None",
        "--config.warmup_epochs=0.0",
        "--config.optimizer_args.momentum=0",
        "--config.transforms=('warmup_until',)",
        "--config.transforms_args.warmup_until.metric=error",
        "--config.schedule=constant",
        "--config.schedule_args.exponent=None",
        "--config.transforms_args.warmup_until.threshold=-1.0",
        "--config.transforms_args.warmup_until.low=0.25",
        "--config.transforms_args.warmup_until.high=1.0",
        f"--workdir={tmp_path / 'run'}",
    )
    assert answer.returncode == 0, answer.stderr
    rates = [line.get("opt/learning_rate") for line in json_files.read_lines(tmp_path / "run" / "metrics.jsonl")]
    assert [rate for rate in rates if rate is not None] == [0.5] * 4


@pytest.mark.slow
def test_without_a_workdir_a_new_one_is_made_and_printed(tmp_path):
    answer = subprocess.run(
        [
            sys.executable,
            ROOT / "train.py",
            f"--config={ROOT}/configs/resnet_warmup.py:smoke",
            "--config.model.width=0.25",
            "--config.batch_size=32",  # as in test_experiment.py, which compiles the same programs
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    workdir = answer.stdout.splitlines()[0].removeprefix("workdir: ")
    assert workdir.startswith("runs/resnet_warmup-")
    assert (tmp_path / workdir / "summary.json").exists()
    assert answer.stdout.splitlines()[1].endswith("x cpu, float32")
    *_, picture, page, seeds = answer.stdout.splitlines()
    assert picture == f"picture: {workdir}/curves.png" and (tmp_path / workdir / "curves.png").exists()
    assert page.endswith(f" -m warmup_jax.report {workdir}")
    assert seeds.endswith(
        f"train.py --config={ROOT}/configs/resnet_warmup.py:smoke --config.model.width=0.25 "
        "--config.batch_size=32 --config.sweep.seeds=5"
    )


def ending(monkeypatch, capsys, outcome, *argv):
    """The lines of train.py after its workdir, when the training returns or raises something."""

    def run(*args):
        if isinstance(outcome, Exception):
            raise outcome
        return {"runs": [{}] * outcome}

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["train.py", *argv])
    monkeypatch.setattr(experiment, "run", run)
    monkeypatch.setattr(train_program.process, "restart_with_huge_pages", lambda: None)
    monkeypatch.setattr(cli, "python", lambda: "python")
    train_program.main(cli.parse(argv, "About.", {"workdir": train_program.WORKDIR}))
    return capsys.readouterr().out.splitlines()[1:]


PAGE = "next: python -m warmup_jax.report 'a b'"


@pytest.mark.parametrize(
    "runs, more, lines",
    [
        (1, ["--workdir=a b"], [PAGE, f"next: python train.py {CONFIG} --config.sweep.seeds=5"]),
        (
            12,
            ["--workdir", "a b", "--config.sweep.warmup_steps", "(0,9)"],
            [PAGE, f"next: python train.py {CONFIG} '--config.sweep.warmup_steps=(0,9)' --config.sweep.seeds=5"],
        ),
        (13, ["--workdir=a b"], [PAGE]),
        (2, ["--config.sweep.seeds=2", "--workdir=a b"], [PAGE]),
    ],
)
def test_the_end_says_what_to_run_next(monkeypatch, capsys, runs, more, lines):
    assert ending(monkeypatch, capsys, runs, CONFIG, *more) == lines


@pytest.mark.parametrize("workdir", [[], ["--workdir=old", "--workdir=runs/a"]])
def test_a_run_that_a_signal_stopped_says_how_to_resume(monkeypatch, capsys, workdir):
    monkeypatch.setattr(train_program.places, "new_folder", lambda path: "runs/a")
    said = ending(
        monkeypatch, capsys, experiment.Interrupted("stopped"), CONFIG, "--noconfig.stop_when_diverged", *workdir
    )
    resume = f"resume: python train.py {CONFIG} --noconfig.stop_when_diverged --workdir=runs/a"
    assert said == ["stopped", resume]


@pytest.mark.parametrize(
    "executable, found, here, command",
    [
        ("/env/bin/python", "/env/bin/python", "/project", "python"),
        ("/project/.venv/bin/python", None, "/project", ".venv/bin/python"),
        ("/env/bin/python3", "/usr/bin/python", "/project", "/env/bin/python3"),
    ],
)
def test_commands_start_the_python_of_this_process(monkeypatch, executable, found, here, command):
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(cli.shutil, "which", lambda name: found)
    monkeypatch.setattr(os, "getcwd", lambda: here)
    assert cli.python() == command
