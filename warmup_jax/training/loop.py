"""The loop over one group of runs: chunk -> log -> probe -> evaluate -> checkpoint."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax.training import evaluation, orders, probes, sweep
from warmup_jax.training.chunks import next_chunk
from warmup_jax.training.program import Group, Job, chunk_inputs, compile_update, probe_inputs
from warmup_jax.training.stored import BEFORE_DECAY
from warmup_jax.training.train_step import NEVER, Knobs, TrainState
from warmup_jax.workdir.checkpoint import Checkpoints
from warmup_jax.workdir.logs import MetricsLog
from warmup_jax.workdir.progress import Progress
from warmup_jax.workdir.shutdown import ShutdownFlag
from warmup_jax.workdir.timers import Timers

SHOWN = 80  # characters of a text on the screen; texts.jsonl has all of it


class Interrupted(Exception):
    """A signal asked the run to stop; everything is saved."""


class Host(NamedTuple):
    """The job and the host's side of its training: where the loop reports, and what may stop it."""

    job: Job
    log: MetricsLog
    progress: Progress
    timers: Timers
    shutdown: ShutdownFlag


class Saved(NamedTuple):
    """The arrays of a group besides its knobs: what a checkpoint restores."""

    states: TrainState  # leaves [R, ...]
    carries: dict[str, Any]  # of the probes, by name


def train_group(host: Host, group: Group, saved: Saved | None, checkpoints: Checkpoints) -> None:
    """Trains the runs of one group to the end, or until a signal stops them.

    The last save may still be under way when it returns.

    Args:
      host: the job and the host's side.
      group: of the job.
      saved: from a checkpoint; None: the runs begin.
      checkpoints: of this group.

    Raises:
      Interrupted: after a signal, once everything is saved.
    """
    plan, knobs, config = group.plan, group.knobs(), group.plan.config
    step = int(saved.states.step[0]) if saved else 0
    batches = orders.batches(
        host.job.dataset,
        group.orders,
        plan.batch_axis,
        batch_size=config["batch_size"],
        start=step,
        stop=plan.num_steps,
    )
    if saved is None:
        with host.timers.phase("data"):
            first = next(batches)
        batches = itertools.chain([first], batches)  # a stream reads its next batches while the update compiles
        saved = start(host, group, knobs, first)
    states, carries = saved
    parting = group.parting
    pending: list[tuple[int, dict]] = []  # chunks whose metrics are still on the device
    lanes = active_lanes(group, states, step)
    while lanes:
        length = next_chunk(plan.chunk_steps, plan.pauses, step)
        if parting is not None and 0 < step <= parting < step + length:
            log_chunks(host, group, lanes, pending)
            keep_before_decay(host, group, checkpoints, knobs, Saved(states, carries), step)
        # State buffers are donated; the parameters that a probe compares with the next ones are copied before.
        compared = any(prober.entry.compares_update for prober in probes_due(group, step + length))
        before = jax.tree.map(jnp.copy, states.params) if compared else {}
        chunk = itertools.islice(batches, length)
        states, metrics = train(host, group, knobs, states, carries, chunk, step)
        host.shutdown.to_save = True
        step += length
        pending.append((step, metrics))
        log_chunks(host, group, lanes, pending, keep=plan.chunks_ahead)  # behind the device, so that it need not wait
        if probes_due(group, step):
            log_chunks(host, group, lanes, pending)
            carries = probe(host, group, lanes, knobs, states, before, carries, step)
        if step == plan.num_steps or step % config["eval_every"] == 0:
            log_chunks(host, group, lanes, pending)
            evaluate(host, group, lanes, states, step)
            lanes = active_lanes(group, states, step)
        interrupted_by = host.shutdown.requested  # read once: a later signal must not end a run that is not saved
        if not lanes or interrupted_by or step % config["checkpoint_every"] == 0:
            log_chunks(host, group, lanes, pending)
            save(host, group, checkpoints, Saved(states, carries), step)
        if interrupted_by:
            checkpoints.close()
            raise Interrupted(f"stopped by {interrupted_by} after step {step} of run {group.runs[0]}; all is saved")
    for run in group.runs:
        host.log.run_ended(run)
    host.progress.skip(plan.num_steps - step)
    host.progress.runs_ended(len(group.runs), int((diverged_at(group, states) != NEVER).sum()))


