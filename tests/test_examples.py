"""Every example runs, and shows what its first line says."""

import math
import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = {path.stem: path for path in (Path(__file__).parent.parent / "examples").glob("*.py")}


@pytest.fixture
def output(capsys):
    """Runs an example as a program; returns what it printed."""

    def run(name):
        runpy.run_path(str(EXAMPLES[name]), run_name="__main__")
        return capsys.readouterr().out

    return run


def numbers(text):
    """The lines of a text that hold numbers alone."""
    lines = [line.split() for line in text.splitlines()]
    return [
        [float(word) for word in line]
        for line in lines
        if line and all(re.fullmatch(r"[\d.e+-]+|nan", w) for w in line)
    ]


def test_every_example_is_tested_and_says_how_to_run_it():
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert EXAMPLES.keys() <= tests
    for name, path in EXAMPLES.items():
        assert f"python -m examples.{name}\n" in path.read_text()


def test_minimal(output):
    found = numbers(output("minimal"))
    without, warm = found[: len(found) // 2], found[len(found) // 2 :]
    assert math.isnan(without[-1][2]) and warm[-1][2] < 0.05
    assert without[0][1] == pytest.approx(0.4) and warm[0][1] == pytest.approx(0.4 / 64, abs=1e-4)


def test_flax_nnx(output):
    assert [row[:2] for row in numbers(output("flax_nnx"))] == [
        [1, 0.0003],
        [10, 0.0025],
        [20, 0.005],
        [40, 0.01],
        [100, 0.01],
    ]


def test_flax_linen(output):
    found = numbers(output("flax_linen"))
    rates = {update: rate for update, rate, _ in found}
    assert rates[1] == 0.0005 and rates[20] == rates[80] == 0.01 and rates[100] < 0.001
    assert found[-1][2] < found[0][2] / 4


def test_parameter_groups(output):
    for update, body, head, _ in numbers(output("parameter_groups")):
        assert head == 0.01 and body == pytest.approx(0.01 * min(1, update / 40), abs=1e-4)


def test_multisteps(output):
    assert [row[:3] for row in numbers(output("multisteps"))] == [
        [4 * update, update, pytest.approx(0.1 * min(1, update / 5))] for update in range(1, 8)
    ]


def test_vmap_warmup_lengths(output):
    text = output("vmap_warmup_lengths")
    losses = dict(numbers(text))
    assert list(losses) == [0, 4, 16, 32, 64, 100]
    assert math.isnan(losses[0]) and losses[64] < 0.05 and losses[100] < 0.05
    assert "traced 1 time for 6 runs" in text
