"""Outcome of each run of a sweep over peak rate and warmup length, and the largest rate that trains.

References:
  Kalra and Barkeshli, `Why Warmup the Learning Rate? Underlying Mechanisms and Improvements
  <https://arxiv.org/abs/2406.09405>`_, 2024 (these phase diagrams, with one run per cell)
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from warmup_jax.report.run_record import Record

AXES = ("peak_lr", "warmup_steps", "seed")  # any other axis of the sweep makes facets
STATES = ("trained", "stuck", "diverged")
UNFINISHED = "unfinished"  # state of a run that goes on, or was stopped, before its last update
TAIL = 20  # the final train loss is the median of the last 1/TAIL of the logged losses
LEARNED = 0.9  # a model has learned something if its loss is below this share of the loss without learning
BELOW_UNINFORMED = f"{LEARNED:g} of the loss of a model that ignores its input"  # reason of a threshold
SHARPNESS = "diag/sharpness"


class Judgement(NamedTuple):
    """What became of the runs of a workdir.

    final: {run: median of the last twentieth of its logged train losses, inf where one is not finite}.
    states: {run: one of `STATES`, or `UNFINISHED`}.
    threshold: train loss below which a run has trained.
    reason: origin of the threshold, in words.
    """

    final: dict[int, float]
    states: dict[int, str]
    threshold: float
    reason: str


class Outcome(NamedTuple):
    """Outcome of one run of a sweep; a missing value is nan.

    facet: its values on the axes other than rate, length and seed, as text; "" without such axes.
    train_loss: median of the last twentieth of the logged losses, with inf for a loss that is not finite.
    best: (test accuracy, step).
    state: "trained", "stuck" (finite, but not trained), "diverged" (a loss or gradient was not finite) or
      `UNFINISHED`.
    sharpness: (first measured value, value measured nearest to the end of the warmup).
    """

    run: int
    changes: dict[str, Any]
    facet: str
    rate: float
    length: int
    seed: int
    steps: int
    train_loss: float
    test_loss: float
    test_accuracy: float
    best: tuple[float, int]
    diverged_at: int | None
    state: str
    sharpness: tuple[float, float]


class Sweep(NamedTuple):
    """A sweep over rates x lengths (x facets x seeds), rates and lengths ascending, with those that have not run yet.

    missing: (facet, length, seed, rate) of the runs that have not begun.
    threshold: train loss below which a run has trained.
    reason: origin of the threshold, in words.
    """

    outcomes: list[Outcome]
    missing: set[tuple[str, int, int, float]]
    rates: list[float]
    lengths: list[int]
    facets: list[str]
    seeds: list[int]
    threshold: float
    reason: str


class Reading(NamedTuple):
    """Largest rate that trains among the runs of one facet, warmup length and seed.

    rate_index: index of the largest rate that trains, -1 if none does.
    trains_again: True if a rate above the first failure trains.
    slow_start: True if runs at rates below the lowest that trains were stuck.
    row: the first letter of each state, by ascending rate.
    is_open: True if a run that has no end yet decides about the rate.
    """

    rate_index: int
    trains_again: bool
    slow_start: bool
    row: str
    is_open: bool = False


def judge(record: Record, threshold: float | None = None) -> Judgement:
    """Judges the runs of a workdir, which has some.

    A run has trained if it stayed finite and its final train loss, the median of the last
    twentieth of the logged ones, is below a threshold:

    - `threshold`, if given;
    - 0.9 U, if `summary.json` has the `uninformed_loss` U: the loss of a model that knows how often each
      label occurs and ignores its input. It does not depend on the other runs;
    - else best + (initial - best) / 3, with the best final loss of the sweep and the median of the
      first losses of its runs, but at most 0.9 initial: where nothing was learned, no run has trained.
      It is a third of the way and not half because a model with random logits begins above U, and half-way
      may lie above U too, where stuck runs end. If all runs are stuck far below the initial loss this rule
      counts them as trained: pass a threshold then.

    Args:
      record: of a run, finished or not.
      threshold: train loss below which a run has trained; None: derived as above.
    """
    losses = {run["run"]: _losses(record, run["run"]) for run in record.runs}
    final = {run: statistics.median(of_run[-max(1, len(of_run) // TAIL) :]) for run, of_run in losses.items()}
    diverged = {run["run"] for run in record.runs if run["diverged_at"] is not None or final[run["run"]] == math.inf}
    uninformed = record.summary["uninformed_loss"] if record.summary else None
    if threshold is not None:
        reason = "as given"
    elif uninformed is not None:
        threshold, reason = LEARNED * uninformed, BELOW_UNINFORMED
    else:
        threshold, reason = _part_of_the_way(
            [of_run[0] for of_run in losses.values()], [loss for run, loss in final.items() if run not in diverged]
        )
    running = {run["run"] for run in record.runs if record.summary is None and not _has_ended(record, run)}
    states = {
        run: "diverged"
        if run in diverged
        else UNFINISHED
        if run in running
        else "trained"
        if loss < threshold
        else "stuck"
        for run, loss in final.items()
    }
    return Judgement(final, states, threshold, reason)


def find_sweep(record: Record, threshold: float | None = None) -> Sweep | None:
    """Finds the sweep over `peak_lr` and `warmup_steps` in a workdir and judges its runs.

    Args:
      record: of a run, finished or not.
      threshold: train loss below which a run has trained; None: as `judge` derives it.

    Returns:
      The sweep; None if not all runs change `peak_lr` and `warmup_steps`.
    """
    every = [*record.runs, *record.planned]
    if not record.runs or not all({"peak_lr", "warmup_steps"} <= run["changes"].keys() for run in every):
        return None
    judgement = judge(record, threshold)
    outcomes = sorted(
        (_outcome(record, run, judgement.final[run["run"]], judgement.states[run["run"]]) for run in record.runs),
        key=lambda outcome: outcome.run,
    )
    planned = [_place(record, run["changes"]) for run in record.planned]
    return Sweep(
        outcomes,
        set(planned) - {(o.facet, o.length, o.seed, o.rate) for o in outcomes},
        sorted({rate for *_, rate in planned}),
        sorted({length for _, length, *_ in planned}),
        list(dict.fromkeys(facet for facet, *_ in planned)),
        sorted({seed for _, _, seed, _ in planned}),
        judgement.threshold,
        judgement.reason,
    )


def cells(sweep: Sweep) -> dict[tuple[str, int, float], list[Outcome]]:
    """Returns the outcomes of each (facet, length, rate), one for each seed."""
    found: dict[tuple[str, int, float], list[Outcome]] = defaultdict(list)
    for outcome in sweep.outcomes:
        found[outcome.facet, outcome.length, outcome.rate].append(outcome)
    return found


def cell_state(cell: Sequence[Outcome]) -> str:
    """Returns "trained" if most seeds of a cell did, else the more frequent failure; of two as frequent, the worse.

    It is `UNFINISHED` if a seed is, and "" without any.
    """
    states = [outcome.state for outcome in cell]
    if not states or UNFINISHED in states:
        return UNFINISHED if states else ""
    if 2 * states.count("trained") > len(states):
        return "trained"
    return "diverged" if states.count("diverged") >= states.count("stuck") else "stuck"


def boundary(sweep: Sweep) -> dict[tuple[str, int], dict[int, Reading]]:
    """Returns the largest rate that trains below the first that fails: {(facet, length): {seed: Reading}}.

    Stuck runs at rates below the lowest that trains count as too slow, not as failures. A facet and length is left out
    as long as a run decides about its largest rate that has not ended.
    """
    states: dict[tuple[str, int], dict[int, dict[float, str]]] = defaultdict(lambda: defaultdict(dict))
    for o in sweep.outcomes:
        states[o.facet, o.length][o.seed][o.rate] = o.state
    for facet, length, seed, rate in sweep.missing:
        states[facet, length][seed][rate] = UNFINISHED
    found = {
        place: {
            seed: _read_row([(index, of_rate[rate]) for index, rate in enumerate(sweep.rates) if rate in of_rate])
            for seed, of_rate in seeds.items()
        }
        for place, seeds in states.items()
    }
    return {place: of for place, of in found.items() if not any(reading.is_open for reading in of.values())}


def _read_row(row: list[tuple[int, str]]) -> Reading:
    slow = list(takewhile(lambda cell: cell[1] == "stuck", row))
    good = list(takewhile(lambda cell: cell[1] == "trained", row[len(slow) :]))
    behind = [state for _, state in row[len(slow) + len(good) :]]
    return Reading(
        rate_index=good[-1][0] if good else -1,
        trains_again="trained" in behind,
        slow_start=bool(slow and good),
        row="".join(state[0] for _, state in row),
        is_open=behind[:1] == [UNFINISHED],
    )


def median_index(readings: dict[int, Reading]) -> int:
    """Returns the median over seeds of the index of the largest rate that trains, the lower one of two."""
    return statistics.median_low(reading.rate_index for reading in readings.values())


def _losses(record: Record, run: int) -> list[float]:
    """Returns the logged train losses of a run, with inf for a loss that is not finite."""
    _, losses = record.series.get(run, {}).get("train/loss", (None, [math.inf]))
    return [float(loss) if math.isfinite(loss) else math.inf for loss in losses]


def _has_ended(record: Record, run: dict[str, Any]) -> bool:
    """Returns True for a run that has reached its last update; False if that is not known."""
    planned = run["changes"].get("num_steps", record.config.get("num_steps"))
    return type(planned) is int and run["steps"] >= planned


def _place(record: Record, changes: dict[str, Any]) -> tuple[str, int, int, float]:
    """Returns facet, length, seed and rate of a run of a sweep."""
    return (
        ", ".join(f"{name}={value}" for name, value in changes.items() if name not in AXES),
        int(changes["warmup_steps"]),
        int(changes["seed"] if "seed" in changes else record.config.get("seed", 0)),  # none: it was damaged
        float(changes["peak_lr"]),
    )


def _part_of_the_way(initial: Sequence[float], final: Sequence[float]) -> tuple[float, str]:
    """Derives a threshold from the first and the last losses of a sweep; returns it and its reason."""
    finite = [loss for loss in initial if math.isfinite(loss)]
    if not finite or not final:
        return -math.inf, "as no run stayed finite"
    begin, best = statistics.median(finite), min(final)
    threshold = best + (begin - best) / 3
    if threshold < LEARNED * begin:
        return threshold, f"a third of the way from the best ({best:.4g}) to the initial one ({begin:.4g})"
    return LEARNED * begin, f"{LEARNED:g} of the initial one ({begin:.4g})"


def _outcome(record: Record, run: dict[str, Any], train_loss: float, state: str) -> Outcome:
    changes, final, best = run["changes"], run["final"], run["best"]
    facet, length, seed, rate = _place(record, changes)
    steps, sharpness = record.series.get(run["run"], {}).get(SHARPNESS, (np.zeros(1), np.array([math.nan])))
    nearest = int(np.argmin(np.abs(steps - changes["warmup_steps"])))
    return Outcome(
        run=run["run"],
        changes=changes,
        facet=facet,
        rate=rate,
        length=length,
        seed=seed,
        steps=run["steps"],
        train_loss=train_loss,
        test_loss=float(final.get("eval/loss", math.nan)),
        test_accuracy=float(final.get("eval/accuracy", math.nan)),
        best=(float(best["eval/accuracy"]), best["step"]) if best else (math.nan, 0),  # none: not evaluated yet
        diverged_at=run["diverged_at"],
        state=state,
        sharpness=(float(sharpness[0]), float(sharpness[nearest])),
    )
