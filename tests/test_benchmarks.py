"""The benchmarks run, in tiny sizes."""

import datetime
import importlib
import importlib.util
import math
import os
import re
import sys

import jax
import jax.numpy as jnp
import pytest
from commands import ROOT, python

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="pinning to cores needs Linux")


def run(benchmark, *args):
    return python(f"benchmarks/{benchmark}.py", *args)


@pytest.fixture
def benchmarks(monkeypatch):
    """The modules of the benchmarks by name, as their commands import them."""
    for folder in (ROOT, ROOT / "benchmarks"):
        monkeypatch.syspath_prepend(folder)
    return importlib.import_module


@pytest.mark.slow
def test_the_train_step_against_its_peers():
    done = run("train_step", "--smoke", "--models=transformer", "--threads=1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\n  ours +1\.00 +1\.00 +\d+\.\d +\d+\.\d +\d+\.\d ", done.stdout)
    assert "- transformer: 5,888 parameters, 0.0005898 GFLOP a step, batch 2 of 8 + 8, 16 classes" in done.stdout
    assert re.search(r"matmul rate, GFLOP/s, float32 128x128: transformer \d+\.\d", done.stdout)
    # a peer that is not there is left out with the reason given
    assert "left out: flax, which needs --flax_examples=DIR" in done.stdout
    for peer in ("eager", "compiled"):
        assert f"left out: {peer}, because torch" in done.stdout or re.search(rf"\n  {peer} +\d+\.\d\d ", done.stdout)
    assert bool(importlib.util.find_spec("torch")) == bool(re.search(r"\n  eager +\d", done.stdout))


@pytest.mark.slow
def test_the_train_step_of_resnets_as_markdown():
    done = run("train_step", "--smoke", "--models=resnet20,resnet50", "--peers=eager", "--threads=1", "--markdown")
    assert done.returncode == 0, done.stderr
    command = "python benchmarks/train_step.py --smoke --models=resnet20,resnet50 --peers=eager --threads=1 --markdown"
    assert done.stdout.startswith(f"`{command}`\n\n{datetime.date.today().year}-")
    header, ruler, *rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert header.startswith("| model | side | time / ours | by CPU time | ms a step |")
    sides = ["ours"] + ["eager"] * bool(importlib.util.find_spec("torch"))
    assert [row.split(" | ")[:2] for row in rows] == [
        [f"| {model}", side] for model in ("resnet20", "resnet50") for side in sides
    ]
    assert {line.count("|") for line in (header, ruler, *rows)} == {12}
    assert "- resnet50: 96,782 parameters, 0.005619 GFLOP a step, batch 2 of 32x32x3" in done.stdout