def start(host: Host, group: Group, knobs: Knobs, batch: dict) -> Saved:
    """Returns the initial states and the carries of their first probes; `batch` gives the shapes to compile for."""
    plan = group.plan
    if group.compiles:
        with host.timers.phase("compile"):
            compile_update(host.job, group, knobs, batch)
    states = plan.init(knobs, host.job.weights)
    if group.runs[-1] == plan.runs[-1]:
        plan.init.clear_cache()  # the last group of the plan: its compiled program takes about 40 MB
    carries = plan.carry(states) if plan.probers else {}
    carries = probe(host, group, range(len(group.runs)), knobs, states, {}, carries, 0)
    return Saved(states, carries)


def train(
    host: Host,
    group: Group,
    knobs: Knobs,
    states: TrainState,
    carries: dict,
    batches: Iterable[dict],
    step: int,
) -> tuple[TrainState, dict]:
    """Returns the states after one chunk of updates on the given batches, and its metrics [R, C] on the device."""
    plan = group.plan
    with host.timers.phase("data"):
        steps = list(batches)
        chunk, length = orders.stack_steps(steps, plan.batch_axis), len(steps)
    compiles = host.timers.first_call((id(plan), length))
    with host.timers.phase("compile" if compiles else "train"):
        states, metrics = plan.train(states, chunk_inputs(host.job, group, knobs, carries, chunk, step))
        if compiles:
            jax.block_until_ready(metrics)
    host.timers.chunk_done(length * len(group.runs) * plan.config["batch_size"], compiles)
    return states, metrics


def keep_before_decay(
    host: Host, group: Group, checkpoints: Checkpoints, knobs: Knobs, saved: Saved, step: int
) -> None:
    """Saves a checkpoint that later ones do not replace: from here alone the runs of a group can be extended."""
    kept = Checkpoints(checkpoints.folder.parent / Path(BEFORE_DECAY).name / group.name)
    if step not in kept.steps():
        save(host, group, kept, saved, step)
    kept.close()


def save(host: Host, group: Group, checkpoints: Checkpoints, saved: Saved, step: int) -> None:
    """Begins to save a checkpoint; it is written in the background."""
    with host.timers.phase("save"):
        meta = {
            "step": step,
            "log": host.log.sync(),
            "log_digests": host.log.digests(),
            "seconds": host.timers.seconds(),
            "vocabulary": host.job.vocabulary,
            "own_orders": group.plan.batch_axis is not None,
        }
        checkpoints.save(step, (group.knobs(), *saved), meta)


def probes_due(group: Group, step: int) -> list[probes.Prober]:
    """Returns the probes that are due after `step` updates for some run of the group."""
    return [prober for prober in group.plan.probers.values() if probes.due(prober, step, group.warmup_steps).any()]


def probe(
    host: Host,
    group: Group,
    lanes: Sequence[int],
    knobs: Knobs,
    states: TrainState,
    before: Any,
    carries: dict,
    step: int,
) -> dict:
    """Takes the probes that are due, logs their metrics, and returns the carries after them."""
    plan = group.plan
    lines: dict[int, dict] = {lane: {} for lane in lanes}
    for prober in probes_due(group, step):
        name, due_R = prober.name, probes.due(prober, step, group.warmup_steps)
        first_R = probes.begins(prober, step, group.warmup_steps)
        repeats = prober.entry.first_repeats(**prober.args) - 1 if first_R.any() else 0
        for taken_R in [first_R] * repeats + [due_R]:
            inputs = probe_inputs(host.job, group, name, knobs, states, before, carries, taken_R, step)
            with host.timers.phase("compile" if host.timers.first_call((id(plan), name)) else "diagnose"):
                metrics, carried = plan.probe[name](inputs)
                metrics = jax.device_get(metrics)
            carries = carries | carried
        for lane, line in lines.items():
            line |= {key: values[lane] for key, values in metrics.items() if due_R[lane]}
    for lane, line in lines.items():
        if line:
            host.log.write(step, group.runs[lane], line)
    return carries


def log_chunks(host: Host, group: Group, lanes: Sequence[int], pending: list, keep: int = 0) -> None:
    """Logs and removes the pending chunks, each (step at its end, metrics [R, C]), but the newest `keep` of them."""
    while len(pending) > keep:
        log_chunk(host, group, lanes, *pending.pop(0))


