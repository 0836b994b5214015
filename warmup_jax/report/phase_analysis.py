"""Which runs of a sweep over peak rate and warmup length trained, and up to which rate.

Source: Kalra & Barkeshli, "Why Warmup the Learning Rate? Underlying Mechanisms and Improvements", 2024, whose
phase diagrams these are; theirs have one run a cell.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from warmup_jax.report.records import Record

AXES = ("peak_lr", "warmup_steps", "seed")  # every other one makes facets
STATES = ("trained", "stuck", "diverged")
TAIL = 20  # the final train loss is the median of the last 1/TAIL of the logged losses
LEARNED = 0.9  # a loss that has learned something is below this share of one that has not
SHARPNESS = "diag/sharpness"


class Outcome(NamedTuple):
    """How one run of a sweep ended; a value that the run has not is nan.

    facet: its values on the axes other than rate, length and seed, as text; "" without such axes.
    train_loss: median of the last twentieth of the logged losses, what is not finite as inf.
    best: (test accuracy, step).
    state: "trained", "stuck" (finite, but not trained) or "diverged" (a loss or gradient was not finite).
    sharpness: the first one measured, and the one measured nearest to the end of the warmup.
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
    """A sweep over rates x lengths (x facets x seeds), rates and lengths ascending.

    threshold: the train loss below which a run has trained. reason: where it comes from, in words.
    """

    outcomes: list[Outcome]
    rates: list[float]
    lengths: list[int]
    facets: list[str]
    seeds: list[int]
    threshold: float
    reason: str


class Reading(NamedTuple):
    """How far up the rates of one row train, for one seed.

    index: of the largest rate that trains, -1 if none does.
    again: whether a rate above the first failure trains.
    slow: whether runs at rates below the lowest that trains were stuck.
    row: the first letter of each state, by ascending rate.
    """

    index: int
    again: bool
    slow: bool
    row: str


def find(record: Record, threshold: float | None = None) -> Sweep | None:
    """The sweep in a workdir; None if not all of its runs change `peak_lr` and `warmup_steps`.

    A run has trained if it stayed finite and its final train loss, the median of the last
    twentieth of the logged ones, is below a threshold:

    - `threshold`, if given;
    - 0.9 U, if `summary.json` has the `uninformed_loss` U: the loss of a model that knows how often each
      label occurs and ignores its input. It does not depend on the other runs;
    - else best + (initial - best) / 3, with the best final loss of the sweep and the median of the
      first losses of its runs, but at most 0.9 initial: where nothing was learned, no run has trained.
      A third of the way and not half: a model with random logits begins above U, and half-way may
      lie above U too, where stuck runs end. Where all runs are stuck far below the initial loss
      this rule takes them for trained: give a threshold.
    """
    if not all({"peak_lr", "warmup_steps"} <= run["changes"].keys() for run in record.runs) or not record.runs:
        return None
    losses = {run["run"]: _losses(record, run["run"]) for run in record.runs}
    final = {run: statistics.median(of_run[-max(1, len(of_run) // TAIL) :]) for run, of_run in losses.items()}
    diverged = {run["run"] for run in record.runs if run["diverged_at"] is not None or final[run["run"]] == math.inf}
    uninformed = record.summary["uninformed_loss"]
    if threshold is not None:
        reason = "as given"
    elif uninformed is not None:
        threshold, reason = LEARNED * uninformed, f"{LEARNED:g} of the loss of a model that ignores its input"
    else:
        threshold, reason = _part_of_the_way(
            [of_run[0] for of_run in losses.values()], [loss for run, loss in final.items() if run not in diverged]
        )
    outcomes = sorted(
        (
            _outcome(
                record,
                run,
                final[run["run"]],
                "diverged" if run["run"] in diverged else "trained" if final[run["run"]] < threshold else "stuck",
            )
            for run in record.runs
        ),
        key=lambda outcome: outcome.run,
    )
    return Sweep(
        outcomes,
        sorted({o.rate for o in outcomes}),
        sorted({o.length for o in outcomes}),
        list(dict.fromkeys(o.facet for o in outcomes)),
        sorted({o.seed for o in outcomes}),
        threshold,
        reason,
    )


def cells(sweep: Sweep) -> dict[tuple[str, int, float], list[Outcome]]:
    """The outcomes of each (facet, length, rate), one a seed."""
    found = defaultdict(list)
    for outcome in sweep.outcomes:
        found[outcome.facet, outcome.length, outcome.rate].append(outcome)
    return found


def boundary(sweep: Sweep) -> dict[tuple[str, int], dict[int, Reading]]:
    """The largest rate that trains below the first that fails: {(facet, length): {seed: Reading}}.

    Rates that are stuck below the lowest that trains count as too slow, not as failures.
    """
    states = defaultdict(lambda: defaultdict(dict))
    for o in sweep.outcomes:
        states[o.facet, o.length][o.seed][o.rate] = o.state
    return {
        place: {
            seed: _read_row([(index, of_rate[rate]) for index, rate in enumerate(sweep.rates) if rate in of_rate])
            for seed, of_rate in seeds.items()
        }
        for place, seeds in states.items()
    }


def _read_row(row: list[tuple[int, str]]) -> Reading:
    slow = list(takewhile(lambda cell: cell[1] == "stuck", row))
    good = list(takewhile(lambda cell: cell[1] == "trained", row[len(slow) :]))
    return Reading(
        index=good[-1][0] if good else -1,
        again="trained" in (state for _, state in row[len(slow) + len(good) :]),
        slow=bool(slow and good),
        row="".join(state[0] for _, state in row),
    )


def middle(readings: dict[int, Reading]) -> int:
    """The median over seeds of the index of the largest rate that trains; of an even number the lower one."""
    return statistics.median_low(reading.index for reading in readings.values())


def _losses(record: Record, run: int) -> list[float]:
    """The logged train losses of a run, what is not finite as inf."""
    _, losses = record.series.get(run, {}).get("train/loss", (None, [math.inf]))
    return [float(loss) if math.isfinite(loss) else math.inf for loss in losses]


def _part_of_the_way(initial: Sequence[float], final: Sequence[float]) -> tuple[float, str]:
    """A threshold from the first and the last losses of a sweep, and what it is."""
    initial = [loss for loss in initial if math.isfinite(loss)]
    if not initial or not final:
        return -math.inf, "as no run stayed finite"
    begin, best = statistics.median(initial), min(final)
    threshold = best + (begin - best) / 3
    if threshold < LEARNED * begin:
        return threshold, f"a third of the way from the best ({best:.4g}) to the initial one ({begin:.4g})"
    return LEARNED * begin, f"{LEARNED:g} of the initial one ({begin:.4g})"


def _outcome(record: Record, run: dict, train_loss: float, state: str) -> Outcome:
    changes, final, best = run["changes"], run["final"], run["best"]
    others = [f"{name}={value}" for name, value in changes.items() if name not in AXES]
    steps, sharpness = record.series.get(run["run"], {}).get(SHARPNESS, (np.zeros(1), np.array([math.nan])))
    nearest = int(np.argmin(np.abs(steps - changes["warmup_steps"])))
    return Outcome(
        run["run"],
        changes,
        ", ".join(others),
        float(changes["peak_lr"]),
        int(changes["warmup_steps"]),
        int(changes["seed"] if "seed" in changes else record.config["seed"]),
        run["steps"],
        train_loss,
        *(float(final[key]) if key in final else math.nan for key in ("eval/loss", "eval/accuracy")),
        (float(best["eval/accuracy"]), best["step"]),
        run["diverged_at"],
        state,
        (float(sharpness[0]), float(sharpness[nearest])),
    )
