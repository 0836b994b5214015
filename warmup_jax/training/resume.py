"""Resuming: where each run of a job goes on, also in other groups than before, or to a greater length.

Groups train one after another, so the newest checkpoint tells the progress of all of them: those before have ended,
those after have not begun. Where that no longer holds, since the runs are grouped anew (on another number of devices)
or all go on from where they ended, the workdir is rearranged (rearrange.py): the state of every run and its lines of
the log go to `checkpoints/starts`, and the log begins anew. A group that has a start goes on from it, others begin.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from warmup_jax.runtime import devices
from warmup_jax.training import build, program, schema, stored
from warmup_jax.training.loop import Host, Saved, save
from warmup_jax.training.program import Group, Job
from warmup_jax.training.rearrange import SECONDS, Longer, rearrange
from warmup_jax.workdir import lock, logs
from warmup_jax.workdir.checkpoint import Checkpoints
from warmup_jax.workdir.json_files import read_json


def arrange(job: Job, workdir: Path, known: Mapping[str, Any] | None) -> Job:
    """Returns the job with its runs in groups that can go on, after rearranging the workdir if that is needed.

    Args:
      job: as `program.set_up` returns it.
      workdir: its folder, locked.
      known: the config that the folder holds, None if it holds none.

    Raises:
      ValueError: if runs cannot go on, or no intact checkpoint is left; nothing in the folder has changed then.
    """
    longer = lengthened(job, workdir, known) if known is not None else None
    starts = stored.groups(workdir, stored.STARTS)
    begun = {run: max(group.checkpoints().steps(), default=0) for group in starts for run in group.runs}
    job = job._replace(groups=program.make_groups(job.plans, begun))
    held = {group.folder.name for group in (*stored.groups(workdir), *starts)}
    if held <= {group.name for group in job.groups} and (longer is None or not held):
        return job
    return rearrange(job, workdir, longer)


def lengthened(job: Job, workdir: Path, known: Mapping[str, Any]) -> Longer | None:
    """Returns how far the runs of a workdir can be extended to the length of a job, None if the length is the same.

    Raises:
      ValueError: if the job is shorter.
    """
    if _lengths(job.config) == _lengths(known):
        return None
    earlier = job.config | _lengths(known)
    there, here = program.make_plans(earlier, job.dataset, job.changes), job.plans
    if all(one.num_steps == other.num_steps for one, other in zip(there, here)):
        return None
    if any(one.num_steps > other.num_steps for one, other in zip(there, here)):
        lock.check_same(workdir, job.config, known, schema.FREE)
    pairs = [
        (run, one.knobs[index], other.knobs[index], other.rates)
        for one, other in zip(there, here)
        for index, run in enumerate(other.runs)
    ]
    return Longer(
        lengths=", ".join(lock.differences(_lengths(job.config), _lengths(known))),
        ends={run: int(before.num_steps) for run, before, _, _ in pairs},
        limits={run: build.shared_updates(rates, before, after) for run, before, after, rates in pairs},
    )


class Found(NamedTuple):
    """Where a job goes on.

    Attributes:
      first: the index of the group that goes on; those before have ended.
      saved: its arrays on the devices, None if it begins.
      meta: the metadata of its checkpoint.
      checkpoints: of each group, to save to.
    """

    first: int
    saved: Saved | None
    meta: dict[str, Any]
    checkpoints: list[Checkpoints]


class StartError(ValueError):
    """The start of a group, written by `rearrange`, cannot be used."""


def find(job: Job, workdir: Path) -> Found:
    """Finds the newest intact checkpoint of the groups.

    Raises:
      ValueError: if none of a group's checkpoints can be used.
    """
    checkpoints = [Checkpoints(workdir / stored.LIVE / group.name) for group in job.groups]
    for index in reversed(range(len(job.groups))):
        if checkpoints[index].folder.exists():
            restored = restore(job, job.groups[index], checkpoints[index], workdir)
            if restored is not None:
                return Found(index, *restored, checkpoints)
    seconds = workdir / stored.STARTS / SECONDS
    meta = {"step": 0, "log": {}, "seconds": read_json(seconds) if seconds.exists() else {}}
    return Found(0, None, meta, checkpoints)


def restore(job: Job, group: Group, checkpoints: Checkpoints, logged: Path) -> tuple[Saved, dict[str, Any]] | None:
    """Returns the newest intact checkpoint of a group, on its devices, and its metadata; None if there is none.

    Args:
      job: of the group.
      group: the group.
      checkpoints: of the group.
      logged: the folder of the logs that the checkpoint counts on.
    """
    plan = group.plan
    states = jax.eval_shape(plan.init, group.knobs(), job.weights)
    template = (group.knobs(), states, jax.eval_shape(plan.carry, states))
    restored = checkpoints.restore(template, misfit=logs.misfit_of(logged), lanes=plan.num_lanes)
    if restored is None:
        return None
    (_, states, carries), meta = restored
    stored.check_vocabulary(checkpoints.folder, meta["vocabulary"], job.vocabulary)
    stored.check_orders(checkpoints.folder, meta, plan)
    return devices.place(Saved(states, carries), plan.mesh, 0), meta


def begin(host: Host, group: Group, workdir: Path, checkpoints: Checkpoints) -> Saved | None:
    """Returns the state that a group starts from, with its lines in the log; None if it begins at update 0.

    Raises:
      StartError: if the start is damaged.
    """
    folder = workdir / stored.STARTS / group.name
    if not folder.is_dir():
        return None
    try:
        restored = restore(host.job, group, Checkpoints(folder, read_only=True), stored.logs_of_start(folder))
    except ValueError as error:
        raise StartError(str(error)) from error
    if restored is None:
        return None
    saved, meta = restored
    host.log.append_files(stored.logs_of_start(folder), meta["step"])
    host.progress.skip(meta["step"])
    save(host, group, checkpoints, saved, meta["step"])  # a group that has nothing to train saves nothing else
    return saved


def forget_starts(workdir: Path) -> None:
    """Removes the starts of a job whose runs have all ended."""
    shutil.rmtree(workdir / stored.STARTS, ignore_errors=True)


def _lengths(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config.get(key) for key in schema.LENGTHS}
