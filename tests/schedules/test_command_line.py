"""python -m warmup_jax.schedules: the list, the pictures, the look at a config."""

import subprocess
import sys
from pathlib import Path

import pytest

from warmup_jax import schedules
from warmup_jax.schedules import __main__ as program

ROOT = Path(__file__).parents[2]
CONFIG = "--config=configs/resnet_warmup.py"


def call(*args):
    return subprocess.run(
        [sys.executable, "-m", "warmup_jax.schedules", *map(str, args)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=300,
    )


def test_the_list_names_every_entry_with_its_source():
    text = program.listing()
    for table in (schedules.WARMUPS, schedules.DECAYS, schedules.RECIPES):
        assert all(f"  {name} " in text for name in table)
    assert "Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017" in text


def test_all_shapes_are_drawn(tmp_path):
    program.shapes(str(tmp_path / "shapes.png"))
    assert (tmp_path / "shapes.png").read_bytes().startswith(b"\x89PNG")


def test_a_config_is_looked_at(tmp_path):
    answer = call(CONFIG, "--config.warmup=power", "--config.warmup_args.exponent=2.0", f"--out={tmp_path / 's.png'}")
    assert answer.returncode == 0, answer.stderr
    assert "warmup_steps=0: 200 updates, highest rate 2, effective warmup 0.0 updates" in answer.stdout
    # sum of 1 - (k / 50)^2 over k = 1 .. 50
    assert "warmup_steps=50: 200 updates, highest rate 2, effective warmup 32.8 updates" in answer.stdout
    assert answer.stdout.count("nothing suspicious") == 2
    assert (tmp_path / "s.png").exists()


def test_lint_speaks_up(tmp_path):
    answer = call(
        CONFIG, "--config.sweep.warmup_steps=(10,300)", "--config.warmup_args.count=zero", f"--out={tmp_path / 's.png'}"
    )
    assert "the rate of the first 1 of 200 updates is 0" in answer.stdout
    assert "the warmup of 300 updates does not end within the 200 of the run" in answer.stdout


@pytest.mark.parametrize(
    "args, named",
    [
        ([CONFIG, "--config.warmup=powr"], "did you mean 'power'"),
        ([CONFIG, "--config.warmup=power"], "needs the argument 'exponent'"),
        ([CONFIG, "--config.warmup_args.exponent=2"], "unknown argument 'exponent'"),
        ([CONFIG + ":cifar10", "--config.dataset.data_dir=nowhere"], "prepare cifar10"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(args, named):
    answer = call(*args)
    assert answer.returncode == 2 and named in answer.stderr and answer.stderr.count("\n") == 1
