"""Parts that measures share: the runs of a record by their values and seeds, and the largest rates that train.

A measure is a pure function {name of a study: Record} -> numbers by seed. Whether a run trained, was stuck or diverged,
and its final train loss, are those of `report.phase_analysis.judge`, as in every table and phase diagram.

The line of step t in the log holds the loss *before* update t, so the loss after t updates is that of line t + 1; a
probe at step t is of the weights after update t, and `diag/stability_ratio` pairs them with the rate of that update.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from warmup_jax.report import phase_analysis
from warmup_jax.report.run_record import Record

LEARNED = 0.8  # of the first train loss: every run that trains comes below it
SMOOTHED = 10  # updates over which train losses are averaged


class Run(NamedTuple):
    """One run of a study.

    state: one of `phase_analysis.STATES`.
    train_loss: the final one, inf where it is not finite.
    test_loss: the last one, inf of a run that diverged.
    series: {metric: (steps [N], values [N])}.
    """

    changes: dict[str, Any]
    seed: int
    state: str
    train_loss: float
    test_loss: float
    test_accuracy: float
    parameters: int
    series: dict[str, tuple[np.ndarray, np.ndarray]]


def runs(record: Record) -> list[Run]:
    """Returns the runs of a finished record."""
    judgement = phase_analysis.judge(record)
    found = []
    for run in record.runs:
        state, final = judgement.states[run["run"]], run["final"]
        test_loss = float(final.get("eval/loss", math.nan))
        found.append(
            Run(
                run["changes"],
                int(run["changes"].get("seed", record.config["seed"])),
                state,
                judgement.final[run["run"]],
                math.inf if state == "diverged" or math.isnan(test_loss) else test_loss,
                0.0 if state == "diverged" else float(final.get("eval/accuracy", math.nan)),
                int(run.get("parameters", 0)),
                record.series.get(run["run"], {}),
            )
        )
    return found


def select(of: Sequence[Run], **changes: Any) -> list[Run]:
    """Returns the runs with some values by ascending seed, one for each seed.

    Raises:
      ValueError: if a seed lacks, or has several, of them.
    """
    chosen = [run for run in of if all(run.changes.get(name) == value for name, value in changes.items())]
    seeds = sorted({run.seed for run in of})
    if sorted(run.seed for run in chosen) != seeds:
        raise ValueError(f"{len(chosen)} runs have {changes}; allowed: one for each of the seeds {seeds}")
    return sorted(chosen, key=lambda run: run.seed)


def axis(of: Sequence[Run], name: str) -> list[Any]:
    """Returns the values that a sweep gives to a name, ascending."""
    return sorted({run.changes[name] for run in of if name in run.changes})


def trained(of: Iterable[Run]) -> list[int]:
    """Returns 1 for each run that trained and 0 for the others."""
    return [int(run.state == "trained") for run in of]


def test_losses(of: Iterable[Run]) -> list[float]:
    """Returns the last test loss of each run."""
    return [run.test_loss for run in of]


def at(run: Run, metric: str, step: int) -> float:
    """Returns a metric at a step, nan if it was not logged there, as in a run that ended before."""
    steps, values = run.series.get(metric, (np.zeros(0), np.zeros(0)))
    found = np.flatnonzero(steps == step)
    return float(values[found[0]]) if found.size else math.nan


def over(run: Run, metric: str, first: int, last: int) -> np.ndarray:
    """Returns the values of a metric at the steps from `first` to `last`, both included."""
    steps, values = run.series.get(metric, (np.zeros(0), np.zeros(0)))
    return values[(steps >= first) & (steps <= last)]


def largest_rates(record: Record) -> dict[str, dict[int, list[float]]]:
    """Returns log2 of the largest rate that trains: {facet: {warmup length: [by seed]}}.

    It is the largest below the first that fails, on the grid of the sweep, which has to be one of factors of 2. One
    below the grid where none trains; the top of the grid, a lower bound, where all do.

    Raises:
      ValueError: if the record is no sweep over rates and lengths.
    """
    sweep = phase_analysis.find_sweep(record)
    if sweep is None:
        raise ValueError(f"{record.workdir} holds no sweep over peak_lr and warmup_steps")
    grid = np.log2(sweep.rates)
    found: dict[str, dict[int, list[float]]] = {}
    for (facet, length), readings in phase_analysis.boundary(sweep).items():
        indices = [readings[seed].rate_index for seed in sorted(readings)]
        of_facet = found.setdefault(facet, {})
        of_facet[length] = [float(grid[index]) if index >= 0 else float(grid[0]) - 1 for index in indices]
    return found


def gain_of_warmup(of_length: Mapping[int, list[float]]) -> np.ndarray:
    """Returns log2 of the largest rate with the longest warmup less that without, by seed."""
    return np.array(of_length[max(of_length)]) - np.array(of_length[min(of_length)])


def differences(these: ArrayLike, others: ArrayLike) -> list[float]:
    """Returns the differences by seed; nan where both are infinite."""
    with np.errstate(invalid="ignore"):
        return (np.asarray(these, float) - np.asarray(others, float)).tolist()


def log(values: ArrayLike, base: float = math.e) -> np.ndarray:
    """Returns logarithms: -inf of 0, nan below."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.asarray(values, float)) / math.log(base)


def steps_to_learn(run: Run) -> float:
    """Returns the updates until the smoothed train loss is below a share of the first one, inf if it never is."""
    losses = over(run, "train/loss", 1, 10**9)
    smoothed = np.convolve(losses, np.full(SMOOTHED, 1 / SMOOTHED), "valid")
    below = np.flatnonzero(smoothed < LEARNED * losses[0])
    return float(below[0] + SMOOTHED) if below.size else math.inf
