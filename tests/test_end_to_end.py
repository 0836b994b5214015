"""The benchmark of the time to a target: its arithmetic, its mistakes, its peer's data, and a tiny run."""

import importlib.util
import math
import re
import sys
from argparse import Namespace

import numpy as np
import pytest
from commands import ROOT, python

sys.path.append(str(ROOT / "benchmarks"))

import end_to_end  # noqa: E402

NAN = math.nan


def run(*args):
    return python("benchmarks/end_to_end.py", *args)


def row(output, title):
    """The cells of a line of a table in Markdown."""
    (line,) = [line for line in output.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


@pytest.mark.parametrize(
    "values, target, expected",
    [
        ((0.9, 0.5, 0.6, 0.4), 0.5, (20, 2.0)),  # the first, and equal is enough
        ((0.9, 0.5, 0.6, 0.4), 0.45, (40, 4.0)),
        ((0.9, 0.5), 0.1, None),
        ((NAN, 0.2), 0.3, (20, 2.0)),
        ((NAN, NAN), 0.3, None),
        ((), 0.3, None),
    ],
)
def test_the_first_evaluation_that_reaches_the_target(values, target, expected):
    lines = [(10 * n, float(n), value) for n, value in enumerate(values, 1)]
    assert end_to_end.reached(lines, target) == expected


def test_the_best_of_a_run_is_finite_or_nan():
    assert end_to_end.best([(1, 1.0, NAN), (2, 2.0, 0.7), (3, 3.0, 0.8)]) == 0.7
    assert math.isnan(end_to_end.best([(1, 1.0, NAN)]))


def test_the_shares_of_a_clock():
    seconds = dict(compile=4.0, data=1.0, train=70.0, evaluate=20.0, save=2.0, total=110.0, to_first_step=10.0)
    found = end_to_end.shares(seconds, updates=100, alone=0.75)
    assert found["loop"] == 80 and found["other"] == pytest.approx(7) and found["evaluation"] == pytest.approx(0.2)
    assert found["by_clock"] == pytest.approx(1 / 8) and found["against_alone"] == pytest.approx(1 / 16)
    assert found["rate"] == pytest.approx(100 / 80)


def test_the_shares_of_a_run_of_one_dispatch_are_numbers():
    seconds = dict(compile=4.0, data=0.0, evaluate=1.0, total=5.0, to_first_step=4.0)
    assert all(math.isfinite(value) for value in end_to_end.shares(seconds, 0, 0.1).values())


def side(*values):
    """What a process measured, with an evaluation every ten updates and every second."""
    return dict(evaluations=[(10 * n, float(n), value) for n, value in enumerate(values, 1)])


def test_the_ratio_is_of_rounds_in_which_both_reached_the_target():
    rounds = [dict(device=side(0.9, 0.4), torch=side(0.9, 0.8, 0.4)), dict(device=side(0.9, 0.8), torch=side(0.4))]
    assert end_to_end.ratio(rounds, "device", 0.5) == "1.50"
    assert end_to_end.ratio(rounds[1:], "device", 0.5) == end_to_end.ratio([], "device", 0.5) == "-"
    assert end_to_end.ratio([dict(device=side(0.4))], "device", 0.5) == "-"  # without torch


def test_a_target_that_is_not_reached_is_a_result():
    assert end_to_end.to_target([side(0.9, 0.4)], 0.5) == "2.0"
    assert end_to_end.to_target([side(0.9, 0.6)], 0.5) == "not reached (best 0.6000)"
    assert end_to_end.to_target([side(NAN)], 0.5) == "not reached (best nan)"
    assert end_to_end.to_target([side(0.4), side(0.7)], 0.5) == "1.0, not reached 1 of 2 times (best 0.7000)"
    assert end_to_end.to_target([], 0.5) == "-"


@pytest.mark.parametrize("name", end_to_end.TASKS)
def test_a_task_is_its_config_with_the_rate_that_the_peer_takes(name):
    from warmup_jax.training import build, schema

    task = end_to_end.TASKS[name]
    options = Namespace(task=name, smoke=False, steps=30, eval_every=10, warmup_steps=7, data_dir="/somewhere")
    config = end_to_end.configure(options, "stream")
    schema.validate(config)
    assert config["dataset"]["residency"] == "stream" and config["dataset"]["data_dir"] == "/somewhere"
    knobs = build.knobs(config, num_steps=30, train_size=1000)
    ours = build.learning_rate(config, knobs)
    np.testing.assert_allclose(
        [end_to_end.learning_rate(config, t) for t in range(30)],
        [float(ours(t)) for t in range(30)],
        rtol=1e-5,
        atol=1e-6 * task.peak_lr,
    )


@pytest.mark.parametrize(
    "arg, message",
    [
        ("--task=mnist", "invalid choice: 'mnist'"),
        ("--target=0", "--target=0.0; allowed: numbers above 0"),
        ("--target=nan", "--target=nan; allowed: numbers above 0"),
        ("--rounds=0", "--rounds=0; allowed: whole numbers above 0"),
        ("--steps=0", "--steps=0; allowed: whole numbers above 0"),
        ("--steps=30", "--steps=30; allowed: multiples of --eval_every=20"),
        ("--residency=device,disk", "--residency=disk; allowed: device or stream"),
        ("--peers=eager", "unrecognized arguments: --peers=eager"),
    ],
)
def test_a_mistake_is_one_line(arg, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["end_to_end.py", arg])
    with pytest.raises(SystemExit) as ended:
        end_to_end.parse()
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and line.startswith("error: ") and message in line


@pytest.mark.slow
def test_missing_data_are_one_line(tmp_path):
    done = run("--smoke", "--task=cifar10", f"--data_dir={tmp_path}")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and done.stdout == ""
    assert line.startswith("error: ") and "cifar10" in line and str(tmp_path) in line


@pytest.mark.slow
def test_a_tiny_run_to_a_target_that_is_always_reached():
    done = run("--smoke", "--target=1", "--markdown")
    assert done.returncode == 0, done.stderr
    torch = bool(importlib.util.find_spec("torch"))
    assert ("torch is not installed: this code alone" in done.stdout) != torch
    assert "ResNet-20 on digits to a test error of 1: 75,002 parameters, sgd, batch 8, 4 updates" in done.stdout
    ratios, times, steps = (
        row(done.stdout, title) for title in ("torch / ours, cold", "s to the target, cold", "at update")
    )
    assert len(times) == 1 + torch and all(float(time) > 0 for time in times)
    assert steps == ["2"] * len(times)
    assert [cell == "-" for cell in ratios] == ([False, True] if torch else [True])
    assert all(row(done.stdout, "s to the target, cached")[i] == "-" for i in range(len(times)))
    for title in ("outside the step, against it alone", "outside the step, by the clock", "evaluation's share"):
        assert re.fullmatch(r"-?\d+\.\d%", row(done.stdout, title)[0])
    assert row(done.stdout, "goal")[0] == "< 5%"


@pytest.mark.slow
def test_a_tiny_run_to_a_target_out_of_reach():
    done = run("--smoke", "--task=numbers", "--residency=stream", "--target=0.001")
    assert done.returncode == 0, done.stderr
    sides = 1 + bool(importlib.util.find_spec("torch"))
    assert len(re.findall(r"not reached \(best \d\.\d{4}\)", done.stdout)) == sides
    assert re.search(r"this code, stream", done.stdout) and re.search(r"goal +< 10%", done.stdout)
    assert re.search(r"tokens/s +\d+", done.stdout) and re.search(r"at update +-", done.stdout)


@pytest.fixture
def peer():
    pytest.importorskip("torch")
    import end_to_end_torch

    return end_to_end_torch


def test_the_peers_pictures_are_ours(peer, tmp_path):
    import torch

    from warmup_jax.data.images import augment

    random = np.random.default_rng(0)
    arrays = {"image": random.integers(0, 256, (5, 8, 8, 3), np.uint8), "label": random.integers(0, 10, 5)}
    mean, std = np.float32([0.5, 0.4, 0.3]), np.float32([0.2, 0.3, 0.25])
    task = dict(
        folder=tmp_path, shift=-mean / std, scale=1 / (255 * std), config=dict(dataset=dict(augment="crop_flip"))
    )
    np.savez(
        tmp_path / "data.npz", **{f"{part}_{key}": array for part in ("train", "test") for key, array in arrays.items()}
    )
    train, test = peer.load(task)
    prepared = augment.preparation(mean, std, "crop_flip")(arrays, None, False)
    (inputs,), labels = peer.batch(test, torch.arange(5), task)
    np.testing.assert_allclose(inputs.permute(0, 2, 3, 1), prepared["inputs"], atol=1e-5)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(labels, arrays["label"])

    (crops,), labels = peer.batch(train, torch.tensor([3] * 400), task, augment=True)
    bordered = np.pad(np.asarray(prepared["inputs"])[3], ((4, 4), (4, 4), (0, 0)))  # 0: the mean colour
    windows = [bordered[top : top + 8, left : left + 8] for top in range(9) for left in range(9)]
    windows = np.stack(windows + [window[:, ::-1] for window in windows])
    distances = np.abs(crops.permute(0, 2, 3, 1).numpy()[:, None] - windows).max((2, 3, 4))
    assert (distances.min(1) < 0.02).all()  # of bytes, the mean colour too
    assert len(set(distances.argmin(1))) > 120 and set(labels.tolist()) == {arrays["label"][3]}


def test_the_peers_translations_are_ours(peer):
    import torch

    from warmup_jax import data

    dataset = data.load(
        **end_to_end.configure(
            Namespace(task="numbers", smoke=True, steps=4, eval_every=2, warmup_steps=2, data_dir=None), "device"
        )["dataset"]
    )
    rows = {key: np.array(values[:16]) for key, values in dataset.train.arrays.items()}
    prepared = dataset.prepare(rows, None, True)
    split = peer.translation({f"train_{key}": torch.from_numpy(values) for key, values in rows.items()}, "train")
    for found, name in zip(split, ("source", "source_segments", "target", "target_segments")):
        np.testing.assert_array_equal(found, prepared["inputs"][name])
    labels, weights = np.asarray(prepared["labels"]), np.asarray(prepared["weights"])
    np.testing.assert_array_equal(split[-1], np.where(weights > 0, labels, peer.IGNORED))


def test_an_epoch_of_the_peer_has_every_example_once(peer):
    batches = [index.tolist() for index in peer.order(11, 3, 7)]
    assert [len(batch) for batch in batches] == [3] * 7
    first, second = sum(batches[:3], []), sum(batches[3:6], [])
    assert len(set(first)) == len(set(second)) == 9 and first != second
