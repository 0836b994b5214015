"""Compares the time to a target with PyTorch's, including data, augmentation, evaluation and logging.

python benchmarks/end_to_end.py [--task=digits|cifar10|numbers|multi30k] [--data_dir=DIR] [--target=X] [--steps=N]
                                [--eval_every=N] [--residency=device|stream|device,stream] [--peer=eager|compile]
                                [--rounds=3] [--markdown] [--smoke]

The benchmark runs on CPU, in float32, on all cores that the process may use. Every measurement runs in a process of its
own, and the sides take turns, round after round. The tasks are ResNet-20 on digits or CIFAR-10 to a test error, and a
Pre-LN Transformer on number words or Multi30k German to English to a test loss in nats per token. `digits` and
`numbers` need no prepared data.

This code's side is `experiment.run` with a config of configs/, as train.py calls it: metrics.jsonl, TensorBoard,
evaluations and checkpoints. Its peer is plain PyTorch with the same network, optimizer, schedule, batch size, number of
updates and augmentation, and with logs, evaluations and checkpoints at the same intervals; it writes lines of JSON but
no TensorBoard, and computes the accuracy only where it logs. Work that is needed only once, such as decoding images and
learning a vocabulary, is done beforehand for both; reading the pixels and token ids from their files counts.

The time to the target runs from the start of the process to the end of the first evaluation that reaches it: `cold` in
the first round, where the compilation caches are empty, `cached` in later rounds. A target that is not reached is
reported as such. The tables show medians over the rounds with lowest and highest; ratios are taken within a round.

The second table is about the loop: the time from the end of the first step to the end of the run, without evaluation,
whose share (including its compilation) is a row of its own. The goal is to spend less than 5 % of the loop outside the
compiled training step for resident data, and less than 10 % for streamed data. Two rows measure this share:
  against the step alone: 1 - updates x time of a compiled step / the loop. The step is timed after the run, in the
    same process, by bare dispatches of a batch that is on the device. This counts only the work that delays the device,
    and is as noisy as the machine (negative if the step alone was slower).
  by the clock: 1 - train / the loop, where `train` is the timer of that name in summary.json: dispatching, and waiting
    for the device. This counts all other work of the host, even what it does while the device computes the next step,
    which is most of it. So it is too high where a core is left for the host.
The timer `data` includes the data of the first step.
"""

import argparse
import importlib.util
import json
import math
import os
import pickle
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import processes
from train_step import processor, versions
from train_step_table import LOSS_TOLERANCE, spread

from warmup_jax.runtime import process


class Task(NamedTuple):
    """A training with a target: its config, its length and its learning rate."""

    title: str
    config: str  # "FILE:ARGUMENT", in configs/
    metric: str  # "error" or "loss", of the test split
    target: float
    steps: int
    eval_every: int
    warmup_steps: int
    peak_lr: float


TASKS = {
    "digits": Task("ResNet-20 on digits", "resnet_warmup:digits", "error", 0.05, 200, 20, 50, 0.1),
    "cifar10": Task("ResNet-20 on CIFAR-10", "resnet_warmup:cifar10", "error", 0.40, 1200, 200, 200, 0.1),
    "numbers": Task(
        "Transformer on number words", "transformer_warmup:numbers,norm=pre", "loss", 0.5, 200, 50, 50, 4e-3
    ),
    "multi30k": Task("Transformer on Multi30k", "transformer_warmup:multi30k", "loss", 4.5, 600, 100, 150, 3e-3),
}
SMOKE = dict(steps=4, eval_every=2, warmup_steps=2)
GOALS = {"device": 0.05, "stream": 0.10}  # largest share of the loop outside the compiled step
PARTS = ("train", "data", "save", "other", "evaluate")


