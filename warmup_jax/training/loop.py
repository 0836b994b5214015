"""The loop over one group of runs: chunk -> log -> probe -> evaluate -> checkpoint."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import data
from warmup_jax.training import evaluation, probes, sweep
from warmup_jax.training.program import (
    DECODING,
    Group,
    Job,
    compile_update,
    next_chunk,
    probe_arguments,
    stream,
    update_arguments,
)
from warmup_jax.training.train_step import NEVER, TrainState
from warmup_jax.workdir import logs
from warmup_jax.workdir.checkpoint import Checkpoints
from warmup_jax.workdir.shutdown import Stop
from warmup_jax.workdir.timers import Clock

SHOWN = 80  # characters of a text on the screen; texts.jsonl has the whole
FEW_RUNS = 12  # with more, the screen shows the progress of all instead of every evaluation


class Interrupted(Exception):
    """A signal asked the run to stop; all is saved."""


class Host(NamedTuple):
    """What the loop trains, and where it leaves what it has seen."""

    job: Job
    log: logs.MetricsLog
    progress: logs.Progress
    clock: Clock
    stop: Stop


def train_group(host: Host, group: Group, saved: tuple[TrainState, dict] | None, checkpoints: Checkpoints) -> None:
    """Trains the runs of one group to the end, or to the signal that stops them.

    The last save may still be under way when it returns.

    saved: the states of a checkpoint and what their probes carry; None: from the beginning.
    """
    job, log, progress, clock, stop = host
    plan, knobs, config = group.plan, group.knobs(), group.plan.config
    step = int(saved[0].step[0]) if saved else 0
    batches = data.train_batches(
        job.dataset, seed=config["seed"], start=step, stop=plan.num_steps, batch_size=config["batch_size"]
    )
    if saved is None:
        with clock.measure("data"):
            first = next(batches)
        batches = itertools.chain([first], batches)  # those of a stream are read while the update compiles
        saved = start(host, group, knobs, first)
    states, carries = saved
    pending = []  # the chunks whose metrics are still on the device
    lanes = lanes_that_go_on(group, states, step)
    while lanes:
        length = next_chunk(plan, step)
        # The step gives its memory to the states after it; what a probe compares these with is copied before.
        compared = any(prober.entry.before for prober in probes_due(group, step + length))
        before = jax.tree.map(jnp.copy, states.params) if compared else {}
        states, metrics = train(host, group, knobs, states, carries, itertools.islice(batches, length), step)
        step += length
        pending.append((step, metrics))
        log_chunks(host, group, lanes, pending, keep=plan.ahead)  # behind the device, which need not wait
        if probes_due(group, step):
            log_chunks(host, group, lanes, pending)
            carries = probe(host, group, lanes, knobs, states, before, carries, step)
        if step == plan.num_steps or step % config["eval_every"] == 0:
            log_chunks(host, group, lanes, pending)
            evaluate(host, group, lanes, states, step)
            lanes = lanes_that_go_on(group, states, step)
        stopping = stop.requested  # read once: a later signal must not end a run that was not saved
        if not lanes or stopping or step % config["checkpoint_every"] == 0:
            log_chunks(host, group, lanes, pending)
            with clock.measure("save"):
                checkpoints.save(
                    step,
                    (knobs, states, carries),
                    {"step": step, "log": log.sync(), "seconds": clock.seconds(), "vocabulary": job.vocabulary},
                )
        if stopping:
            checkpoints.close()
            raise Interrupted(
                f"stopped by {stopping} after step {step} of run {group.runs[0]}; all is saved, "
                "the same command goes on from here"
            )
    for run in group.runs:
        log.run_ended(run)
    progress.skip(plan.num_steps - step)
    progress.runs_ended(len(group.runs), int((diverged_at(group, states) != NEVER).sum()))


def start(host: Host, group: Group, knobs: Any, batch: dict) -> tuple[TrainState, dict]:
    """The states before the first update, which is on this batch, probed, and what their probes carry."""
    plan = group.plan
    if group.runs[0] == plan.runs[0]:
        with host.clock.measure("compile"):
            compile_update(host.job, group, knobs, batch)
    states = group.init(knobs)
    carries = plan.carry(states) if plan.probers else {}
    return states, probe(host, group, range(len(group.runs)), knobs, states, {}, carries, 0)


def train(host: Host, group: Group, knobs: Any, states: TrainState, carries: dict, batches: Iterable[dict], step: int):
    """The states after one chunk of updates on the given batches, and its metrics [R, C] on the device."""
    plan, clock = group.plan, host.clock
    with clock.measure("data"):
        chunk = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
    length = len(jax.tree.leaves(chunk)[0])
    compiles = clock.compiles((id(plan), length))
    with clock.measure("compile" if compiles else "train"):
        states, metrics = plan.train(*update_arguments(host.job, plan, knobs, states, carries, chunk, step))
        if compiles:
            jax.block_until_ready(metrics)
    clock.chunk_done(length * len(group.runs) * plan.config["batch_size"], compiles)
    return states, metrics


def probes_due(group: Group, step: int) -> list[probes.Prober]:
    """Those of which some run of the group is due after `step` updates."""
    return [prober for prober in group.plan.probers.values() if probes.due(prober, step, group.warmups).any()]


def probe(
    host: Host,
    group: Group,
    lanes: Sequence[int],
    knobs: Any,
    states: TrainState,
    before: Any,
    carries: dict,
    step: int,
) -> dict:
    """Takes the probes that are due, and logs what they found; returns what they carry from here on."""
    plan, lines = group.plan, {lane: {} for lane in lanes}
    for prober in probes_due(group, step):
        name, due_R = prober.name, probes.due(prober, step, group.warmups)
        first_R = probes.begins(prober, step, group.warmups)
        repeats = prober.entry.restarts(**prober.args) - 1 if first_R.any() else 0
        for taken_R in [first_R] * repeats + [due_R]:
            arguments = probe_arguments(host.job, plan, name, knobs, states, before, carries, taken_R, step)
            with host.clock.measure("compile" if host.clock.compiles((id(plan), name)) else "diagnose"):
                metrics, carried = plan.probe[name](*arguments)
                metrics = jax.device_get(metrics)
            carries = carries | carried
        for lane, line in lines.items():
            line |= {key: values[lane] for key, values in metrics.items() if due_R[lane]}
    for lane, line in lines.items():
        if line:
            host.log.write(step, group.runs[lane], line)
    return carries


def log_chunks(host: Host, group: Group, lanes: Sequence[int], pending: list, keep: int = 0) -> None:
    """Logs and forgets the pending chunks, each (step at its end, metrics [R, C]), but the newest `keep` of them."""
    while len(pending) > keep:
        log_chunk(host, group, lanes, *pending.pop(0))


def log_chunk(host: Host, group: Group, lanes: Sequence[int], step: int, metrics: dict) -> None:
    """Fetches the metrics [R, C] of the chunk that ended at `step` and writes the lines that are due."""
    with host.clock.measure("train"):  # the device is what is waited for here
        metrics = {name: np.asarray(values) for name, values in jax.device_get(metrics).items()}
    config, length = group.plan.config, next(iter(metrics.values())).shape[1]
    for offset in range(length):
        applied = step - length + offset + 1
        if applied % config["log_every"] == 0 or applied in (1, group.plan.num_steps):
            for lane in lanes:
                host.log.write(
                    applied, group.runs[lane], {name: values[lane, offset] for name, values in metrics.items()}
                )
    if "train/tokens" in metrics:
        tokens = metrics["train/tokens"][: len(group.runs)]
        host.clock.tokens_seen(tokens.sum(), tokens.size * config["batch_size"])
    loss, accuracy, rate = (
        metrics[name][lanes[-1], -1] for name in ("train/loss", "train/accuracy", "opt/learning_rate")
    )
    host.progress.advance(
        length, f"run {group.runs[lanes[-1]]} lr {rate:.3g} loss {loss:.3f} acc {accuracy:.3f} {host.clock.pace()}"
    )


def evaluate(host: Host, group: Group, lanes: Sequence[int], states: TrainState, step: int) -> None:
    """What the test split says of the states, and the timing of the run so far."""
    job, log, progress, clock, _ = host
    plan, config = group.plan, group.plan.config
    with clock.measure("evaluate"):
        values = evaluation.scores(
            plan.evaluate, states, job.test_arrays, job.dataset, config["eval_batch_size"], plan.evaluated
        )
        written = evaluation.Written({}, None, [[]] * len(group.runs))
        if plan.decode is not None:
            key = jax.random.fold_in(stream(config["seed"], DECODING), step)
            written = evaluation.write(
                plan.decode,
                states,
                job.dataset.texts,
                config["decoding"],
                config["eval_batch_size"],
                key,
                plan.evaluated,
            )
        diverged = diverged_at(group, states)
    values |= written.values
    for lane in lanes:
        run = group.runs[lane]
        line = {name: of_run[lane] for name, of_run in values.items()}
        said = " ".join(f"test {name.removeprefix('eval/')} {value:.4g}" for name, value in line.items())
        if diverged[lane] != NEVER:
            line["train/diverged_at"] = diverged[lane]
        log.write(step, run, line)
        progress.advance(
            0, f"run {run} ({sweep.label(job.changes[run])}) step {step}: {said}", always=len(job.changes) <= FEW_RUNS
        )
        for sample in written.samples[lane]:
            log.write_text(step, run, sample | ({"signature": written.signature} if written.signature else {}))
            progress.say("    " + " | ".join(f"{name}: {text[:SHOWN]!r}" for name, text in sample.items()))
    log.write(
        step,
        group.runs[0],
        clock.throughput() | {f"perf/seconds_{name}": value for name, value in clock.seconds().items()},
        "timing.jsonl",
    )


def diverged_at(group: Group, states: TrainState) -> np.ndarray:
    """The update at which each run of a group diverged, or NEVER."""
    return np.asarray(states.diverged_at)[: len(group.runs)]


def lanes_that_go_on(group: Group, states: TrainState, step: int) -> list[int]:
    """The lanes whose runs go on after `step` updates.

    Where the config says so, a run ends at the first evaluation after it diverged; the lane is computed on beside
    others, and not logged. So what is logged of a run does not depend on the runs beside it.
    """
    if step == group.plan.num_steps:
        return []
    every, found = group.plan.config["eval_every"], diverged_at(group, states)
    evaluated = -(-found // every) * every <= step
    ended = (found != NEVER) & evaluated & group.plan.config["stop_when_diverged"]
    return [lane for lane in range(len(group.runs)) if not ended[lane]]
