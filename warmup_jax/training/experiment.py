"""A whole experiment: set up, train every run or the rest of them, summarise and report."""

import contextlib
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from warmup_jax import data, report
from warmup_jax.losses import LOSSES
from warmup_jax.runtime import devices
from warmup_jax.training import sweep
from warmup_jax.training.loop import Host, Interrupted, train_group
from warmup_jax.training.program import Group, Job, prepare_process, set_up
from warmup_jax.workdir import logs
from warmup_jax.workdir.checkpoint import Checkpoints
from warmup_jax.workdir.lock import open_workdir
from warmup_jax.workdir.shutdown import Stop, stop_on_signal
from warmup_jax.workdir.timers import Clock

__all__ = ["Interrupted", "UserError", "enable_compilation_cache", "plain", "run"]


class UserError(Exception):
    """A mistake of the user's: one line that says what is wrong and what would be right."""


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
            prepare_process(config.get("model", {}))
            job = set_up(config)
            stack.enter_context(open_workdir(workdir, config))
        except (ValueError, OSError) as error:
            raise UserError(" ".join(str(error).split())) from error
        if job.dataset.facts:
            print(
                "data: "
                + ", ".join(
                    f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in job.dataset.facts.items()
                ),
                flush=True,
            )
        summary = train_all(job, workdir, stop, started)
    report.curves(workdir)
    report.diagnostics(workdir)
    print(report.table(summary))
    if (largest_rates := report.phase_diagram(workdir)) is not None:
        print(largest_rates)
    return summary


def train_all(job: Job, workdir: Path, stop: Stop, started: float) -> dict:
    """Trains the groups one after another, from where the newest checkpoint left off."""
    checkpoints = [Checkpoints(workdir / "checkpoints" / group.name) for group in job.groups]
    first, saved, meta = find_checkpoint(job, workdir, checkpoints)
    steps = [group.plan.num_steps for group in job.groups]
    host = Host(
        job=job,
        clock=Clock(meta["seconds"], started),
        stop=stop,
        log=logs.MetricsLog(workdir, meta["log"], meta["step"]),
        progress=logs.Progress(total=sum(steps), runs=len(job.changes)),
    )
    try:
        host.progress.skip(sum(steps[:first]) + meta["step"])
        host.progress.runs_ended(*ended_runs(job.groups[:first], workdir))
        for index in range(first, len(job.groups)):
            try:
                train_group(host, job.groups[index], saved, checkpoints[index])
            finally:
                if index > first:  # its last save went on while this group trained, and must not be broken off
                    checkpoints[index - 1].close()
            saved = None
        checkpoints[-1].close()
        host.log.close()
        summary = summarise(job, workdir, host.clock)
        logs.write_json(workdir / "summary.json", summary)
        return summary
    finally:
        host.progress.close()


def find_checkpoint(job: Job, workdir: Path, checkpoints: list[Checkpoints]):
    """The group to go on with, its states with what their probes carry, and the metadata saved with them.

    The first group anew if there is none.
    """
    known = {of_group.folder.name for of_group in checkpoints}
    others = {path.name for path in workdir.glob("checkpoints/runs_*")} - known
    if others:
        raise UserError(
            f"the checkpoints in {workdir} are of groups of other runs ({', '.join(sorted(others))}, here "
            f"{job.groups[0].name}): go on with as many devices as before; of a CPU, "
            "XLA_FLAGS=--xla_force_host_platform_device_count=N makes N"
        )
    for index in reversed(range(len(job.groups))):
        if not checkpoints[index].folder.exists():
            continue
        plan, knobs = job.groups[index].plan, job.groups[index].knobs()
        states = plan.init.eval_shape(knobs)
        template = (knobs, states, plan.carry.eval_shape(states))
        try:
            restored = checkpoints[index].restore(template)
        except ValueError as error:
            raise UserError(str(error)) from error
        if restored is not None:
            (_, *saved), meta = restored
            if meta["vocabulary"] != job.vocabulary:
                raise UserError(
                    f"the checkpoint in {checkpoints[index].folder} was trained with the vocabulary "
                    f"{meta['vocabulary']}, and the data now give {job.vocabulary}"
                )
            return index, devices.put(saved, plan.devices, 0), meta
    return 0, None, {"step": 0, "log": {}, "seconds": {}}


def ended_runs(groups: list[Group], workdir: Path) -> tuple[int, int]:
    """How many runs some groups have, and how many of these have diverged by the log."""
    runs = {run for group in groups for run in group.runs}
    lines = logs.read_lines(workdir / "metrics.jsonl") if runs else []
    return len(runs), len({line["run"] for line in lines if "train/diverged_at" in line} & runs)


def summarise(job: Job, workdir: Path, clock: Clock) -> dict:
    """Final and best values of each run from its log, and what the whole cost."""
    mine = {run: [] for run in range(len(job.changes))}
    for line in logs.read_lines(workdir / "metrics.jsonl"):
        mine[line["run"]].append(line)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    throughput = {name.removeprefix("perf/"): value for name, value in clock.throughput().items()}
    return {
        "runs": [outcome(run, job.changes[run], lines) for run, lines in mine.items()],
        "data": job.dataset.facts,
        "vocabulary": job.vocabulary,
        "uninformed_loss": uninformed_loss(job),
        "bleu_signature": logs.signature(workdir),
        **throughput,
        "seconds": clock.seconds(),
        "peak_memory_bytes": peak,
    }


def outcome(run: int, changes: dict, lines: list[dict]) -> dict:
    """Final and best values of one run from its lines of the log."""
    final = {key: value for line in lines for key, value in line.items() if "/" in key}
    best = max((line for line in lines if "eval/accuracy" in line), key=lambda line: line["eval/accuracy"])
    return {
        "run": run,
        "label": sweep.label(changes),
        "changes": changes,
        "steps": lines[-1]["step"],
        "final": {key: logs.json_number(value) for key, value in final.items() if key != "train/diverged_at"},
        "highest_rate": logs.json_number(
            max(line["opt/learning_rate"] for line in lines if "opt/learning_rate" in line)
        ),
        "best": {"step": best["step"], "eval/accuracy": best["eval/accuracy"]},
        "diverged_at": final.get("train/diverged_at"),
    }


def uninformed_loss(job: Job) -> float | None:
    """The training loss of the best prediction that ignores the input; None for data that stream."""
    if job.dataset.train.arrays is None:
        return None
    counts = data.label_counts(job.dataset)
    return LOSSES[job.config["loss"]].uninformed(counts / counts.sum(), job.config["label_smoothing"])


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless the user has chosen another."""
    if jax.config.jax_compilation_cache_dir is None:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "warmup_jax", "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def plain(config: Mapping[str, Any]) -> dict:
    """A config as nested dicts, its references resolved."""
    return config.to_dict() if hasattr(config, "to_dict") else dict(config)
