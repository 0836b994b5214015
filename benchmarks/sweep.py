"""Compares the cost of a phase diagram with that of its single runs, and with PyTorch on the same machine.

python benchmarks/sweep.py [--config=fcn|resnet|transformer] [--runs=N] [--rounds=3] [--cores=N] [--smoke]

The benchmark trains the sweep of configs/phase_diagram.py on CPU, in float32. Every measurement runs in a process of
its own, on the same cores, timed from outside from its start to its end; the processes take turns, round after round.
The whole grid of the FCN takes about eight minutes per round on two cores. --runs=N removes the last value but one from
the longest axis of the sweep, repeatedly, until at most N runs are left. This keeps the lowest rates, which the check
below compares, and the highest.

The first table is about this code alone. Its ratio is the time of the sweep over (runs x time of one run), with
start-up, compilation and reports included. The time of one run is measured separately: a process trains 8 seeds one
after another at the second lowest rate and the middle warmup, and notes when the last line of each run is printed. The
time of one run is the median time between two of these lines, and so includes logs, probes, evaluations and
checkpoints. In these measurements all runs make all their updates, even those that diverge; in the row "as configured"
they stop early.

The second table, for the FCN, compares equal work: no diagnostics, all updates. This code starts with an empty
compilation cache. Its peers train the same network and the same runs in eager PyTorch, with the runs divided among one
process per core, each with one thread: either one run after another with `torch.nn`, or several stacked in batched
products. This code also evaluates, logs and saves as the config says; torch keeps the training losses and tests once at
the end.

The tables show medians over the rounds, with lowest and highest; torch's time over this code's is taken within a round.
The command fails if the sides differ in their number of parameters or, by more than 10 %, in the median final loss of
the runs that stay finite at one of the two lowest rates. Without torch it measures this code alone.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import math
import os
import pickle
import platform
import re
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

STARTED = time.perf_counter()  # before the imports of a measured process
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import processes
from train_step import processor, versions
from train_step_table import spread

VARIANTS = ("fcn", "resnet", "transformer")
ALONE = 8  # successive runs that give the time of one; up to 12, the loop prints a line for each evaluation
LOSS_TOLERANCE = 0.1
OURS = {
    "empty": "all updates, empty compilation cache",
    "warm": "all updates, warm cache",
    "stops": "as configured, warm cache",
}
EQUAL = {"plain": "this code", "torch": "torch, one run after another", "stacked": "torch, {} runs stacked"}
CLOCKS = ("wall", "cpu")
PARTS = ("compile", "data", "train", "diagnose", "evaluate", "save")


def main():
    options = parse()
    os.environ["JAX_PLATFORMS"] = "cpu"
    cores = sorted(os.sched_getaffinity(0))[-options.cores :]
    config = chosen(options)
    torch = bool(importlib.util.find_spec("torch")) and options.config == "fcn"
    print(
        f"{processor()}, {len(cores)} core{'s' * (len(cores) > 1)}, Python {platform.python_version()}, "
        f"{versions(('ours', 'torch') if torch else ('ours',))}; {options.rounds} "
        f"round{'s' * (options.rounds > 1)}"
    )
    if not importlib.util.find_spec("torch"):
        print("torch is not installed: this code alone")
    elif not torch:
        print(f"torch has no {options.config} here: this code alone")
    with tempfile.TemporaryDirectory() as folder:
        task = describe(config, folder, options.smoke)
        axes = " x ".join(f"{size(values)} {name}" for name, values in config["sweep"].items())
        print(
            f"{task['runs']} runs ({axes}) of {task['steps']} updates, {task['parameters']:,} parameters\n", flush=True
        )
        rounds = [one_round(f"{folder}/cache{index}", task, cores, torch) for index in range(options.rounds)]
    show_ours(task, rounds)
    show_equal(task, rounds, len(cores))
    if torch:
        print(agreement(task, rounds, math.inf if options.smoke else LOSS_TOLERANCE))


def parse():
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", choices=VARIANTS, default="fcn", help="argument of configs/phase_diagram.py")
    parser.add_argument("--runs", type=int, help="the most runs; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    parser.add_argument("--cores", type=int, default=available, help="number of CPU cores; all by default")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes and one round, only to check that it runs")
    options = parser.parse_args()
    if not available:
        sys.exit("this system cannot pin a process to cores; Linux can")
    if options.smoke:
        options.rounds, options.runs = 1, options.runs or 4
    for name, most in (("runs", math.inf), ("rounds", math.inf), ("cores", available)):
        if getattr(options, name) is not None and not 1 <= getattr(options, name) <= most:
            parser.error(
                f"--{name}={getattr(options, name)}; allowed: integers from 1" + f" to {most}" * (most < math.inf)
            )
    return options


def chosen(options):
    """Returns the config as a dict, with its sweep reduced to the number of runs."""
    from configs import phase_diagram

    config = phase_diagram.get_config(options.config + ",smoke" * options.smoke).to_dict()
    axes = config["sweep"]
    while math.prod(map(size, axes.values())) > (options.runs or math.inf):
        longest = max(axes, key=lambda name: (size(axes[name]), name != "peak_lr"))
        axes[longest] = shorter(axes[longest])
    return config


def size(values):
    """Returns the length of an axis, which is a tuple of values or a number of seeds."""
    return values if isinstance(values, int) else len(values)


def shorter(values):
    """Returns an axis without its last value but one."""
    return values - 1 if isinstance(values, int) else (*values[:-2], values[-1]) if len(values) > 2 else values[:1]


def describe(config, folder, smoke):
    """Returns the description of the work for all processes, and saves torch's data in `folder`."""
    import flops

    from warmup_jax import data
    from warmup_jax.training import build, sweep
    from warmup_jax.training.program import build_model

    dataset = data.load(**config["dataset"])
    if config["model"]["name"] == "fcn":
        save_data(dataset, folder)
    changes = sweep.expand(config)
    return dict(
        config=config,
        folder=folder,
        changes=changes,
        runs=len(changes),
        alone=3 if smoke else ALONE,
        parameters=flops.parameters(build_model(config, dataset)),
        steps=build.num_steps(config, dataset.train.size),
    )


