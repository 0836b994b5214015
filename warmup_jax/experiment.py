"""The host loop: chunk -> log -> evaluate -> checkpoint, one group of runs after another."""

import contextlib
import itertools
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import data, evaluation, logs, report, sweep
from warmup_jax.checkpoint import Checkpoints
from warmup_jax.clock import Clock
from warmup_jax.job import Group, Job, set_up
from warmup_jax.signals import Stop, stop_on_signal
from warmup_jax.train_step import NEVER, TrainState
from warmup_jax.workdir import open_workdir

# Streams of the seed of a config; 0 and 1 are those of the runs.
AUGMENTATION, DECODING = 2, 3
SHOWN = 80  # characters of a text on the screen; texts.jsonl has the whole


class UserError(Exception):
    """A mistake of the user's: one line that says what is wrong and what would be right."""


class Interrupted(Exception):
    """A signal asked the run to stop; all is saved."""


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
        if job.dataset.facts:
            print("data: " + ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                                       for name, value in job.dataset.facts.items()), flush=True)
        summary = train_all(job, workdir, stop, started)
    report.curves(workdir)
    print(report.table(summary))
    if (largest_rates := report.phase_diagram(workdir)) is not None:
        print(largest_rates)
    return summary


def train_all(job: Job, workdir: Path, stop: Stop, started: float) -> dict:
    """Trains the groups one after another, from where the newest checkpoint left off."""
    checkpoints = [Checkpoints(workdir / "checkpoints" / group.name) for group in job.groups]
    first, states, meta = find_checkpoint(job, checkpoints)
    clock = Clock(meta["seconds"], started)
    log = logs.MetricsLog(workdir, meta["log"], meta["step"])
    steps = [group.plan.num_steps for group in job.groups]
    progress = logs.Progress(sum(steps), sum(steps[:first]) + meta["step"])
    try:
        for index in range(first, len(job.groups)):
            train_group(job, job.groups[index], states, checkpoints[index], log, progress, clock, stop)
            states = None
        log.close()
        summary = summarise(job, workdir, clock)
        logs.write_json(workdir / "summary.json", summary)
        return summary
    finally:
        progress.close()


def find_checkpoint(job: Job, checkpoints: list[Checkpoints]):
    """The group to go on with, its states, and the metadata saved with them; the first group anew if none."""
    for index in reversed(range(len(job.groups))):
        if not checkpoints[index].folder.exists():
            continue
        knobs = job.groups[index].knobs()
        template = (knobs, job.groups[index].plan.init.eval_shape(knobs))
        try:
            restored = checkpoints[index].restore(template)
        except ValueError as error:
            raise UserError(str(error)) from error
        if restored is not None:
            (_, states), meta = restored
            if meta["vocabulary"] != vocabulary(job):
                raise UserError(f"the checkpoint in {checkpoints[index].folder} was trained with the vocabulary "
                                f"{meta['vocabulary']}, and the data now give {vocabulary(job)}")
            return index, jax.tree.map(jnp.array, states), meta
    return 0, None, {"step": 0, "log": {}, "seconds": {}}


def train_group(job: Job, group: Group, states: TrainState | None, checkpoints: Checkpoints,
                log: logs.MetricsLog, progress: logs.Progress, clock: Clock, stop: Stop) -> None:
    """Trains the runs of one group to the end, or to the signal that stops them."""
    plan, knobs, config = group.plan, group.knobs(), group.plan.config
    states = plan.init(knobs) if states is None else states
    key = jax.random.fold_in(jax.random.key(config["seed"]), AUGMENTATION)
    step = int(states.step[0])
    batches = data.train_batches(job.dataset, seed=config["seed"], start=step, stop=plan.num_steps,
                                 batch_size=config["batch_size"])
    behind = None  # the chunk whose metrics are still on the device
    ended = step == plan.num_steps or out_of_runs(config, states)
    while not ended:
        length = min(plan.chunk_steps, plan.num_steps - step)
        with clock.measure("data"):
            chunk = list(itertools.islice(batches, length))
            chunk = jax.tree.map(lambda *leaves: np.stack(leaves), *chunk)
        compiles = clock.compiles((id(plan), length, len(group.runs)))
        with clock.measure("compile" if compiles else "train"):
            states, metrics = plan.train(knobs, states, job.train_arrays, chunk,
                                         np.arange(step, step + length, dtype=np.int32), key)
            if compiles:
                jax.block_until_ready(metrics)
        clock.chunk_done(length * len(group.runs) * config["batch_size"], compiles)
        step += length
        if behind is not None:
            log_chunk(group, *behind, log, progress, clock)
        behind = (step, metrics)
        ended = step == plan.num_steps
        if ended or step % config["eval_every"] == 0:
            log_chunk(group, *behind, log, progress, clock)
            behind = None
            evaluate(job, group, states, step, log, progress, clock)
            ended = ended or out_of_runs(config, states)
        if ended or stop.requested or step % config["checkpoint_every"] == 0:
            if behind is not None:
                log_chunk(group, *behind, log, progress, clock)
                behind = None
            with clock.measure("save"):
                checkpoints.save(step, (knobs, states), {
                    "step": step, "log": log.sync(), "seconds": clock.seconds(), "vocabulary": vocabulary(job)})
        if stop.requested:
            checkpoints.close()
            raise Interrupted(f"stopped by {stop.requested} after step {step} of run "
                              f"{group.runs[0]}; all is saved, the same command goes on from here")
    checkpoints.close()


