"""Rearranging a workdir: from the states of its runs in old groups to the starts of new ones, all at once."""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from warmup_jax.training import program, stored
from warmup_jax.training.program import Group, Job
from warmup_jax.training.stored import StoredGroup
from warmup_jax.workdir import lock, logs, swap
from warmup_jax.workdir.checkpoint import Checkpoints
from warmup_jax.workdir.json_files import parse_line, write_json

SECONDS = "seconds.json"  # beside the starts: the seconds of all sessions so far


class Longer(NamedTuple):
    """How a job is longer than the one that its workdir holds.

    Attributes:
      lengths: in words: "num_steps is 800 here and 400 there".
      ends: the updates of each run there.
      limits: the update up to which each run there is like the longer one.
    """

    lengths: str
    ends: Mapping[int, int]
    limits: Mapping[int, int]


class Line(NamedTuple):
    """A line of a log. The lines of a group have the order of step, kind and run."""

    step: int
    kind: int  # 0 of an update, 1 of a probe, 2 of an evaluation
    run: int
    text: bytes


class Source(NamedTuple):
    """Where the state of a run is."""

    group: StoredGroup
    step: int


def rearrange(job: Job, workdir: Path, longer: Longer | None) -> Job:
    """Makes every run start from its newest usable state; returns the job with its runs in groups that start alike.

    Raises:
      ValueError: if a run has no usable state; nothing in the workdir has changed then.
    """
    held = Held(workdir)
    sources: dict[int, Source] = {}
    for run in range(len(job.changes)):
        source = held.newest(run)
        if source is not None and longer is not None:
            source = held.newest(run, longer.limits[run])
            if source is None:
                raise ValueError(_refusal(workdir, run, longer, held))
        if source is not None:
            sources[run] = source
    steps = {run: source.step for run, source in sources.items()}
    job = job._replace(groups=program.make_groups(job.plans, steps))
    lines, kept = held.lines(), 0
    new = swap.begin(workdir)
    try:
        for group in job.groups:
            if group.runs[0] in sources:
                own = {name: _kept(group.plan.config, lines[name], group.runs, steps, longer) for name in logs.FILES}
                kept += sum(map(len, own.values()))
                _write_start(new / stored.STARTS, job, group, [sources[run] for run in group.runs], held, own)
        write_json(new / stored.STARTS / SECONDS, held.seconds())
        write_json(new / lock.FILE, lock.as_json(job.config))
        if longer is None and (workdir / stored.BEFORE_DECAY).is_dir():
            shutil.copytree(workdir / stored.BEFORE_DECAY, new / stored.BEFORE_DECAY)
        whole = kept == sum(len(own) for by_run in lines.values() for own in by_run.values())
        _commit(workdir, longer, whole)
    except Exception:
        swap.finish(workdir)
        raise
    updates = ", ".join(map(str, sorted(set(steps.values()))))
    print(f"{longer.lengths if longer else 'runs grouped anew'}: goes on from update {updates}")
    return job


def _commit(workdir: Path, longer: Longer | None, whole: bool) -> None:
    """Puts what was written into place; keeps a shorter run if it has ended or not all of its lines go on."""
    pictures = [path.name for kind in ("png", "svg") for path in workdir.glob(f"*.{kind}")]
    ended = ["summary.json", "sweep.csv", *pictures]
    if longer is None or (whole and not (workdir / "summary.json").exists()):
        swap.commit(workdir)
        return
    aside = f"shorter_{max(longer.ends.values())}"
    while (workdir / aside).exists():
        aside += "-2"
    files = [*logs.FILES, lock.FILE, "environment.json", "runs.json", stored.WEIGHTS, *ended]
    swap.commit(workdir, aside, copied=files, removed=ended)
    print(f"the run so far is kept in {workdir / aside}")


