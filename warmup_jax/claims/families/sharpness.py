"""Sharpness: how it changes, what it does at the edge of stability; K-3, K-4, K-5, K-8 and K-14."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from warmup_jax.claims import measures, rigs
from warmup_jax.claims.claim import Claim, Criterion, Numbers
from warmup_jax.claims.families.curvature import KALRA, RATES
from warmup_jax.report.run_record import Record

EVERY_STEP: dict[str, Any] = {
    "log_every": 1,
    "diagnostics__sharpness__every": 1,
    "diagnostics__sharpness__iterations": 3,
}
SHARPENING = rigs.full_batch(
    sweep__parametrisation=("standard", "mup"), sweep__peak_lr=RATES, sweep__warmup_steps=(0, 16, 64)
)
CROSSINGS = rigs.full_batch(
    **EVERY_STEP,
    sweep__parametrisation=("standard", "mup"),
    sweep__peak_lr=tuple(2.0**k for k in range(-6, -2)),
    sweep__warmup_steps=(64,),
)
SLOPES = rigs.full_batch(
    **EVERY_STEP, sweep__parametrisation=("standard", "mup"), sweep__peak_lr=(2.0**-8,), sweep__warmup_steps=(0,)
)
THRESHOLDS = rigs.full_batch(
    "diagnose=sharpness+critical_rate",
    num_steps=1,
    diagnostics__critical_rate__examples=1437,
    diagnostics__critical_rate__guess=0.01,
    sweep__width=(32, 96, 256),
    sweep__depth=(2, 4, 8),
    sweep__parametrisation=("standard", "mup"),
    sweep__peak_lr=(0.0,),
    sweep__warmup_steps=(0,),
)
PRECONDITIONED = rigs.full_batch(
    "optimizer=adam,diagnose=preconditioned_sharpness",
    num_steps=200,
    eval_every=200,
    checkpoint_every=200,
    diagnostics__sharpness=None,
    diagnostics__preconditioned_sharpness__every=1,
    diagnostics__preconditioned_sharpness__examples=1437,
    sweep__parametrisation=("standard", "mup"),
    sweep__peak_lr=(1e-3,),
    sweep__warmup_steps=(0,),
)
TAIL = 20  # updates at the end of a run over which the ratio to the edge is taken
LATER = 10  # updates after a rise at which sharpness is compared
RECOVERY = 40  # updates within which the loss has to be back


class Crossing(NamedTuple):
    """Course of a run that crosses the edge of stability, rate x sharpness = 2.

    crossed: updates after which it is first above; None if never.
    rose: updates after which the next one raised the loss, for the first time after that; None if never.
    rises_before: how many updates before that raised the loss.
    sharpness_ratio: sharpness `LATER` updates after the rise, over that before it; nan without a rise.
    back: updates from the rise until the loss is below its value there; inf if it never is.
    end: median of rate x sharpness / 2 over the last updates.
    """

    crossed: int | None
    rose: int | None
    rises_before: int
    sharpness_ratio: float
    back: float
    end: float


def preconditioned(records: Mapping[str, Record]) -> Numbers:
    """Measures ln of the preconditioned sharpness after the first update over that after the 200th."""
    runs, metric = measures.runs(records["fcn"]), "diag/preconditioned_sharpness"
    found: Numbers = {}
    for name in ("standard", "mup"):
        of = measures.select(runs, parametrisation=name)
        first, last = ([measures.at(run, metric, step) for run in of] for step in (1, 200))
        found[f"ln_fall_{name}"] = measures.differences(measures.log(first), measures.log(last))
    return found


def sharpening(records: Mapping[str, Record]) -> Numbers:
    """Measures ln of the sharpness at the end over that at the start, at the lowest rate, and the gain of warmup."""
    runs = measures.runs(records["fcn"])
    rate = measures.axis(runs, "peak_lr")[0]
    largest = measures.largest_rates(records["fcn"])
    found: Numbers = {}
    for name in ("standard", "mup"):
        of = measures.select(runs, parametrisation=name, peak_lr=rate, warmup_steps=0)
        ends = [(_sharpness(run)[0], _sharpness(run)[-1]) for run in of]
        found[f"ln_change_{name}"] = [math.log(last / first) for first, last in ends]
        found[f"gain_{name}"] = measures.gain_of_warmup(largest[f"parametrisation={name}"]).tolist()
    return found | {"ln_fall_standard": [-change for change in found["ln_change_standard"]]}


def crossings(records: Mapping[str, Record]) -> Numbers:
    """Measures, by seed, how the runs that cross the edge of stability go on."""
    runs = measures.runs(records["fcn"])
    found: dict[str, list[float]] = {"crossing_runs": [], "stabilised": [], "quiet_before": [], "end": []}
    for seed in sorted({run.seed for run in runs}):
        every = [crossing(run) for run in runs if run.seed == seed]
        crossed = [of for of in every if of.crossed is not None]
        rose = [of for of in crossed if of.rose is not None]
        found["crossing_runs"].append(len(crossed))
        found["stabilised"].append(_share(of.sharpness_ratio < 0.6 and of.back <= RECOVERY for of in rose))
        found["quiet_before"].append(_share(of.rises_before == 0 for of in crossed))
        found["end"].append(float(np.median([of.end for of in crossed])) if crossed else math.nan)
    return {**found, "enough": [int(number >= 3) for number in found["crossing_runs"]]}


def crossing(run: measures.Run) -> Crossing:
    """Finds the events of one run that logged loss and sharpness at every update.

    The loss after t updates is that of line t + 1, so a rise by update t + 1 is line t + 2 against line t + 1.
    """
    losses = measures.over(run, "train/loss", 1, 10**9)  # [t] after t updates
    steps, ratios = run.series["diag/stability_ratio"]
    of_update = dict(zip(steps.tolist(), ratios.tolist(), strict=True))
    sharpness = dict(zip(*(values.tolist() for values in run.series["diag/sharpness"]), strict=True))
    last = len(losses) - 1
    rises = [t for t in range(last) if losses[t + 1] > losses[t]]
    crossed = next((t for t in range(1, last + 1) if of_update.get(t, 0.0) > 1), None)
    tail = [value for t, value in of_update.items() if t > last + 1 - TAIL]
    end = float(np.median(tail)) if tail else math.nan
    if crossed is None:
        return Crossing(None, None, len(rises), math.nan, math.inf, end)
    before = sum(t < crossed for t in rises)
    rose = next((t for t in rises if t >= crossed), None)
    if rose is None:
        return Crossing(crossed, None, before, math.nan, math.inf, end)
    ratio = sharpness.get(rose + LATER, math.nan) / sharpness[rose]
    back = next((t - rose for t in range(rose + 1, last + 1) if losses[t] < losses[rose]), math.inf)
    return Crossing(crossed, rose, before, ratio, float(back), end)


def thresholds(records: Mapping[str, Record]) -> Numbers:
    """Measures c = critical rate x sharpness at the start, over widths, depths and parametrisations."""
    runs = measures.runs(records["fcn"])
    cells = sorted({(run.changes["parametrisation"], run.changes["depth"], run.changes["width"]) for run in runs})
    c = {}
    for name, depth, width in cells:
        of = measures.select(runs, parametrisation=name, depth=depth, width=width)
        c[name, depth, width] = [
            measures.at(run, "diag/critical_rate", 0) * measures.at(run, "diag/sharpness", 0) for run in of
        ]
    standard = [cell for cell in cells if cell[0] == "standard"]
    shapes = [depth / width for _, depth, width in standard]
    by_seed = np.array([c[cell] for cell in standard]).T
    return {
        "smallest": np.min(list(c.values()), axis=0).tolist(),
        "largest": np.max(list(c.values()), axis=0).tolist(),
        "rank_correlation": [_rank_correlation(shapes, of_seed) for of_seed in by_seed],
    }


def loss_and_sharpness(records: Mapping[str, Record]) -> Numbers:
    """Measures the correlation of sharpness and loss along each run."""
    runs = measures.runs(records["fcn"])
    found: Numbers = {}
    for name in ("standard", "mup"):
        found[name] = []
        for run in measures.select(runs, parametrisation=name):
            steps, sharpness = run.series["diag/sharpness"]
            losses = measures.over(run, "train/loss", 1, 10**9)  # [t] after t updates
            inside = steps < len(losses)
            found[name].append(float(np.corrcoef(losses[steps[inside]], sharpness[inside])[0, 1]))
    return found


def _sharpness(run: measures.Run) -> np.ndarray:
    return run.series["diag/sharpness"][1]


def _share(of: Iterable[bool]) -> float:
    values = list(of)
    return sum(values) / len(values) if values else math.nan


def _rank_correlation(x: list[float], y: np.ndarray) -> float:
    of_x, of_y = (np.argsort(np.argsort(values)).astype(float) for values in (np.array(x), y))
    return float(np.corrcoef(of_x, of_y)[0, 1])


CLAIMS = (
    Claim(
        "K-3",
        "curvature",
        f"{KALRA}, section 4.1 and figure 1",
        "Networks that grow flatter by themselves gain more from the ramp than those that grow sharper: at a low "
        "rate the sharpness of the standard parametrisation falls and that of muP rises, and standard gains more.",
        "holds",
        seen=True,
        studies={"cpu": {"fcn": SHARPENING}},
        measure=sharpening,
        criteria=(
            Criterion(
                "ln of the sharpness falls by more than 0.3 (standard)",
                "T",
                "ln_fall_standard",
                parameters={"delta": 0.3},
            ),
            Criterion("ln of the sharpness rises (muP)", "T", "ln_change_mup", parameters={"delta": 0.0}),
            Criterion(
                "warmup gains more of log2 of the rate with standard than with muP",
                "T",
                "gain_standard",
                "gain_mup",
                {"delta": 0.0},
            ),
        ),
    ),
    Claim(
        "K-4",
        "curvature",
        f"{KALRA}, section 3",
        "Training stabilises itself: once rate x sharpness exceeds 2 the loss rises, the sharpness falls, and the loss "
        "comes back.",
        "holds",
        seen=True,
        studies={"cpu": {"fcn": CROSSINGS}},
        measure=crossings,
        criteria=(
            Criterion("at least 3 runs of a seed cross the edge", "M", "enough", rig=True),
            Criterion(
                "of those whose loss rises, more than 75 % are below 0.6 of the sharpness 10 updates later and back "
                "within 40",
                "T",
                "stabilised",
                parameters={"delta": 0.75},
            ),
            Criterion(
                "in more than 90 % no update before raises the loss", "T", "quiet_before", parameters={"delta": 0.9}
            ),
            Criterion(
                "they end with rate x sharpness / 2 between 0.7 and 1.3",
                "SLOPE",
                "end",
                parameters={"low": 0.7, "high": 1.3},
            ),
        ),
    ),
    Claim(
        "K-5",
        "curvature",
        f"{KALRA}, appendix B.1",
        "The first rate that raises the loss is c / sharpness with c from 2, and c grows with depth over width.",
        "holds",
        seen=True,
        studies={"cpu": {"fcn": THRESHOLDS}},
        measure=thresholds,
        criteria=(
            Criterion("the smallest c of all shapes exceeds 1.9", "T", "smallest", parameters={"delta": 1.9}),
            Criterion(
                "rank correlation of c with depth over width exceeds 0.5 (standard)",
                "T",
                "rank_correlation",
                parameters={"delta": 0.5},
            ),
        ),
    ),
    Claim(
        "K-8",
        "curvature",
        f"{KALRA}, section 4.3",
        "The preconditioned sharpness of Adam starts huge, whatever the initialisation, and falls more than tenfold "
        "within 200 updates.",
        "holds",
        seen=True,
        studies={"cpu": {"fcn": PRECONDITIONED}},
        measure=preconditioned,
        criteria=(
            Criterion(
                "ln of it after 1 update over 200 exceeds ln 10 (standard)",
                "T",
                "ln_fall_standard",
                parameters={"delta": 2.3026},
            ),
            Criterion(
                "ln of it after 1 update over 200 exceeds ln 10 (muP)", "T", "ln_fall_mup", parameters={"delta": 2.3026}
            ),
        ),
    ),
    Claim(
        "K-14",
        "curvature",
        "Alimisis, Islamov and Lucchi 2025",
        "The sharpness rises and falls with the loss, whatever the initialisation, so that the loss may set the "
        "rate. (The schedule that follows from it is not tried.)",
        "refuted",
        seen=True,
        studies={"cpu": {"fcn": SLOPES}},
        measure=loss_and_sharpness,
        criteria=(
            # A squared correlation of 0.5.
            Criterion(
                "correlation of loss and sharpness exceeds 0.71 (standard)",
                "T",
                "standard",
                parameters={"delta": 0.7071},
            ),
            Criterion("correlation of loss and sharpness exceeds 0.71 (muP)", "T", "mup", parameters={"delta": 0.7071}),
        ),
        needs="a rate 1 / (a + b (loss - least loss)), for the other half",
    ),
)
