"""The file of results, docs/results.json: what the documents quote, with the command, hardware and versions of each.

An entry is made from a finished workdir alone. It ends with a digest of itself, so that an entry that was changed by
hand is noticed.
"""

import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from warmup_jax.report import documented, phase_analysis, run_record
from warmup_jax.report.documented import Experiment
from warmup_jax.report.run_record import Record
from warmup_jax.workdir import lock
from warmup_jax.workdir.json_files import json_number, read_json

NAME = "results.json"
# What of `environment.json` is kept; older versions wrote less.
ENVIRONMENT = {"cores": int, "cpu": str, "date": str, "devices": list, "packages": dict, "python": str}
PACKAGES = ("jax", "flax", "optax", "numpy")
DIGITS = 6  # that are kept of a number: more than any document shows
Entry = dict[str, Any]


def recognise(workdir: Path, configs: Mapping[str, Mapping[str, Any]]) -> tuple[str, Record]:
    """Returns the name of the experiment that a finished workdir holds, by its config, and its record.

    Args:
      workdir: folder of a run.
      configs: name of each experiment -> its config, as `config.json` holds it.

    Raises:
      ValueError: with one line, if it holds no run, an unfinished one or none of these experiments.
      OSError: if a file in it cannot be read.
    """
    record = run_record.read(workdir)
    found = {name: lock.differences(config, record.config) for name, config in configs.items()}
    nearest = min(found, key=lambda name: len(found[name]))
    if found[nearest]:
        raise ValueError(
            f"{workdir} holds none of the documented experiments: {', '.join(found[nearest][:3])} in the nearest, "
            f"{nearest} (--commands lists them)"
        )
    if record.summary is None:
        raise ValueError(
            f"{workdir} is unfinished; run: {documented.command(documented.EXPERIMENTS[nearest])} --workdir={workdir}"
        )
    return nearest, record


def entry(experiment: Experiment, record: Record, pictures: Mapping[str, bytes], alone: bool) -> Entry:
    """Returns the entry of an experiment.

    Args:
      experiment: what is quoted of it.
      record: of its finished workdir.
      pictures: name in docs/ -> content.
      alone: True if nothing else ran on the machine, so that its time may be quoted.

    Raises:
      ValueError: if the record lacks something that is quoted.
    """
    assert record.summary is not None
    environment = record.environment
    missing = [key for key, kind in ENVIRONMENT.items() if not isinstance(environment.get(key), kind)]
    if missing:
        raise ValueError(f"{record.workdir / 'environment.json'} lacks {', '.join(missing)}; train again")
    content = {
        "command": documented.command(experiment),
        "config": config_digest(record.config),
        "commit": environment.get("git_commit"),
        "uncommitted_changes": environment.get("git_dirty"),
        "date": environment["date"],
        "cpu": environment["cpu"],
        "cores": environment["cores"],
        "devices": environment["devices"],
        "versions": {"python": environment["python"]}
        | {name: environment["packages"][name] for name in PACKAGES if name in environment["packages"]},
        "seconds": round(record.summary["seconds"]["total"], 1),
        "alone": alone,
        "runs": len(record.runs),
        "seeds": sorted({_seed(run, record) for run in record.runs}),
        "uninformed_loss": _number(record.summary["uninformed_loss"]),
        "groups": _groups(experiment, record),
        "phase": _phase(record),
        "pictures": {name: sha256(data) for name, data in pictures.items()},
    }
    return content | {"digest": digest(content)}


def read(path: Path) -> dict[str, Entry]:
    """Returns the entries of a file of results by name; none if there is no file.

    Raises:
      ValueError: if it is damaged or an entry was changed by hand.
      OSError: if it cannot be read.
    """
    if not path.exists():
        return {}
    entries = read_json(path)
    for name, content in entries.items():
        if not isinstance(content, dict) or content.get("digest") != digest(content):
            raise ValueError(f"{path}: {name} does not fit its digest: it was changed by hand")
    return entries


def text(entries: Mapping[str, Entry]) -> str:
    """Returns the content of a file of results, in the order of the documented experiments."""
    names = [name for name in documented.EXPERIMENTS if name in entries]
    return json.dumps({name: entries[name] for name in names}, indent=1) + "\n"