class Held:
    """The states and lines that a workdir holds of its runs."""

    def __init__(self, workdir: Path):
        self._workdir = workdir
        self._live, self._starts, self._before = (
            stored.groups(workdir, where) for where in (stored.LIVE, stored.STARTS, stored.BEFORE_DECAY)
        )
        self._found: dict[tuple[Path, int | None], tuple[int, dict] | None] = {}  # step and metadata by folder, limit
        self._read: tuple[Path, int, dict[str, np.ndarray], dict] | None = None  # the last that was read

    def newest(self, run: int, limit: int | None = None) -> Source | None:
        """Returns the newest usable state of a run, of at most `limit` updates; None if there is none.

        Raises:
          ValueError: if there are checkpoints of the run, and none can be used.
        """
        group = _with_run(self._live, run) or _with_run(self._starts, run)
        found = self._newest(group, None) if group is not None else None
        if group is None or found is None:
            return None
        if limit is None or found[0] <= limit:
            return Source(group, found[0])
        candidates = []
        for each in [group, *(before for before in self._before if run in before.runs)]:
            try:
                older = self._newest(each, min(limit, found[0]))
            except ValueError:
                continue
            candidates += [Source(each, older[0])] if older is not None else []
        return max(candidates, key=lambda source: source.step, default=None)

    def steps(self, run: int) -> list[int]:
        """Returns the steps at which a run has checkpoints."""
        groups = [group for group in (*self._live, *self._starts, *self._before) if run in group.runs]
        return sorted({step for group in groups for step in group.checkpoints().steps()})

    def state(self, source: Source, run: int) -> tuple[dict[str, np.ndarray], dict]:
        """Returns the arrays of a run by dotted path, without the axis of the lanes, and their metadata."""
        folder, step = source.group.folder, source.step
        if self._read is None or self._read[:2] != (folder, step):
            self._read = (folder, step, *source.group.checkpoints().read(step))
        return {name: array[source.group.lane(run)] for name, array in self._read[2].items()}, self._read[3]

    def lines(self) -> dict[str, dict[int, list[Line]]]:
        """Returns the lines of each log by run, as far as the newest checkpoint has them."""
        newest = self._newest(self._live[-1], None) if self._live else None
        places = [(self._workdir, newest[1]["log"])] if newest is not None else []
        live = {run for group in self._live for run in group.runs}
        for group in self._starts:
            found = self._newest(group, None) if not live & set(group.runs) else None
            places += [(stored.logs_of_start(group.folder), found[1]["log"])] if found is not None else []
        lines: dict[str, dict[int, list[Line]]] = {name: defaultdict(list) for name in logs.FILES}
        for folder, lengths in places:
            for name in lengths:
                with open(folder / name, "rb") as file:
                    for number, text in enumerate(file.read(lengths[name]).splitlines(keepends=True), 1):
                        line = _line(name, text, parse_line(text, folder / name, number))
                        lines[name][line.run].append(line)
        return lines

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of all sessions so far."""
        newest = self._newest((self._live or self._starts)[-1], None)
        return newest[1]["seconds"] if newest is not None else {}

    def _newest(self, group: StoredGroup, limit: int | None) -> tuple[int, dict] | None:
        key = group.folder, limit
        if key not in self._found:
            logged = {stored.LIVE: self._workdir, stored.STARTS: stored.logs_of_start(group.folder)}
            folder = logged.get(str(group.folder.parent.relative_to(self._workdir)))
            found = group.checkpoints().newest(misfit=logs.misfit_of(folder), last=limit)
            self._found[key] = found and (found[0], found[2])
        return self._found[key]


def _with_run(groups: Iterable[StoredGroup], run: int) -> StoredGroup | None:
    return next((group for group in groups if run in group.runs), None)


def _line(name: str, text: bytes, content: Mapping[str, Any]) -> Line:
    kind = 2
    if name == "metrics.jsonl" and "eval/loss" not in content:
        kind = 0 if "train/loss" in content else 1
    return Line(content["step"], kind, content["run"], text)


def _kept(
    config: Mapping[str, Any],
    lines: Mapping[int, list[Line]],
    runs: Sequence[int],
    steps: Mapping[int, int],
    longer: Longer | None,
) -> list[Line]:
    """Returns the lines of a log that the runs of a new group have at their start."""
    kept = [line for run in runs for line in lines.get(run, ()) if line.step <= steps[run]]
    if longer is not None:
        kept = [line for line in kept if line.step < longer.ends[line.run] or not _of_the_end(line, config)]
    return sorted(kept, key=lambda line: line[:3])


def _of_the_end(line: Line, config: Mapping[str, Any]) -> bool:
    """Returns True for a line that stands there since its update was the last one."""
    every = {0: config["log_every"], 2: config["eval_every"]}.get(line.kind, 1)
    return line.step % every != 0 and not (line.kind == 0 and line.step == 1)


def _write_start(
    folder: Path, job: Job, group: Group, sources: Sequence[Source], held: Held, lines: Mapping[str, Sequence[Line]]
) -> None:
    """Writes the start of a new group: its arrays, and its lines of the logs."""
    states = [held.state(source, run) for run, source in zip(group.runs, sources)]
    for source, (_, meta) in zip(sources, states):
        stored.check_vocabulary(source.group.folder, meta["vocabulary"], job.vocabulary)
        stored.check_orders(source.group.folder, meta, group.plan)
    start = folder / group.name
    logged = stored.logs_of_start(start)
    logged.mkdir(parents=True)
    files = {name: logs.LogFile(logged / name, 0) for name in lines}
    for name, file in files.items():
        file.append(b"".join(line.text for line in lines[name]))
        file.sync()
        file.close()
    meta = {
        "step": sources[0].step,
        "log": {name: file.length for name, file in files.items()},
        "log_digests": {name: file.digest() for name, file in files.items()},
        "seconds": held.seconds(),
        "vocabulary": job.vocabulary,
        "own_orders": group.plan.batch_axis is not None,
    }
    checkpoints = Checkpoints(start)
    checkpoints.save(
        sources[0].step, {name: np.stack([state[name] for state, _ in states]) for name in states[0][0]}, meta
    )
    checkpoints.close()


def _refusal(workdir: Path, run: int, longer: Longer, held: Held) -> str:
    return (
        f"{longer.lengths}, and the learning rates of run {run} differ from update {longer.limits[run] + 1} on, before "
        f"its checkpoints ({', '.join(map(str, held.steps(run)))}); allowed: schedules that go on, as constant and "
        "inverse_sqrt, or wsd with a checkpoint before the decay (with a smaller chunk_steps if one chunk holds both); "
        f"or its weights in another --workdir: --config.init_from={workdir}:{run}"
    )