@pytest.mark.parametrize(
    "option, message",
    [
        ("--models=resnet21", "unknown 'resnet21'; allowed: transformer, decoder, tiny"),
        ("--peers=eager,keras", "unknown 'keras'; allowed: eager, compiled, flax"),
        ("--threads=0", "--threads=0; allowed: all, or integers from 1 to "),
        ("--threads=1,some", "--threads=1,some; allowed: all, or integers from 1 to "),
        ("--rounds=0", "--rounds=0; allowed: integers from 1"),
        ("--steps=-1", "--steps=-1; allowed: integers from 1"),
        ("--dropout=1", "--dropout=1.0; allowed: numbers from 0 to below 1"),
        (
            "--flax_examples=nowhere",
            "--flax_examples=nowhere: no imagenet/models.py there; allowed: the folder `examples`",
        ),
    ],
)
def test_a_bad_option_of_the_train_step_is_an_error(benchmarks, option, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_step.py", option])
    with pytest.raises(SystemExit) as ended:
        benchmarks("train_step").parse()
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_operations_against_counts_by_hand(benchmarks):
    flops = benchmarks("flops")
    ones = jnp.ones
    in_loop = lambda x, w: jax.lax.scan(lambda x, _: (x @ w, None), x, length=5)[0]
    assert flops.count(in_loop, ones((4, 8)), ones((8, 8))) == 5 * 2 * 4 * 8 * 8
    assert (
        flops.count(lambda q, k: jnp.einsum("bthk,bshk->bhts", q, k), ones((2, 3, 4, 5)), ones((2, 6, 4, 5)))
        == 2 * 2 * 4 * 3 * 6 * 5
    )
    # 9 pixels at stride 2, padded by 1, leave 5; all 3 x 3 x 3 taps count
    convolve = lambda x, w, groups=1: jax.lax.conv_general_dilated(
        x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )
    assert flops.count(convolve, ones((2, 9, 9, 3)), ones((3, 3, 3, 6))) == 2 * 2 * 5 * 5 * 6 * 27
    grouped = lambda x, w: convolve(x, w, groups=3)
    assert flops.count(grouped, ones((2, 9, 9, 3)), ones((3, 3, 1, 6))) == 2 * 2 * 5 * 5 * 6 * 9

    @jax.custom_vjp
    def product(x, w):
        return x @ w

    product.defvjp(lambda x, w: (x @ w, (x, w)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g))
    assert flops.count(jax.jit(jax.checkpoint(product)), ones((3, 4)), ones((4, 7))) == 2 * 3 * 4 * 7
    loss = lambda x, w: product(x, w).sum()
    assert flops.count(jax.grad(loss, (0, 1)), ones((3, 4)), ones((4, 7))) == 3 * 2 * 3 * 4 * 7


def test_operations_that_depend_on_values(benchmarks):
    flops, x = benchmarks("flops"), jnp.ones((4, 4))
    either = lambda x: jax.lax.cond(x.sum() > 0, lambda x: x @ x @ x, lambda x: x @ x, x)
    assert flops.count(either, x) == 2 * 2 * 4**3  # the longer branch
    assert flops.count(lambda x: jax.lax.while_loop(lambda x: x.sum() > 0, lambda x: x - 1, x), x) == 0
    with pytest.raises(ValueError, match="while loop"):
        flops.count(lambda x: jax.lax.while_loop(lambda x: x.sum() > 0, lambda x: x @ x, x), x)


def side_of(**changes):
    return dict(parameters=1000, flops=1_000_000, first_loss=2.0, last_loss=2.0, about="") | changes


@pytest.mark.parametrize(
    "name, changes, quantity",
    [
        ("eager", dict(parameters=1001), "parameters"),
        ("flax", dict(parameters=1021), "parameters"),
        ("compiled", dict(flops=1_011_000), "flops"),
        ("flax", dict(flops=979_000), "flops"),
        ("eager", dict(first_loss=2.11), "first_loss"),
        ("flax", dict(first_loss=math.nan), "first_loss"),
    ],
)
def test_a_side_that_does_other_work_fails_the_train_step(benchmarks, name, changes, quantity):
    agreement, row = benchmarks("train_step_table").agreement, benchmarks("train_step_rows").ROWS["resnet50"]
    with pytest.raises(SystemExit, match=f"resnet50: ours and {name} differ in {quantity} by "):
        agreement("resnet50", row, {"ours": side_of(), name: side_of(**changes)}, False)


def test_a_noisy_row_may_differ_more_in_its_loss(benchmarks):
    agreement, row = benchmarks("train_step_table").agreement, benchmarks("train_step_rows").ROWS["tiny"]
    agreement("tiny", row, {"ours": side_of(), "eager": side_of(first_loss=2.19)}, False)
    with pytest.raises(SystemExit, match="first_loss"):
        agreement("tiny", row, {"ours": side_of(), "eager": side_of(first_loss=2.21)}, False)


def test_the_notes_say_how_a_side_differs(benchmarks):
    agreement, row = benchmarks("train_step_table").agreement, benchmarks("train_step_rows").ROWS["resnet50"]
    sides = {
        "ours": side_of(),
        "eager": side_of(flops=1_009_000, first_loss=2.09),
        "flax": side_of(parameters=981, flops=1_019_000, first_loss=2.39),
    }
    notes = agreement("resnet50", row, sides, False).splitlines()
    assert notes[0].startswith("- resnet50: 1,000 parameters, 0.003 GFLOP a step, batch 8 of 224x224x3, 1000 classes")
    assert "parameters" not in notes[2] and "flops +0.90%, loss 2.090" in notes[2]
    assert "parameters -1.90%, flops +1.90%, loss 2.390" in notes[3]


def test_the_cells_of_the_train_step(benchmarks):
    cells = benchmarks("train_step_table").cells
    ours = dict(wall=500.0, cpu=400.0, first=9.0, peak=300.0, training=200.0, flops=10**9)
    rounds = [
        {"rate": dict(rate=12e9), "ours": ours, "eager": ours | dict(wall=500.0 * times, cpu=800.0, first=first)}
        for times, first in ((1.5, 7.0), (2.5, 3.0), (2.0, 5.0))
    ]
    # 3e9 operations in half a second are half of a rate of 12e9
    assert (cells("ours", rounds)["time / ours"], cells("ours", rounds)["MFU %"]) == ("1.00", "50.0")
    eager = cells("eager", rounds)
    assert (eager["time / ours"], eager["by CPU time"]) == ("2.00 (1.50 to 2.50)", "2.00 (2.00 to 2.00)")
    assert (eager["MFU %"], eager["first step s"], eager["cached s"]) == ("25.0", "7.0", "4.0")


def test_the_rows_on_a_gpu_differ_in_sizes_and_precision(benchmarks):
    rows = benchmarks("train_step_rows")
    for name, row in rows.ROWS.items():
        here, there = (rows.chosen(name, device, False, None, 0.0) for device in ("cpu", "gpu"))
        assert row["gpu"].keys() <= {"batch_size", "input_shape", "steps", "chunk_steps"}
        assert there["batch_size"] > here["batch_size"] and there["model"]["dtype"] == "bfloat16"
        assert {key for key in here["model"] if here["model"][key] != there["model"][key]} <= {"dtype", "attention"}


MODEL_OF_AN_EXAMPLE = """
from flax import linen as nn
class ResNet50(nn.Module):
    num_classes: int
    num_filters: int
    dtype: object
    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=False, axis_name="batch")(x)
        return nn.Dense(self.num_classes)(x.mean((1, 2)))
"""


def test_the_side_of_flax_loads_a_model_from_a_folder(benchmarks, tmp_path, monkeypatch):
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "models.py").write_text(MODEL_OF_AN_EXAMPLE)
    flax_side, rows = benchmarks("train_step_flax"), benchmarks("train_step_rows")
    monkeypatch.setattr(flax_side.process, "enable_compilation_cache", lambda: None)
    row = rows.chosen("resnet50", "cpu", True, None, 0.0)
    side = flax_side.set_up(dict(row=row, flax_examples=str(tmp_path)))
    assert side.parameters == 3 + 3 + 3 * 10 + 10
    assert side.flops() == 2 * 2 * 3 * 10
    # a normalised image has the mean 0, so the logits are their biases, which the learning rate leaves near 0
    assert abs(side.run(3) - math.log(10)) < 0.2
    # a model without an example has none to load
    assert [name for name in rows.ROWS if not rows.flax_example(rows.ROWS[name])] == ["resnet20", "resnet18"]


@pytest.mark.slow
def test_a_sweep_against_one_run_and_its_peer():
    done = run("sweep", "--smoke")
    assert done.returncode == 0, done.stderr
    assert "4 runs (2 peak_lr x 1 seeds x 2 warmup_steps) of 4 updates, 682 parameters" in done.stdout
    assert re.search(r"all updates, empty compilation cache +\d+\.\d\d +\d+\.\d\d +\d+\.\d", done.stdout)
    assert re.search(r"one run: \d+\.\d+ s .*, CPU \d+\.\d+ s", done.stdout)
    # without torch, its lines are missing and the reason given
    peers = re.findall(r"torch, (?:one run after another|\d runs stacked) +\d+\.\d\d ", done.stdout)
    assert len(peers) == (0 if "torch is not installed: this code alone" in done.stdout else 2)
