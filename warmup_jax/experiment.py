"""The host loop: chunk -> log -> evaluate -> checkpoint, one group of runs after another."""

import contextlib
import itertools
import math
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import config as configuration
from warmup_jax import data, logs, models, report, sweep
from warmup_jax.checkpoint import Checkpoints
from warmup_jax.clock import Clock
from warmup_jax.signals import Stop, stop_on_signal
from warmup_jax.train_step import (NEVER, Knobs, Program, TrainState, each_run, eval_step,
                                   init_state, train_chunk, updated)
from warmup_jax.workdir import open_workdir


class UserError(Exception):
    """A mistake of the user's: one line that says what is wrong and what would be right."""


class Interrupted(Exception):
    """A signal asked the run to stop; all is saved."""


# What a dispatch holds where the config leaves it open (None): (chunk_steps, runs_at_once) by
# platform. On CPU a convolution inside a loop loses its fast path, and one run already uses all cores.
DISPATCH = {"cpu": (1, 1), "gpu": (100, 32), "tpu": (100, 32)}
# Initialisation runs once, but the random numbers of every shape are a program of their own to
# optimise: without it a ResNet-20 starts seconds earlier.
QUICK_COMPILATION = {"xla_backend_optimization_level": 0}


class Job(NamedTuple):
    """A config made concrete: the data on the device, the runs, and the three compiled functions."""
    config: dict
    dataset: data.Dataset
    train_arrays: dict    # resident splits on the device, {} if they stream
    test_arrays: dict
    num_steps: int
    changes: list[dict]   # what each run changes in the config
    knobs: list[Knobs]    # one a run
    chunk_steps: int
    runs_at_once: int
    init: Any             # knobs [R] -> states [R]
    train: Any            # see train_step.train_chunk
    evaluate: Any         # see train_step.eval_step


def run(config: Mapping[str, Any], workdir: str | os.PathLike, started: float | None = None) -> dict:
    """Trains every run of a config, or the rest of them if `workdir` holds a part already.

    Args:
      config: a ConfigDict or nested dict with exactly the keys of `config.KEYS`.
      workdir: folder for logs, checkpoints and plots; see the README for its files.
      started: `time.perf_counter()` when the process began, for the time to the first step.

    Returns:
      The content of `summary.json`.

    Raises:
      UserError: for a config, data set or workdir that cannot be used.
      Interrupted: after SIGINT or SIGTERM, once all is saved.
      OSError: if the disk is full; what was saved before is kept.
    """
    started = time.perf_counter() if started is None else started
    enable_compilation_cache()
    workdir = Path(workdir)
    with stop_on_signal() as stop, contextlib.ExitStack() as stack:
        try:
            config = plain(config)
            job = set_up(config)
            stack.enter_context(open_workdir(workdir, config))
        except (ValueError, OSError) as error:
            raise UserError(" ".join(str(error).split())) from error
        summary = train_all(job, workdir, stop, started)
    report.curves(workdir)
    print(report.table(summary))
    return summary


def set_up(config: dict) -> Job:
    """Checks the config, loads its data and builds its program; nothing is compiled yet."""
    configuration.validate(config)
    dataset = data.load(**config["dataset"])
    if config["batch_size"] > dataset.train.size:
        raise ValueError(f"batch_size={config['batch_size']} is larger than the training data "
                         f"({dataset.train.size} examples)")
    model = models.build(**config["model"], num_classes=dataset.num_classes,
                         input_shape=dataset.input_shape)
    num_steps = configuration.num_steps(config, dataset.train.size)
    changes = sweep.expand(config)
    runs = [sweep.assign(config, change) for change in changes]
    check_optimizer(configuration.optimizer(
        runs[0], configuration.run_knobs(runs[0], num_steps=num_steps, train_size=dataset.train.size)))
    program = Program(
        init=model.init, apply=model.apply,
        prepare=lambda arrays, batch, key, train: dataset.prepare(data.take(arrays, batch), key, train),
        optimizer=partial(configuration.optimizer, runs[0]))
    chunk_steps, runs_at_once = DISPATCH[jax.default_backend()]
    return Job(
        config=config, dataset=dataset, num_steps=num_steps, changes=changes,
        knobs=[configuration.run_knobs(run, num_steps=num_steps, train_size=dataset.train.size)
               for run in runs],
        train_arrays=jax.device_put(dataset.train.arrays or {}),
        test_arrays=jax.device_put(dataset.test.arrays or {}),
        chunk_steps=chunk_length(config, num_steps, chunk_steps),
        runs_at_once=min(config["runs_at_once"] or runs_at_once, len(runs)),
        init=jax.jit(lambda knobs: each_run(partial(init_state, program), (0,))(knobs),
                     compiler_options=QUICK_COMPILATION),
        train=jax.jit(partial(train_chunk, program), donate_argnums=1),
        evaluate=jax.jit(partial(eval_step, program)))