def main():
    options = parse()
    os.environ["JAX_PLATFORMS"] = "cpu"
    torch = bool(importlib.util.find_spec("torch"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/caches"  # shared: data are decoded once, compilations start cold
        described = describe(options, folder)
        print(heading(options, described, torch), flush=True)
        sides = options.residency + ["torch"] * torch
        rounds = [{side: measure(side, described) for side in sides} for _ in range(options.rounds)]
    if torch:
        agree(rounds[0], math.inf if options.smoke else LOSS_TOLERANCE)
    for columns in (outcomes, places):
        print("\n" + table(columns(options, described, rounds), options.markdown))


class Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line and exits with status 2."""

    def error(self, message):
        fail(message)


def fail(message):
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(2)


def parse():
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=tuple(TASKS), default="digits", help="the model and data set to train")
    parser.add_argument("--data_dir", help="folder of prepared data sets; the folder of TFDS by default")
    parser.add_argument(
        "--target", type=float, help="test error, or test loss of a translation; by default that of the task"
    )
    parser.add_argument(
        "--steps", type=int, help="number of updates, a multiple of --eval_every; by default that of the task"
    )
    parser.add_argument("--eval_every", type=int, help="updates between evaluations; by default that of the task")
    parser.add_argument(
        "--residency", default="device", help="residency of the training data: device, stream, or both with a comma"
    )
    parser.add_argument("--peer", choices=("eager", "compile"), default="eager", help="mode of PyTorch")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes and one round, only to check that it runs")
    options = parser.parse_args()
    options.residency = options.residency.split(",")
    for name in options.residency:
        if name not in GOALS:
            fail(f"--residency={name}; allowed: {' or '.join(GOALS)}, or both with a comma")
    of_task = TASKS[options.task]._replace(**SMOKE if options.smoke else {})
    for name in ("target", "steps", "eval_every"):
        if getattr(options, name) is None:
            setattr(options, name, getattr(of_task, name))
    options.warmup_steps = min(of_task.warmup_steps, options.steps)
    options.rounds = 1 if options.smoke and options.rounds > 0 else options.rounds
    for name in ("target", "steps", "eval_every", "rounds"):
        if not 0 < getattr(options, name) < math.inf:
            fail(f"--{name}={getattr(options, name)}; allowed: {'' if name == 'target' else 'whole '}numbers above 0")
    if options.steps % options.eval_every:  # so that an evaluation ends the run, and all dispatches have one length
        fail(f"--steps={options.steps}; allowed: multiples of --eval_every={options.eval_every}")
    return options


def configure(options, residency):
    """Returns the config of a task as a dict: its file's, with the options, a short schedule and no decoding."""
    task = TASKS[options.task]
    name, _, arg = task.config.partition(":")
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config(arg + ",smoke" * options.smoke)
    config.num_steps, config.num_epochs = options.steps, None
    config.warmup_steps, config.peak_lr = options.warmup_steps, task.peak_lr
    config.schedule, config.schedule_args = "cosine", dict(exponent=1.0)
    config.eval_every, config.checkpoint_every = options.eval_every, 2 * options.eval_every
    config.dataset.residency = residency
    config.dataset.data_dir = options.data_dir
    config.decoding, config.sweep = {}, {}
    return config.to_dict()


def describe(options, folder):
    """Returns the description of the work for all processes, and saves torch's data in `folder`.

    Missing data end the program.
    """
    import flops
    import numpy as np

    from warmup_jax import data
    from warmup_jax.training.program import build_model

    configs = {residency: configure(options, residency) for residency in ("device", *options.residency)}
    config = configs["device"]
    try:
        dataset = data.load(**config["dataset"])
    except (ValueError, OSError) as error:
        fail(error)
    arrays = {
        f"{part}_{key}": np.asarray(values)
        for part, split in (("train", dataset.train), ("test", dataset.test))
        for key, values in split.arrays.items()
    }
    np.savez(f"{folder}/data.npz", **arrays)
    described = dict(
        metric=TASKS[options.task].metric,
        peer=options.peer,
        folder=folder,
        configs=configs,
        num_classes=dataset.num_classes,
        input_shape=dataset.input_shape,
        unit=("examples", 1.0),
    )
    if dataset.texts is not None:  # target tokens per row
        described["unit"] = ("tokens", float((arrays["train_target_segments"] > 0).sum() / dataset.train.size))
    else:  # normalisation is affine in the pixels, so its values for black and white determine it
        ends = {"image": np.stack([np.full(dataset.input_shape, value, np.uint8) for value in (0, 255)])}
        black, white = np.asarray(dataset.prepare(ends | {"label": np.zeros(2)}, None, False)["inputs"])[:, 0, 0]
        described |= dict(shift=black, scale=(white - black) / 255)
    return described | dict(parameters=flops.parameters(build_model(config, dataset)))


def learning_rate(config, t):
    """Returns the learning rate of update t, counted from 0: a linear warmup, then a cosine to 0 at the end."""
    warmup, steps, peak = config["warmup_steps"], config["num_steps"], config["peak_lr"]
    if t < warmup:
        return peak * (t + 1) / warmup
    return peak * (1 + math.cos(math.pi * (t - warmup) / (steps - warmup))) / 2


def measure(side, described):
    """Trains one side in a process of its own and returns its measurements."""
    folder = described["folder"]
    with tempfile.TemporaryDirectory(dir=folder) as workdir:
        task = described | dict(
            side=side,
            workdir=workdir,
            threads=process.cores(),
            config=described["configs"].get(side, described["configs"]["device"]),
        )
        return json.loads(
            processes.output(
                side,
                [__file__, "--child"],
                input=pickle.dumps(task | dict(began=time.time())),
                env=processes.environment(side != "torch", process.cores(), f"{folder}/caches"),
            )
        )


def child(task):
    """Runs a task in this process and prints its measurements as JSON."""
    started = time.perf_counter() - (time.time() - task["began"])  # the start of the process on this process's clock
    side = importlib.import_module("end_to_end_torch" if task["side"] == "torch" else "end_to_end_ours")
    print(json.dumps(side.train(task, started)))


def reached(evaluations, target):
    """Returns (step, seconds) of the first evaluation whose value is at most the target, None if there is none.

    Args:
      evaluations: tuples (step, seconds, value).
      target: the largest value that counts.
    """
    return next(((step, seconds) for step, seconds, value in evaluations if value <= target), None)


def best(evaluations):
    """Returns the lowest finite value of the evaluations, NaN if there is none."""
    return min((value for _, _, value in evaluations if math.isfinite(value)), default=math.nan)


def shares(seconds, updates, alone):
    """Returns how the time after the first step divides, in seconds and shares by name.

    Args:
      seconds: the timers by name.
      updates: number of updates after the first dispatch.
      alone: seconds of one update in a bare dispatch, None if not measured.
    """
    after = seconds["total"] - seconds["to_first_step"]
    loop = max(after - seconds["evaluate"], 1e-9)
    known = {name: seconds.get(name, 0.0) for name in ("train", "data", "save")}
    return known | dict(
        other=max(0.0, loop - sum(known.values())),
        evaluate=seconds["evaluate"],
        loop=loop,
        rate=updates / loop,
        evaluation=seconds["evaluate"] / max(after, 1e-9),
        by_clock=1 - known["train"] / loop,
        against_alone=None if alone is None else 1 - updates * alone / loop,
    )


def agree(sides, tolerance):
    """Ends the program if the sides differ in their parameters, or in the loss before the first update."""
    counts = {name: side["parameters"] for name, side in sides.items()}
    losses = {name: side["first_loss"] for name, side in sides.items()}
    if len(set(counts.values())) > 1:
        sys.exit(f"the sides differ in their parameters: {counts}")
    if max(losses.values()) > (1 + tolerance) * min(losses.values()):
        sys.exit(f"the sides differ in the loss before the first update: {losses}")


def heading(options, described, torch):
    """Returns the lines on the machine, the versions and the work."""
    task, config = TASKS[options.task], described["configs"]["device"]
    count = process.cores()
    lines = [
        f"{processor()}, {count} core{'s' * (count > 1)}, Python {platform.python_version()}, "
        f"{versions(('ours', 'torch') if torch else ('ours',))}, {time.strftime('%Y-%m-%d')}; {options.rounds} "
        f"round{'s' * (options.rounds > 1)}"
    ]
    if not torch:
        lines.append("torch is not installed: this code alone")
    lines.append(
        f"{task.title} to a test {task.metric} of {options.target:g}: {described['parameters']:,} parameters, "
        f"{config['optimizer']}, batch {config['batch_size']}, {options.steps} updates, {options.warmup_steps} of them "
        f"warmup to {task.peak_lr:g}, then a cosine; evaluated every {options.eval_every}"
    )
    return "\n\n".join(lines) if options.markdown else "\n".join(lines)


def outcomes(options, described, rounds):
    """Returns the columns of the first table: the time to the target of each side, cold and cached."""
    (name, size), metric = described["unit"], described["metric"]
    size *= described["configs"]["device"]["batch_size"]
    columns = [
        [
            "",
            "torch / ours, cold",
            "torch / ours, cached",
            "s to the target, cold",
            "s to the target, cached",
            "at update",
            f"last test {metric}",
            f"best test {metric}",
            f"{name}/s",
            "s to the first step, cold",
            "s to the first step, cached",
            "MB",
        ]
    ]
    for side in rounds[0]:
        column = [each[side] for each in rounds]
        halves = rounds[:1], rounds[1:]
        at = [found[0] for found in (reached(of["evaluations"], options.target) for of in column) if found]
        loops = [shares(of["seconds"], options.steps - of["dispatch"], of["alone"]) for of in column]
        columns.append(
            [
                f"torch, {column[0]['about']}" if side == "torch" else f"this code, {side}",
                *(ratio(half, side, options.target) for half in halves),
                *(to_target([each[side] for each in half], options.target) for half in halves),
                spread(at, ".0f") if at else "-",
                spread([of["evaluations"][-1][2] for of in column], ".4f"),
                spread([best(of["evaluations"]) for of in column], ".4f"),
                spread([loop["rate"] * size for loop in loops], ".0f"),
                *(
                    spread([each[side]["seconds"]["to_first_step"] for each in half], ".1f") if half else "-"
                    for half in halves
                ),
                spread([of["memory"] for of in column], ".0f"),
            ]
        )
    return columns


def ratio(rounds, side, target):
    """Returns torch's time to the target over this side's, from the rounds in which both reached it."""
    if side == "torch" or not all("torch" in each for each in rounds):
        return "-"
    pairs = [[reached(each[name]["evaluations"], target) for name in ("torch", side)] for each in rounds]
    ratios = [theirs[1] / ours[1] for theirs, ours in pairs if theirs and ours]
    return spread(ratios, ".2f") if ratios else "-"


def to_target(column, target):
    """Returns the seconds to the target of a side, or the best value that it reached."""
    if not column:
        return "-"
    found = [reached(of["evaluations"], target) for of in column]
    missed = [(0, 0, best(of["evaluations"])) for of, at in zip(column, found) if at is None]
    parts = [spread([at[1] for at in found if at], ".1f")] if any(found) else []
    if missed:
        times = f" {len(missed)} of {len(column)} times" if found[1:] else ""
        parts.append(f"not reached{times} (best {best(missed):.4f})")
    return ", ".join(parts)


def places(options, described, rounds):
    """Returns the columns of the second table: how the time after the first step divides."""
    columns = [
        [
            "after the first step",
            "outside the step, against it alone",
            "outside the step, by the clock",
            "goal",
            "evaluation's share",
            "ms an update",
            "ms an update alone",
            "loop s",
            *(f"{part} s" for part in PARTS),
        ]
    ]
    for side in rounds[0]:
        column = [
            (each[side], shares(each[side]["seconds"], options.steps - each[side]["dispatch"], each[side]["alone"]))
            for each in rounds
        ]
        of = lambda name, form, column=column: spread([share[name] for _, share in column], form)
        ours = side != "torch"
        columns.append(
            [
                f"this code, {side}" if ours else f"torch, {column[0][0]['about']}",
                of("against_alone", ".1%") if ours else "-",
                of("by_clock", ".1%") if ours else "-",
                f"< {GOALS[side]:.0%}" if ours else "-",
                of("evaluation", ".1%"),
                spread([1e3 / share["rate"] for _, share in column], ".1f"),
                spread([1e3 * found["alone"] for found, _ in column], ".1f") if ours else "-",
                of("loop", ".2f"),
                *(of(part, ".2f") for part in PARTS),
            ]
        )
    return columns


def table(columns, markdown):
    """Returns a table as aligned lines or in Markdown; the first column has the titles."""
    rows = list(zip(*columns))
    if markdown:
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])
    widths = [max(map(len, column)) for column in columns]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(pickle.load(sys.stdin.buffer))
    else:
        main()
