"""A whole experiment: set up, train every run or the rest of them, summarise and report."""

import contextlib
import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from warmup_jax import data, places, report, streams
from warmup_jax.runtime import process
from warmup_jax.schedules.inspection import unfinished
from warmup_jax.training import build, effects, resume, schema, trained
from warmup_jax.training.loop import Host, Interrupted, train_group
from warmup_jax.training.program import Group, Job, prepare_process, set_up
from warmup_jax.training.summary import describe, summarise
from warmup_jax.workdir import environment, lock
from warmup_jax.workdir.checkpoint import Checkpoints
from warmup_jax.workdir.json_files import read_lines, write_json
from warmup_jax.workdir.logs import MetricsLog
from warmup_jax.workdir.progress import Progress
from warmup_jax.workdir.shutdown import ShutdownFlag, shutdown_on_signal
from warmup_jax.workdir.timers import Timers

__all__ = ["Interrupted", "UserError", "run"]


class UserError(Exception):
    """A mistake of the user: one line that says what is wrong and what would be right."""


@streams.safe()
def run(
    config: Mapping[str, Any],
    workdir: str | os.PathLike,
    started: float | None = None,
    given: Collection[str] = (),
) -> dict[str, Any]:
    """Trains every run of a config, or the rest of them if `workdir` already holds a part.

    Args:
      config: a ConfigDict or nested dict with exactly the keys of `schema.KEYS`.
      workdir: folder for logs, checkpoints and plots; docs/experiments.md describes its files.
      started: `time.perf_counter()` when the process began, for the time to the first step.
      given: dotted keys of the values that the user has chosen; an error if one of them means nothing.

    Returns:
      The content of `summary.json`.

    Raises:
      UserError: for a config, data set or workdir that cannot be used.
      Interrupted: after SIGINT, SIGTERM or SIGHUP, once everything is saved. Before the first update, after the last
        one, and at a second signal, the handler of the caller gets the signal instead.
      OSError: if the disk is full; what was saved before is kept.
    """
    started = time.perf_counter() if started is None else started
    process.enable_compilation_cache()
    with shutdown_on_signal() as shutdown, contextlib.ExitStack() as stack:
        try:
            workdir = places.local("workdir", workdir)
            config = plain(config)
            schema.check_keys(config)
            prepare_process(config["model"])
            job = set_up(config)
            effects.check_given(config, given)
            job = job._replace(weights=trained.start_weights(job, workdir))
            known = stack.enter_context(lock.open_workdir(workdir, config, (*schema.FREE, *schema.LENGTHS)))
        except (ValueError, OSError) as error:
            raise UserError(" ".join(str(error).split())) from error
        try:
            job = resume.arrange(job, workdir, known)
            found = resume.find(job, workdir)
        except ValueError as error:
            raise UserError(" ".join(str(error).split())) from error
        lock.record(workdir, config)
        trained.keep_start_weights(job, workdir)
        print(f"devices: {environment.devices()}, {precision(job)}", flush=True)
        for sentence in unfinished_warmups(job):
            print(f"warning: {sentence}", flush=True)
        if job.dataset.facts:
            facts = sorted((name, value) for name, value in job.dataset.facts.items() if value != 0)
            print("data: " + ", ".join(f"{name} {_text(value)}" for name, value in facts), flush=True)
        try:
            summary = train_all(job, workdir, found, shutdown, started)
        except (data.DataError, resume.StartError) as error:  # a stream's examples are read only now
            raise UserError(" ".join(str(error).split())) from error
        shutdown.to_save = False
        if shutdown.requested:
            raise Interrupted(f"stopped by {shutdown.requested}; all runs are trained, table and pictures are missing")
    print("drawing pictures", flush=True)
    record = report.read(workdir)
    report.curves(record)
    report.diagnostics(record)
    print(report.table(summary))
    if (largest_rates := report.phase_diagram(record)) is not None:
        print(largest_rates)
    for picture in sorted(workdir.glob("*.png")):
        print(f"picture: {picture}")
    return summary


def train_all(job: Job, workdir: Path, found: resume.Found, shutdown: ShutdownFlag, started: float) -> dict[str, Any]:
    """Trains the groups one after another, from the newest checkpoint on, and writes `summary.json`."""
    write_json(workdir / "runs.json", {"runs": [describe(run, changes) for run, changes in enumerate(job.changes)]})
    first, saved, meta, checkpoints = found
    steps = [group.plan.num_steps for group in job.groups]
    host = Host(
        job=job,
        timers=Timers(meta["seconds"], started),
        shutdown=shutdown,
        log=MetricsLog(workdir, meta["log"], meta["step"]),
        progress=Progress(total=sum(steps), runs=len(job.changes)),
    )
    try:
        host.progress.skip(sum(steps[:first]) + meta["step"])
        host.progress.runs_ended(*ended_runs(job.groups[:first], workdir))
        for index in range(first, len(job.groups)):
            if index > first and job.groups[index].compiles:
                leave_nothing_to_save(host, checkpoints[index - 1])
            try:
                if saved is None:
                    saved = resume.begin(host, job.groups[index], workdir, checkpoints[index])
                train_group(host, job.groups[index], saved, checkpoints[index])
            finally:
                if index > first:  # the last save of the group before was still under way, and must end
                    checkpoints[index - 1].close()
            saved = None
        checkpoints[-1].close()
        host.log.close()
        resume.forget_starts(workdir)
        summary = summarise(job, workdir, host.timers)
        write_json(workdir / "summary.json", summary)
        return summary
    finally:
        host.progress.close()


def leave_nothing_to_save(host: Host, checkpoints: Checkpoints) -> None:
    """Waits for the last save of a group, so that a signal need not wait while the next group compiles.

    Raises:
      Interrupted: if a signal came before.
    """
    checkpoints.close()
    host.shutdown.to_save = False
    if host.shutdown.requested:
        raise Interrupted(f"stopped by {host.shutdown.requested} between two groups of runs; all is saved")


def ended_runs(groups: list[Group], workdir: Path) -> tuple[int, int]:
    """Returns the number of runs in some groups, and how many of them have diverged according to the log."""
    runs = {run for group in groups for run in group.runs}
    lines = read_lines(workdir / "metrics.jsonl") if runs else []
    return len(runs), len({line["run"] for line in lines if "train/diverged_at" in line} & runs)


def precision(job: Job) -> str:
    """Returns the dtypes of the models, such as "float32"."""
    return ", ".join(sorted({group.plan.config["model"]["dtype"] for group in job.groups}))


def unfinished_warmups(job: Job) -> list[str]:
    """Lists the warmups that do not end within their run, for each length of run."""
    lengths: dict[int, set[int]] = {}
    for plan in {id(group.plan): group.plan for group in job.groups}.values():
        lengths.setdefault(plan.num_steps, set()).update(build.warmup_lengths(plan.config, plan.knobs))
    return [sentence for num_steps, found in lengths.items() for sentence in unfinished(found, num_steps)]


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config as nested dicts, its references resolved."""
    return config.to_dict() if hasattr(config, "to_dict") else dict(config)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