def check_optimizer(tx) -> None:
    """Raises a ValueError if a transformation asks for something that a train step does not measure."""
    params = {"layer": {"kernel": jnp.zeros((1, 1))}}
    jax.eval_shape(lambda: updated(tx, params, tx.init(params), params, 0.0, 0.0))


def chunk_length(config: dict, num_steps: int, most: int) -> int:
    """Steps a dispatch: as the config says, or the most that end where an evaluation or checkpoint is due."""
    stops = [min(config[key], num_steps) for key in ("eval_every", "checkpoint_every")]
    chosen = config["chunk_steps"]
    if chosen is None:
        common = math.gcd(*stops)
        return max(c for c in range(1, min(most, common) + 1) if common % c == 0)
    if any(stop % chosen for stop in stops):
        raise ValueError(f"chunk_steps={chosen} must divide eval_every={config['eval_every']} "
                         f"and checkpoint_every={config['checkpoint_every']}")
    return chosen


def train_all(job: Job, workdir: Path, stop: Stop, started: float) -> dict:
    """Trains the groups one after another, from where the newest checkpoint left off."""
    groups = sweep.groups(len(job.knobs), job.runs_at_once)
    checkpoints = [Checkpoints(workdir / "checkpoints" / f"runs_{g[0]}-{g[-1]}") for g in groups]
    first, states, meta = find_checkpoint(job, groups, checkpoints)
    clock = Clock(meta["seconds"], started)
    log = logs.MetricsLog(workdir, meta["log"], meta["step"])
    progress = logs.Progress(len(groups) * job.num_steps, first * job.num_steps + meta["step"])
    try:
        for index in range(first, len(groups)):
            train_group(job, groups[index], states, checkpoints[index], log, progress, clock, stop)
            states = None
        log.close()
        summary = summarise(job, workdir, clock)
        logs.write_json(workdir / "summary.json", summary)
        return summary
    finally:
        progress.close()


def find_checkpoint(job: Job, groups: list[range], checkpoints: list[Checkpoints]):
    """The group to go on with, its states, and the metadata saved with them; the first group anew if none."""
    for index in reversed(range(len(groups))):
        if not checkpoints[index].folder.exists():
            continue
        knobs = group_knobs(job, groups[index])
        template = (knobs, job.init.eval_shape(knobs))
        try:
            restored = checkpoints[index].restore(template)
        except ValueError as error:
            raise UserError(str(error)) from error
        if restored is not None:
            (_, states), meta = restored
            return index, jax.tree.map(jnp.array, states), meta
    return 0, None, {"step": 0, "log": {}, "seconds": {}}


def train_group(job: Job, runs: range, states: TrainState | None, checkpoints: Checkpoints,
                log: logs.MetricsLog, progress: logs.Progress, clock: Clock, stop: Stop) -> None:
    """Trains the runs of one group to the end, or to the signal that stops them."""
    knobs = group_knobs(job, runs)
    states = job.init(knobs) if states is None else states
    key = jax.random.fold_in(jax.random.key(job.config["seed"]), 2)  # 0 and 1 are streams of the runs
    step = int(states.step[0])
    batches = data.train_batches(job.dataset, seed=job.config["seed"], start=step, stop=job.num_steps,
                                 batch_size=job.config["batch_size"])
    behind = None  # the chunk whose metrics are still on the device
    ended = step == job.num_steps or out_of_runs(job, states)
    while not ended:
        length = min(job.chunk_steps, job.num_steps - step)
        with clock.measure("data"):
            chunk = list(itertools.islice(batches, length))
            chunk = jax.tree.map(lambda *leaves: np.stack(leaves), *chunk)
        with clock.measure("compile" if clock.compiles(length) else "train"):
            states, metrics = job.train(knobs, states, job.train_arrays, chunk,
                                        np.arange(step, step + length, dtype=np.int32), key)
            if clock.compiles(length):
                jax.block_until_ready(metrics)
        clock.chunk_done(length, length * len(runs) * job.config["batch_size"])
        step += length
        if behind is not None:
            log_chunk(job, runs, *behind, log, progress, clock)
        behind = (step, metrics)
        ended = step == job.num_steps
        if evaluates := ended or step % job.config["eval_every"] == 0:
            log_chunk(job, runs, *behind, log, progress, clock)
            behind = None
            evaluate(job, runs, states, step, log, progress, clock)
            ended = ended or out_of_runs(job, states)
        if ended or stop.requested or step % job.config["checkpoint_every"] == 0:
            if behind is not None:
                log_chunk(job, runs, *behind, log, progress, clock)
                behind = None
            with clock.measure("save"):
                checkpoints.save(step, (knobs, states), {
                    "step": step, "log": log.sync(), "seconds": clock.seconds()})
        if stop.requested:
            checkpoints.close()
            raise Interrupted(f"stopped by {stop.requested} after step {step} of run "
                              f"{runs[0]}; all is saved, the same command goes on from here")
    checkpoints.close()


