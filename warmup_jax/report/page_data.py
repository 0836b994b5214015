"""Numbers that the script of a page draws: curves by run and by group."""

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from warmup_jax.report import groups, labels, panels, phase_data, plots
from warmup_jax.report.experiments import Experiment, Group, Run, best_first
from warmup_jax.report.phase_analysis import Sweep
from warmup_jax.report.phase_data import LARGEST, number, word
from warmup_jax.report.run_record import Record
from warmup_jax.report.thinning import thin

FIRST = ("train/loss", "opt/learning_rate", "eval/loss", "eval/accuracy", "eval/bleu")  # panels, in this order
SPARSE = 25  # curves of fewer points have markers
MOST_SHOWN = 6  # groups that a page of many shows at first
LEFT_OUT = ("train/diverged_at",)  # it is marked in every panel
TOTAL_POINTS = 1_000_000  # of all curves of a page, where their number allows
MOST_POINTS = 600  # of a curve, about as many as its picture has pixels
FEWEST_POINTS = 12
MOST_BYTES = 3_400_000  # of the packed numbers; with the script of the plots a page stays below 6 MB

Curve = tuple[np.ndarray, np.ndarray]


@np.errstate(all="ignore")  # of values near the end of what a float holds
def pack(experiments: Sequence[Experiment], sweeps: Sequence[Sequence[Sweep | None]]) -> tuple[str, str]:
    """Packs what the script of a page draws as base64 of gzipped JSON, in as many points as there is room for.

    Args:
      experiments: of the page.
      sweeps: of each experiment, the sweep of each of its workdirs, or None.

    Returns:
      The text, and a sentence on what was left out: "" if nothing was.
    """
    numbers = [_numbers(experiment) for experiment in experiments]
    longest = max((len(steps) for of in numbers for curves in of.values() for steps, _ in curves.values()), default=0)
    count = sum(len(curves) for of in numbers for curves in of.values()) or 1
    points, layers = min(MOST_POINTS, max(TOTAL_POINTS // count, FEWEST_POINTS)), True
    while True:
        content = [
            _experiment(experiment, of_sweeps, of_numbers, points, layers)
            for experiment, of_sweeps, of_numbers in zip(experiments, sweeps, numbers, strict=True)
        ]
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
        if len(packed) <= MOST_BYTES or points == FEWEST_POINTS and not layers:
            break
        layers = layers and points > FEWEST_POINTS
        points = max(FEWEST_POINTS, min(int(0.9 * points * MOST_BYTES / len(packed)), points - 1))
    sentences = []
    if longest > points:
        sentences.append(f"Curves are thinned to at most {points} points each, peaks and dips kept.")
    if not layers:
        sentences.append("Diagnostics by layer are left out, they would make the page too large.")
    return packed, " ".join(sentences)


def _numbers(experiment: Experiment) -> dict[str, dict[int, Curve]]:
    """Returns the curves of every metric by run: {metric: {run: (steps, values)}}."""
    found: dict[str, dict[int, Curve]] = {}
    for index, run in enumerate(experiment.runs):
        diverged = run.run["diverged_at"]
        last = np.iinfo(np.int64).max if diverged is None else diverged  # what a broken model does means nothing
        for metric, (steps, values) in run.record.series.get(run.run["run"], {}).items():
            if metric not in LEFT_OUT:
                order = np.argsort(steps, kind="stable")
                order = order[steps[order] <= last]
                found.setdefault(metric, {})[index] = (steps[order], values[order])
    repeated = set.intersection(*map(plots.repeated, experiment.records)) | {
        metric for metric in found if _is_idle(metric, found)
    }
    found = {metric: of for metric, of in found.items() if metric not in repeated}
    place = {metric: number for number, metric in enumerate(FIRST)}
    return {metric: found[metric] for metric in sorted(found, key=lambda metric: (place.get(metric, 9), metric))}


def _is_idle(metric: str, numbers: dict[str, dict[int, Curve]]) -> bool:
    """Returns True for a metric that tells nothing: the same as another, or one number at all updates of training."""
    if metric == "diag/grad_norm":
        return "opt/grad_norm" in numbers
    if metric in FIRST or not metric.startswith(("train/", "opt/")):
        return False
    values = np.concatenate([values for _, values in numbers[metric].values()])
    return values.size > len(numbers[metric]) and bool((values == values[0]).all())


def _unit(metric: str, values: np.ndarray) -> np.ndarray:
    """Returns values in the unit of the metric's label, with nan for what is not finite."""
    return np.where(np.isfinite(values), np.clip(values * labels.scaled(metric), -LARGEST, LARGEST), np.nan)


def _experiment(
    experiment: Experiment,
    sweeps: Sequence[Sweep | None],
    numbers: dict[str, dict[int, Curve]],
    points: int,
    layers: bool,
) -> dict[str, Any]:
    table = _Steps()
    shown = {metric: of for metric, of in numbers.items() if layers or not _layer(metric)}
    return {
        "runs": [_run(run) for run in experiment.runs],
        "groups": [
            {"label": group.label, "runs": group.runs, "settings": {k: word(v, k) for k, v in group.settings.items()}}
            for group in experiment.groups
        ],
        "axes": _axes(experiment.groups),
        "best": [experiment.groups.index(group) for group in best_first(experiment)[:MOST_SHOWN]],
        "on": _first_shown(experiment, sweeps),
        "panels": [_panel(experiment, metric, of_runs, points, table) for metric, of_runs in shown.items()],
        "steps": table.lists,
        "epoch": _epoch(experiment),
        "phases": [
            None if sweep is None else phase_data.maps(sweep, _places(experiment, record))
            for sweep, record in zip(sweeps, experiment.records, strict=True)
        ],
    }


def _places(experiment: Experiment, record: Record) -> dict[int, int]:
    """Returns the indices of the runs of a workdir among those of its experiment, by their number."""
    return {run.run["run"]: index for index, run in enumerate(experiment.runs) if run.record is record}


def _run(run: Run) -> dict[str, Any]:
    batch = run.run["changes"].get("batch_size", run.record.config.get("batch_size"))
    return {
        "name": f"run {run.run['run']}",
        "seed": run.seed,
        "state": run.state,
        "diverged": run.run["diverged_at"],
        "end": _end(run),
        "batch": batch if type(batch) is int and 0 < batch < 2**53 else None,
        "loss": number(run.train_loss),
        "final": {
            f"{labels.label(metric).title}{' [%]' if labels.scaled(metric) != 1 else ''}": number(
                labels.scaled(metric) * float(value)
            )
            for metric, value in run.run["final"].items()
            if metric.startswith("eval/")
        },
    }


def _end(run: Run) -> int:
    """Returns the last update of a run, planned or done."""
    planned = run.run["changes"].get("num_steps", run.record.config.get("num_steps"))
    return max(planned, run.run["steps"]) if type(planned) is int and planned < 2**53 else run.run["steps"]


def _epoch(experiment: Experiment) -> int | None:
    """Returns the number of training examples, if it is known and the same for all workdirs."""
    found = {repr(((record.summary or {}).get("data") or {}).get("train_rows")) for record in experiment.records}
    rows = found.pop() if len(found) == 1 else ""
    return int(rows) if rows.isdigit() and 0 < int(rows[:16]) else None


def _axes(many: Sequence[Group]) -> list[dict[str, Any]]:
    """Returns the settings in which groups differ, with their values in order."""
    names = dict.fromkeys(name for group in many for name in group.settings)
    found = []
    for name in names:
        values = {word(value, name): value for group in many if (value := group.settings.get(name)) is not None}
        if 1 < len(values) < len(many):
            found.append({"name": labels.knob(name), "key": name, "values": list(values)})
    return found


def _first_shown(experiment: Experiment, sweeps: Sequence[Sweep | None]) -> list[int]:
    """Returns the groups that are switched on at first: all of few; of a sweep, those of its most telling rate."""
    many = experiment.groups
    if len(many) <= 2 * MOST_SHOWN:
        return list(range(len(many)))
    by_rate: dict[str, list[int]] = {}
    for index, group in enumerate(many):
        by_rate.setdefault(word(group.settings.get("peak_lr")), []).append(index)

    def undecided(rate: str) -> float:
        runs = [experiment.runs[run].state for index in by_rate[rate] for run in many[index].runs]
        return abs(runs.count("trained") / len(runs) - 0.5)

    best = [many.index(group) for group in best_first(experiment)[:MOST_SHOWN]]
    chosen = by_rate[min(by_rate, key=undecided)] if any(sweeps) and len(by_rate) > 1 else best
    return list(chosen)[: 2 * MOST_SHOWN]


def _panel(
    experiment: Experiment, metric: str, of_runs: dict[int, Curve], points: int, table: "_Steps"
) -> dict[str, Any]:
    label = labels.label(metric)
    sentences = labels.sentences(each for record in experiment.records for each in plots.optimizers(record))
    lines = [_line(experiment, group, metric, of_runs) for group in experiment.groups]
    limits = panels.limits_of(lines, [metric])
    bands = {index: groups.band(line, metric) for index, line in enumerate(lines) if len(line.members) >= groups.BAND}
    return {
        "key": metric,
        "title": label.title,
        "axis": label.axis,
        "sentence": sentences.get(metric, label.sentence),
        "reference": _reference(experiment, metric),
        "family": _family(metric),
        "low": limits.low,
        "high": limits.high,
        "log": limits.log,
        "sparse": max(len(steps) for steps, _ in of_runs.values()) < SPARSE,
        "runs": {
            str(index): _thinned(steps, [_unit(metric, values)], points, table)
            for index, (steps, values) in of_runs.items()
        },
        "groups": {
            str(index): _thinned(steps, [_unit(metric, values) for values in curves], points, table)
            for index, (steps, *curves) in bands.items()
        },
    }


def _reference(experiment: Experiment, metric: str) -> list[Any] | None:
    """Returns [value, name] of what a metric is compared with, if all workdirs have the same."""
    found = {plots.references(record).get(metric) for record in experiment.records}
    reference = found.pop() if len(found) == 1 else None
    return None if reference is None else [number(reference[0] * labels.scaled(metric)), reference[1]]


def _line(experiment: Experiment, group: Group, metric: str, of_runs: dict[int, Curve]) -> groups.Line:
    """Returns the runs of a group that have a metric."""
    members = [run for run in group.runs if run in of_runs]
    diverged = [experiment.runs[run].run["diverged_at"] for run in members]
    return groups.Line(group.label, group.settings, [{metric: of_runs[run]} for run in members], diverged)


def families(experiment: Experiment) -> list[str]:
    """Returns the families of panels of an experiment: "curves", "diagnostics", and diagnostics by layer by name."""
    metrics = {metric for run in experiment.runs for metric in run.record.series.get(run.run["run"], {})}
    found = {_family(metric) for metric in metrics if metric not in LEFT_OUT}
    return sorted(found, key=lambda family: (family != "curves", family != "diagnostics", family))


def _family(metric: str) -> str:
    return _layer(metric) or ("diagnostics" if metric.startswith("diag/") else "curves")


def _layer(metric: str) -> str:
    """Returns the name of the diagnostic that is of a layer; "" for others."""
    name, _, part = metric.removeprefix("diag/").partition("/")
    return name if part and metric.startswith("diag/") else ""


class _Steps:
    """Lists of steps, each kept once: most curves share theirs."""

    def __init__(self) -> None:
        self.lists: list[list[int]] = []
        self._index: dict[bytes, int] = {}

    def index(self, steps: np.ndarray) -> int:
        """Returns the index of a list of steps."""
        key = steps.astype(np.int64).tobytes()
        if key not in self._index:
            self._index[key] = len(self.lists)
            self.lists.append(steps.tolist())
        return self._index[key]


def _thinned(steps: np.ndarray, curves: Sequence[np.ndarray], points: int, table: _Steps) -> list[Any]:
    """Returns [index of the steps, values, ...] of curves over the same steps; the first decides which stay."""
    kept = thin(steps, curves[0], points)
    return [table.index(steps[kept]), *(list(map(number, values[kept].tolist())) for values in curves)]
