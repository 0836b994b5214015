"""Runs of one or several workdirs, sorted into experiments, and their seeds into groups."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from warmup_jax.report import labels, phase_analysis
from warmup_jax.report.phase_analysis import UNFINISHED, Judgement
from warmup_jax.report.run_record import Record

# What decides the order of runs: the first of these that some run has, and whether more is better.
SCORES = (
    ("eval/bleu", True),
    ("eval/perplexity", False),
    ("eval/accuracy", True),
    ("eval/loss", False),
    ("train/loss", False),
)


class Run(NamedTuple):
    """One run of an experiment.

    record: its workdir.
    run: its entry in `summary.json`.
    seed: of the run; None if its config is damaged.
    state: one of `phase_analysis.STATES`, or `UNFINISHED`.
    train_loss: median of the last twentieth of the logged train losses.
    """

    record: Record
    run: dict[str, Any]
    seed: int | None
    state: str
    train_loss: float


class Group(NamedTuple):
    """Runs that differ in their seed alone.

    label: what tells it from the other groups, in words.
    settings: the same by name of the setting.
    runs: indices among the runs of the experiment.
    """

    label: str
    settings: dict[str, Any]
    runs: list[int]


class Experiment(NamedTuple):
    """Runs of the same model, data and loss, which may share pictures.

    title: model and data, in words.
    headline: what was compared, in words.
    score: (metric that decides the order of groups, True if more is better).
    """

    title: str
    headline: str
    records: list[Record]
    judgements: list[Judgement]
    runs: list[Run]
    groups: list[Group]
    score: tuple[str, bool]


class Score(NamedTuple):
    """A metric of the runs of a group, at their ends: of those that did not diverge, if there are any.

    mean, deviation: over the seeds; nan without finite values, a deviation of nan for one value.
    seeds: their number.
    """

    mean: float
    deviation: float
    seeds: int


def sort_into_experiments(records: Sequence[Record], threshold: float | None = None) -> list[Experiment]:
    """Returns the experiments in the order of their first workdirs.

    Args:
      records: of the workdirs.
      threshold: train loss below which a run has trained, as in `phase_analysis.judge`.
    """
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[_kind(record)].append(record)
    return [_experiment(of_kind, threshold) for of_kind in found.values()]


def best_first(experiment: Experiment) -> list[Group]:
    """Returns the groups by the share of their seeds that trained, and then by the mean of their score."""
    metric, higher = experiment.score

    def place(group: Group) -> tuple[float, float]:
        mean = score(experiment, group, metric).mean
        return -share(experiment, group), math.inf if math.isnan(mean) else -mean if higher else mean

    return sorted(experiment.groups, key=place)


def share(experiment: Experiment, group: Group) -> float:
    """Returns the share of the runs of a group that trained, or that have not failed so far."""
    states = [experiment.runs[index].state for index in group.runs]
    return sum(state in ("trained", UNFINISHED) for state in states) / len(states)


def score(experiment: Experiment, group: Group, metric: str) -> Score:
    """Returns the final value of a metric over the seeds of a group, in the unit of its label."""
    runs = [experiment.runs[index] for index in group.runs]
    alive = [run for run in runs if run.state != "diverged"] or runs
    values = [value for run in alive if math.isfinite(value := labels.scaled(metric) * final(run, metric))]
    if not values:
        return Score(math.nan, math.nan, 0)
    with np.errstate(all="ignore"):  # of values near the end of what a float holds
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        return Score(float(np.mean(values)), deviation, len(values))


def final(run: Run, metric: str) -> float:
    """Returns the final value of a metric of a run; of the train loss, the median of its last ones."""
    return run.train_loss if metric == "train/loss" else float(run.run["final"].get(metric, math.nan))


def has_knobs(record: Record) -> bool:
    """Returns True if it is known which values each run of a workdir has."""
    return len(record.runs) < 2 or all(run["label"] for run in record.runs)


def _experiment(records: list[Record], threshold: float | None) -> Experiment:
    judgements = [phase_analysis.judge(record, threshold) for record in records]
    runs = [
        Run(
            record,
            run,
            run["changes"].get("seed", record.config.get("seed")),
            judgement.states[run["run"]],
            judgement.final[run["run"]],
        )
        for record, judgement in zip(records, judgements, strict=True)
        for run in record.runs
    ]
    configs = [record.config for record in records if record.config]
    about: list[dict[str, Any]] = [
        {key: config[key] for key in ("model", "dataset", "sweep") if key in config} for config in configs
    ]
    title = _headline(about) or str(records[0].workdir)
    logged = {key for run in runs for key in run.run["final"]}
    return Experiment(
        title[:1].upper() + title[1:],
        _headline(configs),
        records,
        judgements,
        runs,
        _groups(runs),
        next((score for score in SCORES if score[0] in logged), SCORES[-1]),
    )


def _headline(configs: Sequence[Mapping[str, Any]]) -> str:
    """Returns what configs train, in words; "" for those that hold something else than a config does."""
    try:
        return labels.headline(*configs)
    except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError):  # a damaged one can hold anything
        return ""


def _groups(runs: Sequence[Run]) -> list[Group]:
    """Sorts runs into groups that differ in the seed alone; equal runs of several workdirs stay apart."""
    settings = labels.differences([(run.record.config, run.run["changes"]) for run in runs]) if runs else []
    for run, of_run in zip(runs, settings, strict=True):
        of_run.pop("seed", None)
        if not has_knobs(run.record):
            of_run["run"] = run.run["run"]
    keys = [repr(of_run) for of_run in settings]
    seeds = Counter((key, run.seed) for key, run in zip(keys, runs, strict=True))
    repeated = {key for (key, _), count in seeds.items() if count > 1}
    for key, run, of_run in zip(keys, runs, settings, strict=True):
        if key in repeated:
            of_run["workdir"] = str(run.record.workdir)
    members: dict[str, list[int]] = defaultdict(list)
    for index, of_run in enumerate(settings):
        members[repr(of_run)].append(index)
    return [Group(labels.run_label(settings[of[0]]), settings[of[0]], of) for of in members.values()]


def _kind(record: Record) -> str:
    """Returns a text that is equal for workdirs whose runs may share pictures."""
    config = record.config
    if not config:
        return str(record.workdir)
    dataset = config.get("dataset")
    if isinstance(dataset, Mapping):
        dataset = {key: value for key, value in dataset.items() if key not in labels.SILENT_LEAVES}
    kind = [config.get("model"), dataset, config.get("loss"), config.get("label_smoothing")]
    return json.dumps(kind, sort_keys=True)


def states(runs: Iterable[Run]) -> dict[str, int]:
    """Returns how many of some runs are in each state, without those that none is in."""
    found = [run.state for run in runs]
    return {state: found.count(state) for state in (*phase_analysis.STATES, UNFINISHED) if state in found}