def log_chunk(job: Job, runs: range, step: int, metrics: dict, log: logs.MetricsLog,
              progress: logs.Progress, clock: Clock) -> None:
    """Fetches the metrics [R, C] of the chunk that ended at `step` and writes the lines that are due."""
    with clock.measure("train"):  # the device is what is waited for here
        metrics = {name: np.asarray(values) for name, values in jax.device_get(metrics).items()}
    length = next(iter(metrics.values())).shape[1]
    for offset in range(length):
        applied = step - length + offset + 1
        if applied % job.config["log_every"] == 0 or applied in (1, job.num_steps):
            for lane, run in enumerate(runs):
                log.write(applied, run, {name: values[lane, offset] for name, values in metrics.items()})
    loss, accuracy, rate = (metrics[name][-1, -1] for name in
                            ("train/loss", "train/accuracy", "opt/learning_rate"))
    progress.advance(length, f"run {runs[-1]} lr {rate:.3g} loss {loss:.3f} acc {accuracy:.3f} "
                             f"{clock.examples_per_second():.0f} ex/s")


def evaluate(job: Job, runs: range, states: TrainState, step: int, log: logs.MetricsLog,
             progress: logs.Progress, clock: Clock) -> None:
    """Loss and accuracy on the full test split, and the timing of the run so far."""
    with clock.measure("evaluate"):
        sums = defaultdict(float)
        for batch in data.eval_batches(job.dataset, batch_size=job.config["eval_batch_size"]):
            for name, values in job.evaluate(states, job.test_arrays, batch).items():
                sums[name] += values
        sums = {name: np.asarray(values) for name, values in sums.items()}
        diverged_at = np.asarray(states.diverged_at)
    loss, accuracy = sums["loss"] / sums["weight"], sums["correct"] / sums["weight"]
    for lane, run in enumerate(runs):
        values = {"eval/loss": loss[lane], "eval/accuracy": accuracy[lane]}
        if diverged_at[lane] != NEVER:
            values["train/diverged_at"] = diverged_at[lane]
        log.write(step, run, values)
        progress.advance(0, f"run {run} ({sweep.label(job.changes[run])}) step {step}: "
                            f"test loss {loss[lane]:.3f} test acc {accuracy[lane]:.3f}", always=True)
    log.write(step, runs[0], {"perf/examples_per_second": clock.examples_per_second()} |
              {f"perf/seconds_{name}": value for name, value in clock.seconds().items()}, "timing.jsonl")


def out_of_runs(job: Job, states: TrainState) -> bool:
    """Whether the config has a group stop because all of its runs have diverged."""
    return job.config["stop_when_diverged"] and bool((np.asarray(states.diverged_at) != NEVER).all())


def group_knobs(job: Job, runs: range) -> Knobs:
    """The knobs of a group, with leaves [R, ...]."""
    return sweep.stack([job.knobs[run] for run in runs])


def summarise(job: Job, workdir: Path, clock: Clock) -> dict:
    """Final and best values of each run from its log, and what the whole cost."""
    lines = logs.read_lines(workdir / "metrics.jsonl")
    runs = []
    for run, changes in enumerate(job.changes):
        mine = [line for line in lines if line["run"] == run]
        final = {key: value for line in mine for key, value in line.items() if "/" in key}
        evaluations = [line for line in mine if "eval/accuracy" in line]
        best = max(evaluations, key=lambda line: line["eval/accuracy"])
        runs.append({
            "run": run, "label": sweep.label(changes), "changes": changes, "steps": mine[-1]["step"],
            "final": {key: logs.json_number(value) for key, value in final.items()
                      if key != "train/diverged_at"},
            "highest_rate": max(line["opt/learning_rate"] for line in mine if "opt/learning_rate" in line),
            "best": {"step": best["step"], "eval/accuracy": best["eval/accuracy"]},
            "diverged_at": final.get("train/diverged_at"),
        })
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"runs": runs, "examples_per_second": clock.examples_per_second(),
            "seconds": clock.seconds(), "peak_memory_bytes": peak}


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless the user has chosen another."""
    if jax.config.jax_compilation_cache_dir is None:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "warmup_jax", "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def plain(config: Mapping[str, Any]) -> dict:
    """A config as nested dicts, its references resolved."""
    return config.to_dict() if hasattr(config, "to_dict") else dict(config)