def save_data(dataset, folder):
    """Saves both splits as training normalises them, so that torch's processes need none of this code."""
    import numpy as np

    arrays = {
        f"{part}_{key}": np.asarray(values)
        for part, split in (("train", dataset.train), ("test", dataset.test))
        for key, values in dataset.prepare(split.arrays, None, False).items()
    }
    np.savez(f"{folder}/data.npz", **arrays)


def one_round(caches, task, cores, torch):
    """Returns the measurements of each process of a round, by name."""
    whole = task["config"] | dict(stop_when_diverged=False)
    of = lambda config, where=caches: measure(task | dict(side="ours", config=config, cores=cores), where)
    found = {
        "empty": of(whole),
        "alone": of(alone(whole, task["alone"])),
        "warm": of(whole),
        "stops": of(task["config"]),
        "plain": of(whole | dict(diagnostics={}), f"{caches}-plain"),
    }
    if torch:
        found |= {name: at_once(task | dict(side=name, config=whole), cores, caches) for name in ("torch", "stacked")}
    return found


def alone(config, runs):
    """Returns the config with a sweep over seeds only, one run after another.

    The peak rate is the second lowest of the sweep, and the other axes have their middle value.
    """
    middle = {name: values[len(values) // 2] for name, values in config["sweep"].items() if name != "seeds"}
    middle["peak_lr"] = sorted(config["sweep"]["peak_lr"])[:2][-1]
    return config | dict(runs_at_once=1, sweep={name: (value,) for name, value in middle.items()} | dict(seeds=runs))


def at_once(task, cores, caches):
    """Trains every `len(cores)`-th run in a process for each core, all at once; returns their joint measurements."""
    start, count = time.perf_counter(), len(cores)
    with ThreadPoolExecutor(count) as pool:
        found = list(
            pool.map(
                lambda index: measure(task | dict(changes=task["changes"][index::count], cores=[cores[index]]), caches),
                range(count),
            )
        )
    together = found[0] | dict(wall=time.perf_counter() - start)
    for name in ("cpu", "memory"):
        together[name] = sum(of_one[name] for of_one in found)
    for name in ("losses", "accuracies"):
        together[name] = [found[run % count][name][run // count] for run in range(task["runs"])]
    return together


def measure(task, caches):
    """Runs a task in a process of its own; returns its measurements, with the wall time taken from outside."""
    with tempfile.TemporaryDirectory(dir=task["folder"]) as workdir:
        start = time.perf_counter()
        found = processes.output(
            task["side"],
            [__file__, "--child"],
            input=pickle.dumps(task | dict(workdir=workdir)),
            env=processes.environment(task["side"] == "ours", len(task["cores"]), caches),
        )
        wall = time.perf_counter() - start
    return json.loads(found) | dict(wall=wall)


def child(task):
    """Runs a task in this process and prints its measurements as JSON."""
    os.sched_setaffinity(0, task["cores"])  # before any library counts the cores
    if task["side"] == "ours":
        found = train(task)
    else:
        found = importlib.import_module("sweep_torch").train(task)
    print(json.dumps(found | dict(memory=processes.peak_memory(), cpu=time.process_time())))


def train(task):
    """Runs the experiment as train.py does, and returns the measurements of this code's side."""
    from warmup_jax.training import experiment

    lines = Lines()
    with contextlib.redirect_stdout(lines):
        summary = experiment.run(task["config"], task["workdir"], STARTED)
    ends = [when for when, line in lines.noted if re.search(rf"\) update {task['steps']} of ", line)]
    between = {
        clock: [later[index] - earlier[index] for earlier, later in zip(ends, ends[1:])]
        for index, clock in enumerate(CLOCKS)
    }
    return dict(
        parameters=task["parameters"],
        seconds=summary["seconds"],
        between=between,
        losses=[float(run["final"]["train/loss"]) for run in summary["runs"]],
        accuracies=[run["final"]["eval/accuracy"] for run in summary["runs"]],
        stopped=sum(run["steps"] < task["steps"] for run in summary["runs"]),
    )


class Lines(io.TextIOBase):
    """An output stream that records each text with its wall-clock and CPU time."""

    def __init__(self):
        self.noted = []

    def write(self, text):
        self.noted.append(((time.perf_counter(), time.process_time()), text))
        return len(text)


def show_ours(task, rounds):
    """Prints the table of this code alone, and the time by phase."""
    one = {clock: [statistics.median(each["alone"]["between"][clock]) for each in rounds] for clock in CLOCKS}
    print(
        f"{'this code':38} {'/ (runs x one run)':>19} {'by CPU time':>19} {'s in all':>22} {'updates/s':>19} "
        f"{'first step s':>12} {'MB':>6}"
    )
    for name, title in OURS.items():
        column = [each[name] for each in rounds]
        ratios = [
            spread([of[clock] / (task["runs"] * alone) for of, alone in zip(column, one[clock])], ".2f")
            for clock in CLOCKS
        ]
        print(
            f"{title:38} {ratios[0]:>19} {ratios[1]:>19} {spread([of['wall'] for of in column], '.1f'):>22} "
            f"{'' if name == 'stops' else updates(task, column):>19} "
            f"{statistics.median(of['seconds']['to_first_step'] for of in column):12.1f} {memory(column):>6}"
        )
    inside = [
        sum(each["warm"]["seconds"].get(part, 0.0) for part in ("train", "diagnose", "evaluate")) / task["runs"]
        for each in rounds
    ]
    print(
        f"one run: {spread(one['wall'], '.3f')} s from the end of one to the end of the next, CPU "
        f"{spread(one['cpu'], '.3f')} s; training, diagnostics and evaluation of a run in the sweep "
        f"{spread(inside, '.3f')} s"
    )
    print(f"stopped early as configured: {rounds[0]['stops']['stopped']} of {task['runs']} runs")
    for name, title in OURS.items():
        print(f"seconds, {title}: {where(rounds, name)}")
    print()


def where(rounds, name):
    """Returns a text with the seconds by phase; the rest is start-up, logs and reports."""
    found = {part: statistics.median(each[name]["seconds"].get(part, 0.0) for each in rounds) for part in PARTS}
    rest = statistics.median(each[name]["wall"] for each in rounds) - sum(found.values())
    return ", ".join(f"{part} {seconds:.1f}" for part, seconds in found.items()) + f", the rest {rest:.1f}"


def show_equal(task, rounds, cores):
    """Prints the table of equal work."""
    print(
        f"{'equal work, no diagnostics':38} {'torch / ours':>19} {'by CPU time':>19} {'s in all':>22} "
        f"{'updates/s':>19} {'MB':>19}"
    )
    for name, title in EQUAL.items():
        if name in rounds[0]:
            column, ratios = [each[name] for each in rounds], ["", ""]
            if name != "plain":
                ratios = [
                    spread([each[name][clock] / each["plain"][clock] for each in rounds], ".2f") for clock in CLOCKS
                ]
            print(
                f"{title.format(column[0].get('lanes')):38} {ratios[0]:>19} {ratios[1]:>19} "
                f"{spread([of['wall'] for of in column], '.1f'):>22} {updates(task, column):>19} "
                f"{memory(column):>19}"
            )
    if "torch" in rounds[0]:
        print(f"torch: one process of one thread for each of {cores} cores; CPU time and MB are their sum")


def updates(task, column):
    return spread([task["runs"] * task["steps"] / of["wall"] for of in column], ".0f")


def memory(column):
    return f"{statistics.median(of['memory'] for of in column):.0f}"


def agreement(task, rounds, tolerance):
    """Returns lines on the results of the sides; ends the program if they differ."""
    sides = {name: rounds[0][name] for name in EQUAL}
    counts = {name: side["parameters"] for name, side in sides.items()}
    if len(set(counts.values())) > 1:
        sys.exit(f"the sides differ in their parameters: {counts}")
    lines = [
        f"the same work: {task['parameters']:,} parameters; final training loss and test accuracy, medians over "
        "seeds and warmups"
    ]
    for rate in sorted({change["peak_lr"] for change in task["changes"]})[:2]:
        of_rate = [run for run, change in enumerate(task["changes"]) if change["peak_lr"] == rate]
        losses, accuracies = (
            {name: middle([side[key][run] for run in of_rate]) for name, side in sides.items()}
            for key in ("losses", "accuracies")
        )
        if max(losses.values()) > (1 + tolerance) * min(losses.values()):
            sys.exit(f"the sides differ in the final loss at peak_lr={rate}: {losses}")
        lines.append(
            f"  peak_lr={rate:g}: " + ", ".join(f"{name} {losses[name]:.4f} {accuracies[name]:.1%}" for name in sides)
        )
    return "\n".join(lines)


def middle(values):
    """Returns the median of the finite values, infinity if there is none."""
    return statistics.median([value for value in values if math.isfinite(value)] or [math.inf])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(pickle.load(sys.stdin.buffer))
    else:
        main()
