"""python -m warmup_jax.schedules: the tables, the picture of all shapes, the schedules of a config."""

import subprocess
import sys
from pathlib import Path

import pytest

from configs import resnet_warmup
from warmup_jax import schedules
from warmup_jax.schedules import __main__ as program
from warmup_jax.training import show_schedule

ROOT = Path(__file__).parents[2]
CONFIG = "--config=configs/resnet_warmup.py"


def call(*args):
    return subprocess.run(
        [sys.executable, "-m", "warmup_jax.schedules", *args], cwd=ROOT, text=True, capture_output=True, timeout=300
    )


def test_the_list_names_every_entry_with_its_source(capsys):
    program.main(["list"])
    text = capsys.readouterr().out
    for table in (schedules.WARMUPS, schedules.DECAYS, schedules.RECIPES):
        assert all(f"\n  {name} " in text for name in table)
    assert "Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017" in text
    assert "w = (1 - cos(pi x)) / 2" in text and "d = 1 / sqrt(1 + max(t - start, 0) / timescale)" in text
    assert not set("\\{}`") & set(text)


def test_markdown_tables_are_rectangular_and_link_their_sources(capsys):
    program.main(["list", "--markdown"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in lines if not line.startswith("|--")} == {3}
    linear = next(line for line in lines if "`linear_warmup(" in line)
    assert "`linear_warmup(warmup_steps, count='one')` | Linear (gradual) warmup: `w = x`" in linear
    assert "[Attention Is All You Need](https://arxiv.org/abs/1706.03762), 2017" in linear
    assert not set("\\{}") & set("".join(lines))


def test_tables_of_a_file_are_replaced(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{program.BEGIN}\nold\n{program.END}\nafter\n")
    for _ in range(2):
        program.main(["list", "--markdown", f"--out={path}"])
    text = path.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "\nold\n" not in text
    assert text.count("| `noam` |") == 1
    path.write_text("no markers")
    with pytest.raises(ValueError, match="lacks the line"):
        program.replace_tables(str(path))
    assert path.read_text() == "no markers"


@pytest.mark.parametrize("args", [[], ["shape"], ["list", "all"], ["list", "--out=a.md"]])
def test_other_arguments_end_with_the_usage(args, capsys):
    with pytest.raises(SystemExit, match="2"):
        program.main(args)
    assert "python -m warmup_jax.schedules list" in capsys.readouterr().err


def test_all_shapes_are_drawn(tmp_path):
    program.main(["shapes", f"--out={tmp_path / 'shapes.png'}"])
    assert (tmp_path / "shapes.png").read_bytes().startswith(b"\x89PNG")


def test_the_schedules_of_a_config_are_shown(tmp_path):
    answer = call(CONFIG, "--config.warmup=power", "--config.warmup_args.exponent=2.0", f"--out={tmp_path / 's.png'}")
    assert answer.returncode == 0, answer.stderr
    assert "warmup_steps=0: 200 updates, highest rate 2, effective warmup 0.0 updates" in answer.stdout
    # sum of 1 - (k / 50)^2 over k = 1 .. 50
    assert "warmup_steps=50: 200 updates, highest rate 2, effective warmup 32.8 updates" in answer.stdout
    assert answer.stdout.count("nothing suspicious") == 2
    assert (tmp_path / "s.png").exists()


def test_lint_of_a_config(tmp_path):
    config = resnet_warmup.get_config().to_dict()
    config["sweep"]["warmup_steps"], config["warmup_args"]["count"] = (10, 300), "zero"
    text = show_schedule.describe(config, str(tmp_path / "s.png"))
    assert "the rate of the first 1 of 200 updates is 0" in text
    assert "the warmup of 300 updates is longer than the run of 200" in text


@pytest.mark.parametrize(
    "args, named",
    [
        ([CONFIG, "--config.warmup=powr"], "did you mean 'power'"),
        ([CONFIG + ":cifar10", "--config.dataset.data_dir=nowhere"], "prepare cifar10"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(args, named):
    answer = call(*args)
    assert answer.returncode == 2 and named in answer.stderr and answer.stderr.count("\n") == 1