def log_chunk(group: Group, step: int, metrics: dict, log: logs.MetricsLog,
              progress: logs.Progress, clock: Clock) -> None:
    """Fetches the metrics [R, C] of the chunk that ended at `step` and writes the lines that are due."""
    with clock.measure("train"):  # the device is what is waited for here
        metrics = {name: np.asarray(values) for name, values in jax.device_get(metrics).items()}
    config, length = group.plan.config, next(iter(metrics.values())).shape[1]
    for offset in range(length):
        applied = step - length + offset + 1
        if applied % config["log_every"] == 0 or applied in (1, group.plan.num_steps):
            for lane, run in enumerate(group.runs):
                log.write(applied, run, {name: values[lane, offset] for name, values in metrics.items()})
    if "train/tokens" in metrics:
        clock.tokens_seen(metrics["train/tokens"].sum(), metrics["train/tokens"].size * config["batch_size"])
    loss, accuracy, rate = (metrics[name][-1, -1] for name in
                            ("train/loss", "train/accuracy", "opt/learning_rate"))
    progress.advance(length, f"run {group.runs[-1]} lr {rate:.3g} loss {loss:.3f} acc {accuracy:.3f} "
                             f"{clock.pace()}")


def evaluate(job: Job, group: Group, states: TrainState, step: int, log: logs.MetricsLog,
             progress: logs.Progress, clock: Clock) -> None:
    """What the test split says of the states, and the timing of the run so far."""
    plan, config = group.plan, group.plan.config
    with clock.measure("evaluate"):
        values = evaluation.scores(plan.evaluate, states, job.test_arrays, job.dataset, config["eval_batch_size"])
        written = evaluation.Written({}, None, [[]] * len(group.runs))
        if plan.decode is not None:
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config["seed"]), DECODING), step)
            written = evaluation.write(plan.decode, states, job.dataset.texts, config["decoding"],
                                       config["eval_batch_size"], key)
        diverged_at = np.asarray(states.diverged_at)
    values |= written.values
    for lane, run in enumerate(group.runs):
        line = {name: of_run[lane] for name, of_run in values.items()}
        said = " ".join(f"test {name.removeprefix('eval/')} {value:.3f}" for name, value in line.items())
        if diverged_at[lane] != NEVER:
            line["train/diverged_at"] = diverged_at[lane]
        log.write(step, run, line)
        progress.advance(0, f"run {run} ({sweep.label(job.changes[run])}) step {step}: {said}", always=True)
        for sample in written.samples[lane]:
            log.write_text(step, run, sample | ({"signature": written.signature} if written.signature else {}))
            progress.say("    " + " | ".join(f"{name}: {text[:SHOWN]!r}" for name, text in sample.items()))
    log.write(step, group.runs[0], clock.throughput() |
              {f"perf/seconds_{name}": value for name, value in clock.seconds().items()}, "timing.jsonl")


def out_of_runs(config: dict, states: TrainState) -> bool:
    """Whether the config has a group stop because all of its runs have diverged."""
    return config["stop_when_diverged"] and bool((np.asarray(states.diverged_at) != NEVER).all())


def vocabulary(job: Job) -> str | None:
    """What tells the vocabulary of the data from any other; None for images."""
    return job.dataset.texts and job.dataset.texts.fingerprint


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
            "highest_rate": logs.json_number(max(line["opt/learning_rate"] for line in mine
                                                 if "opt/learning_rate" in line)),
            "best": {"step": best["step"], "eval/accuracy": best["eval/accuracy"]},
            "diverged_at": final.get("train/diverged_at"),
        })
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    throughput = {name.removeprefix("perf/"): value for name, value in clock.throughput().items()}
    return {"runs": runs, "data": job.dataset.facts, "vocabulary": vocabulary(job),
            "bleu_signature": logs.signature(workdir), **throughput,
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
