"""This code's side of end_to_end.py: the training itself, and its compiled step alone."""

import itertools
import math
import statistics
import time
from pathlib import Path

import jax
import numpy as np
import processes

from warmup_jax import data
from warmup_jax.training import experiment, program
from warmup_jax.workdir.json_files import read_lines

ALONE_SECONDS, ALONE_WINDOWS = 1.0, 5  # the step alone is timed in this many windows of at least one dispatch


def train(task, started):
    """Runs the experiment as train.py does, then times its step alone; returns the measurements."""
    workdir = Path(task["workdir"]) / "run"
    summary = experiment.run(task["config"], workdir, started)
    lines = read_lines(workdir / "metrics.jsonl")
    values = {
        line["step"]: 1 - line["eval/accuracy"] if task["metric"] == "error" else line["eval/loss"]
        for line in lines
        if "eval/loss" in line
    }
    evaluations = [
        (line["step"], line["perf/seconds_total"], values[line["step"]])
        for line in read_lines(workdir / "timing.jsonl")
    ]
    found = dict(
        parameters=task["parameters"],
        first_loss=lines[0]["train/loss"],
        evaluations=evaluations,
        seconds=summary["seconds"],
        memory=processes.peak_memory(),
    )
    dispatch, alone = step_alone(task["config"])
    return found | dict(dispatch=dispatch, alone=alone)


def step_alone(config):
    """Returns the updates per dispatch and the seconds per update of the compiled step.

    It measures only dispatches and one wait at the end.
    """
    planned = program.set_up(config)
    (group,) = planned.groups
    plan, knobs = group.plan, group.knobs()
    updates = plan.chunk_steps
    batches = data.train_batches(
        planned.dataset, seed=config["seed"], batch_size=config["batch_size"], start=0, stop=config["num_steps"]
    )
    chunk = jax.device_put(jax.tree.map(lambda *leaves: np.stack(leaves), *itertools.islice(batches, updates)))
    states = plan.init(knobs, None)

    def seconds(dispatches):
        nonlocal states
        start = time.perf_counter()
        for _ in range(dispatches):
            states, metrics = plan.train(states, program.chunk_inputs(planned, group, knobs, {}, chunk, 0))
        jax.block_until_ready((states, metrics))
        return (time.perf_counter() - start) / dispatches

    seconds(1)  # compiles
    dispatches = math.ceil(min(ALONE_SECONDS / seconds(2), config["num_steps"] / updates))
    return updates, statistics.median(seconds(dispatches) for _ in range(ALONE_WINDOWS)) / updates