def digest(content: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of an entry, its own digest left out."""
    return _sha256_of({key: value for key, value in content.items() if key != "digest"})


def same_run(one: Entry, other: Entry) -> bool:
    """Returns True if two entries are of one training."""
    return all(one[key] == other[key] for key in ("config", "commit", "date", "cpu", "seconds", "groups", "phase"))


def config_digest(config: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a config; a key that is not set counts like an absent one."""

    def given(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: given(value) if isinstance(value, Mapping) else value
            for key, value in values.items()
            if value is not None
        }

    return _sha256_of(given(config))


def sha256(content: bytes) -> str:
    """Returns the SHA-256 of a file's content in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _sha256_of(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode())


def _groups(experiment: Experiment, record: Record) -> list[dict[str, Any]]:
    """Returns the quoted metrics of the runs that differ in their seeds alone, over these seeds."""
    if not experiment.metrics:
        return []
    for metric in experiment.metrics:
        if not any(metric.partition("@")[0] in metrics for metrics in record.series.values()):
            raise ValueError(f"{record.workdir} has no {metric}")
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in record.runs:
        groups.setdefault(json.dumps(_knobs(run)), []).append(run)
    return [
        {
            "knobs": _knobs(runs[0]),
            "seeds": [_seed(run, record) for run in runs],
            "diverged": [_seed(run, record) for run in runs if run["diverged_at"] is not None],
            "metrics": {metric: _statistics(metric, runs, record) for metric in experiment.metrics},
        }
        for runs in groups.values()
    ]


def _statistics(metric: str, runs: Sequence[dict[str, Any]], record: Record) -> dict[str, Any]:
    """Returns mean, sample standard deviation and median over runs, and the values.

    Mean and deviation are None if a run diverged; such a run counts for the median as the worst.
    """
    values = [_value(metric, run, record) for run in runs]
    failed = [run["diverged_at"] is not None or not math.isfinite(value) for run, value in zip(runs, values)]
    worst = math.inf if "loss" in metric else -math.inf
    finite = not any(failed)
    return {
        "mean": _number(statistics.fmean(values)) if finite else None,
        "sd": _number(statistics.stdev(values)) if finite and len(values) > 1 else None,
        "median": _number(statistics.median(worst if bad else value for bad, value in zip(failed, values))),
        "values": [_number(value) for value in values],
    }


def _value(metric: str, run: dict[str, Any], record: Record) -> float:
    """Returns a metric of a run, the last value or that of "@STEP"; nan if the run ended before."""
    key, at, step = metric.partition("@")
    if not at:
        return float(run["final"].get(key, math.nan))
    steps, values = record.series[run["run"]].get(key, ((), ()))
    return next((float(value) for at_step, value in zip(steps, values) if at_step == int(step)), math.nan)


def _phase(record: Record) -> dict[str, Any] | None:
    """Returns the largest rates that train, and the sharpness; None if it is no sweep over rate and length."""
    sweep = phase_analysis.find_sweep(record)
    if sweep is None:
        return None
    rates = [*sweep.rates, None]  # index -1: no rate trains
    states = [outcome.state for outcome in sweep.outcomes]
    knobs = {outcome.facet: _knobs({"changes": outcome.changes}) for outcome in sweep.outcomes}
    first = [outcome.sharpness[0] for outcome in sweep.outcomes if math.isfinite(outcome.sharpness[0])]
    edge = [
        outcome.rate * outcome.sharpness[1] / 2
        for outcome in sweep.outcomes
        if outcome.state == "trained" and outcome.length and math.isfinite(outcome.sharpness[1])
    ]
    return {
        "rates": sweep.rates,
        "states": {state: states.count(state) for state in phase_analysis.STATES},
        "largest": [
            {
                "knobs": {key: value for key, value in knobs[facet].items() if key not in phase_analysis.AXES},
                "warmup_steps": length,
                "median": rates[phase_analysis.median_index(readings)],
                "by_seed": [rates[reading.rate_index] for reading in readings.values()],
            }
            for (facet, length), readings in sorted(
                phase_analysis.boundary(sweep).items(), key=lambda place: (sweep.facets.index(place[0][0]), place[0][1])
            )
        ],
        "initial_sharpness": [_number(min(first)), _number(max(first))] if first else None,
        # Rate x sharpness / 2 at the end of the warmup: what 90 % of the runs that trained with warmup lie between.
        "edge": [_number(value) for value in np.quantile(edge, (0.05, 0.95))] if edge else None,
    }


def _knobs(run: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in run["changes"].items() if key != "seed"}


def _seed(run: Mapping[str, Any], record: Record) -> int:
    return int(run["changes"].get("seed", record.config["seed"]))


def _number(value: float | None) -> float | int | str | None:
    return None if value is None else json_number(float(f"{float(value):.{DIGITS}g}"))