def log_chunk(host: Host, group: Group, lanes: Sequence[int], step: int, metrics: dict) -> None:
    """Fetches the metrics [R, C] of the chunk that ended at `step` and writes the lines that are due."""
    with host.timers.phase("train"):  # the wait is for the device
        metrics = {name: np.asarray(values) for name, values in jax.device_get(metrics).items()}
    config, length = group.plan.config, next(iter(metrics.values())).shape[1]
    for offset in range(length):
        applied = step - length + offset + 1
        if applied % config["log_every"] == 0 or applied in (1, group.plan.num_steps):
            for lane in lanes:
                line = {name: values[lane, offset] for name, values in metrics.items()}
                host.log.write(applied, group.runs[lane], line)
    if "train/tokens" in metrics:
        tokens = metrics["train/tokens"][: len(group.runs)]
        host.timers.tokens_seen(tokens.sum(), tokens.size * config["batch_size"])
    last = {name: values[lanes[-1], -1] for name, values in metrics.items()}
    host.progress.advance(
        length,
        f"run {group.runs[lanes[-1]]} lr {last['opt/learning_rate']:.3g} loss {last['train/loss']:.3f} "
        f"acc {last['train/accuracy']:.3f} {host.timers.pace()}",
    )


def evaluate(host: Host, group: Group, lanes: Sequence[int], states: TrainState, step: int) -> None:
    """Logs the scores of the states on the test split, their decoded texts, and the timing of the run so far."""
    job, plan, config = host.job, group.plan, group.plan.config
    with host.timers.phase("evaluate"):
        values: dict[str, Any] = evaluation.scores(
            plan.evaluate, states, job.test_arrays, job.dataset, config["eval_batch_size"], plan.eval_at_once
        )
        decoded = evaluation.DecodedTexts({}, None, [[]] * len(group.runs))
        if plan.decode is not None and job.dataset.texts is not None:
            decoded = evaluation.decode_texts(
                plan.decode,
                states,
                job.dataset.texts,
                config["decoding"],
                config["eval_batch_size"],
                jax.random.fold_in(orders.random_key(config["seed"], orders.DECODING), step),
                plan.eval_at_once,
            )
        diverged = diverged_at(group, states)
    values |= decoded.values
    for lane in lanes:
        run = group.runs[lane]
        line = {name: values_R[lane] for name, values_R in values.items()}
        text = " ".join(f"test {name.removeprefix('eval/')} {value:.4g}" for name, value in line.items())
        if diverged[lane] != NEVER:
            line["train/diverged_at"] = diverged[lane]
        host.log.write(step, run, line)
        label = sweep.label(job.changes[run])
        host.progress.evaluated(f"run {run} ({label}) update {step} of {plan.num_steps}: {text}")
        for sample in decoded.samples[lane]:
            host.log.write_text(step, run, sample | ({"signature": decoded.signature} if decoded.signature else {}))
            titles = {} if "reference" in sample else {"source": "prompt", "written": "continuation"}
            said = (f"{titles.get(name, name)}: {text[:SHOWN]!r}" for name, text in sample.items())
            host.progress.say("    " + " | ".join(said))
    seconds = {f"perf/seconds_{name}": value for name, value in host.timers.seconds().items()}
    host.log.write(step, group.runs[0], host.timers.throughput() | seconds, "timing.jsonl")


def diverged_at(group: Group, states: TrainState) -> np.ndarray:
    """Returns the update at which each run of a group diverged, or NEVER."""
    return np.asarray(states.diverged_at)[: len(group.runs)]


def active_lanes(group: Group, states: TrainState, step: int) -> list[int]:
    """Returns the lanes whose runs go on after `step` updates.

    If the config says `stop_when_diverged`, a run ends at the first evaluation after it diverged: its lane keeps
    running beside the others but is no longer logged. So the log of a run does not depend on the runs beside it.
    """
    if step == group.plan.num_steps:
        return []
    every, found = group.plan.config["eval_every"], diverged_at(group, states)
    evaluated = -(-found // every) * every <= step
    ended = (found != NEVER) & evaluated & group.plan.config["stop_when_diverged"]
    return [lane for lane in range(len(group.runs)) if not ended[lane]]
